"""JSON and Excel files: each cell keeps its digits, its date, its text."""

import datetime as dt
import json
import re
import zipfile
from pathlib import Path

import duckdb
import pytest

from agent.errors import DataError
from agent.tools.db_schema.introspection import read_schema
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.engines.attachment import load_extension


def rows(place, sql):
    source = open_data_source(place)
    with source.get_connection() as connection:
        found = connection.execute(sql).fetchall()
    source.close()
    return found


OBJECTS = [
    {"id": 9007199254740993, "big": 765600000000000000001, "day": "01/02/2024", "code": "007", "n": {"a": [1, 2]}},
    {"id": 1, "big": 1, "day": "13/02/2024", "v": 1.5},
]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "ndjson"])
def test_json_is_a_table_of_its_objects(tmp_path, suffix):
    file = tmp_path / f"things.{suffix}"
    text = json.dumps(OBJECTS) if suffix == "json" else "\n".join(map(json.dumps, OBJECTS))
    file.write_text(text)
    sql = "SELECT id, big, day, code, n.a[2], v FROM things"
    assert rows(file, sql) == [
        (9007199254740993, 765600000000000000001, "01/02/2024", "007", 2, None),
        (1, 1, "13/02/2024", None, None, 1.5),
    ]


def test_a_late_field_and_a_late_type_of_json_are_kept(tmp_path):
    file = tmp_path / "late.jsonl"
    file.write_text('{"v": 1}\n' * 30_000 + '{"v": 1.5, "more": "x"}\n')
    assert rows(file, "SELECT sum(v), max(more) FROM late") == [(30_001.5, "x")]


def test_numbers_of_json_in_any_form_and_values_of_two_types_are_kept(tmp_path):
    file = tmp_path / "forms.jsonl"
    file.write_text('{"v": 1e5, "m": 1, "w": 0.1}\n{"v": 12345678901234567890123, "m": "a", "w": -1.5E-3}\n')
    assert rows(file, "SELECT v, m, w FROM forms") == [(1e5, "1", 0.1), (12345678901234567890123, "a", -0.0015)]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "cp1252"])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl"])
def test_json_of_any_encoding_is_read(tmp_path, name, encoding):
    (tmp_path / name).write_bytes('{"name": "Müller", "v": 1.5}\n{"name": "Zoë", "v": 2}\n'.encode(encoding))
    source = open_data_source(tmp_path / name)
    with source.get_connection() as connection:
        assert connection.execute("SELECT name, v FROM a").fetchall() == [("Müller", 1.5), ("Zoë", 2.0)]
    # Without a mark at the start it is a guess.
    assert any("which is a guess" in each for each in source.notes.guesses) == (encoding in {"cp1252", "utf-16-le"})
    source.close()


def test_keys_that_differ_by_case_are_two_columns_and_that_is_said(tmp_path):
    (tmp_path / "a.json").write_text('[{"Id": 1, "id": 2.5, "b": 1, "b_1": 2}, {"Id": 3, "id": 4}]')
    source = open_data_source(tmp_path / "a.json")
    with source.get_connection() as connection:
        assert connection.execute("SELECT sum(Id), sum(id_1), sum(b_1) FROM a").fetchall() == [(4, 6.5, 2)]
    assert source.notes.guesses == (
        "a.json: keys that differ by case alone are columns with a number ('id_1' for 'id').",
    )
    source.close()


def test_objects_that_have_few_keys_in_common_are_rows(tmp_path):
    (tmp_path / "a.jsonl").write_text("".join(f'{{"k{number}": {number}}}\n' for number in range(300)))
    assert rows(tmp_path / "a.jsonl", "SELECT count(*), sum(k7) FROM a") == [(300, 7)]


def test_a_list_inside_one_object_is_said_to_be_one_row(tmp_path):
    (tmp_path / "a.json").write_text('{"data": [{"id": 1}, {"id": 2}], "next": null}')
    source = open_data_source(tmp_path / "a.json")
    assert source.notes.guesses == (
        "a.json is one object, so one row; its 'data' is a list of 2 objects, which unnest(\"data\") makes rows.",
    )
    source.close()


def test_dates_and_times_of_json_are_those_of_csv(tmp_path):
    (tmp_path / "a.json").write_text(
        '[{"d": "01-02-2024", "i": "2024-1-5", "t": "2024-01-05T10:00:00Z", "n": 1},'
        ' {"d": "13-02-2024", "i": "2024-01-06", "t": "2024-01-06T10:00:00Z", "n": 2}]'
    )
    sql = "SELECT d, i, epoch(t), t::VARCHAR, n FROM a ORDER BY n LIMIT 1"
    found = (dt.date(2024, 2, 1), dt.date(2024, 1, 5), 1704448800.0, "2024-01-05 10:00:00+00", 1)
    assert rows(tmp_path / "a.json", sql) == [found]


