"""Saving files: inside the folder only, whole or not at all, harmless to spreadsheets."""

import csv
import hashlib
import io
import json
from datetime import date, datetime
from pathlib import Path

import duckdb
import openpyxl
import pytest
from pydantic import ValidationError

from agent.errors import ToolFailure
from agent.tools.files.output_folder import OutputFolder
from agent.tools.files.save_file import file_tools

ROWS = [{"name": "Acme", "n": 2, "note": None}, {"name": "a|b", "n": -1.5, "more": [1]}]


@pytest.fixture
def out(tmp_path: Path) -> Path:
    return tmp_path / "out"


@pytest.fixture
def save(out: Path):
    (tool,) = file_tools(out)
    return tool


def test_a_file_is_saved_with_its_size_and_digest(save, out: Path) -> None:
    found = save.invoke({"path": "notes/today/a.md", "content": "# Grüße\n"})
    data = (out / "notes/today/a.md").read_bytes()
    assert data == "# Grüße\n".encode()
    assert found == {
        "path": str(out / "notes/today/a.md"),
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    assert [path.name for path in (out / "notes/today").iterdir()] == ["a.md"]


async def test_it_saves_from_async_code_too(save) -> None:
    assert (await save.ainvoke({"path": "a.txt", "content": "x"}))["bytes"] == 1


OUTSIDE = [
    "../a.txt",
    "a/../../b.txt",
    "/etc/a.txt",
    "~/a.txt",
    "C:/a.txt",
    "C:a.txt",
    "a\\b.txt",
    "\\\\server\\share\\a.txt",
    "a\x00.txt",
    "a\nb.txt",
    " ",
    ".",
    "./a.txt",
    "a//b.txt",
    "folder/",
    "a" * 300,
    "a/" * 600 + "b.txt",
]


@pytest.mark.parametrize("path", OUTSIDE)
def test_a_path_that_is_not_plainly_inside_is_refused(save, out: Path, path: str) -> None:
    assert len(save.preflight({"path": path, "content": "x"}, {}).problems) == 1
    with pytest.raises((ToolFailure, ValidationError)):
        save.invoke({"path": path, "content": "x"})
    assert not out.exists()


def test_links_are_never_followed(save, out: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret.txt").write_text("old")
    out.mkdir()
    (out / "folder").symlink_to(outside)
    (out / "file.txt").symlink_to(outside / "secret.txt")
    for path in ("folder/new.txt", "file.txt"):
        assert save.preflight({"path": path, "content": "x"}, {}).problems
        with pytest.raises(ToolFailure):
            save.invoke({"path": path, "content": "x", "overwrite": True})
    assert [path.name for path in outside.iterdir()] == ["secret.txt"]
    assert (outside / "secret.txt").read_text() == "old"


def test_a_link_that_appears_after_the_check_is_not_followed(out: Path, tmp_path: Path) -> None:
    class Unchecked(OutputFolder):
        """The check as it was a moment before somebody put the link there."""

        def find_problem(self, path: str) -> None:
            return None

    outside = tmp_path / "outside"
    outside.mkdir()
    out.mkdir()
    (out / "folder").symlink_to(outside)
    with pytest.raises(ToolFailure, match="not a folder"):
        Unchecked(out).write("folder/new.txt", content=b"x", overwrite=True)
    (out / "file.txt").symlink_to(outside / "made.txt")
    Unchecked(out).write("file.txt", content=b"x", overwrite=True)
    assert not list(outside.iterdir())
    assert not (out / "file.txt").is_symlink()


def test_a_folder_is_no_file_and_a_file_is_no_folder(save, out: Path) -> None:
    save.invoke({"path": "a/b.txt", "content": "x"})
    for path in ("a", "a/b.txt/c.txt"):
        assert save.preflight({"path": path, "content": "x"}, {}).problems
        with pytest.raises(ToolFailure):
            save.invoke({"path": path, "content": "x", "overwrite": True})


def test_a_file_is_replaced_only_when_asked(save, out: Path) -> None:
    save.invoke({"path": "a.txt", "content": "old"})
    assert "set overwrite to true" in save.preflight({"path": "a.txt", "content": "new"}, {}).problems[0]
    with pytest.raises(ToolFailure, match="set overwrite to true"):
        save.invoke({"path": "a.txt", "content": "new"})
    assert (out / "a.txt").read_text() == "old"
    assert save.preflight({"path": "a.txt", "content": "new", "overwrite": True}, {}).problems == ()
    save.invoke({"path": "a.txt", "content": "new", "overwrite": True})
    assert (out / "a.txt").read_text() == "new"
    assert [path.name for path in out.iterdir()] == ["a.txt"]


def test_saving_the_same_again_is_no_second_write(save, out: Path) -> None:
    first = save.invoke({"path": "a.txt", "content": "same"})
    before = (out / "a.txt").stat()
    assert save.preflight({"path": "a.txt", "content": "same"}, {}).problems == ()
    assert save.invoke({"path": "a.txt", "content": "same"}) == first
    assert (out / "a.txt").stat() == before


def test_rows_become_a_table_of_the_kind_the_name_says(save, out: Path) -> None:
    for path in ("t.csv", "t.md", "t.json"):
        save.invoke({"path": path, "content": ROWS})
    assert list(csv.reader(io.StringIO((out / "t.csv").read_text()))) == [
        ["name", "n", "note", "more"],
        ["Acme", "2", "", ""],
        ["a|b", "-1.5", "", "[1]"],
    ]
    assert (out / "t.md").read_text().splitlines() == [
        "| name | n | note | more |",
        "| --- | ---: | --- | --- |",
        "| Acme | 2 |  |  |",
        "| a\\|b | -1.5 |  | [1] |",
    ]
    assert json.loads((out / "t.json").read_text()) == ROWS


@pytest.mark.parametrize(
    ("cell", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+cmd|'/C calc'!A0", "'+cmd|'/C calc'!A0"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("-2.5", "-2.5"),
        ("+49", "+49"),
        (-2.5, "-2.5"),
        ("a=b", "a=b"),
        (True, "true"),
    ],
)
def test_no_text_in_a_csv_is_a_formula(save, out: Path, cell, written: str) -> None:
    save.invoke({"path": "t.csv", "content": [{"c": cell}]})
    assert list(csv.reader(io.StringIO((out / "t.csv").read_text()))) == [["c"], [written]]


def test_no_rows_are_an_empty_table(save, out: Path) -> None:
    save.invoke({"path": "t.csv", "content": []})
    save.invoke({"path": "t.md", "content": []})
    assert (out / "t.csv").read_text() == ""
    assert (out / "t.md").read_text() == "No rows.\n"


@pytest.mark.parametrize(("path", "content"), [("a.csv", {"a": 1}), ("a.md", [1, 2]), ("a.txt", 5), ("a.csv", None)])
def test_content_that_the_file_cannot_hold_is_refused(save, path: str, content) -> None:
    assert "'.json'" in save.preflight({"path": path, "content": content}, {}).problems[0]
    with pytest.raises(ToolFailure, match=r"'\.json'"):
        save.invoke({"path": path, "content": content})


@pytest.mark.parametrize(
    ("path", "schema", "fits"),
    [
        ("a.csv", {"type": "array", "items": {"type": "object"}}, True),
        ("a.csv", {"type": "array", "items": {"type": "integer"}}, False),
        ("a.md", {"type": "object"}, False),
        ("a.json", {"type": "object"}, True),
        ("a.md", {"type": "string"}, True),
        ("a.md", {}, True),
    ],
)
def test_content_still_to_come_is_checked_by_its_schema(save, path: str, schema: dict, fits: bool) -> None:
    assert (save.preflight({"path": path}, {"content": schema}).problems == ()) is fits


def test_a_path_still_to_come_is_left_to_the_run(save) -> None:
    assert save.preflight({"content": "x"}, {"path": {"type": "string"}}).problems == ()


TYPED_ROWS = [
    {"day": "2024-01-31", "name": "=1+1", "plz": "01067", "n": -2.5, "ok": True, "id": 9007199254740993},
    {"day": "2024-02-29", "name": "Grüße", "plz": "10115", "n": None, "ok": False, "id": 1},
]


def test_an_excel_file_has_the_values_and_no_formulas(save, out: Path) -> None:
    first = save.invoke({"path": "t.xlsx", "content": TYPED_ROWS})
    sheet = openpyxl.load_workbook(out / "t.xlsx")["Data"]
    assert [list(row) for row in sheet.iter_rows(values_only=True)] == [
        ["day", "name", "plz", "n", "ok", "id"],
        # Text stays text, and an integer that Excel would round is text.
        [datetime.fromisoformat("2024-01-31"), "=1+1", "01067", -2.5, True, "9007199254740993"],
        [datetime.fromisoformat("2024-02-29"), "Grüße", "10115", None, False, 1],
    ]
    assert sheet["B2"].data_type == "s"
    assert save.invoke({"path": "t.xlsx", "content": TYPED_ROWS}) == first
    assert save.invoke({"path": "u.xlsx", "content": TYPED_ROWS})["sha256"] == first["sha256"]


def test_excel_limits_are_named(save) -> None:
    with pytest.raises(ToolFailure, match=r"40,000 characters, and Excel holds 32,767"):
        save.invoke({"path": "t.xlsx", "content": [{"a": "x" * 40_000}]})


def test_a_parquet_file_has_the_values(save, out: Path) -> None:
    first = save.invoke({"path": "t.parquet", "content": TYPED_ROWS})
    relation = duckdb.connect().read_parquet(str(out / "t.parquet"))
    assert relation.columns == list(TYPED_ROWS[0])
    assert relation.fetchall() == [
        (date(2024, 1, 31), "=1+1", "01067", -2.5, True, 9007199254740993),
        (date(2024, 2, 29), "Grüße", "10115", None, False, 1),
    ]
    assert save.invoke({"path": "u.parquet", "content": TYPED_ROWS})["sha256"] == first["sha256"]
    with pytest.raises(ToolFailure, match="no columns"):
        save.invoke({"path": "v.parquet", "content": []})


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        ([12345678901234567890, 1], "DECIMAL(38,0)"),
        ([2**127 - 1, None], "VARCHAR"),
        ([9007199254740993, None], "BIGINT"),
    ],
)
def test_a_long_integer_keeps_its_digits_in_parquet(save, out: Path, values: list, kind: str) -> None:
    rows = [{"v": value} for value in values]
    content = {"path": "t.parquet", "content": rows}
    save.invoke(content)
    relation = duckdb.connect().read_parquet(str(out / "t.parquet"))
    assert list(map(str, relation.types)) == [kind]
    found = [None if value is None else int(value) for (value,) in relation.fetchall()]
    assert found == values


