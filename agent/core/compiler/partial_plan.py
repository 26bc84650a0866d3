"""Compiles the well-formed parts of a malformed plan, so that all of its problems are reported at once."""

from collections.abc import Mapping

from pydantic import ValidationError

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.plan.document import MAX_ID_LENGTH, ExecutionMode, Plan, Task
from agent.core.plan.limits import Limits
from agent.core.plan.parser import build_field_problem, check_scalar
from agent.core.plan.problems import Problem, ProblemKind
from agent.core.plan.tool_spec import Catalogue

#: Values that are looked at; a document may contain the same list many times.
_MAX_VALUES = 200_000
_MAX_DEPTH = 64
#: Problems that may be there only because a field had to be left out.
_UNCERTAIN_KINDS: frozenset[ProblemKind] = frozenset(
    {"missing_argument", "bad_for_each", "bad_rollback", "later_reference", "unknown_path", "type_mismatch"}
)
_PLACEHOLDER_TOOL = "lost"


def check_partial_plan(document: object, catalogue: Catalogue, *, limits: Limits) -> tuple[Problem, ...]:
    """Return the problems that compiling finds in the well-formed parts of a plan document that is malformed.

    Malformed fields are left out, and problems that may be there only because of that are not reported.
    """
    raw = document.get("tasks") if isinstance(document, dict) else document
    if not isinstance(raw, list) or not 0 < len(raw) <= limits.max_tasks:
        return ()
    reader = _TaskReader({"tasks": raw})
    tasks = [task for index, each in enumerate(raw) if (task := reader.read_task(index, each)) is not None]
    modes: tuple[ExecutionMode, ...] = ("parallel", "sequential", "conditional")
    given_mode = document.get("execution_mode") if isinstance(document, dict) else None
    mode = next((mode for mode in modes if mode == given_mode), modes[0])
    compiled = compile_plan(Plan(execution_mode=mode, tasks=tuple(tasks)), catalogue, limits=limits)
    problems = () if isinstance(compiled, CompiledPlan) else tuple(filter(reader.is_certain, compiled))
    return (*reader.problems, *problems)


class _TaskReader:
    """Reads tasks as far as they are well-formed, and remembers what was left out."""

    def __init__(self, document: dict[str, object]) -> None:
        #: What is malformed in fields that could be read.
        self.problems: list[Problem] = []
        self._document = document
        self._values_left = _MAX_VALUES
        #: Tasks of which only the id could be read.
        self._unreadable: set[str | None] = set()
        self._incomplete: set[str | None] = set()
        #: Whether a task has no id that could be read: any reference may mean that task.
        self._has_unnamed_task = False

    def read_task(self, index: int, raw: object) -> Task | None:
        """Return what can be read of a task; None if not even its id can."""
        fields = raw if isinstance(raw, dict) else {}
        sound = {
            name: fields[name] for name in fields if isinstance(name, str) and self._is_storable([name, fields[name]])
        }
        task = self._validate_task(sound, index, given=fields)
        name = sound.get("id")
        if task is None and isinstance(name, str) and 0 < len(name) <= MAX_ID_LENGTH:
            task = self._validate_task({"id": name, "tool": _PLACEHOLDER_TOOL}, index, given=fields)
            self._unreadable.add(name)
        if task is None:
            self._has_unnamed_task = True
        elif len(task.model_fields_set) < len(fields):
            self._incomplete.add(task.id)
        return task

    def _validate_task(self, sound: Mapping[str, object], index: int, *, given: Mapping[str, object]) -> Task | None:
        """Return the task without its malformed fields, which become problems."""
        try:
            return Task.model_validate(sound)
        except ValidationError as error:
            details = error.errors(include_url=False, include_context=False)
        for detail in details:
            if detail["type"] != "missing" or detail["loc"][0] not in given:
                self.problems.append(
                    build_field_problem({**detail, "loc": ("tasks", index, *detail["loc"])}, self._document)
                )
        bad = {str(detail["loc"][0]) for detail in details}
        left = {name: value for name, value in sound.items() if name not in bad}
        if len(left) == len(sound) or "id" not in left or "tool" not in left:
            return None
        return self._validate_task(left, index, given=given)

    def is_certain(self, problem: Problem) -> bool:
        """Whether the problem exists whatever the left-out fields were meant to say."""
        if problem.kind == "unknown_reference" and self._has_unnamed_task:
            return False
        if problem.task in self._unreadable or problem.kind == "empty_plan":
            return problem.kind == "duplicate_id"
        return not (problem.task in self._incomplete and problem.kind in _UNCERTAIN_KINDS)

    def _is_storable(self, value: object) -> bool:
        """Whether a JSON store can keep `value`, without recursion."""
        stack: list[tuple[object, int]] = [(value, 0)]
        while stack:
            one, depth = stack.pop()
            self._values_left -= 1
            if self._values_left < 0 or depth > _MAX_DEPTH:
                return False
            if isinstance(one, dict):
                stack.extend((inner, depth + 1) for pair in one.items() for inner in pair)
            elif isinstance(one, list | tuple):
                stack.extend((inner, depth + 1) for inner in one)
            elif any(check_scalar(one, ())):
                return False
        return True
