"""Takes a program for a goal: it compiles as it is today, and the data have the texts that the goal names."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from agent.core.plan.limits import Limits
from agent.programs.matching import ProgramMatch, has_form_of_example, list_looked_up_inputs, list_matches
from agent.programs.program import Program
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.toolbox import Toolbox


@dataclass(frozen=True)
class AdoptedProgram:
    """A program that answers a goal, as a plan document with the values of its inputs, and that checked."""

    match: ProgramMatch
    document: dict[str, Any]
    checked: CheckedPlan


async def adopt_program(
    goal: str, programs: Iterable[Program], toolbox: Toolbox, *, limits: Limits
) -> tuple[AdoptedProgram | None, tuple[str, ...]]:
    """Return the one program that answers `goal` for sure, or None; and a sentence for each that seemed to.

    Where the words fit several programs, the data decide: only one of them may have the texts that the goal names.
    """
    found: list[AdoptedProgram] = []
    reasons: list[str] = []
    for match in list_matches(goal, programs):
        tried = await _try_program(match, toolbox, limits=limits)
        if isinstance(tried, AdoptedProgram):
            found.append(tried)
        else:
            reasons.append(f"Not used: {match}; {tried}")
    if len(found) > 1:
        names = ", ".join(each.match.program.label for each in found)
        reasons.append(f"Not used: several programs answer the goal: {names}; remove all but one.")
    return (found[0] if len(found) == 1 else None), tuple(reasons)


async def _try_program(match: ProgramMatch, toolbox: Toolbox, *, limits: Limits) -> AdoptedProgram | str:
    """Return the program with its values, spelt as the data have them, or the end of a sentence that says why not."""
    document: dict[str, Any] = {**match.program.plan, "input_values": {**match.values}}
    checked = await check_plan(document, toolbox, limits=limits)
    if not isinstance(checked, CheckedPlan):
        return f"it does not compile any more: {' '.join(map(str, checked[:3]))}"
    known = _collect_known_texts(checked)
    values = dict(match.values)
    schemas = match.program.inputs_schema["properties"]
    for name in sorted(list_looked_up_inputs(match.program)):
        text = values.get(name)
        if not isinstance(text, str):
            continue
        if known is None and has_form_of_example(text, schemas[name]):
            continue
        if known is None or text not in known:
            return f"the data have no {text!r} where it looks for the {name}."
        values[name] = known[text]
    if values == match.values:
        return AdoptedProgram(match, document, checked)
    return await _try_program(ProgramMatch(match.program, values), toolbox, limits=limits)


def _collect_known_texts(checked: CheckedPlan) -> Mapping[str, str] | None:
    """Return the texts that the data have, of all tasks; None if no tool looks texts up."""
    found = [each.known_texts for each in checked.findings.values() if each.known_texts is not None]
    return {text: spelt for known in found for text, spelt in known.items()} if found else None
