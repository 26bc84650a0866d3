"""The first stage of a small model's plan: the steps, each with its tool and the steps it builds on."""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from agent.core.plan.document import make_free_id
from agent.core.plan.tool_spec import JsonSchema

_MAX_STEPS: Final = 7
_COLUMN_NAME: Final = re.compile(r"[A-Za-z_]\w*(?=\W*$)")
#: A name with an extension of letters, such as `report.md`; a number or the end of a sentence does not match.
_FILE_NAME: Final = re.compile(r"(?<![\w.])[\w-]*[A-Za-z_][\w-]*\.[A-Za-z]\w{1,4}(?![\w.]*\w)")
_NOT_IN_ID: Final = re.compile(r"[^a-z0-9]+")
_MAX_ID_LENGTH: Final = 40


class PlanStep(BaseModel):
    """One step: what it finds out or does, with which tool, and from which steps' outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    id: str
    question: str
    tool: str
    #: Columns that its rows must have, if the model named any.
    columns: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()


def build_steps_schema(tools: Iterable[str]) -> JsonSchema:
    """Return the schema of the first stage's answer; a step's tool and inputs come before its wording."""
    short: JsonSchema = {"type": "string", "minLength": 1, "maxLength": _MAX_ID_LENGTH}
    step = {
        "type": "object",
        "properties": {
            "id": short,
            "tool": {"type": "string", "enum": list(tools)},
            "uses": {"type": "array", "items": short, "maxItems": 4},
            "question": {"type": "string", "minLength": 1, "maxLength": 300},
            "columns": {"type": "array", "items": short, "maxItems": 8},
        },
        "required": ["id", "tool", "uses", "question", "columns"],
        "additionalProperties": False,
    }
    return {
        "type": "object",
        "properties": {"steps": {"type": "array", "items": step, "minItems": 1, "maxItems": _MAX_STEPS}},
        "required": ["steps"],
        "additionalProperties": False,
    }


def read_steps(value: Mapping[str, Any], *, taken: Iterable[str] = (), known: Iterable[str] = ()) -> list[PlanStep]:
    """Return the steps under free ids; `uses` keeps only earlier steps and `known`, the finished tasks."""
    steps: list[PlanStep] = []
    ids = {task: task for task in known}
    used = {*taken, *ids}
    for written in value["steps"]:
        step_id = claim_id(str(written["id"]), used)
        uses = dict.fromkeys(ids[name] for name in map(str, written["uses"]) if name in ids)
        steps.append(
            PlanStep(
                id=step_id,
                question=written["question"],
                tool=written["tool"],
                columns=_extract_column_names(written["columns"]),
                uses=tuple(uses),
            )
        )
        ids[str(written["id"])] = step_id
    return steps


def claim_id(name: str, used: set[str]) -> str:
    """Return a task id made from `name` that is not in `used`, and add it there."""
    plain = _NOT_IN_ID.sub("_", name.lower()).strip("_")[:_MAX_ID_LENGTH].strip("_") or "step"
    plain = plain if plain[0].isalpha() else f"step_{plain}"
    free = make_free_id(plain, used) if plain in used else plain
    used.add(free)
    return free


def _extract_column_names(columns: Iterable[str]) -> tuple[str, ...]:
    """Return the names of columns: `days` for `COUNT(day) AS days`, since how to count is left to the next stage."""
    matches = (_COLUMN_NAME.search(column) for column in columns)
    return tuple(dict.fromkeys(name[0] for name in matches if name))


def has_file_name(goal: str) -> bool:
    """Return whether a goal names a file."""
    return _FILE_NAME.search(goal) is not None


def find_forgotten_files(goal: str, steps: Iterable[PlanStep]) -> list[str]:
    """Return a sentence for each file that the goal names and no step mentions."""
    questions = " ".join(step.question for step in steps).lower()
    return [
        f"The goal names the file {name!r}, but no step does; add a step for it that `uses` the step with its rows."
        for name in dict.fromkeys(_FILE_NAME.findall(goal))
        if name.lower() not in questions
    ]
