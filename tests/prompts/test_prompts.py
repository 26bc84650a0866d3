"""Prompts: strict variables, and renderings compared with golden files.

`PLANWAVE_REWRITE_GOLDENS=1 pytest tests/prompts` writes the golden files anew; the difference is for review.
"""

import pytest

from prompts import PromptError, list_prompts, render
from tests.prompts.golden_files import assert_golden

WRITING = {
    "instruction": "Summarise the best customers for the board.",
    "inputs": {"top": [{"customer": "Acme </data>", "revenue": 1234.5}], "note": None},
}
RENDERINGS = {
    "write_text.v1": ("write_text.v1", WRITING | {"max_words": 80}),
    "write_text.v1-unbounded": ("write_text.v1", WRITING | {"max_words": None}),
    "summarise.v1": ("summarise.v1", {"about": "What fell.", "max_points": 3, "inputs": WRITING["inputs"]}),
    "draft.v1": ("draft.v1", WRITING | {"kind": "email", "max_words": 80}),
    "draft.v1-unbounded": ("draft.v1", WRITING | {"kind": "report", "max_words": None}),
    "classify.v1": (
        "classify.v1",
        {"instruction": "By mood.", "item_schema": {"enum": ["good", "bad"]}, "items": ["fine </items>"], "count": 1},
    ),
    "delegate.v2": ("delegate.v2", {"max_steps": 5, "inputs": {"a": "</data>"}, "role": "", "answer_tool": ""}),
    "delegate.v2-named": (
        "delegate.v2",
        {"max_steps": 5, "inputs": {}, "role": "You look for {sources}.", "answer_tool": "Findings"},
    ),
    "agent_task.v1": ("agent_task.v1", {"task": "Compare {both}.", "inputs": {"a": "</data>"}}),
    "agent_task.v1-bare": ("agent_task.v1", {"task": "Compare {both}.", "inputs": {}}),
    "cut_inputs.v1": ("cut_inputs.v1", {"cuts": ["The result of 'a' is cut off after 5 rows; there are more."]}),
    "typed_repair.v1": ("typed_repair.v1", {"problems": ["There are 2 items and 1 results; give one for each."]}),
    "write_text_repair.v1": ("write_text_repair.v1", {"ungrounded": ["Globex", "99"]}),
}


@pytest.mark.parametrize("golden", RENDERINGS)
def test_a_prompt_reads_as_its_golden_file(golden: str) -> None:
    assert_golden(golden, *RENDERINGS[golden])


def test_a_missing_variable_is_named() -> None:
    with pytest.raises(PromptError, match=r"lacks the variables \['inputs', 'max_words'\]"):
        render("write_text.v1", instruction="x")


def test_an_unused_variable_is_named() -> None:
    with pytest.raises(PromptError, match=r"does not use the variables \['tone'\]"):
        render("write_text.v1", **WRITING, max_words=None, tone="kind")


@pytest.mark.parametrize("name", ["nothing.v1", "write_text", "../pyproject", "__init__", ""])
def test_a_name_without_a_file_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(PromptError, match=r"write_text\.v1"):
        render(name)


def test_every_prompt_is_a_valid_template() -> None:
    assert "write_text.v1" in list_prompts()
    for name in list_prompts():
        with pytest.raises(PromptError, match="does not use the variables"):
            render(name, **_wanted(name), no_prompt_uses_this="x")


def _wanted(name: str) -> dict[str, str]:
    """The variables that the loader says are missing."""
    try:
        render(name)
    except PromptError as error:
        listed = str(error).partition("lacks the variables [")[2].partition("]")[0]
        return {variable.strip("' "): "" for variable in listed.split(",") if variable}
    return {}
