"""A write in doubt looked into: the tool's `verify` sibling is asked whether it took effect."""

from pydantic import JsonValue

from agent.calling import call_tool
from agent.core.call import Arguments
from agent.core.tool import ToolSpec
from agent.effects import Happened
from agent.tools.catalogue import Toolbox
from agent.values import NotJson, as_json


async def verified(args: Arguments, spec: ToolSpec, toolbox: Toolbox) -> Happened | bool | None:
    """Ask the tool that `spec` names under `verify`, with those of `args` that it takes.

    It answers true or false, or `{"happened": true | false | null, "output": ...}`. None: nobody knows, which is also
    the answer where there is no such tool or it fails.
    """
    name = spec.policy.verify
    if name is None:
        return None
    spec = toolbox.specs[name]
    given = {key: args[key] for key in spec.args_schema.get("properties", {}) if key in args}
    try:
        answer = as_json(await call_tool(toolbox[name], given, {}, spec=spec))
    except NotJson:
        return None
    except Exception:  # noqa: BLE001 - a tool's own code; a check that fails has found nothing out
        return None
    return _read(answer)


def _read(answer: JsonValue) -> Happened | bool | None:
    happened = answer.get("happened") if isinstance(answer, dict) else answer
    if happened is True:
        return Happened(answer.get("output") if isinstance(answer, dict) else None)
    return False if happened is False else None
