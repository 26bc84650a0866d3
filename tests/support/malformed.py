"""Malformed plans made from a seed, each with what must be said of it."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Words that one and the same problem must hold.
Needles = tuple[str, ...]


@dataclass
class Case:
    """A document, or text that is no JSON, and the problems that must be named at once."""

    kinds: tuple[str, ...]
    document: Any = None
    text: bytes | None = None
    expected: list[Needles] = field(default_factory=list)


Mutation = Callable[[random.Random, list[dict[str, Any]], dict[str, Any]], Needles]


def sound_tasks(draw: random.Random, count: int) -> list[dict[str, Any]]:
    """Return tasks that compile, each resting on some before it."""
    tasks: list[dict[str, Any]] = []
    for number in range(count):
        before = [task["id"] for task in tasks]
        value: Any = draw.randint(0, 99)
        if before and draw.random() < 0.5:
            value = {"output_of": draw.choice(before), "path": ["value"]}
        task = {"id": f"t{number}", "tool": draw.choice(["look", "look", "write"]), "args": {"value": value}}
        if task["tool"] == "write":
            task["args"]["value"] = number
        if before and draw.random() < 0.3:
            task["depends_on"] = [draw.choice(before)]
        tasks.append(task)
    return tasks


def _put(task: dict[str, Any], fields: dict[str, Any], *needles: str) -> Needles:
    task.update(fields)
    return (f"ask '{task['id']}'", *needles)


def _nested(levels: int) -> Any:
    value: Any = 1
    for level in range(levels):
        value = [value] if level % 2 else {"k": value}
    return value


def _wrong_type(draw: random.Random, _: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    name, value = draw.choice(
        [
            ("priority", "high"),
            ("priority", True),
            ("args", 5),
            ("args", [1]),
            ("depends_on", 7),
            ("depends_on", [None]),
            ("timeout_s", -1),
            ("max_retries", -1),
            ("on_failure", "explode"),
            ("run_if", "sometimes"),
            ("rollback", "undo"),
            ("condition", 5),
            ("description", {"a": 1}),
        ]
    )
    return _put(task, {name: value}, f".{name}", "is not valid here")


def _cycle(draw: random.Random, tasks: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    extra = [{"id": f"{task['id']}c{n}", "tool": "look", "args": {"value": n}} for n in range(draw.randint(1, 4))]
    ring = [task, *extra]
    for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
        one["depends_on"] = [other["id"]]
    tasks.extend(extra)
    return ("in a cycle", task["id"])


def _duplicate(_: random.Random, tasks: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    tasks.append({"id": task["id"], "tool": "look", "args": {"value": 1}})
    return (f"Task '{task['id']}'", "2 tasks have the id")


def _later(_: random.Random, tasks: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    name = f"{task['id']}later"
    tasks.append({"id": name, "tool": "look", "args": {"value": 1}})
    task.pop("depends_on", None)
    return _put(task, {"args": {"value": {"output_of": name}}}, f"it uses '{name}', which is listed later")


def _bad_reference(draw: random.Random, _: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    value = draw.choice([{"output_of": 5}, {"output_of": "t0", "part": 1}, {"output_of": "t0", "path": "value"}])
    return _put(task, {"args": {"value": value}}, "args.value", "this reference")


def _surrogate(draw: random.Random, _: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    name = draw.choice(["description", "reasoning"])
    return ("asks[", f".{name}", "half of a surrogate pair") if _put(task, {name: "\ud800x"}) else ()


def _deep(draw: random.Random, _: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    task["args"] = {"value": _nested(draw.choice([70, 500, 20_000]))}
    return ("args.value", "nested deeper than 64 levels")


def _no_number(draw: random.Random, _: list[dict[str, Any]], task: dict[str, Any]) -> Needles:
    task["args"] = {"value": draw.choice([float("nan"), float("inf"), -float("inf")])}
    return ("args.value", "is not a JSON number")


MUTATIONS: dict[str, Mutation] = {
    "unknown tool": lambda draw, _, task: _put(
        task, {"tool": draw.choice(["lok", "write2", "rm -rf", "é" * 300])}, "there is no tool"
    ),
    "self-dependency": lambda _, __, task: _put(task, {"depends_on": [task["id"]]}, "depends on itself"),
    "unknown reference": lambda _, __, task: _put(
        task, {"depends_on": [f"no{task['id']}"]}, f"'no{task['id']}', which is not in the plan"
    ),
    "later reference": _later,
    "cycle": _cycle,
    "duplicate id": _duplicate,
    "wrong type": _wrong_type,
    "extra field": lambda _, __, task: _put(task, {"tol": 1}, "no field 'tol'"),
    "missing argument": lambda _, __, task: _put(task, {"args": {}}, "'value'"),
    "extra argument": lambda _, __, task: _put(task, {"args": {"value": 1, "vlue": 2}}, "'vlue'"),
    "bad reference": _bad_reference,
    "bad condition": lambda draw, _, task: _put(
        task, {"condition": draw.choice(["t0 >", "(((", "a = 1", "(" * 3_000])}, "condition", "does not parse"
    ),
    "surrogate": _surrogate,
    "deep nesting": _deep,
    "no number": _no_number,
}


def _bad_json(draw: random.Random) -> Case:
    text = json.dumps({"tasks": sound_tasks(draw, 3)}).encode()
    broken = draw.choice(
        [
            text[: draw.randint(1, len(text) - 1)],
            b"",
            b"\xff\xfe" + text,
            text + b"}",
            b"```json\n" + text + b"\n```",
            b"[" * draw.choice([10, 200_000]),
            text.replace(b":", b"=", 1),
            b"null",
            b'{"tasks": ' + b"9" * 6000 + b"}",
        ]
    )
    return Case(("bad JSON",), text=broken)


def _no_plan(draw: random.Random) -> Case:
    document, needle = draw.choice(
        [
            ({"tasks": 5}, "asks"),
            ({"tasks": [5, None, "x"]}, "asks[1]"),
            ({"tasks": {}}, "asks"),
            ({"tasks": []}, "no tasks"),
            ({}, "no tasks"),
            ({"tasks": [{}]}, "'id' is missing"),
            ({"tasks": [{"id": "a b", "tool": "look"}]}, "asks[0].id"),
            (
                {"execution_mode": "all at once", "tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]},
                "execution",
            ),
            ({"tasks": [{"id": "a", "tool": "look"}], "colour": "red"}, "no field 'colour'"),
        ]
    )
    return Case(("no plan",), document=document, expected=[(needle,)])


def _huge(draw: random.Random) -> Case:
    if draw.random() < 0.5:
        tasks = [{"id": f"t{n}", "tool": "look", "args": {"value": n}} for n in range(10_001)]
        return Case(("too many tasks",), document={"tasks": tasks}, expected=[("10001 tasks and 10000 are allowed",)])
    tasks = [{"id": f"t{n}", "tool": "look", "args": {"value": n}, "depends_on": [f"t{n + 1}"]} for n in range(9_999)]
    tasks.append({"id": "t9999", "tool": "look", "args": {"value": 1}, "depends_on": ["t0"]})
    return Case(("10,000 tasks in a cycle",), document={"tasks": tasks}, expected=[("in a cycle", "t0")])


def case(seed: int) -> Case:
    """Return the malformed plan of a seed."""
    draw = random.Random(seed)  # noqa: S311 - a script, no secret
    kind = draw.random()
    if kind < 0.005:
        return _huge(draw)
    if kind < 0.08:
        return _bad_json(draw)
    if kind < 0.13:
        return _no_plan(draw)
    tasks = sound_tasks(draw, draw.randint(3, 9))
    kinds = tuple(draw.sample(sorted(MUTATIONS), draw.randint(1, 3)))
    # The first one stays sound, so that references to it are.
    chosen = draw.sample(tasks[1:], min(len(kinds), len(tasks) - 1))
    made = Case(kinds[: len(chosen)], document={"tasks": tasks})
    for name, task in zip(made.kinds, chosen, strict=True):
        made.expected.append(MUTATIONS[name](draw, tasks, task))
    return made
