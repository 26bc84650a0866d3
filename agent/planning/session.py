"""What planner and replanner share: the goal, the model and the tools of one planning, and its possible results."""

from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from langchain_core.messages import BaseMessage

from agent.core.plan.document import Call, Plan, Task
from agent.core.plan.limits import Limits
from agent.core.plan.problems import Problem
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Emit, Thinking
from agent.execution.early_execution import EarlyExecution
from agent.llm.models import Model
from agent.llm.replies import MalformedReply, Reply, TextReply
from agent.llm.response_schema import find_exceeded_limits
from agent.llm.usage import UsageTally
from agent.planning.large_model.plan_schema import build_plan_schema
from agent.planning.signs_of_life import RoleProgress
from agent.planning.tool_prompts import select_plannable_tools
from agent.planning.tool_selection import select_tools
from agent.tools.plan_check import CheckedPlan, PreflightChecker, check_plan
from agent.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class DraftFailure:
    """There is no plan; `problems` are those of the last attempt."""

    problems: tuple[str, ...]
    repairs: int


@dataclass(frozen=True, slots=True)
class PlanDraft:
    """A plan that compiles, and how often it had to be repaired."""

    checked: CheckedPlan
    repairs: int
    #: Why it may not be what was meant, if other plans for the goal were tried and no two gave the same result.
    doubt: str = ""
    #: What looks wrong in it for the goal, in sentences: found by rules, which can be wrong.
    concerns: tuple[str, ...] = ()
    #: What is to be asked before it runs: values that neither the goal nor a result gives, in sentences.
    questions: tuple[str, ...] = ()
    #: How many of the plans that were tried gave its result, as a sentence; "" if none was tried.
    agreement: str = ""
    #: How many plans gave its result, and how many in which no rule found anything gave another; 0 if none was tried.
    votes: int = 0
    rivals: int = 0
    #: Its result has no row, or nothing but NULL.
    finds_nothing: bool = False


@dataclass(frozen=True)
class PlanningSession:
    """A goal, all that is known about it, and everything that is needed to plan for it."""

    goal: str
    context: str
    toolbox: Toolbox
    model: Model
    limits: Limits
    max_repairs: int
    emit: Emit
    #: The ids that already have a result, as for `compile_plan`.
    used: Mapping[str, Task | None] = field(default_factory=dict)
    #: What the plan that is replanned says of its inputs, as fields of a plan document.
    input_fields: Mapping[str, Any] = field(default_factory=dict)
    tally: UsageTally = field(default_factory=UsageTally)
    #: Runs tasks while their plan is still being written.
    early_execution: EarlyExecution | None = None
    #: How many plans a small model may make, of which one is chosen by vote; 1: the first is taken.
    variants: int = 1
    #: Which of them is being made; each but the first, 0, is sampled.
    variant: int = 0
    #: Whether the model may ask questions before it plans.
    may_ask: bool = False
    #: Whether what can only be a slip in the arguments of the model is corrected.
    repairs_arguments: bool = True
    #: The calls of an earlier plan, whose arguments stay as they are.
    kept: Sequence[Call] = ()
    #: What the user should know of how the plan came about, as sentences.
    notes: list[str] = field(default_factory=list)
    #: Counts what the model writes, for whoever watches.
    progress: RoleProgress | None = None

    @cached_property
    def specs(self) -> dict[str, ToolSpec]:
        """The tools that a plan may use; if they are too many for a strict schema, those nearest to the goal."""
        return select_tools(select_plannable_tools(self.toolbox.specs), goal=self.goal, fits=_fits_schema)

    async def ask_structured(
        self,
        messages: list[BaseMessage],
        *,
        schema: JsonSchema,
        name: str,
        max_tokens: int,
        on_text: Callable[[str], None] | None = None,
    ) -> Reply:
        """Ask for JSON and count the call; `on_text` as for `ask_json`. Raises `ModelReplyError`."""
        from agent.llm.structured_output import ask_json  # noqa: PLC0415 - `openai` takes a second to load

        return await ask_json(
            self._select_model(),
            messages,
            schema=schema,
            name=name,
            max_tokens=max_tokens,
            on_usage=self.tally.add,
            on_text=self._count_pieces(on_text),
            on_note=self.add_note,
        )

    async def ask_text(
        self, messages: list[BaseMessage], *, max_tokens: int, grammar: str | None = None
    ) -> TextReply | MalformedReply:
        """Ask for a text and count the call; `grammar` as for the function `ask_text`. Raises `ModelReplyError`."""
        from agent.llm.structured_output import ask_text  # noqa: PLC0415 - `openai` takes a second to load

        return await ask_text(
            self._select_model(),
            messages,
            max_tokens=max_tokens,
            grammar=grammar,
            on_usage=self.tally.add,
            on_note=self.add_note,
            on_text=self._count_pieces(None),
        )

    async def ask_texts(
        self,
        messages: list[BaseMessage],
        *,
        number: int,
        max_tokens: int,
        grammar: str | None = None,
    ) -> AsyncGenerator[TextReply | MalformedReply]:
        """Sample `number` texts in one call and count it, as the function `ask_texts` does."""
        from agent.llm.embedded.sampling import ask_texts  # noqa: PLC0415 - `openai` takes a second to load

        replies = ask_texts(
            self.model,
            messages,
            number=number,
            seed=self.variant + 1,
            max_tokens=max_tokens,
            grammar=grammar,
            on_usage=self.tally.add,
            on_text=self._count_pieces(None),
        )
        async with aclosing(replies):
            async for reply in replies:
                yield reply

    async def recall_prompt(self, beginning: list[BaseMessage]) -> None:
        """Have a model that can keep the beginnings of prompts know how the next ones begin."""
        recall = getattr(self.model.chat, "recall_prompt", None)
        if callable(recall):
            await recall(beginning)

    def _count_pieces(self, on_text: Callable[[str], None] | None) -> Callable[[str], None] | None:
        """Return `on_text`, or a function that also counts the pieces of the reply that begins now."""
        progress = self.progress
        if progress is None or (on_text is None and self.model.scale == "large"):
            return on_text
        progress.begin_reply()

        def count(piece: str) -> None:
            progress.count_piece(piece)
            if on_text is not None:
                on_text(piece)

        return count

    def add_note(self, note: str) -> None:
        """Keep a sentence that the user should know, and show it to whoever watches."""
        if note not in self.notes:
            self.notes.append(note)
            self.emit(Thinking(role="planner", text=note))

    def _select_model(self) -> Model:
        """Return the model, for a variant with sampling enabled."""
        if not self.variant:
            return self.model
        from agent.llm.openai_client import enable_sampling  # noqa: PLC0415 - `openai` takes a second to load

        return replace(self.model, chat=enable_sampling(self.model.chat, seed=self.variant))

    async def check(self, document: Mapping[str, Any]) -> CheckedPlan | tuple[Problem, ...]:
        """Compile a plan document against the toolbox, preflight included."""
        goal = self.goal if self.repairs_arguments else None
        preflights = (
            self.early_execution.preflights
            if self.early_execution
            else PreflightChecker(self.toolbox, goal=goal, kept=self.kept)
        )
        document = {**self.input_fields, **document}
        return await check_plan(document, self.toolbox, limits=self.limits, used=self.used, preflights=preflights)


def _fits_schema(specs: Mapping[str, ToolSpec]) -> bool:
    return find_exceeded_limits(build_plan_schema(specs.values())) is None


def as_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON, without members that have their default value."""
    document = plan.model_dump(mode="json", exclude_defaults=True)
    return {"execution_mode": plan.execution_mode, "tasks": document.get("tasks", [])}