def test_half_of_a_surrogate_pair_is_no_crash(save, out: Path) -> None:
    save.invoke({"path": "t.xlsx", "content": [{"a": "x\ud800"}]})
    assert openpyxl.load_workbook(out / "t.xlsx")["Data"]["A2"].value == "x?"
    assert "control character" in save.preflight({"path": "a\ud800.csv", "content": "x"}, {}).problems[0]


def test_lines_of_json_and_tab_separated_rows(save, out: Path) -> None:
    save.invoke({"path": "t.jsonl", "content": TYPED_ROWS})
    assert [json.loads(line) for line in (out / "t.jsonl").read_text().splitlines()] == TYPED_ROWS
    save.invoke({"path": "t.ndjson", "content": [1, {"a": "b\nc"}]})
    assert (out / "t.ndjson").read_text() == '1\n{"a": "b\\nc"}\n'
    save.invoke({"path": "t.TSV", "content": [{"a": "x\ty", "b": "=1"}, {"a": 2, "b": "-3"}]})
    assert list(csv.reader(io.StringIO((out / "t.TSV").read_text()), delimiter="\t")) == [
        ["a", "b"],
        ["x\ty", "'=1"],
        ["2", "-3"],
    ]


@pytest.mark.parametrize(
    "path", ["a.xls", "a.XLSM", "a.ods", "a.pdf", "a.docx", "a.csv.gz", "a.feather", "a.png", "a.db"]
)
@pytest.mark.parametrize("content", ["text", [{"a": 1}]])
def test_a_name_of_a_format_that_is_not_written_is_refused_before_the_run(save, out: Path, path: str, content) -> None:
    assert "not among the formats" in save.preflight({"path": path, "content": content}, {}).problems[0]
    assert "not among the formats" in save.preflight({"path": path}, {"content": {}}).problems[0]
    with pytest.raises(ToolFailure, match="not among the formats"):
        save.invoke({"path": path, "content": content})
    assert not out.exists()


