"""Edits of SQL text at known places, so that everything else of a query stays as it was written."""

from collections.abc import Iterable
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.tokenizer_core import Token, TokenType


@dataclass(frozen=True)
class TextEdit:
    """The text that replaces the characters from `start` up to, without, `end`, and a sentence that tells it."""

    start: int
    end: int
    text: str
    note: str


def apply_edits(sql: str, edits: Iterable[TextEdit]) -> str:
    """Return `sql` with the edits made; none of them may overlap another."""
    for edit in sorted(edits, key=lambda each: each.start, reverse=True):
        sql = sql[: edit.start] + edit.text + sql[edit.end :]
    return sql


def parse_statement(sql: str) -> exp.Expr | None:
    """Return the tree of one statement; None if sqlglot cannot parse it, although the engine may."""
    try:
        statements = [statement for statement in sqlglot.parse(sql, dialect="duckdb") if statement is not None]
    except SqlglotError:
        return None
    return statements[0] if len(statements) == 1 else None


def tokenize_sql(sql: str) -> list[Token]:
    """Return the tokens of `sql` with their places; empty if it cannot be read."""
    try:
        return list(sqlglot.tokenize(sql, dialect="duckdb"))
    except SqlglotError:
        return []


def can_be_printed(sql: str) -> bool:
    """Whether sqlglot prints the tree of `sql` with the same meaning: it prints DuckDB's `~` as another operator."""
    return all("~" not in token.text for token in tokenize_sql(sql) if token.token_type not in _TEXT_TOKENS)


_TEXT_TOKENS = frozenset(
    {TokenType.STRING, TokenType.IDENTIFIER, TokenType.HEREDOC_STRING, TokenType.BYTE_STRING, TokenType.RAW_STRING}
)


def get_span(node: exp.Expr) -> tuple[int, int] | None:
    """Return where a literal, or the name of a column, stands in the text; None if the parser did not note it."""
    place = (node.this if isinstance(node, exp.Column) else node).meta
    return (place["start"], place["end"] + 1) if "start" in place else None
