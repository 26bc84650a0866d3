"""Repair of table and column names: right spelling, and each column taken from a table that has it."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.joins import join_owner_tables, move_to_view, repair_joins
from agent.tools.sql_repair.name_matching import match_name
from agent.tools.sql_repair.scopes import Scope, TableSource, build_table, get_relation_name


def repair_tables(tree: exp.Expr, *, schema: DatabaseSchema) -> Iterator[str]:
    """Replace the name of each unknown table by the only one it can mean, in place, and yield a sentence for each."""
    queries = {query.alias.lower() for query in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        name = get_relation_name(table)
        if not table.name or name.lower() in queries or schema.relation(name) is not None:
            continue
        right = match_name(table.name, [relation.name for relation in schema.relations])
        if right is None:
            continue
        wrong = table.name
        renamed = build_table(right, alias=table.alias or None)
        table.replace(renamed)
        select = renamed.find_ancestor(exp.Select)
        for column in select.find_all(exp.Column) if select is not None and not renamed.alias else ():
            if column.table.lower() == wrong.lower():
                column.set("table", exp.to_identifier(renamed.name))
        yield f"There is no table {wrong!r}; {right!r} was used instead."


def repair_columns(scope: Scope, *, schema: DatabaseSchema) -> Iterator[str]:
    """Repair one SELECT in place, first its joins, then each column that none of its sources has.

    Yields a sentence for each change. What no rule can decide is left for the engine to report.
    """
    yield from repair_joins(scope, schema=schema)
    yield from _qualify_ambiguous_columns(scope)
    for column in find_unresolved_columns(scope):
        yield from _correct_spelling(column, qualifier=scope.find_source(column.table), sources=[])
    for column in find_unresolved_columns(scope):
        yield from _move_to_owner(scope, column)
    unresolved = find_unresolved_columns(scope)
    if not unresolved:
        return
    notes = join_owner_tables(scope, unresolved, schema=schema)
    if notes is None:
        notes = move_to_view(scope, schema=schema)
    if notes is None:
        notes = [
            note
            for column in unresolved
            for note in _correct_spelling(column, qualifier=scope.find_source(column.table), sources=scope.sources)
        ]
    yield from notes


def find_unresolved_columns(scope: Scope) -> list[exp.Column]:
    """Return the columns of a SELECT that no table it can see has."""
    return [column for column in scope.find_columns() if not _is_resolvable(scope, column)]


def _is_resolvable(scope: Scope, column: exp.Column) -> bool:
    if column.table:
        # An alias hides the same alias in an outer scope.
        for each in (scope, *scope.outer):
            source = each.find_source(column.table)
            if source is not None:
                return source.can_have_column(column.name)
        return False
    if (
        any(source.can_have_column(column.name) for source in scope.sources)
        or column.name.lower() in scope.get_aliases()
    ):
        return True
    return any(source.can_have_column(column.name) for outer in scope.outer for source in outer.sources)


def _qualify_ambiguous_columns(scope: Scope) -> Iterator[str]:
    """Qualify a column that several tables have with the first of them, since it is usually the column they join on."""
    shared = {
        name.name.lower() for join in scope.select.args.get("joins") or [] for name in join.args.get("using") or []
    }
    for column in list(scope.find_columns()):
        if column.table or column.name.lower() in shared | scope.get_aliases():
            continue
        owners = [source for source in scope.sources if source.columns and source.can_have_column(column.name)]
        if len(owners) > 1:
            column.set("table", exp.to_identifier(owners[0].alias))
            yield f"Several tables have a column {column.name!r}; it was taken from {owners[0].alias!r}."


def _move_to_owner(scope: Scope, column: exp.Column) -> Iterator[str]:
    """Qualify `column` with a source here that has it, if there is one."""
    owners = [source for source in scope.sources if source.columns and source.can_have_column(column.name)]
    if owners and column.table:
        wrong = column.table
        column.set("table", exp.to_identifier(owners[0].alias))
        yield f"{wrong!r} has no column {column.name!r}; it was taken from {owners[0].alias!r}."


def _correct_spelling(
    column: exp.Column, *, qualifier: TableSource | None, sources: list[TableSource]
) -> Iterator[str]:
    """Replace the name of `column` by the only one it can mean, in its `qualifier` or else in `sources`."""
    owner = qualifier or (sources[0] if sources else None)
    for candidates in ([qualifier] if qualifier else [], sources):
        names = {name: source for source in candidates for name in _get_column_names(source)}
        right = match_name(column.name, names, of=_get_owner_name(owner))
        if right is not None:
            wrong = column.sql(dialect="duckdb")
            column.set("this", exp.to_identifier(right))
            if column.table:
                column.set("table", exp.to_identifier(names[right].alias))
            yield f"There is no column {wrong!r}; {right!r} was used instead."
            return


def _get_column_names(source: TableSource) -> list[str]:
    relation: Relation | None = source.relation
    return [column.name for column in relation.columns] if relation else sorted(source.columns or ())


def _get_owner_name(source: TableSource | None) -> str:
    if source is None:
        return ""
    return source.relation.name if source.relation else source.alias