@pytest.mark.parametrize(
    ("path", "content", "schema"),
    [
        ("a.xlsx", "text", {"type": "string"}),
        ("a.parquet", "text", {"type": "string"}),
        ("a.xlsx", {"a": 1}, {"type": "object"}),
        ("a.html", [{"a": 1}], {"type": "array", "items": {"type": "object"}}),
        ("a.yaml", [{"a": 1}], {"type": "array", "items": {"type": "object"}}),
    ],
)
def test_content_that_the_format_cannot_hold_is_refused_before_the_run(save, path: str, content, schema) -> None:
    assert "can have" in save.preflight({"path": path, "content": content}, {}).problems[0]
    assert "can have" in save.preflight({"path": path}, {"content": schema}).problems[0]
    with pytest.raises(ToolFailure, match="can have"):
        save.invoke({"path": path, "content": content})


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a,b\n1,=1+1\n", "a,b\r\n1,'=1+1\r\n"),
        ("a;b\n1;@SUM(A1)\n", "a;b\r\n1;'@SUM(A1)\r\n"),
        ('a,b\n"x, y","+cmd|\'/C calc\'!A0"\n', "a,b\r\n\"x, y\",'+cmd|'/C calc'!A0\r\n"),
        ("a,b\n-1,+2.5\n-1.5%,x-y\n", "a,b\n-1,+2.5\n-1.5%,x-y\n"),
        ('a\n"unclosed =1\n', 'a\n"unclosed =1\n'),
    ],
)
def test_no_cell_of_a_text_saved_as_csv_is_a_formula(save, out: Path, text: str, written: str) -> None:
    save.invoke({"path": "t.csv", "content": text})
    assert (out / "t.csv").read_bytes().decode() == written


@pytest.mark.parametrize("cell", ["-1,234.50", "-$5", "+1.5e-3", "-12 %", "-1'000", "-3,5€"])
def test_a_number_in_text_is_no_formula(save, out: Path, cell: str) -> None:
    save.invoke({"path": "t.csv", "content": [{"c": cell}]})
    assert list(csv.reader(io.StringIO((out / "t.csv").read_text()))) == [["c"], [cell]]


@pytest.mark.parametrize("cell", ["\uff1d1+1", "\n=1", "-1-1", "+1,2+3", "-A1", "--", "=5"])
def test_whatever_else_a_spreadsheet_may_evaluate_is_text(save, out: Path, cell: str) -> None:
    save.invoke({"path": "t.csv", "content": [{"c": cell}]})
    assert list(csv.reader(io.StringIO((out / "t.csv").read_text(), newline=""))) == [["c"], [f"'{cell}"]]
