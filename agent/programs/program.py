"""A program: a plan with inputs under a name and a version, with where it came from."""

from functools import cached_property
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, JsonValue, StringConstraints

from agent.core.compiler.program_inputs import DeclaredInputs, declare_inputs
from agent.core.plan.document import Plan
from agent.core.plan.parser import parse_plan
from agent.core.plan.tool_spec import JsonSchema
from agent.errors import UsageError

#: A name that can be that of a tool too.
ProgramName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class ProgramApproval(BaseModel):
    """A call that a human approved in the run that a program was made of."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    #: Who approved it, as far as the run knew; None: a person at the terminal or by an answer without a name.
    by: str | None = None
    #: ISO 8601.
    at: str | None = None


class ProgramOrigin(BaseModel):
    """Where the plan of a program came from."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    thread: str | None = None
    revision: int | None = None
    file: str | None = None
    #: Who wrote the plan: `model`, `user` or `person`, as in the plan history of a run.
    author: str | None = None
    model: str | None = None
    approvals: tuple[ProgramApproval, ...] = ()

    def __str__(self) -> str:
        if self.thread is None:
            return f"file {self.file}" if self.file else "given"
        written = f"{self.author} {self.model}" if self.model else self.author or "unknown author"
        return f"thread {self.thread}, revision {self.revision}, by {written}"


class Program(BaseModel):
    """One version of a program."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: ProgramName
    #: From 1.
    version: int = Field(ge=1)
    goal: str = ""
    #: The goal with `{input}` in place of each value that it names; empty if the planner cannot find it by its goal.
    goal_template: str = ""
    #: Other wordings of the goal, each with the same places.
    wordings: tuple[str, ...] = ()
    #: A plan document with `inputs`.
    plan: dict[str, JsonValue]
    #: ISO 8601.
    saved_at: str
    origin: ProgramOrigin = ProgramOrigin()

    @cached_property
    def inputs_schema(self) -> JsonSchema:
        """The schema of the object of the inputs. Raises `UsageError` if the plan cannot be read."""
        return read_program_plan(self.plan)[1]

    @property
    def label(self) -> str:
        """Name and version, for sentences."""
        return f"{self.name} (version {self.version})"


def read_program_plan(document: Any) -> tuple[Plan, JsonSchema]:  # noqa: ANN401 - whatever a file or a caller holds
    """Return the plan of a program, parsed, and the schema of its inputs, which has no properties if there are none.

    Raises `UsageError` with every reason why it is none.
    """
    plan = parse_plan(document)
    if not isinstance(plan, Plan):
        raise UsageError(f"The program is no plan: {' '.join(map(str, plan))}")
    if plan.inputs is None:
        return plan, {"type": "object", "properties": {}, "additionalProperties": False}
    declared = declare_inputs(plan)
    if not isinstance(declared, DeclaredInputs):
        raise UsageError(f"The inputs of the program cannot be read: {' '.join(map(str, declared))}")
    return plan, declared.schema
