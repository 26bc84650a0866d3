"""Which tables a SELECT sees and which columns each of them has."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from sqlglot import exp

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation


@dataclass
class TableSource:
    """A table, view, CTE or subquery in FROM, under the name by which its columns are called."""

    alias: str
    #: None for a CTE, a subquery or a function.
    relation: Relation | None
    #: In lower case; None where they cannot be told.
    columns: frozenset[str] | None

    def can_have_column(self, column: str) -> bool:
        """Whether the source has `column`, or cannot be known not to."""
        return self.columns is None or column.lower() in self.columns


@dataclass
class Scope:
    """A SELECT with the sources of its FROM, and the scopes it stands in."""

    select: exp.Select
    sources: list[TableSource]
    outer: list["Scope"] = field(default_factory=list)

    def find_source(self, alias: str) -> TableSource | None:
        """Return the source called `alias` here; None if there is none."""
        return next((source for source in self.sources if source.alias.lower() == alias.lower()), None)

    def find_columns(self) -> Iterator[exp.Column]:
        """Yield the columns that this SELECT itself names, those of its subqueries left out."""
        from sqlglot import exp  # noqa: PLC0415 - slow to import

        yield from [node for node in walk_nodes(self.select) if isinstance(node, exp.Column) and node.name != "*"]

    def get_aliases(self) -> set[str]:
        """Return the names, in lower case, that the SELECT gives to its own expressions.

        `city AS city` gives none: what it names must be had from a table.
        """
        from sqlglot import exp  # noqa: PLC0415 - slow to import

        return {
            item.alias.lower()
            for item in self.select.expressions
            if isinstance(item, exp.Alias)
            and not (isinstance(item.this, exp.Column) and item.this.name.lower() == item.alias.lower())
        }

    def resolve(self, column: exp.Column) -> TableSource | None:
        """Return the one source here that `column` is of; None if there is none, or more than one."""
        if column.table:
            source = self.find_source(column.table)
            return source if source is not None and source.can_have_column(column.name) else None
        owners = [source for source in self.sources if source.can_have_column(column.name)]
        return owners[0] if len(owners) == 1 else None

    def find_column(self, column: exp.Column) -> Column | None:
        """Return what the schema knows of `column`; None for what is no plain column of a table or view."""
        source = self.resolve(column)
        return source.relation.column(column.name) if source is not None and source.relation is not None else None


def build_scopes(tree: exp.Expr, *, schema: DatabaseSchema) -> Iterator[Scope]:
    """Yield the scope of each SELECT, outer ones first."""
    made: dict[int, Scope] = {}
    for select in list(tree.find_all(exp.Select, bfs=True)):
        scope = Scope(select, list(build_sources(select, tree=tree, schema=schema)))
        scope.outer = [made[id(above)] for above in _find_visible_ancestors(select) if id(above) in made]
        made[id(select)] = scope
        yield scope


def _find_visible_ancestors(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield what `select` stands in, as far as it sees it: a query in WITH or in FROM sees nothing around it."""
    above = select.parent
    while above is not None and not isinstance(above, exp.CTE | exp.From | exp.Join):
        yield above
        above = above.parent


def build_sources(select: exp.Select, *, tree: exp.Expr, schema: DatabaseSchema) -> Iterator[TableSource]:
    """Yield the sources in the FROM clause of `select`, joined ones too."""
    queries = _find_with_queries(tree)
    for item in get_from_items(select):
        yield _build_source(item, queries=queries, schema=schema)


def get_from_items(select: exp.Select) -> list[exp.Expr]:
    """Return the tables, subqueries and functions in the FROM clause, in order."""
    start = select.args.get("from_")
    return [clause.this for clause in ([start] if start else []) + (select.args.get("joins") or [])]


def walk_nodes(select: exp.Expr) -> Iterator[exp.Expr]:
    """Yield the nodes below `select` that belong to it, not to a SELECT inside it."""
    for child in select.iter_expressions():
        if not isinstance(child, exp.Query) or isinstance(child, exp.Table):
            yield child
            yield from walk_nodes(child)


def _find_with_queries(tree: exp.Expr) -> dict[str, exp.Expr]:
    return {query.alias.lower(): query for query in tree.find_all(exp.CTE)}


def _build_source(item: exp.Expr, *, queries: dict[str, exp.Expr], schema: DatabaseSchema) -> TableSource:
    if isinstance(item, exp.Table) and not item.db and item.name.lower() in queries:
        return TableSource(item.alias_or_name, None, _get_output_columns(queries[item.name.lower()]))
    if isinstance(item, exp.Table):
        relation = schema.relation(get_relation_name(item))
        columns = frozenset(column.name.lower() for column in relation.columns) if relation else None
        return TableSource(item.alias_or_name, relation, columns)
    return TableSource(item.alias_or_name, None, _get_output_columns(item) if isinstance(item, exp.Subquery) else None)


def _get_output_columns(query: exp.Expr) -> frozenset[str] | None:
    """Return the names that a CTE or subquery gives its columns; None where a star hides them."""
    alias = query.args.get("alias")
    if alias is not None and alias.columns:
        return frozenset(column.name.lower() for column in alias.columns)
    inner = query.this
    if not isinstance(inner, exp.Query) or inner.is_star:
        return None
    return frozenset(name.lower() for name in inner.named_selects)


def get_relation_name(table: exp.Table) -> str:
    """Return the name under which the schema knows `table`."""
    return f"{table.db}.{table.name}" if table.db and table.db.lower() not in {"main", "public"} else table.name
