"""What a role that writes plans works with, and what it hands in."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from langchain_core.messages import BaseMessage

from agent.core.plan.document import Plan, Task
from agent.core.plan.limits import Limits
from agent.core.plan.problems import Problem
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.events import Emit
from agent.execution.early_execution import HeadStart
from agent.llm.models import Model
from agent.llm.replies import Malformed, Reply, TextReply
from agent.llm.response_schema import too_large
from agent.llm.usage import Tally
from agent.plan_check import Checked, check_plan
from agent.planning.large_model.plan_schema import plan_schema
from agent.planning.tool_prompts import offered
from agent.planning.tool_selection import narrowed
from agent.tools.toolbox import Toolbox


@dataclass(frozen=True, slots=True)
class NoDraft:
    """No plan came of it; `problems` are those of the last attempt."""

    problems: tuple[str, ...]
    repairs: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A plan that compiles, and how often it had to be mended."""

    checked: Checked
    repairs: int
    #: Why it may not be what was meant, where other plans for the goal were tried and no two found the same.
    doubt: str = ""


@dataclass(frozen=True)
class Desk:
    """A goal, all that is known about it, and the means to plan for it."""

    goal: str
    context: str
    toolbox: Toolbox
    model: Model
    limits: Limits
    max_repairs: int
    emit: Emit
    used: Mapping[str, Task | None] = field(default_factory=dict)
    tally: Tally = field(default_factory=Tally)
    #: Where tasks may begin while their plan is being written.
    ahead: HeadStart | None = None
    #: How many plans a small model may make of which the best is taken; 1: the first.
    variants: int = 1
    #: Which of them is being made; each but the first, 0, is another one by chance.
    variant: int = 0
    #: Whether the model may ask to know more before it plans.
    may_ask: bool = False

    @cached_property
    def specs(self) -> dict[str, ToolSpec]:
        """The tools that a plan may use: of more than a strict schema can hold, those nearest to the goal."""
        return narrowed(offered(self.toolbox.specs), goal=self.goal, fits=_fit_a_schema)

    async def ask(
        self,
        messages: list[BaseMessage],
        *,
        schema: JsonSchema,
        name: str,
        max_tokens: int,
        heard: Callable[[str], None] | None = None,
    ) -> Reply:
        """Ask the model and count the call; `heard` is as for `agent.structured.ask`. Raises `ModelReplyError`."""
        from agent.llm.structured_output import ask  # noqa: PLC0415 - `openai` takes a second to load

        count = self.tally.count
        return await ask(
            self._asked(), messages, schema=schema, name=name, max_tokens=max_tokens, usage=count, heard=heard
        )

    async def ask_text(
        self, messages: list[BaseMessage], *, max_tokens: int, grammar: str | None = None
    ) -> TextReply | Malformed:
        """Ask for a text and count the call; `grammar` as for `agent.structured.ask_text`. Raises `ModelReplyError`."""
        from agent.llm.structured_output import ask_text  # noqa: PLC0415 - `openai` takes a second to load

        return await ask_text(self._asked(), messages, max_tokens=max_tokens, grammar=grammar, usage=self.tally.count)

    async def ask_texts(
        self, messages: list[BaseMessage], *, number: int, max_tokens: int, grammar: str | None = None
    ) -> list[TextReply | Malformed]:
        """Ask for several texts by chance at once and count the call. Raises `ModelReplyError`."""
        from agent.llm.structured_output import ask_texts  # noqa: PLC0415 - `openai` takes a second to load

        count = self.tally.count
        return await ask_texts(self.model, messages, number=number, max_tokens=max_tokens, grammar=grammar, usage=count)

    def _asked(self) -> Model:
        """Return the model, or for a variant the same one answering by chance."""
        if not self.variant:
            return self.model
        from agent.llm.openai_client import by_chance  # noqa: PLC0415 - `openai` takes a second to load

        return replace(self.model, chat=by_chance(self.model.chat, seed=self.variant))

    async def check(self, document: Mapping[str, Any]) -> Checked | tuple[Problem, ...]:
        """Compile a plan document against the toolbox, preflight included."""
        preflights = self.ahead.preflights if self.ahead else None
        return await check_plan(document, self.toolbox, limits=self.limits, used=self.used, preflights=preflights)


def _fit_a_schema(specs: Mapping[str, ToolSpec]) -> bool:
    return too_large(plan_schema(specs.values())) is None


def as_document(plan: Plan) -> dict[str, Any]:
    """Return a plan as JSON with what is not the default."""
    document = plan.model_dump(mode="json", exclude_defaults=True)
    return {"execution_mode": plan.execution_mode, "tasks": document.get("tasks", [])}
