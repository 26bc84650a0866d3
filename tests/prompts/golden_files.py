"""Renderings held against golden files."""

import os
from collections.abc import Mapping
from pathlib import Path

from prompts import render

GOLDENS = Path(__file__).parent / "goldens"


def assert_golden(golden: str, name: str, variables: Mapping[str, object]) -> None:
    """Hold the prompt `name` to its golden file, which PLANWAVE_REWRITE_GOLDENS writes anew."""
    text = render(name, **variables)
    file = GOLDENS / f"{golden}.md"
    if os.environ.get("PLANWAVE_REWRITE_GOLDENS"):
        file.write_text(text, encoding="utf-8")
    assert text == file.read_text(encoding="utf-8")
