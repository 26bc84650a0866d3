"""The answerer: the outcome of a run in words that its results support."""

import re
from collections.abc import Mapping
from typing import Final

from langchain_core.messages import HumanMessage
from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Done, Outcome
from agent.core.grounding import find_ungrounded
from agent.errors import ModelError, ModelReplyError
from agent.events import Emit, Thinking
from agent.llm.models import Model
from agent.llm.replies import TextReply
from agent.llm.streaming import OnText
from agent.llm.usage import UsageTally, UsageTotal
from agent.results.markdown import extract_rows, get_title, list_settled_tasks, render_results, render_section
from agent.results.summary import describe_failure
from agent.settings import Settings
from prompts import render

_MAX_TOKENS: Final = 1_200
#: Rows of one result that the model is shown.
_MAX_ROWS: Final = 50
#: A paragraph has ended if something follows the empty line.
_PARAGRAPH_END: Final = re.compile(r"\n\s*\n(?=\S)")
_CITATION: Final = re.compile(r"\[([^\[\]\s]+(?:\s*,\s*[^\[\]\s]+)*)\]")


class AnswerResult(BaseModel):
    """The answer; all numbers and names in `text` are those of the results.

    `grounded` is False if the model wrote others; the results themselves have replaced those paragraphs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    text: str
    grounded: bool
    usage: UsageTotal
    #: Why the text is not all that it could be, as sentences; "" if nothing is to be said.
    note: str = ""


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
    on_text: OnText | None = None,
) -> AnswerResult:
    """Write the answer of a run.

    A large model writes a short answer that cites tasks as `[id]`; paragraphs that the cited results do not support
    are replaced by the results themselves. Without a model, with a small one, after a failure of the model, and for a
    run that did not complete, the results are listed. If a human has `accepted` to end an incomplete run, the model
    writes its answer too, which begins with `reason`. `on_text` is called with each paragraph of the model's answer as
    soon as the model has written it and the results support it.
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
    notes: list[str] = []
    checked = (
        _CheckedStream(goal, done, opening=f"{reason}\n\n" if reason else "", on_text=on_text) if on_text else None
    )
    try:
        reply = await ask_text(
            model,
            [HumanMessage(_render_question(goal, compiled, outcomes, done))],
            max_tokens=_MAX_TOKENS,
            on_usage=tally.add,
            on_note=notes.append,
            on_text=checked.feed if checked else None,
        )
    except ModelReplyError as error:
        note = f"The results are listed because no model could write the answer. {error}"
        return AnswerResult(text=plain, grounded=True, usage=tally.total, note=note)
    except ModelError:
        return AnswerResult(text=plain, grounded=True, usage=tally.total)
    if not isinstance(reply, TextReply) or reply.truncated:
        return AnswerResult(text=plain, grounded=True, usage=tally.total)
    text, grounded = check_grounding(reply.text.strip(), goal, compiled=compiled, done=done)
    text = f"{reason}\n\n{text}" if reason else text
    return AnswerResult(text=text, grounded=grounded, usage=tally.total, note=" ".join(notes))


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
    reader = _ParagraphReader(goal, done)
    for paragraph in paragraphs:
        if reader.is_supported(paragraph):
            grounded.append(paragraph)
        else:
            cited_by_others += [task for task in reader.cited if task in done]
    if len(grounded) == len(paragraphs):
        return text, True
    listed = dict.fromkeys(cited_by_others or done)
    sections = [render_section(task, done[task], title=get_title(compiled, task)) for task in listed]
    return "\n\n".join([*grounded, *sections]), False


class _ParagraphReader:
    """Checks the paragraphs of an answer in order."""

    def __init__(self, goal: str, done: Mapping[str, Done]) -> None:
        self._goal = goal
        self._done = done
        #: What the last paragraph cites, or the one before it that cites anything.
        self.cited: list[str] = []

    def is_supported(self, paragraph: str) -> bool:
        """Whether the results that the next paragraph cites have all its numbers and names."""
        citations = [task for group in _CITATION.findall(paragraph) for task in re.split(r"\s*,\s*", group)]
        self.cited = citations or self.cited
        cited = [self._done[task] for task in self.cited if task in self._done]
        outputs: list[JsonValue] = [value for done in cited for value in (done.output, *done.warnings)]
        all_known = all(task in self._done for task in self.cited)
        return all_known and not find_ungrounded(_CITATION.sub("", paragraph), self._goal, *outputs)


class _CheckedStream:
    """Passes on the paragraphs of an answer while it is written, up to the first that the results do not support."""

    def __init__(self, goal: str, done: Mapping[str, Done], *, opening: str, on_text: OnText) -> None:
        self._reader = _ParagraphReader(goal, done)
        self._on_text = on_text
        #: What stands before the next paragraph.
        self._before = opening
        self._rest = ""
        self._is_open = True

    def feed(self, piece: str) -> None:
        """Take the next piece of the model's text."""
        self._rest = (self._rest + piece).lstrip() if not self._rest else self._rest + piece
        while self._is_open and (end := _PARAGRAPH_END.search(self._rest)):
            paragraph, self._rest = self._rest[: end.start()], self._rest[end.end() :]
            self._is_open = self._reader.is_supported(paragraph)
            if self._is_open:
                self._on_text(self._before + paragraph)
                self._before = end.group()
