"""Checks the secrets that a call names: only by their names, and only those that its tool was given."""

from collections.abc import Iterator, Mapping

from pydantic import JsonValue

from agent.core.plan.limits import Limits
from agent.core.plan.problems import Problem, format_path
from agent.core.plan.secret_fields import find_secret_values, parse_secret_name
from agent.core.plan.tool_spec import ToolSpec


def check_secrets(
    spec: ToolSpec, args: Mapping[str, JsonValue], *, limits: Limits, place: str, task: str | None
) -> Iterator[Problem]:
    """Yield a problem for each secret argument that data would choose, and each secret that the tool must not get.

    A name that comes by reference could come from a row of a database, so only a name that the plan itself has counts.
    """
    for path, value in find_secret_values(spec.args_schema, args):
        name = parse_secret_name(value)
        where = format_path((place, *path))
        if isinstance(value, dict):
            yield Problem(
                kind="secret",
                place=where,
                task=task,
                what=f"a secret of {spec.name!r} cannot come from a reference, a template or an object.",
                remedy="Give its name, as in 'secret:NAME'.",
            )
        elif name is not None and spec.name not in limits.secrets.get(name, (spec.name,)):
            tools = ", ".join(map(repr, limits.secrets[name])) or "no tool"
            yield Problem(
                kind="secret",
                place=where,
                task=task,
                what=f"the secret {name!r} is given to {tools}, not to {spec.name!r}.",
                remedy=f"Use another secret, or have the user list {spec.name!r} for {name!r} under [secrets].",
            )
