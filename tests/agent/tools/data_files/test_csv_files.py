"""Awkward CSV files, opened as a folder: each keeps its rows and its numbers, and what was assumed is said."""

import datetime as dt
from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.errors import DataError
from agent.tools.db_schema.introspection import read_schema
from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql.data_source import DataSource, open_data_source
from agent.tools.sql.query_database import database_tools

FILES: dict[str, str | bytes] = {
    "late": "id,v\n" + "".join(f"{n},{n}\n" for n in range(30_000)) + "30000,1.5\n",
    "late_text": "id,v\n" + "".join(f"{n},{n}\n" for n in range(30_000)) + "30000,abc\n",
    "ragged": "a,b\n" + "1,2\n" * 100 + "1,2,3\n" * 200,
    "three": "c0\nv0\na;b\n",
    "long_ids": "id,n\n9007199254740993,a\n76561198000000001,b\n765600000000000000001,c\n",
    "short_rows": "one,two,three,four\n1,2\n1,2,3\n1,2,3,4\n1\n",
    "unquoted_commas": "one,two,three,four\n1,a, b,c,2\n1,2,3,4\n3,4,5,6\n",
    "preamble": "Sales report\nCreated 2024-01-02\n\nday,amount\n2024-01-01,5\n2024-01-02,6\n",
    "preamble_commas": "Sales, all\nCreated, by Ann, for me\n\nday,region,amount\n2024-01-01,N,5\n2024-01-02,S,6\n",
    "comments": "# a comment\n# more, here\na,b\n1,2\n3,4\n",
    "hash_header": "#id,name\n1,Ann\n2,Bob\n",
    "separator": "sep=;\na;b\n1,5;2\n3;4\n",
    "commas_in_text": "name;city\nDoe, John;Lyon, FR\nRoe, Jane;Oslo, NO\n",
    "money": 'name,price,share,big,loss\na,"$1,200.50",45%,"3,700,000","(1,200.00)"\nb,$35,5.5%,"1,000","3.00"\n',
    "european": "name;price;units\nx;34,56;1.234\ny;1,5;2.500\n",
    "thousands": 'name,v\na,"1,234"\nb,"2,500"\n',
    "currencies": "v\n$5\n€6\n",
    "codes": "zip,phone,sku\n01067,+4912345678,12E4\n10115,+4917712345,13E5\n",
    "days": "first,second,third\n13/04/2024,04/13/2024,1.4.2024\n01/02/2024,01/02/2024,13.4.2024\n",
    "months_or_days": "day,v\n01/02/2024,1\n03/04/2024,2\n",
    "days_by_another": "a,b\n01/02/2024,04/13/2024\n03/04/2024,04/14/2024\n",
    "both_orders": "day,v\n" + "13/04/2024,1\n" * 9 + "04/13/2024,2\n",
    "short_years": "a,b,c\n24-01-05,99-12-31,31-12-99\n25-02-06,98-11-30,30-11-98\n",
    "no_day": "day,v\n" + "2024-01-01,1\n" * 20 + "2024-02-30,2\n",
    "moments": "at,z,t\n01/31/2024 10:30 PM,2024-01-01T10:00:00+02:00,9:05\n"
    "02/01/2024 1:05 AM,2024-01-02T10:00:00Z,10:15\n",
    "missing": "id,v\n1,1.5\n2,NA\n3,-\n4,2\n",
    "exponents": "v\n1.25e1\n2.5e2\n",
    "long_amounts": "v,lat\n1234567890123456.78,0.30000000000000004\n1.5,48.85661400000001\n",
    "no_header": "1,2,3\n4,5,6\n",
    "year_header": "name,2023,2024\nx,1.5,2\ny,3,4\n",
    "quoted_breaks": '"Report ""x""\nof two lines"\n\na,"b\nc"\n1,"x\ny"\n2,z\n',
    "mixed_ends": "a,b\r\n1,2\n3,4\r\n5,6\n",
    "trailing_comma": "a,b,\n1,2,\n3,4,\n",
    "footer": "a,b\n" + "1,2\n" * 9 + "Total: 9 rows\n",
    "wide_line": "a,b\n" + "1,2\n" * 5_000 + "1,2,3,4\n",
    "western": "a,b\n1,Müller\n2,Café\n".encode("cp1252"),
    "central": "miasto;n\nŁódź;1\nGdańsk;3\nPoznań;4\nWrocław;5\n".encode("cp1250"),
    "excel_text": "a\tb\nMüller\t1\n".encode("utf-16"),
    "row_names": "a,b\nr1,1,2\nr2,3,4\n",
    "long_line": f"id,t\n1,{'x' * 3_000_000}\n2,y\n",
    "joined": "id,day,v\n1,2024-01-01,2\nid,day,v\n2,2024-01-02,x\n" + "3,2024-01-03,4\n" * 8,
    "lakhs": 'n,v\na,"1,23,456.50"\nb,"12,34,567"\nc,99.50\n',
    "versions": "version,code,part\n1.10,1-2-20,1.2.20\n1.1,3-4-21,3.4.21\n",
    "groups_or_decimals": "a;b\n1.500;x\n2.250;y\n",
    "three_decimals": "a,b\n1.500,x\n2.250,y\n",
    "total": "region;sales\nN;10,50\nS;20,00\nW;1,00\nSumme;31,50\n",
    "subtotals": "region,city,v\nN,a,10\nN,b,5\nN Total,,15\nS,c,20\nS Total,,20\nGrand total,,35\n",
    "total_without_name": "name,v\na,10\nb,20\nc,30\n,60\n",
    "total_first": "name,v\nTotal,7\na,3\nb,4\n",
    "company_total": "company,v\nShell,3\nTotal,5\nEni,9\n",
    "last_without_name": "name,v\na,10\nb,20\nc,30\n,5\n",
    "marked": "\ufeff1,2\n3,4\n".encode(),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Iterator[DataSource]:
    folder = tmp_path_factory.mktemp("files")
    for name, content in FILES.items():
        (folder / f"{name}.csv").write_bytes(content if isinstance(content, bytes) else content.encode())
    opened = open_data_source(folder)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def schema(source) -> DatabaseSchema:
    return read_schema(source)


def query(source: DataSource, sql: str) -> list[tuple[object, ...]]:
    with source.get_connection() as connection:
        return connection.execute(sql).fetchall()


ROWS = {
    "SELECT sum(v) FROM late WHERE id >= 29999": [(30_000.5,)],
    "SELECT count(*), sum(a), sum(column2) FROM ragged": [(300, 300, 600)],
    "SELECT c0 FROM three": [("v0",), ("a;b",)],
    "SELECT n FROM long_ids WHERE id = 9007199254740993": [("a",)],
    "SELECT id FROM long_ids WHERE n = 'c'": [(765600000000000000001,)],
    "SELECT sum(one), sum(four), count(*) FROM short_rows": [(4, 4, 4)],
    "SELECT one, four, column4 FROM unquoted_commas": [(1, "c", 2), (1, "4", None), (3, "6", None)],
    "SELECT sum(amount) FROM preamble": [(11,)],
    "SELECT region, amount FROM preamble_commas": [("N", 5), ("S", 6)],
    "SELECT sum(a), sum(b) FROM comments": [(4, 6)],
    'SELECT "#id", name FROM hash_header': [(1, "Ann"), (2, "Bob")],
    "SELECT a, b FROM separator": [(1.5, 2), (3.0, 4)],
    "SELECT city FROM commas_in_text": [("Lyon, FR",), ("Oslo, NO",)],
    "SELECT sum(price), max(share), sum(big), sum(loss) FROM money": [(1235.5, 45.0, 3_701_000, -1197.0)],
    "SELECT sum(price), sum(units) FROM european": [(36.06, 3734)],
    "SELECT sum(v) FROM thousands": [(3734,)],
    "SELECT * FROM currencies": [("$5",), ("€6",)],
    "SELECT zip, phone, sku FROM codes LIMIT 1": [("01067", "+4912345678", "12E4")],
    "SELECT first, second, third FROM days LIMIT 1": [
        (dt.date(2024, 4, 13), dt.date(2024, 4, 13), dt.date(2024, 4, 1))
    ],
    "SELECT a FROM days_by_another LIMIT 1": [(dt.date(2024, 1, 2),)],
    "SELECT day FROM both_orders WHERE v = 2": [("04/13/2024",)],
    "SELECT a, b, c FROM short_years LIMIT 1": [(dt.date(2005, 1, 24), dt.date(1999, 12, 31), dt.date(1999, 12, 31))],
    "SELECT day FROM no_day WHERE v = 2": [("2024-02-30",)],
    'SELECT "at", epoch(z), t FROM moments LIMIT 1': [
        (dt.datetime.fromisoformat("2024-01-31T22:30:00"), 1704096000.0, dt.time(9, 5))
    ],
    "SELECT sum(v), count(v) FROM missing": [(3.5, 2)],
    "SELECT sum(v) FROM exponents": [(262.5,)],
    "SELECT CAST(max(v) AS VARCHAR), max(lat) FROM long_amounts": [("1234567890123456.78", 48.85661400000001)],
    "SELECT count(*), sum(column0) FROM no_header": [(2, 5)],
    'SELECT sum("2023"), sum("2024") FROM year_header': [(4.5, 6)],
    'SELECT a, "b c" FROM quoted_breaks': [(1, "x\ny"), (2, "z")],
    "SELECT sum(a), sum(b) FROM mixed_ends": [(9, 12)],
    "SELECT * FROM trailing_comma": [(1, 2), (3, 4)],
    "SELECT count(*), sum(b) FROM footer": [(10, 18)],
    "SELECT sum(column2), sum(column3), count(*) FROM wide_line": [(3, 4, 5_001)],
    "SELECT b FROM western": [("Müller",), ("Café",)],
    "SELECT miasto FROM central WHERE n = 1": [("Łódź",)],
    "SELECT a, b FROM excel_text": [("Müller", 1)],
    "SELECT sum(column0) FROM marked": [(4,)],
    "SELECT length(t) FROM long_line ORDER BY id": [(3_000_000,), (1,)],
    "SELECT sum(id), count(v) FROM joined": [(27, 10)],
    "SELECT sum(v) FROM lakhs": [(1_358_123.0,)],
    "SELECT count(DISTINCT version), min(code), min(part) FROM versions": [(2, "1-2-20", dt.date(2020, 2, 1))],
    "SELECT sum(a) FROM groups_or_decimals": [(3.75,)],
    "SELECT sum(sales) FROM total": [(63.0,)],
    "SELECT column0, a, b FROM row_names": [("r1", 1, 2), ("r2", 3, 4)],
}


@pytest.mark.parametrize("sql", ROWS)
def test_no_row_and_no_digit_is_lost(source, sql):
    assert query(source, sql) == ROWS[sql]


GUESSES = {
    "ragged": "200 lines have more than 2 fields, first line 102 ('1,2,3'); what is further is in 'column2'",
    "short_rows": "3 lines have fewer than 4 fields, first line 2 ('1,2')",
    "unquoted_commas": "1 line has more than 4 fields, first line 2",
    "preamble": "3 lines before the table are skipped; line 4 is the first of it (day, amount)",
    "comments": "2 lines before the table are skipped; line 3 is the first of it",
    "late_text": "column 'v' is text, because line 30002 has 'abc', which is no whole number; ?nullstr=abc",
    "no_day": "column 'day' is text, because line 22 has '2024-02-30', which is no date",
    "both_orders": "column 'day' is text, because line 11 has '04/13/2024', which is no date",
    "months_or_days": "column 'day': '01/02/2024' is read day before month, and no value shows which is first",
    "days_by_another": "column 'a': '01/02/2024' is read month before day",
    "thousands": "column 'v': ',' is read as separating thousands in '1,234', which nothing else in the file shows",
    "european": "column 'units': '.' is read as separating thousands in '1.234', as other columns of the file show",
    "joined": "1 line repeats the header and is left out",
    "groups_or_decimals": "column 'a': '.' is read as separating decimals in '1.500', which nothing else in the file",
    "total": "the row 'Summe' looks like a total of other rows; leave out what would be counted twice in a sum",
    "subtotals": "the row 'N Total' and 2 more look like totals of other rows",
    "total_without_name": "the last row, which has no text, looks like a total",
    "total_first": "the row 'Total' looks like a total",
    "short_years": "column 'a': its dates are read as %d-%m-%y and could be %y-%m-%d; ?dateformat= says which",
    "row_names": "the header has one name less than the lines have fields, so the first column is 'column0'",
    "no_header": "the first line is read as data",
    "western": "is read as cp1252, which is a guess: it is not UTF-8; a word of it is then 'Müller'",
    "central": "is read as cp1250, which is a guess: it is not UTF-8; a word of it is then 'Łódź'",
    "footer": "column 'a' is text, because line 11 has 'Total: 9 rows'",
}


@pytest.mark.parametrize("table", GUESSES)
def test_a_guess_is_said_with_file_line_and_column(source, table):
    said = [guess for guess in source.notes.guesses if guess.startswith(f"{table}.csv")]
    assert any(GUESSES[table] in guess for guess in said), said


@pytest.mark.parametrize(
    "table",
    [
        "late",
        "three",
        "long_ids",
        "hash_header",
        "separator",
        "codes",
        "days",
        "moments",
        "mixed_ends",
        "trailing_comma",
        "long_line",
        "three_decimals",
        "versions",
        "company_total",
        "last_without_name",
    ],
)
def test_nothing_is_said_to_be_a_guess_that_is_none(source, table):
    assert [guess for guess in source.notes.guesses if guess.startswith(f"{table}.csv")] == []


COMMENTS = {
    ("separator", None): "separator.csv: fields separated by semicolons, header in line 2, UTF-8.",
    ("preamble", None): "preamble.csv: fields separated by commas, header in line 4, UTF-8, 3 lines before it skipped.",
    ("excel_text", None): "excel_text.csv: fields separated by tabs, header in line 1, utf-16.",
    ("money", "price"): "Amounts in $.",
    ("money", "share"): "In percent: 45 is 45 %.",
    ("days", "second"): "Dates were written %m/%d/%Y.",
    ("missing", "v"): "Read as no value: '-' (1 x), 'NA' (1 x).",
    ("currencies", "v"): "Amounts of several units ($ and €): kept as text.",
}


@pytest.mark.parametrize(("table", "column"), COMMENTS)
def test_the_description_says_how_a_file_was_read(schema, table, column):
    relation = schema.relation(table)
    assert relation is not None
    described = relation if column is None else relation.column(column)
    assert described is not None
    assert described.comment == COMMENTS[table, column]


OPTIONS = [
    ("day,v\n01/02/2024,1\n", "?dateformat=%m/%d/%Y", "SELECT day FROM t", dt.date(2024, 1, 2)),
    ("day,v\n240102,1\n", "?dateformat=%y%m%d", "SELECT day FROM t", dt.date(2024, 1, 2)),
    ('v,w\n"1,234",1\n', "?decimal=,", "SELECT v FROM t", 1.234),
    ("v;w\n1.234;1\n", "?decimal=,", "SELECT v FROM t", 1234),
    ("v\n1_234\n", "?thousands=_&decimal=.", "SELECT v FROM t", 1234),
    ("a b\n1 2\n", "?delimiter=space", "SELECT b FROM t", 2),
    ("1,2\n3,4\n", "?header=true", 'SELECT "1" FROM t', 3),
    ("x,y\n\n1,2\n3,4\n", "?skip=2&header=false", "SELECT sum(column0) FROM t", 4),
    ("id\n123\n", "?text=id", "SELECT id FROM t", "123"),
    ("v\n1\nnone given\n", "?nullstr=none given", "SELECT sum(v) FROM t", 1),
    ('a,b\n1,"x"y\n2,z\n', "?errors=skip", "SELECT sum(a) FROM t", 2),
    ('a,b\n1,"x\n2,z\n', "?quote=none", "SELECT b FROM t WHERE a = 1", '"x'),
    ("a\nŁódź\n".encode("iso8859-2"), "?encoding=iso8859-2", "SELECT a FROM t", "Łódź"),
]


@pytest.mark.parametrize(("content", "options", "sql", "value"), OPTIONS)
def test_an_option_goes_before_what_a_file_looks_like(tmp_path, content, options, sql, value):
    file = tmp_path / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    opened = open_data_source(f"{file}{options}")
    assert query(opened, sql) == [(value,)]
    opened.close()


REFUSALS = [
    (
        "a,b\n1,2\n",
        "?decimel=,",
        "There is no option 'decimel' for the file '{file}'; did you mean 'decimal'? There are ",
    ),
    ("a,b\n1,2\n", "?encoding=klingon", "there is no encoding 'klingon'"),
    ("a,b\n1,2\n", "?header", "The option 'header' of the file '{file}' has no value; write it as NAME=VALUE"),
    ('a,b\n1,"x"y\n2,z\n', "", "'t.csv' cannot be read at line 2, column 'b': the quotes are wrong"),
    ('a,b\n1,2\n3,"y\n', "", "'t.csv' cannot be read at line 3, column 'b': the quotes are wrong"),
    ("a\nMüller\nÖl\n".encode() + b"M\xfcnchen\n", "", "is UTF-8, but line 4 of it is not"),
    (
        b"\xe3\xee\xf0\xee\xe4\n\xcc\xee\xf1\xea\xe2\xe0\n",
        "",
        "cannot be told. Remedy: give it after the file's name: ?encoding=cp1251 reads 'город', ",
    ),
    ("a\nMüller\n".encode("cp1252"), "?encoding=utf-8", "is not utf-8: after line 1"),
    ("", "", "The file 't.csv' is empty"),
    (
        b"PK\x03\x04" + bytes(200),
        "",
        "'t.csv' is an Excel workbook or another archive, not CSV. Remedy: give it a name",
    ),
    ('[{"a": 1}, {"a": 2}]', "", "'t.csv' is JSON, not CSV. Remedy: give it a name that ends with '.json', or save"),
    ("\n<!DOCTYPE html><html><body>Log in</body></html>", "", "is a web page or XML, not CSV. Remedy: save it as CSV."),
]


@pytest.mark.parametrize(("content", "options", "says"), REFUSALS)
def test_what_cannot_be_read_is_refused_with_the_place_and_the_remedy(tmp_path, content, options, says):
    file = tmp_path / "t.csv"
    file.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError) as refused:
        open_data_source(f"{file}{options}")
    assert says.format(file=file) in str(refused.value)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        (
            "SELECT max(day) AS day FROM months_or_days",
            "column 'day': '01/02/2024' is read day before",
        ),
        ("SELECT * FROM months_or_days", "months_or_days.csv, column 'day': '01/02/2024' is read day before"),
        ("SELECT sum(v) AS v FROM months_or_days", None),
        ("SELECT count(*) AS n FROM ragged", "ragged.csv: 200 lines have more than 2 fields"),
        ("SELECT sum(v) AS v FROM late", None),
    ],
)
async def test_the_result_of_a_query_says_what_of_its_data_is_a_guess(source, sql, says):
    _, query_database, _ = database_tools(source)
    warning = (await query_database.ainvoke({"sql": sql})).get("warning")
    assert warning is None if says is None else says in warning


def test_one_bad_file_does_not_lose_the_others_of_its_folder(tmp_path):
    (tmp_path / "good.csv").write_text("a\n1\n")
    (tmp_path / "bad.csv").write_text('a,b\n1,"x"y\n')
    (tmp_path / "empty.csv").touch()
    opened = open_data_source(tmp_path)
    assert query(opened, "SELECT a FROM good") == [(1,)]
    said = "\n".join(opened.notes.guesses)
    assert "'bad' is left out. The file 'bad.csv' cannot be read at line 2, column 'b'" in said
    assert "'empty' is left out. The file 'empty.csv' is empty" in said
    opened.close()


def test_options_are_for_files_only(tmp_path):
    import sqlite3

    file = Path(tmp_path / "t.sqlite")
    with sqlite3.connect(file) as database:
        database.execute("CREATE TABLE t (a)")
    with pytest.raises(DataError, match="is a database, which takes no options"):
        open_data_source(f"{file}?header=true")
