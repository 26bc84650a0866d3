"""What a planner is told about the world: by context providers, and by the questions that it asks before it plans."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from agent.core.engine.approvals import needs_approval
from agent.core.engine.outcomes import Done
from agent.core.plan.document import Call, Task
from agent.core.plan.limits import Limits
from agent.core.plan.tool_spec import ToolSpec
from agent.events import Emit, Thinking
from agent.execution.concurrency import Slots
from agent.execution.executor import Executor, Job
from agent.results.summary import describe_failure
from agent.secret_values import has_secret_arguments
from agent.tools.plan_check import check_plan
from agent.tools.toolbox import Toolbox

#: Characters of one context provider's text that the planner is shown.
_MAX_CONTEXT_LENGTH: Final = 24_000
#: Questions of one round.
_MAX_QUESTIONS: Final = 8
#: Characters of one answer that the planner is shown.
_MAX_ANSWER_LENGTH: Final = 4_000


@dataclass(frozen=True, slots=True)
class ContextQuestions:
    """Calls of reading tools whose results a planner wants to see before it plans."""

    questions: tuple[Call, ...]


async def call_context_providers(
    toolbox: Toolbox, executor: Executor, *, thread: str, revision: int, slots: Slots, emit: Emit
) -> str:
    """Call every context provider without arguments and return their texts, a section each.

    The section of one that fails gives the reason: planning goes on without it. Raises `Halted` if the run is stopped
    before all have been called.
    """

    async def ask_provider(name: str) -> str:
        emit(Thinking(role="context", text=f"Asking {name}"))
        question = Task(id=f"context_{name}", tool=name)
        answer = await run_question(
            question, executor, toolbox, thread=thread, revision=revision, slots=slots, max_length=_MAX_CONTEXT_LENGTH
        )
        return f"## {name}\n{answer}"

    providers = [name for name, spec in toolbox.specs.items() if spec.policy.context_provider]
    return "\n\n".join(await asyncio.gather(*map(ask_provider, providers)))


async def run_question(
    question: Task, executor: Executor, toolbox: Toolbox, *, thread: str, revision: int, slots: Slots, max_length: int
) -> str:
    """Call a reading tool and return its output as text, at most about `max_length` characters, or why it failed.

    A tool that has a method `as_context(output)` writes the text itself; otherwise it is JSON.
    """
    job = Job(
        task=question,
        spec=toolbox.specs[question.tool],
        needs=(),
        outcomes={},
        thread=thread,
        revision=revision,
        gated=False,
    )
    outcome = await executor.run(job, slots=slots, emit=lambda _: None)
    if not isinstance(outcome, Done):
        return describe_failure(outcome)
    as_context = getattr(toolbox[question.tool], "as_context", None)
    text = as_context(outcome.output) if callable(as_context) else json.dumps(outcome.output, ensure_ascii=False)
    return text if len(text) <= max_length else f"{text[:max_length]}\n... ({len(text) - max_length} more characters)"


def select_question_tools(specs: Mapping[str, ToolSpec]) -> dict[str, ToolSpec]:
    """Return the tools that can answer before there is a plan: those that only read and do not need to be dispatched.

    A context provider without arguments is not among them: its output is in the context already.
    """
    return {name: spec for name, spec in specs.items() if _can_answer(spec)}


def _can_answer(spec: ToolSpec) -> bool:
    is_in_context = spec.policy.context_provider and not spec.args_schema.get("properties")
    return spec.policy.read_only and not spec.policy.dispatched_only and not is_in_context


async def check_questions(
    asked: Sequence[object], toolbox: Toolbox, *, limits: Limits
) -> ContextQuestions | tuple[str, ...]:
    """Return questions ready to be put to their tools, or why they cannot be, as sentences.

    They are compiled and go through preflight like tasks. Only tools that read without approval may answer, and no
    question may name a secret, since the answer is shown to a model.
    """
    if len(asked) > _MAX_QUESTIONS:
        return (f"These are {len(asked)} questions; ask at most {_MAX_QUESTIONS} at once.",)
    checked = await check_plan(
        {"tasks": [_as_task(*each) for each in enumerate(asked, start=1)]}, toolbox, limits=limits
    )
    if isinstance(checked, tuple):
        return tuple(map(str, checked))
    calls = tuple(Call(tool=task.tool, args=task.args) for task in checked.compiled.plan.tasks)
    refused = tuple(reason for call in calls if (reason := _explain_refusal(call, toolbox, limits)))
    return refused or ContextQuestions(calls)


def _as_task(number: int, question: object) -> object:
    if not isinstance(question, Mapping):
        return question
    return {"id": f"need_{number}", "tool": question.get("tool"), "args": question.get("args") or {}}


def _explain_refusal(call: Call, toolbox: Toolbox, limits: Limits) -> str | None:
    spec = toolbox.specs.get(call.tool)
    if spec is None:
        return f"There is no tool {call.tool!r} to ask."
    if not _can_answer(spec) or needs_approval(Task(id="need", tool=call.tool), spec, limits):
        return f"{call.tool!r} cannot be asked before there is a plan; ask a tool that only reads, or plan with it."
    if has_secret_arguments(call.args, spec):
        return f"The question to {call.tool!r} names a secret, and its answer would be shown; leave it to a task."
    return None


async def run_questions(
    questions: Sequence[Call],
    executor: Executor,
    toolbox: Toolbox,
    *,
    thread: str,
    revision: int,
    slots: Slots,
    limits: Limits,
    emit: Emit,
) -> str:
    """Return the answers, a section for each question; the section of one that fails gives the reason.

    Each question is checked again: between the planner and here, the state may have been edited. Raises `Halted` if
    the run is stopped before all have been answered.
    """

    async def run_numbered_question(number: int, question: Call) -> str:
        task = Task(id=f"need_{number}", tool=question.tool, args=question.args)
        args = json.dumps(question.args, ensure_ascii=False)
        refusal = _explain_refusal(question, toolbox, limits)
        if refusal is not None:
            return f"## {question.tool} {args}\nNot asked: {refusal}"
        emit(Thinking(role="context", text=f"Asking {question.tool} {args}"))
        answer = await run_question(
            task, executor, toolbox, thread=thread, revision=revision, slots=slots, max_length=_MAX_ANSWER_LENGTH
        )
        return f"## {question.tool} {args}\n{answer}"

    return "\n\n".join(await asyncio.gather(*(run_numbered_question(*each) for each in enumerate(questions, start=1))))


def questions_to_json(questions: Sequence[Call]) -> list[dict[str, JsonValue]]:
    """Return questions as JSON."""
    return [question.model_dump(mode="json") for question in questions]
