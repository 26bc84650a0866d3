"""The tasks of a draft that is being completed, as documents, and what is known about them."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from agent.core.plan.conditions import list_condition_tasks
from agent.core.plan.document import make_free_id
from agent.core.plan.json_schema import NoSuchPath, branches, find_allowed_types, get_subschema, iterate_properties
from agent.core.plan.references import JsonPath, find_producers
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.goal_rules.wording import (
    DATE,
    SYNONYMS,
    find_numbers,
    is_action,
    list_stems,
    list_words,
    score_tool,
    stem_word,
)

TaskDocument = dict[str, Any]
_SCALARS: Final = frozenset({"string", "integer", "number", "boolean"})


class DraftTasks:
    """New tasks in their order behind finished ones; tasks are changed in place."""

    def __init__(
        self, tasks: Sequence[TaskDocument], specs: Mapping[str, ToolSpec], *, done: Sequence[Mapping[str, Any]] = ()
    ) -> None:
        self.tasks = list(tasks)
        self.specs = specs
        self._done = list(done)

    def __iter__(self) -> Iterator[TaskDocument]:
        return iter(self.tasks)

    @property
    def all_tasks(self) -> list[Mapping[str, Any]]:
        """The finished tasks and the new ones."""
        return [*self._done, *self.tasks]

    def get_spec(self, task: Mapping[str, Any]) -> ToolSpec:
        """Return the tool of a task."""
        return self.specs[task["tool"]]

    def list_actions(self) -> list[TaskDocument]:
        """Return the new tasks that do something."""
        return [task for task in self.tasks if task["tool"] in self.specs and is_action(self.get_spec(task))]

    def list_verbs(self) -> set[str]:
        """Return the words by which the goal may begin an errand for one of the tools that do something."""
        verbs = {list_words(spec.name)[0] for spec in self.specs.values() if is_action(spec) and list_words(spec.name)}
        return verbs.union(*(group for group in SYNONYMS if group & verbs))

    def list_sources(self, before: TaskDocument | None = None) -> list[Mapping[str, Any]]:
        """Return the tasks that look something up, those that do not rest on `before`."""
        behind = self.find_dependants(before["id"]) if before is not None else set()
        return [
            task
            for task in self.all_tasks
            if task["tool"] in self.specs and not is_action(self.get_spec(task)) and task["id"] not in behind
        ]

    def find_needs(self, task: Mapping[str, Any]) -> set[str]:
        """Return the ids of the tasks that a task rests on directly."""
        needs = {*task.get("depends_on", ()), *list_condition_tasks(task.get("condition"))}
        for value in (*task.get("args", {}).values(), task.get("for_each")):
            needs.update(find_producers(value))
        return needs

    def find_dependants(self, task_id: str) -> set[str]:
        """Return the ids of a task and of all that rest on it, directly or not."""
        found, grows = {task_id}, True
        while grows:
            more = {task["id"] for task in self.tasks if self.find_needs(task) & found} - found
            found |= more
            grows = bool(more)
        return found

    def describe_output(self, task: Mapping[str, Any], path: JsonPath = ()) -> JsonSchema:
        """Return the schema of a part of a task's output, `{}` if nothing is known."""
        one = self.get_spec(task).output_schema or {}
        root = {"type": "array", "items": one, "$defs": one.get("$defs", {})} if task.get("for_each") else one
        try:
            found = get_subschema(root, path, root=root)
        except NoSuchPath:
            return {}
        merged = next(iter(branches(found, root)), {}) if len(branches(found, root)) == 1 else found
        return {**merged, "$defs": root.get("$defs", {})}

    def find_types(self, task: Mapping[str, Any], path: JsonPath = ()) -> frozenset[str]:
        """Return the JSON types of a part of a task's output; none if nothing is known."""
        schema = self.describe_output(task, path)
        return find_allowed_types(schema, schema) or frozenset()

    def list_members(self, task: Mapping[str, Any]) -> list[tuple[JsonPath, frozenset[str]]]:
        """Return the parts of a task's output that have a type: the whole, or the members of an object."""
        kinds = self.find_types(task)
        if kinds != {"object"}:
            return [((), kinds)] if kinds else []
        schema = self.describe_output(task)
        return [((name,), find_allowed_types(part, schema) or frozenset()) for name, part in iterate_properties(schema)]

    def find_list(self, task: Mapping[str, Any]) -> JsonPath | None:
        """Return the path of the list that a task gives; None if it gives none."""
        lists = [path for path, kinds in self.list_members(task) if "array" in kinds]
        return lists[0] if lists else None

    def list_stems(self, task: Mapping[str, Any]) -> set[str]:
        """Return the stems of what a task speaks of: its tool's name and its own texts."""
        literals = " ".join(str(value) for value in task.get("args", {}).values() if isinstance(value, str | int))
        return {*map(stem_word, list_stems(task["tool"].replace("_", " "))), *list_stems(literals)}

    def score(self, task: Mapping[str, Any], text: str) -> float:
        """Return how much a part of the goal speaks of a task: by the tool's name and the values of its arguments."""
        total, words, numbers = score_tool(self.get_spec(task), text), list_stems(text), set(find_numbers(text))
        for value in task.get("args", {}).values():
            if isinstance(value, str) and value:
                stems = list_stems(value)
                # An address tells two calls of the same tool apart.
                whole = re.search(rf"(?<!\w){re.escape(value)}(?!\w)", text, re.IGNORECASE)
                total += (2.0 if "@" in value else 1.0) if whole else 0.7 * len(stems & words) / max(len(stems), 1)
            elif isinstance(value, int | float) and not isinstance(value, bool):
                total += 1.0 if float(value) in numbers else 0.0
        return total

    def insert_before(self, place: int, tool: str, args: Mapping[str, JsonValue], description: str) -> TaskDocument:
        """Add a task in front of the one at `place`, under a free id."""
        taken = {task["id"] for task in self.all_tasks}
        task_id = make_free_id(tool, taken) if tool in taken else tool
        task: TaskDocument = {"id": task_id, "description": description, "tool": tool, "args": dict(args)}
        self.tasks.insert(place, task)
        return task


def fill_arguments(
    spec: ToolSpec, goal: str, *, near: Mapping[str, JsonValue] | None = None
) -> dict[str, JsonValue] | None:
    """Return the required arguments of a reading tool as far as `goal` decides them; None if one stays open.

    `near` are arguments of a call that it is for: what has the same name has the same value.
    """
    root, args = spec.args_schema, dict[str, JsonValue]()
    stems = list_stems(goal)
    for name, part in iterate_properties(root):
        required = name in root.get("required", ())
        schema = next(iter(branches(part, root)), part)
        options = [
            each for each in schema.get("enum", []) if isinstance(each, str) and stem_word(each.lower()) in stems
        ]
        dates, numbers = DATE.findall(goal), find_numbers(goal)
        if near is not None and isinstance(near.get(name), str | int):
            args[name] = near[name]
        elif len(options) == 1:
            args[name] = options[0]
        elif "enum" in schema or not required:
            pass
        elif len(set(dates)) == 1 and ("date" in name or "day" in name):
            args[name] = dates[0]
        elif schema.get("type") == "integer" and len(numbers) == 1 and name.endswith("id"):
            args[name] = int(numbers[0])
        if required and name not in args:
            return None
    return args


def is_scalar(schema: JsonSchema, root: JsonSchema) -> bool:
    """Whether an argument takes a single value."""
    kinds = find_allowed_types(schema, root)
    return kinds is not None and bool(kinds - {"null"}) and kinds - {"null"} <= _SCALARS