def test_each_sheet_of_a_book_is_a_table_and_hidden_ones_are_named(write_excel):
    file = write_excel("SELECT 1 AS a, 'x' AS b")
    with zipfile.ZipFile(file) as archive:
        parts = {name: archive.read(name) for name in archive.namelist()}
    sheet = next(name for name in parts if name.startswith("xl/worksheets/"))
    book, relations = parts["xl/workbook.xml"].decode(), parts["xl/_rels/workbook.xml.rels"].decode()
    entry = re.search(r"<sheet [^>]*/>", book)
    relation = re.search(rf'<Relationship [^>]*{Path(sheet).name}"[^>]*/>', relations)
    assert entry is not None
    assert relation is not None
    identity = re.search('Id="([^"]+)"', relation[0])
    assert identity is not None
    for number, name, state in ((2, "Costs 2024", "visible"), (3, "Secret", "hidden")):
        copy = sheet.replace(Path(sheet).stem, f"copy{number}")
        parts[copy] = parts[sheet].replace(b"<v>1</v>", f"<v>{number}</v>".encode())
        more = entry[0].replace("Sheet1", name).replace(identity[1], f"more{number}")
        more = more.replace('state="visible"', f'state="{state}"')
        more = re.sub('sheetId="[0-9]+"', f'sheetId="{number}"', more)
        book = book.replace("</sheets>", f"{more}</sheets>")
        other = relation[0].replace(Path(sheet).stem, f"copy{number}").replace(identity[1], f"more{number}")
        relations = relations.replace("</Relationships>", f"{other}</Relationships>")
    parts |= {"xl/workbook.xml": book.encode(), "xl/_rels/workbook.xml.rels": relations.encode()}
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(name, content)
    source = open_data_source(file)
    assert sorted(relation.name for relation in read_schema(source).relations) == ["book_Costs 2024", "book_Sheet1"]
    with source.get_connection() as connection:
        assert connection.execute('SELECT a, b FROM "book_Costs 2024"').fetchall() == [(2, "x")]
    assert "book.xlsx: hidden sheets are left out (Secret); ?sheet=NAME reads one." in source.notes.guesses
    source.close()
    assert rows(f"{file}?sheet=Secret", "SELECT a FROM book") == [(3,)]


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.json", b"[1, 2]", "holds no objects"),
        ("a.json", b'{"a": 1', "'a.json' cannot be opened"),
        ("a.json", b'{"a": "\xe3\xee\xf0\xee\xe4"}', "is not UTF-8 (line 1), and its encoding cannot be told"),
        ("a.xlsx", b"no zip", "'a.xlsx' cannot be opened: it is no Excel file"),
        ("a.xls", b"\xd0\xcf\x11\xe0", "save it as .xlsx or as CSV"),
    ],
)
def test_what_is_no_table_is_refused_with_a_remedy(tmp_path, name, content, says):
    file = tmp_path / name
    file.write_bytes(content)
    with pytest.raises(DataError) as refused:
        open_data_source(file)
    assert says in str(refused.value)


@pytest.fixture
def write_excel(tmp_path):
    """Write a query as a sheet, by DuckDB's own writer."""

    def write(sql: str, name: str = "book.xlsx", options: str = "header true"):
        with duckdb.connect() as connection:
            load_extension(connection, "excel")
            connection.execute(f"COPY ({sql}) TO '{tmp_path / name}' WITH (FORMAT xlsx, {options})")
        return tmp_path / name

    return write


def test_a_sheet_keeps_its_types_wherever_they_begin(write_excel):
    file = write_excel(
        "SELECT i AS id, CASE WHEN i > 0 THEN DATE '2024-01-01' + i::INT END AS day, i / 2 AS half, "
        "lpad(i::VARCHAR, 4, '0') AS code, i % 2 = 0 AS even, "
        "CASE WHEN i = 0 THEN TIMESTAMP '2024-01-01 10:30:00' END AS at, "
        "CASE WHEN i < 4 THEN i::VARCHAR ELSE 'none' END AS mixed FROM range(5) t(i)"
    )
    found = rows(file, "SELECT * FROM book")
    assert found[0] == (0, None, 0.0, "0000", True, dt.datetime.fromisoformat("2024-01-01T10:30:00"), "0")
    assert found[3] == (3, dt.date(2024, 1, 4), 1.5, "0003", False, None, "3")
    source = open_data_source(file)
    (relation,) = read_schema(source).relations
    assert [column.type for column in relation.columns] == [
        "BIGINT", "DATE", "DOUBLE", "VARCHAR", "BOOLEAN", "TIMESTAMP", "VARCHAR"
    ]  # fmt: skip
    assert relation.comment == "book.xlsx, sheet 'Sheet1': Excel, header in row 1."
    assert any("column 'mixed' is text, because row 6 has 'none'" in guess for guess in source.notes.guesses)
    source.close()


def test_titles_above_the_header_of_a_sheet_are_skipped_and_said(write_excel):
    file = write_excel(
        "SELECT * FROM (VALUES ('Sales 2024', NULL, NULL), (NULL, NULL, NULL), ('id', 'name', 'city'), "
        "('1', 'Ann', 'Lyon'), ('2', 'Bob', 'Oslo'))",
        options="header false",
    )
    source = open_data_source(file)
    with source.get_connection() as connection:
        assert connection.execute("SELECT sum(id), max(city) FROM book").fetchall() == [(3, "Oslo")]
    assert any("what is above row 3 is skipped" in guess for guess in source.notes.guesses)
    source.close()
    assert rows(f"{file}?range=A4:B5&header=false", "SELECT column1 FROM book") == [("Ann",), ("Bob",)]


def test_a_sheet_that_is_not_there_is_named_with_those_that_are(write_excel):
    file = write_excel("SELECT 1 AS a")
    with pytest.raises(DataError, match=r"'book.xlsx' has no sheet 'Other' with cells; there are 'Sheet1'\."):
        open_data_source(f"{file}?sheet=Other")
