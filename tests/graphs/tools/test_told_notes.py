"""`planwave tools` says which words of a schema are not checked."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from graphs.cli.plan_commands import plan
from tests.graphs.tools.conftest import schema_tool


@pytest.mark.parametrize("as_json", [True, False])
def test_what_is_not_checked_is_listed(as_json, monkeypatch, capsys):
    letters = schema_tool({"q": {"type": "string", "pattern": "^\\p{L}+$"}})
    monkeypatch.setattr(plan, "make_tools", lambda *_, **__: [letters])
    monkeypatch.setattr(plan, "read_trusted_configuration", lambda *_, **__: None)
    said: list[str] = []
    screen = SimpleNamespace(say=lambda sentence, **_: said.append(sentence))
    options: Any = SimpleNamespace(build_settings=lambda: None)
    context: Any = SimpleNamespace(as_json=as_json, screen=screen)
    assert plan.list_tools(options=options, context=context) == 0
    told = json.loads(capsys.readouterr().out)["notes"] if as_json else said
    [note] = [each for each in told if "is not checked" in each]
    assert note.startswith("Tool 'take', args_schema: 'pattern' of 'q' is")
