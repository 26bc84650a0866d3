"""The tables that a SELECT can see, and the columns of each."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from sqlglot import exp

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation


@dataclass
class TableSource:
    """A table, view, CTE or subquery in FROM, with the alias that qualifies its columns."""

    alias: str
    #: None for a CTE, a subquery or a function.
    relation: Relation | None
    #: In lower case; None if they are not known.
    columns: frozenset[str] | None
    #: The SELECT of a CTE or subquery.
    query: exp.Select | None = None

    def can_have_column(self, column: str) -> bool:
        """Whether the source has `column`; true if its columns are not known."""
        return self.columns is None or column.lower() in self.columns


@dataclass
class Scope:
    """A SELECT with the sources in its FROM, and the scopes around it whose columns it can see."""

    select: exp.Select
    sources: list[TableSource]
    outer: list["Scope"] = field(default_factory=list)

    def find_source(self, alias: str) -> TableSource | None:
        """Return the source called `alias` here; None if there is none."""
        return next((source for source in self.sources if source.alias.lower() == alias.lower()), None)

    def find_columns(self) -> Iterator[exp.Column]:
        """Yield the columns that this SELECT itself names, without those of its subqueries."""
        from sqlglot import exp  # noqa: PLC0415 - slow to import

        yield from [node for node in walk_nodes(self.select) if isinstance(node, exp.Column) and node.name != "*"]

    def get_aliases(self) -> set[str]:
        """Return the aliases, in lower case, of the selected expressions.

        `city AS city` is left out: a table must have that column.
        """
        from sqlglot import exp  # noqa: PLC0415 - slow to import

        return {
            item.alias.lower()
            for item in self.select.expressions
            if isinstance(item, exp.Alias)
            and not (isinstance(item.this, exp.Column) and item.this.name.lower() == item.alias.lower())
        }

    def resolve(self, column: exp.Column) -> TableSource | None:
        """Return the source here that has `column`; None if there is none or more than one."""
        if column.table:
            source = self.find_source(column.table)
            return source if source is not None and source.can_have_column(column.name) else None
        owners = [source for source in self.sources if source.can_have_column(column.name)]
        return owners[0] if len(owners) == 1 else None

    def find_column(self, column: exp.Column) -> Column | None:
        """Return `column` as the schema has it; None unless it is a column of a table or view."""
        source = self.resolve(column)
        return source.relation.column(column.name) if source is not None and source.relation is not None else None


def build_scopes(tree: exp.Expr, *, schema: DatabaseSchema) -> Iterator[Scope]:
    """Yield the scope of each SELECT, outer ones first."""
    scopes: dict[int, Scope] = {}
    for select in list(tree.find_all(exp.Select, bfs=True)):
        scope = Scope(select, list(_build_sources(select, tree=tree, schema=schema)))
        scope.outer = [scopes[id(above)] for above in _find_visible_ancestors(select) if id(above) in scopes]
        scopes[id(select)] = scope
        yield scope


def resolve_base_column(
    column: exp.Column, scope: Scope, scopes: Mapping[int, Scope]
) -> tuple[Relation, Column] | None:
    """Return the column of a table or view that `column` is, also if a CTE or a subquery hands it on."""
    for each in (scope, *scope.outer):
        source = each.resolve(column)
        if source is None:
            continue
        if source.relation is not None:
            known = source.relation.column(column.name)
            return (source.relation, known) if known is not None else None
        inner = scopes.get(id(source.query))
        # A CTE that reads itself has no end.
        if inner is None or inner is scope:
            return None
        item = next((one for one in inner.select.expressions if one.alias_or_name == column.name), None)
        if item is None and inner.select.is_star:
            item = exp.column(column.name)
        handed = item.unalias() if item is not None else None
        return resolve_base_column(handed, inner, scopes) if isinstance(handed, exp.Column) else None
    return None


def _find_visible_ancestors(select: exp.Select) -> Iterator[exp.Expr]:
    """Yield the nodes around `select` up to a CTE, FROM or JOIN: a query in one of these sees nothing outside it."""
    above = select.parent
    while above is not None and not isinstance(above, exp.CTE | exp.From | exp.Join):
        yield above
        above = above.parent


def _build_sources(select: exp.Select, *, tree: exp.Expr, schema: DatabaseSchema) -> Iterator[TableSource]:
    """Yield the sources in the FROM clause of `select`, joined ones too, in order."""
    with_queries = {query.alias.lower(): query for query in tree.find_all(exp.CTE)}
    start = select.args.get("from_")
    for clause in ([start] if start else []) + (select.args.get("joins") or []):
        item = clause.this
        if isinstance(item, exp.Table) and not item.db and item.name.lower() in with_queries:
            query = with_queries[item.name.lower()]
            yield TableSource(item.alias_or_name, None, _get_output_columns(query), _get_select(query))
        elif isinstance(item, exp.Table):
            yield build_relation_source(get_relation_name(item), alias=item.alias_or_name, schema=schema)
        else:
            columns = _get_output_columns(item) if isinstance(item, exp.Subquery) else None
            yield TableSource(item.alias_or_name, None, columns, _get_select(item))


def _get_select(query: exp.Expr) -> exp.Select | None:
    return query.this if isinstance(query.this, exp.Select) else None


def _get_output_columns(query: exp.Expr) -> frozenset[str] | None:
    """Return the column names of a CTE or subquery; None if a star hides them."""
    alias = query.args.get("alias")
    if alias is not None and alias.columns:
        return frozenset(column.name.lower() for column in alias.columns)
    inner = query.this
    if not isinstance(inner, exp.Query) or inner.is_star:
        return None
    return frozenset(name.lower() for name in inner.named_selects)


def build_relation_source(name: str, *, alias: str, schema: DatabaseSchema) -> TableSource:
    """Return the source for the table or view `name`; one with unknown columns if the schema does not have it."""
    relation = schema.relation(name)
    columns = frozenset(column.name.lower() for column in relation.columns) if relation else None
    return TableSource(alias, relation, columns)


def get_relation_name(table: exp.Table) -> str:
    """Return the name of `table` in the schema."""
    return f"{table.db}.{table.name}" if table.db and table.db.lower() not in {"main", "public"} else table.name


def build_table(name: str, *, alias: str | None = None) -> exp.Table:
    """Return the SQL of a table or view by its name in the schema."""
    schema, _, plain = name.rpartition(".")
    return exp.table_(plain, db=schema or None, alias=alias)


def walk_nodes(expression: exp.Expr) -> Iterator[exp.Expr]:
    """Yield the nodes below `expression` that belong to its own SELECT, not to one nested in it."""
    for child in expression.iter_expressions():
        if not isinstance(child, exp.Query) or isinstance(child, exp.Table):
            yield child
            yield from walk_nodes(child)
