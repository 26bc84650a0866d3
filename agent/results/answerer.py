"""The answerer: the outcome of a run in words that its results support."""

import re
from collections.abc import Mapping
from typing import Final

from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Done, Outcome
from agent.core.grounding import find_ungrounded
from agent.errors import ModelError
from agent.events import Emit, Thinking
from agent.llm.models import Model
from agent.llm.replies import TextReply
from agent.llm.usage import UsageTally, UsageTotal
from agent.results.markdown import extract_rows, get_title, list_settled_tasks, render_results, render_section
from agent.results.summary import describe_failure
from agent.settings import Settings
from prompts import render

_MAX_TOKENS: Final = 1_200
#: Rows of one result that the model is shown.
_MAX_ROWS: Final = 50
_CITATION: Final = re.compile(r"\[([^\[\]\s]+(?:\s*,\s*[^\[\]\s]+)*)\]")


class AnswerResult(BaseModel):
    """The answer; all numbers and names in `text` are those of the results.

    `grounded` is False if the model wrote others; the results themselves have replaced those paragraphs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    grounded: bool
    usage: UsageTotal


async def make_answer(
    goal: str,
    *,
    compiled: CompiledPlan | None,
    outcomes: Mapping[str, Outcome],
    status: str,
    reason: str,
    model: Model | None,
    emit: Emit,
    settings: Settings,  # noqa: ARG001 - all roles are called alike
    accepted: bool = False,
) -> AnswerResult:
    """Write the answer of a run.

    A large model writes a short answer that cites tasks as `[id]`; paragraphs that the cited results do not support
    are replaced by the results themselves. Without a model, with a small one, after a failure of the model, and for a
    run that did not complete, the results are listed. If a human has `accepted` to end an incomplete run, the model
    writes its answer too, which begins with `reason`.
    """
    tally = UsageTally()
    plain = render_results(compiled=compiled, outcomes=outcomes, status=status, reason=reason)
    done = {
        task: outcome for task in list_settled_tasks(compiled, outcomes) if isinstance(outcome := outcomes[task], Done)
    }
    if model is None or model.scale == "small" or not (status == "completed" or accepted) or not done:
        return AnswerResult(text=plain, grounded=True, usage=tally.total)
    from agent.llm.structured_output import ask_text  # noqa: PLC0415 - `openai` takes a second to load

    emit(Thinking(role="answerer", text="Writing the answer."))
    try:
        reply = await ask_text(
            model,
            [HumanMessage(_render_question(goal, compiled, outcomes, done))],
            max_tokens=_MAX_TOKENS,
            on_usage=tally.add,
        )
    except ModelError:
        return AnswerResult(text=plain, grounded=True, usage=tally.total)
    if not isinstance(reply, TextReply) or reply.truncated:
        return AnswerResult(text=plain, grounded=True, usage=tally.total)
    text, grounded = check_grounding(reply.text.strip(), goal, compiled=compiled, done=done)
    # Whatever the model makes of them, the warnings are in the answer word by word.
    notes = [f"Note: {line}" for line in list_warnings(done) if line not in text]
    text = "\n\n".join([*([reason] if reason else []), text, *notes])
    return AnswerResult(text=text, grounded=grounded, usage=tally.total)


def _render_question(
    goal: str, compiled: CompiledPlan | None, outcomes: Mapping[str, Outcome], done: Mapping[str, Done]
) -> str:
    return render(
        "answerer.v1",
        goal=goal,
        results=[
            {"id": task, "title": get_title(compiled, task), "output": _truncate_rows(outcome.output)}
            for task, outcome in done.items()
        ],
        missing=[
            *(
                f"{task}: {describe_failure(outcomes[task])}"
                for task in list_settled_tasks(compiled, outcomes)
                if task not in done
            ),
            *(f"{task}: {outcome.items}" for task, outcome in done.items() if outcome.items is not None),
            *(f"{task}: {outcome.error}" for task, outcome in done.items() if outcome.error is not None),
            *(f"{task}: {warning}" for task, outcome in done.items() for warning in outcome.warnings),
        ],
    )


def list_warnings(outcomes: Mapping[str, Outcome]) -> list[str]:
    """Return the warnings of all tasks, each with the id of its task as a citation."""
    return [f"{warning} [{task}]" for task, outcome in outcomes.items() for warning in outcome.warnings]


def _truncate_rows(output: JsonValue) -> JsonValue:
    rows = extract_rows(output)
    if rows is None or len(rows) <= _MAX_ROWS:
        return output
    return {"rows": list(rows[:_MAX_ROWS]), "left_out": len(rows) - _MAX_ROWS}


def check_grounding(
    text: str, goal: str, *, compiled: CompiledPlan | None, done: Mapping[str, Done]
) -> tuple[str, bool]:
    """Return the paragraphs of `text` that the results they cite support, then the results cited by the others.

    A paragraph without a citation is taken to cite what the one before it cites. The second value is True if nothing
    had to be replaced.
    """
    paragraphs = re.split(r"\n\s*\n", text)
    grounded: list[str] = []
    cited_by_others: list[str] = []
    cited: list[str] = []
    for paragraph in paragraphs:
        citations = [task for group in _CITATION.findall(paragraph) for task in re.split(r"\s*,\s*", group)]
        cited = citations or cited
        outputs = [value for task in cited if task in done for value in (done[task].output, *done[task].warnings)]
        all_known = all(task in done for task in cited)
        if all_known and not find_ungrounded(_CITATION.sub("", paragraph), goal, *outputs):
            grounded.append(paragraph)
        else:
            cited_by_others += [task for task in cited if task in done]
    if len(grounded) == len(paragraphs):
        return text, True
    listed = dict.fromkeys(cited_by_others or done)
    sections = [render_section(task, done[task], title=get_title(compiled, task)) for task in listed]
    return "\n\n".join([*grounded, *sections]), False
