"""What else is wrong with a malformed plan: its sound parts compiled, so that all problems are told at once."""

import sys
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.plan.document import MAX_ID_LENGTH, ExecutionMode, Plan, Task
from agent.core.plan.limits import Limits
from agent.core.plan.parser import build_field_problem
from agent.core.plan.problems import Problem, ProblemKind
from agent.core.plan.tool_spec import Catalogue

#: Values that are looked at; a document may hold the same list many times over.
_MAX_VALUES = 200_000
_MAX_DEPTH = 64
#: What follows from a field that had to be left out, or may.
_UNCERTAIN_KINDS: frozenset[ProblemKind] = frozenset(
    {"missing_argument", "bad_for_each", "bad_rollback", "later_reference", "unknown_path", "type_mismatch"}
)
_PLACEHOLDER_TOOL = "lost"


def check_partial_plan(document: object, catalogue: Catalogue, *, limits: Limits) -> tuple[Problem, ...]:
    """Return the problems that compiling finds in what is well-formed of a plan document that is not, as a whole.

    Fields that are malformed are left out, and what would only follow from that is not told.
    """
    raw = document.get("tasks") if isinstance(document, dict) else document
    if not isinstance(raw, list) or not 0 < len(raw) <= limits.max_tasks:
        return ()
    reader = _TaskReader({"tasks": raw})
    tasks = [task for index, each in enumerate(raw) if (task := reader.read_task(index, each)) is not None]
    modes: tuple[ExecutionMode, ...] = ("parallel", "sequential", "conditional")
    wanted = document.get("execution_mode") if isinstance(document, dict) else None
    mode = next((mode for mode in modes if mode == wanted), modes[0])
    found = compile_plan(Plan(execution_mode=mode, tasks=tuple(tasks)), catalogue, limits=limits)
    compiled = () if isinstance(found, CompiledPlan) else tuple(filter(reader.is_certain, found))
    return (*reader.problems, *compiled)


class _TaskReader:
    """Reads tasks as far as they are well-formed, and keeps in mind what was left out."""

    def __init__(self, document: dict[str, object]) -> None:
        #: What is malformed in fields that can be looked at.
        self.problems: list[Problem] = []
        self._document = document
        self._values_left = _MAX_VALUES
        #: Tasks of which only the id is known.
        self._unreadable: set[str | None] = set()
        self._incomplete: set[str | None] = set()
        #: A task has no id that could be read: any reference may mean it.
        self._has_unnamed_task = False

    def read_task(self, index: int, raw: object) -> Task | None:
        """Return what can be read of a task; None where not even its id can."""
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
        """Return the task without those of its fields that are not as they should be, which are noted."""
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
        """Whether a problem is there whatever the fields that were left out had meant."""
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
            if self._values_left < 0 or depth > _MAX_DEPTH or not _is_plain_json(one):
                return False
            stack.extend((inner, depth + 1) for inner in _iterate_children(one))
        return True


def _iterate_children(value: object) -> Iterator[object]:
    if isinstance(value, dict):
        yield from value
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value


def _is_plain_json(value: object) -> bool:
    match value:
        case str():
            return value.isascii() or value == value.encode(errors="ignore").decode()
        case bool() | None | dict() | list() | tuple():
            return True
        case int():
            return abs(value) <= sys.float_info.max
        case float():
            return abs(value) <= sys.float_info.max
        case _:
            return False
