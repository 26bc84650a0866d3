"""A plan in the form that users write it, in a reply that does not keep to the form it was asked for."""

from typing import Any

from agent.reply import Parsed, Usage, read_reply


def plain_plan(raw: str) -> dict[str, Any] | None:
    """Return the plan document in `raw`, or what it asks for under `need`; None where it holds neither.

    A model that is not held to a schema knows this form from the examples. The compiler says better what is wrong with
    such a plan than a schema does.
    """
    reply = read_reply(raw, schema={}, tolerant=True, usage=Usage())
    if not isinstance(reply, Parsed) or not any(isinstance(reply.value.get(key), list) for key in ("tasks", "need")):
        return None
    return reply.value
