"""Every notebook, executed from its first cell to its last with the network closed but for loopback."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
#: The kernel is a process of its own, which the fixture that closes the network does not reach.
CLOSE_NETWORK = """
from pytest_socket import socket_allow_hosts
socket_allow_hosts(["127.0.0.1", "::1", "localhost"], allow_unix_socket=True)
"""


@pytest.fixture
def without_key(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("PLANWAVE_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL", "LANGSMITH_TRACING"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLANWAVE_LOCAL_GGUF", str(tmp_path / "no-weights.gguf"))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))


def executed(notebook: Path) -> list[str]:
    """Return what each code cell shows."""
    document = nbformat.read(notebook, as_version=4)
    document.cells.insert(0, nbformat.v4.new_code_cell(CLOSE_NETWORK))
    NotebookClient(
        document, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(FOLDER)}}
    ).execute()
    return ["".join(map(words, cell.outputs)) for cell in document.cells if cell.cell_type == "code"]


def words(output: nbformat.NotebookNode) -> str:
    """Return what one output shows; what is printed may come in pieces, which are joined as they are."""
    return output.get("text") or " ".join(map(str, output.get("data", {}).values())) + "\n"


def test_there_are_notebooks() -> None:
    assert NOTEBOOKS


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=lambda notebook: notebook.stem)
def test_a_notebook_is_kept_without_outputs(notebook: Path) -> None:
    document = nbformat.read(notebook, as_version=4)
    nbformat.validate(document)
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in document.cells)


@pytest.mark.usefixtures("without_key")
def test_the_tour_shows_what_its_text_says() -> None:
    shown = executed(FOLDER / "01_tour.ipynb")
    [problems] = [text for text in shown if text.startswith("failed {}")]
    assert problems.count("\n- ") == 4
    assert "'send_letter'" in problems
    assert any("awaiting_approval | file | save_file" in text for text in shown)
    assert any(text.startswith("completed ['products.csv']") for text in shown)
    assert any("416347.50 [customers]" in text for text in shown)
    assert any("Image object" in text for text in shown)
    assert any("next human_approval" in text for text in shown)
    assert any("revision 2 | 3 rows to save" in text for text in shown)
    assert any(text.startswith("completed after 1 replan") and "Five were asked for." in text for text in shown)
    [resumed] = [text for text in shown if text.startswith("before:")]
    assert "completed ['chart', 'customers', 'products']" in resumed


@pytest.mark.usefixtures("without_key")
def test_the_operations_notebook_shows_what_its_text_says() -> None:
    shown = executed(FOLDER / "02_operations.ipynb")
    assert any(text.startswith("dump? ") and "\nprovision? " in text for text in shown)
    [asked] = [text for text in shown if "undo:" in text]
    assert asked.count("undo:") == 3
    [undone] = [text for text in shown if "'undone'" in text]
    assert "{'undone': ['upload', 'provision', 'dump'], 'not_undone': {}}" in undone
    assert "service in the north\nstore [] work []\nsouth []\nnorth as it was: True" in undone
    assert any("verify | failed | 'orders' in 'south'" in text for text in shown)
    [moved] = [text for text in shown if "service in the south" in text]
    assert "'restore': 'revision 1', 'upload': 'revision 1', 'switch': 'revision 2'}\nboth as it was: True" in moved


@pytest.mark.usefixtures("without_key")
def test_the_notebook_of_agents_shows_what_its_text_says() -> None:
    shown = executed(FOLDER / "03_agents.ipynb")
    assert any("a person approves the task as a whole" in text for text in shown)
    assert any(text.startswith("1 markets products\n2 analysis chart\n3 report") for text in shown)
    [slip] = [text for text in shown if text.startswith("failed [")]
    assert "'advices'" in slip
    [asked] = [text for text in shown if text.startswith("awaiting_approval | report/")]
    assert "save_file\nLook after the largest country.\n" in asked
    [together] = [text for text in shown if text.startswith("side by side:")]
    assert together.startswith("side by side: True")
    assert "markets ['describe_database', 'query_database'] ['figures', 'note']" in together
    assert "analysis ['compute_shares'] ['shares', 'advice']" in together
    [written] = [text for text in shown if text.startswith("completed {'title'")]
    assert "'save_file')]\nLook after the largest country.\n" in written
    assert any("analysis  analysis done, chart done" in text and "[report]" in text for text in shown)


def test_the_kernel_reaches_no_other_machine() -> None:
    document = nbformat.v4.new_notebook(
        cells=[
            nbformat.v4.new_code_cell(CLOSE_NETWORK),
            nbformat.v4.new_code_cell("import socket; socket.create_connection(('192.0.2.1', 80), timeout=5)"),
        ]
    )
    NotebookClient(document, timeout=60, kernel_name="python3", allow_errors=True).execute()
    [error] = [output for output in document.cells[1].outputs if output["output_type"] == "error"]
    assert error["ename"] == "SocketConnectBlockedError"
