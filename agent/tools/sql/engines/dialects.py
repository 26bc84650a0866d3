"""SQL that is written in the dialect of its source, translated into DuckDB's where DuckDB does not understand it."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from agent.errors import ToolFailure
from agent.tools.sql.engines.attachment import FRONT_CATALOG

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection
    from sqlglot import exp

#: Kind of source -> sqlglot's name of its dialect.
SOURCE_DIALECTS: Mapping[str, str] = {"sqlite": "sqlite", "postgres": "postgres", "mysql": "mysql"}
_SHOWN_NAMES: Mapping[str, str] = {
    "sqlite": "SQLite",
    "postgres": "PostgreSQL",
    "mysql": "MySQL",
    "tsql": "SQL Server",
    "bigquery": "BigQuery",
    "clickhouse": "ClickHouse",
}
#: Dialects whose LIKE does not heed case.
_CASELESS = frozenset({"sqlite", "mysql", "tsql"})
#: Dialects in which one integer divided by another is an integer.
_WHOLE_DIVISION = frozenset({"sqlite", "postgres", "tsql", "redshift"})
#: Dialects that quote names in brackets, which make a list in DuckDB.
_BRACKETS = frozenset({"sqlite", "tsql"})
#: A name in brackets that follows no list or type, of which it would be a part.
_BRACKETED = re.compile(r"(?:^|[\s,(.=<>+*/-])\[\s*([A-Za-z_][\w ]*?)\s*\]")
_LITERAL = re.compile(r"'(?:[^']|'')*'|--[^\n]*|/\*.*?\*/", re.DOTALL)
#: What is the same word in DuckDB, with another meaning in some dialect.
_AMBIGUOUS = re.compile(r"~|/|\blike\b", re.IGNORECASE)
#: A match of a pattern, which has something to its left, unlike the bits of a number turned round.
_MATCH = re.compile(r"""[\w"')\]]\s*!?~\s*[\w"'($]""")
_WHOLE_TYPES = re.compile(r"U?(TINY|SMALL|BIG|HUGE)?INT(EGER)?")


@dataclass(frozen=True, slots=True)
class PreparedQuery:
    """A query as DuckDB runs it, with sentences on what is not as it was written."""

    sql: str
    notes: tuple[str, ...] = ()


def translate_if_needed(
    sql: str, *, dialect: str | None, params: Mapping[str, object], connection: "DuckDBPyConnection"
) -> PreparedQuery:
    """Return `sql` if DuckDB binds it, else its translation from `dialect` if that binds, and else `sql` too."""
    columns = _find_bracketed_columns(sql, connection) if "[" in sql else ()
    if dialect is None or dialect == "duckdb":
        return PreparedQuery(sql, tuple(_warn_of_lists(columns)))
    means_names = bool(columns) and dialect in _BRACKETS
    if not means_names and _binds(sql, params=params, connection=connection):
        meanings = _warn_of_meanings(sql, dialect=dialect, connection=connection)
        return PreparedQuery(sql, (*_warn_of_lists(columns), *meanings))
    for candidate in _translate(sql, dialect=dialect, connection=connection):
        if _binds(candidate, params=params, connection=connection):
            name = _SHOWN_NAMES.get(dialect, dialect.capitalize())
            note = f"The SQL is in the dialect of {name}. As written: {_flatten(sql)} As run: {_flatten(candidate)}"
            return PreparedQuery(candidate, (note,))
    return PreparedQuery(sql)


def _flatten(sql: str) -> str:
    return " ".join(sql.split()).rstrip("; ") + "."


def _warn_of_lists(columns: tuple[str, ...]) -> Iterator[str]:
    for column in columns:
        yield f"[{column}] is a list of one value here; for the column write {column!r} without brackets."


def _warn_of_meanings(sql: str, *, dialect: str, connection: "DuckDBPyConnection") -> Iterator[str]:
    """Yield a sentence for each operator that DuckDB understands, but otherwise than the dialect."""
    plain = _LITERAL.sub("''", sql)
    if not _AMBIGUOUS.search(plain):
        return
    import sqlglot  # noqa: PLC0415 - slow to import
    from sqlglot import exp  # noqa: PLC0415
    from sqlglot.errors import SqlglotError  # noqa: PLC0415

    name = _SHOWN_NAMES.get(dialect, dialect.capitalize())
    if dialect == "postgres" and _MATCH.search(plain):
        yield f"~ matches a whole text here, and a part of one in {name}; regexp_matches(text, pattern) matches a part."
    try:
        tree = sqlglot.parse_one(sql, dialect="duckdb")
    except SqlglotError:
        return
    if dialect in _WHOLE_DIVISION and "/" in plain:
        types = _read_column_types(connection)
        if any(_is_whole(each.this, types) and _is_whole(each.expression, types) for each in tree.find_all(exp.Div)):
            yield f"7 / 2 is 3.5 here, and 3 in {name}; // divides whole numbers."
    patterns = (each.expression for each in tree.find_all(exp.Like) if not isinstance(each.this, exp.Lower | exp.Upper))
    if dialect in _CASELESS and any(each.name.lower() != each.name.upper() for each in patterns):
        yield f"LIKE heeds case here, and not in {name}; ILIKE does not."


def _binds(sql: str, *, params: Mapping[str, object], connection: "DuckDBPyConnection") -> bool:
    import duckdb  # noqa: PLC0415 - slow to import

    from agent.tools.sql.statement import parse_select  # noqa: PLC0415 - it is slow where no dialect is asked for

    try:
        statement = parse_select(sql, connection=connection)
        values = {name: params.get(name) for name in statement.parameters} or None
        connection.execute(f"EXPLAIN {statement.sql}", values)
    except (ToolFailure, duckdb.Error):
        return False
    return True


def _find_bracketed_columns(sql: str, connection: "DuckDBPyConnection") -> tuple[str, ...]:
    """Return the names in brackets that are names of columns, and not in a string."""
    names = {name.strip().lower(): name.strip() for name in _BRACKETED.findall(re.sub(r"'(?:[^']|'')*'", "''", sql))}
    if not names:
        return ()
    rows = connection.execute(
        "SELECT DISTINCT lower(column_name) FROM duckdb_columns() WHERE list_contains($names, lower(column_name))",
        {"names": list(names)},
    ).fetchall()
    return tuple(names[name] for (name,) in sorted(rows))


def _translate(sql: str, *, dialect: str, connection: "DuckDBPyConnection") -> Iterator[str]:
    """Yield `sql` in DuckDB's dialect: first with days as text, as SQLite has them, then as dates."""
    import sqlglot  # noqa: PLC0415 - slow to import
    from sqlglot.errors import ErrorLevel, SqlglotError  # noqa: PLC0415

    try:
        statements = [each for each in sqlglot.parse(sql, dialect=dialect) if each is not None]
        if len(statements) != 1:
            return
        types = _read_column_types(connection)
        for days_are_text in (True, False) if dialect == "sqlite" else (True,):
            tree = _rewrite(statements[0].copy(), dialect=dialect, types=types, days_are_text=days_are_text)
            # What has no counterpart is not left out.
            yield tree.sql(dialect="duckdb", unsupported_level=ErrorLevel.RAISE)
    except SqlglotError:
        return


def _read_column_types(connection: "DuckDBPyConnection") -> dict[str, str]:
    """Return the type of each column by its lower-case name, if it is the same wherever that name occurs."""
    # A view in front of a table has the type in which a column is read.
    rows = connection.execute(
        "SELECT name, min(kind) FROM (SELECT lower(column_name) AS name, "
        "arg_max(data_type, CASE WHEN database_name = $front THEN 1 ELSE 0 END) AS kind "
        "FROM duckdb_columns() GROUP BY lower(table_name), name) GROUP BY name HAVING min(kind) = max(kind)",
        {"front": FRONT_CATALOG},
    ).fetchall()
    return dict(rows)


def _rewrite(tree: "exp.Expr", *, dialect: str, types: Mapping[str, str], days_are_text: bool) -> "exp.Expr":
    """Return the tree with what sqlglot leaves as it is, but means something else in DuckDB."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    def change(node: "exp.Expr") -> "exp.Expr":
        if isinstance(node, exp.Like) and dialect in _CASELESS:
            return exp.ILike(this=node.this, expression=node.expression)
        if isinstance(node, exp.Div) and dialect in _WHOLE_DIVISION:
            whole = _is_whole(node.this, types) and _is_whole(node.expression, types)
            # A division by zero gives NULL in DuckDB and in SQLite.
            made = exp.IntDiv if whole else exp.Div
            return made(this=node.this, expression=node.expression)
        if isinstance(node, exp.Cast | exp.Convert):
            return _cut_text(node)
        if dialect == "sqlite":
            return _rewrite_sqlite(node, days_are_text=days_are_text)
        return node

    return tree.transform(change)


def _cut_text(node: "exp.Cast | exp.Convert") -> "exp.Expr":
    """Return a cast to a text of some length as text that is cut: DuckDB takes no notice of the length."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    key = "to" if isinstance(node, exp.Cast) else "this"
    kind = node.args[key]
    if not isinstance(kind, exp.DataType) or not kind.is_type(*exp.DataType.TEXT_TYPES) or not kind.expressions:
        return node
    length = kind.expressions[0].this
    text = node.copy()
    text.set(key, exp.DataType.build("VARCHAR"))
    return exp.Anonymous(this="LEFT", expressions=[text, length])


def _is_whole(node: "exp.Expr", types: Mapping[str, str]) -> bool:
    """Whether the value is surely an integer."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    match node:
        case exp.Paren() | exp.Neg() | exp.Sum() | exp.Max() | exp.Min() | exp.Abs():
            return _is_whole(node.this, types)
        case exp.Count() | exp.Length():
            return True
        case exp.Literal():
            return bool(node.is_int)
        case exp.Column():
            return bool(_WHOLE_TYPES.fullmatch(types.get(node.name.lower(), "")))
        case exp.Cast():
            return node.to.this in exp.DataType.INTEGER_TYPES
        case exp.Add() | exp.Sub() | exp.Mul() | exp.Mod() | exp.IntDiv() | exp.Div():
            return _is_whole(node.this, types) and _is_whole(node.expression, types)
        case _:
            return False


#: SQLite's functions of time, which take text, 'now', and modifiers such as 'start of month' or '-7 days'.
_TIME_FUNCTIONS = frozenset({"DATE", "DATETIME", "TIME", "JULIANDAY", "UNIXEPOCH", "STRFTIME", "TOTAL"})
_WEEKDAY = re.compile(r"weekday ([0-6])")
_MODIFIER = re.compile(r"([+-]?\d+(?:\.\d+)?)\s+(second|minute|hour|day|month|year)s?", re.IGNORECASE)


def _rewrite_sqlite(node: "exp.Expr", *, days_are_text: bool) -> "exp.Expr":
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    found = _get_function(node)
    if found is None:
        return node
    name, args = found
    if name == "TOTAL":
        return exp.func(
            "COALESCE", exp.Sum(this=args[0]), exp.Cast(this=exp.Literal.number(0), to=exp.DataType.build("DOUBLE"))
        )
    pattern = args.pop(0) if name == "STRFTIME" and args else None
    point = _build_point(args)
    if point is None:
        return node
    match name:
        case "JULIANDAY":
            # DuckDB's Julian day begins at midnight, that of astronomers and SQLite at noon.
            return exp.Paren(this=exp.Sub(this=exp.func("JULIAN", point), expression=exp.Literal.number("0.5")))
        case "UNIXEPOCH":
            return exp.Cast(this=exp.func("EPOCH", point), to=exp.DataType.build("BIGINT"))
        case "DATE" if not days_are_text:
            return exp.Cast(this=point, to=exp.DataType.build("DATE"))
        case "DATETIME" if not days_are_text:
            return point
    formats = {"DATE": "%Y-%m-%d", "DATETIME": "%Y-%m-%d %H:%M:%S", "TIME": "%H:%M:%S"}
    shape = exp.Literal.string(formats[name]) if pattern is None else pattern
    if isinstance(shape, exp.Literal) and shape.this == "%s":
        return exp.cast(exp.cast(exp.func("EPOCH", point), "BIGINT"), "TEXT")
    return exp.Anonymous(this="STRFTIME", expressions=[point, shape])


def _get_function(node: "exp.Expr") -> "tuple[str, list[exp.Expr]] | None":
    """Return the name and the arguments of a function of time, however sqlglot has parsed it."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    match node:
        case exp.Anonymous() if node.name.upper() in _TIME_FUNCTIONS:
            return node.name.upper(), list(node.expressions)
        case exp.Date():
            return "DATE", [each for each in (node.this, *node.expressions) if each is not None]
        case exp.Datetime() if node.expression is None or isinstance(node.expression, exp.Expr):
            return "DATETIME", [each for each in (node.this, node.expression) if each is not None]
        case exp.TimeToStr():
            value = node.this.this if isinstance(node.this, exp.Cast | exp.TsOrDsToTimestamp) else node.this
            # sqlglot keeps the format in Python's letters, which are also DuckDB's.
            return "STRFTIME", [node.args["format"], value]
        case _:
            return None


def _build_point(args: "list[exp.Expr]") -> "exp.Expr | None":
    """Return a TIMESTAMP for a value of time with its modifiers; None if one has no counterpart."""
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    value, *modifiers = args or [exp.Literal.string("now")]
    is_now = isinstance(value, exp.Literal) and value.is_string and value.this.lower() == "now"
    # SQLite's now is that of UTC.
    now = exp.func("TIMEZONE", exp.Literal.string("UTC"), exp.func("NOW", dialect="duckdb"), dialect="duckdb")
    point: exp.Expr = now if is_now else exp.cast(value, "TIMESTAMP")
    if modifiers and _read_modifier(modifiers[0]) == "unixepoch":
        scaled = exp.Mul(this=exp.Paren(this=value), expression=exp.Literal.number(1_000_000))
        point = exp.Anonymous(this="MAKE_TIMESTAMP", expressions=[exp.cast(exp.Paren(this=scaled), "BIGINT")])
        modifiers = modifiers[1:]
    is_first_day = False
    for modifier in modifiers:
        text = _read_modifier(modifier)
        if text.startswith("start of "):
            point = _truncate(point, text.removeprefix("start of "))
            is_first_day = is_first_day or text != "start of day"
        elif step := _MODIFIER.fullmatch(text):
            unit = step[2].upper()
            interval = exp.Interval(this=exp.Literal.string(step[1].lstrip("+")), unit=exp.var(unit))
            if unit not in {"MONTH", "YEAR"} or is_first_day:
                point = exp.Paren(this=exp.Add(this=point, expression=interval))
                is_first_day = is_first_day and unit in {"MONTH", "YEAR"}
            else:
                # A month after 31 January is 2 March in SQLite, and the last of February in DuckDB.
                month = _truncate(point, "month")
                days = exp.Paren(this=exp.Sub(this=point, expression=month.copy()))
                moved = exp.Paren(this=exp.Add(this=month, expression=interval))
                point = exp.Paren(this=exp.Add(this=moved, expression=days))
        elif weekday := _WEEKDAY.fullmatch(text):
            passed = exp.Anonymous(this="DAYOFWEEK", expressions=[point.copy()])
            ahead = exp.Paren(this=exp.Sub(this=exp.Literal.number(7 + int(weekday[1])), expression=passed))
            left = exp.Mod(this=ahead, expression=exp.Literal.number(7))
            later = exp.Add(this=point, expression=exp.Anonymous(this="TO_DAYS", expressions=[left]))
            point, is_first_day = exp.Paren(this=later), False
        elif text not in {"utc", "subsec", "subsecond"}:
            return None
    return point


def _read_modifier(modifier: "exp.Expr") -> str:
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    return str(modifier.this).strip().lower() if isinstance(modifier, exp.Literal) else ""


def _truncate(point: "exp.Expr", unit: str) -> "exp.Expr":
    from sqlglot import exp  # noqa: PLC0415 - slow to import

    return exp.Anonymous(this="DATE_TRUNC", expressions=[exp.Literal.string(unit), point.copy()])
