"""Conditions: CEL expressions over the outputs of earlier tasks.

CEL is the Common Expression Language (cel.dev). A task whose id is an identifier is a variable of that name; every
task is also available as `outputs["id"]`.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

from pydantic import JsonValue

from agent.core.plan.condition_cost import MAX_COST, estimate_cost
from agent.core.plan.references import UnresolvedReference, describe_type

_MACRO_VARIABLE = re.compile(r"\.\s*(?:all|exists|exists_one|map|filter)\s*\(\s*([A-Za-z_]\w*)\s*,")
_OUTPUT_KEY = re.compile(r"\boutputs\s*\[\s*(?:'([^'\\]+)'|\"([^\"\\]+)\")\s*\]")

#: The functions of the CEL engine, macros aside; a test calls each of them.
CEL_FUNCTIONS = frozenset(
    (
        *("size", "int", "uint", "double", "string", "bytes", "timestamp", "duration", "type", "dyn"),
        *("contains", "startsWith", "endsWith", "matches"),
        *("getFullYear", "getMonth", "getDate", "getDayOfMonth", "getDayOfWeek", "getDayOfYear"),
        *("getHours", "getMinutes", "getSeconds", "getMilliseconds"),
    )
)
_CEL_MACROS = frozenset({"has", "all", "exists", "exists_one", "existsOne", "map", "filter"})
#: The parser recurses in native code: 40,000 characters of "1+1+..." crash the process.
_MAX_CHARACTERS = 2_000


class ConditionError(ValueError):
    """A condition does not parse; the message is one line."""


def find_condition_tasks(expression: str) -> frozenset[str]:
    """Return the ids of the tasks that `expression` uses. Raises `ConditionError` if it does not parse."""
    tasks = _parse_condition(expression)
    if isinstance(tasks, str):
        raise ConditionError(tasks)
    return tasks


def list_condition_tasks(expression: str | None) -> list[str]:
    """Return the ids of the tasks that `expression` uses, sorted; empty if there is none or it does not parse."""
    tasks = _parse_condition(expression) if expression is not None else ""
    return [] if isinstance(tasks, str) else sorted(tasks)


def is_parsable(expression: str) -> bool:
    """Whether `expression` parses."""
    return not isinstance(_parse_condition(expression), str)


def find_unknown_functions(expression: str) -> tuple[str, ...]:
    """Return the functions that `expression`, which must parse, calls and the CEL engine does not have."""
    import cel  # noqa: PLC0415 - loads a terminal toolkit, and few plans have conditions

    called = cel.compile(expression).functions()
    return tuple(sorted(name for name in called if name.isidentifier() and name not in CEL_FUNCTIONS | _CEL_MACROS))


def evaluate(expression: str, *, outputs: Mapping[str, JsonValue]) -> bool:
    """Evaluate `expression` over `outputs` by task id, which must contain every task that it uses.

    Takes about a second at most. Raises `UnresolvedReference` with a sentence if it could take longer, cannot be
    evaluated, or gives neither true nor false.
    """
    import cel  # noqa: PLC0415 - loads a terminal toolkit, and few plans have conditions

    used: dict[str, JsonValue] = {name: outputs.get(name) for name in find_condition_tasks(expression)}
    variables: dict[str, JsonValue] = {name: value for name, value in used.items() if name.isidentifier()}
    variables["outputs"] = used
    cost = estimate_cost(expression, variables)
    if cost is None or cost > MAX_COST:
        raise UnresolvedReference(
            f"The condition {expression!r} {_describe_excess(cost)}, and it could not be stopped; "
            "nest fewer macros, use `exists` or `all`, not `map` or `filter`, or reduce the data in a task first."
        )
    try:
        result = cel.evaluate(expression, variables)
    except KeyError as error:
        raise UnresolvedReference(
            f"The condition {expression!r} uses {error.args[0]!r}, which does not exist."
        ) from None
    except (TypeError, ValueError, RuntimeError, AttributeError, LookupError, ArithmeticError) as error:
        reason = str(error).split("\n", maxsplit=1)[0].split(". CEL does not", maxsplit=1)[0]
        raise UnresolvedReference(f"The condition {expression!r} cannot be evaluated: {reason}.") from None
    if not isinstance(result, bool):
        raise UnresolvedReference(
            f"The condition {expression!r} gives {describe_type(result)}, neither true nor false."
        )
    return result


def _describe_excess(cost: int | None) -> str:
    if cost is None:
        return "is nested too deeply to tell how long it takes"
    times = min(-(-cost // MAX_COST), 1_000_000)
    return f"could take over its limit of a second, up to {times:,} times as long, with data of this size"


@lru_cache(maxsize=4096)
def _parse_condition(expression: str) -> frozenset[str] | str:
    """Return the ids of the tasks used, or why `expression` does not parse."""
    if len(expression) > _MAX_CHARACTERS:
        return f"it has {len(expression)} characters and {_MAX_CHARACTERS} are allowed"
    import cel  # noqa: PLC0415 - loads a terminal toolkit, and few plans have conditions

    try:
        variables = set(cel.compile(expression).variables())
    except ValueError as error:
        lines = [line for line in str(error).splitlines() if "ERROR" in line]
        return (lines or [str(error)])[0].split("ERROR: <input>:")[-1].strip()[:200]
    variables -= set(_MACRO_VARIABLE.findall(expression))
    if "outputs" in variables:
        variables.remove("outputs")
        variables |= {one or other for one, other in _OUTPUT_KEY.findall(expression)}
    return frozenset(variables)
