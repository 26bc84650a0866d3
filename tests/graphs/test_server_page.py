"""The page about LangGraph servers, done as a reader does it: its files in a folder, a server there, its client."""

import asyncio
import io
import re
from contextlib import redirect_stdout
from pathlib import Path

from tests.support.studio import ROOT, StudioServer

PAGE = (ROOT / "graphs" / "server.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


def test_the_files_of_the_page_are_served_and_its_client_answers(tmp_path: Path, shop_folder: Path) -> None:
    (graph, client), [configuration] = blocks("python"), blocks("json")
    (tmp_path / "my_graph.py").write_text(graph, encoding="utf-8")
    (tmp_path / "langgraph.json").write_text(configuration, encoding="utf-8")
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "mine"\nversion = "1"\n', encoding="utf-8")
    expected = re.findall(r"#> (.*)", client)
    code, _, run = client.rpartition("asyncio.run(")
    assert run == "keep_desks())\n"
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 - the page's own code
    printed = io.StringIO()
    with StudioServer(tmp_path, data=shop_folder, has_own_file=True) as server, redirect_stdout(printed):
        asyncio.run(names["keep_desks"](server.url))  # type: ignore[operator]
    assert printed.getvalue().splitlines() == expected
