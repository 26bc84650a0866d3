"""The simplest way to run calls: one after the other, as they stand; the first that fails ends it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from langchain_core.tools import BaseTool

from tests.evals.cases import Attempt, Call
from tests.evals.strategies.references import UnresolvedError, resolved


async def called(call: Call, tools: Mapping[str, BaseTool], *, outputs: Mapping[str, Any]) -> Call:
    """Return `call` with its output or its error; nothing is checked before, mended, or tried again."""
    if call.tool not in tools:
        return replace(call, error=f"There is no tool {call.tool!r}.")
    try:
        output = await tools[call.tool].ainvoke(dict(resolved(dict(call.args), outputs)))
    except UnresolvedError as error:
        return replace(call, error=str(error))
    except Exception as error:  # noqa: BLE001 - a tool's own code: whatever it raises is the failure of this call
        return replace(call, error=f"{type(error).__name__}: {error}"[:2_000])
    return replace(call, output=output, done=True)


async def called_in_order(calls: Sequence[Call], tools: Sequence[BaseTool]) -> Attempt:
    """Run a plan as it was written. A call that fails ends it, and all behind it stay undone."""
    by_name = {tool.name: tool for tool in tools}
    outputs: dict[str, Any] = {}
    made: list[Call] = []
    for call in calls:
        if made and made[-1].error:
            made.append(call)
            continue
        made.append(await called(call, by_name, outputs=outputs))
        outputs[call.id] = made[-1].output
        if made[-1].error:
            outputs.pop(call.id)
    broken = next((call.error for call in made if call.error), "")
    return Attempt(tuple(made), ending="broken" if broken else "finished", problems=(broken,) if broken else ())
