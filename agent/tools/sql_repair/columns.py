"""Every table and column under the name it has, every column asked of the table that owns it."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.db_schema.model import DatabaseSchema, Relation
from agent.tools.sql_repair.joins import join_owner_tables, move_to_view, repair_joins
from agent.tools.sql_repair.name_matching import match_name
from agent.tools.sql_repair.scopes import Scope, TableSource, get_relation_name


def repair_tables(tree: exp.Expr, *, schema: DatabaseSchema) -> Iterator[str]:
    """Give each unknown table the one name it can have meant, in place, and yield a sentence for each."""
    queries = {query.alias.lower() for query in tree.find_all(exp.CTE)}
    for table in list(tree.find_all(exp.Table)):
        name = get_relation_name(table)
        if not table.name or name.lower() in queries or schema.relation(name) is not None:
            continue
        right = match_name(table.name, [relation.name for relation in schema.relations])
        if right is None:
            continue
        wrong = table.name
        place, _, plain = right.rpartition(".")
        renamed = exp.table_(plain, db=place or None, alias=table.alias or None)
        table.replace(renamed)
        select = renamed.find_ancestor(exp.Select)
        for column in select.find_all(exp.Column) if select is not None and not renamed.alias else ():
            if column.table.lower() == wrong.lower():
                column.set("table", exp.to_identifier(plain))
        yield f"There is no table {wrong!r}; {right!r} was meant."


def repair_columns(scope: Scope, *, schema: DatabaseSchema) -> Iterator[str]:
    """Mend one SELECT in place: joins first, then each column that no source of it has.

    What no rule can tell is left as it is, for the engine to complain of.
    """
    yield from repair_joins(scope, schema=schema)
    yield from _qualify_ambiguous_columns(scope)
    for column in find_unresolved_columns(scope):
        yield from _correct_spelling(column, called=scope.find_source(column.table), among=[])
    for column in find_unresolved_columns(scope):
        yield from _move_to_owner(scope, column)
    lost = find_unresolved_columns(scope)
    if not lost:
        return
    notes = join_owner_tables(scope, lost, schema=schema)
    if notes is None:
        notes = move_to_view(scope, schema=schema)
    if notes is None:
        notes = [
            note
            for column in lost
            for note in _correct_spelling(column, called=scope.find_source(column.table), among=scope.sources)
        ]
    yield from notes


def find_unresolved_columns(scope: Scope) -> list[exp.Column]:
    """Return the columns of a SELECT that nothing it sees has."""
    return [column for column in scope.find_columns() if not _is_resolvable(scope, column)]


def _is_resolvable(scope: Scope, column: exp.Column) -> bool:
    if column.table:
        # An alias hides one of the same name further out.
        for place in (scope, *scope.outer):
            source = place.find_source(column.table)
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
    """Give a bare column that several tables have to the first of them: joined on it, they agree."""
    shared = {
        name.name.lower() for join in scope.select.args.get("joins") or [] for name in join.args.get("using") or []
    }
    for column in list(scope.find_columns()):
        if column.table or column.name.lower() in shared | scope.get_aliases():
            continue
        owners = [source for source in scope.sources if source.columns and source.can_have_column(column.name)]
        if len(owners) > 1:
            column.set("table", exp.to_identifier(owners[0].alias))
            yield f"Several tables have {column.name!r}; it was taken from {owners[0].alias!r}."


def _move_to_owner(scope: Scope, column: exp.Column) -> Iterator[str]:
    """Ask `column` of a source that has it, if there is one here."""
    owners = [source for source in scope.sources if source.columns and source.can_have_column(column.name)]
    if owners and column.table:
        wrong = column.table
        column.set("table", exp.to_identifier(owners[0].alias))
        yield f"{wrong!r} has no column {column.name!r}; it was taken from {owners[0].alias!r}."


def _correct_spelling(column: exp.Column, *, called: TableSource | None, among: list[TableSource]) -> Iterator[str]:
    """Give `column` the one name that it can have meant: in the source it is asked of, else among all."""
    owner = called or (among[0] if among else None)
    for candidates in ([called] if called else [], among):
        names = {name: source for source in candidates for name in _get_column_names(source)}
        right = match_name(column.name, names, of=_get_owner_name(owner))
        if right is not None:
            wrong = column.sql(dialect="duckdb")
            column.set("this", exp.to_identifier(right))
            if column.table:
                column.set("table", exp.to_identifier(names[right].alias))
            yield f"There is no column {wrong!r}; {right!r} was meant."
            return


def _get_column_names(source: TableSource) -> list[str]:
    relation: Relation | None = source.relation
    return [column.name for column in relation.columns] if relation else sorted(source.columns or ())


def _get_owner_name(source: TableSource | None) -> str:
    if source is None:
        return ""
    return source.relation.name if source.relation else source.alias
