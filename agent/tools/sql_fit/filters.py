"""What a query filters by, and what its goal says: values that are left out, and columns that have the word."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.db_schema.model import Column, DatabaseSchema, Relation
from agent.tools.sql_fit.goal_words import leaves_out, stands_in
from agent.tools.sql_repair.joins import find_join_path
from agent.tools.sql_repair.scopes import Scope, build_table


def group_alternatives(scope: Scope) -> Iterator[str]:
    """Make `a = 1 OR a = 2 AND b` a list, `a IN (1, 2) AND b`: AND binds more strongly, and was meant for all."""
    where = scope.select.args.get("where")
    if where is None or not isinstance(where.this, exp.Or):
        return
    parts = list(where.this.flatten())
    *firsts, last = parts
    first, *others = list(last.flatten()) if isinstance(last, exp.And) else [last]
    compared = [*firsts, first]
    is_list = all(
        isinstance(each, exp.EQ) and isinstance(each.this, exp.Column) and isinstance(each.expression, exp.Literal)
        for each in compared
    )
    if not is_list or len({each.this.sql() for each in compared}) > 1:
        return
    listed = exp.In(this=first.this.copy(), expressions=[each.expression.copy() for each in compared])
    where.set("this", exp.and_(listed, *others, copy=False))
    if others:
        yield f"The conditions on {first.this.sql(dialect='duckdb')} are alternatives, and the others hold for each."


def widen_exclusions(scope: Scope, *, goal: str) -> Iterator[str]:
    """Make a filter on one value `<>` another if the goal leaves that one out: "not students" is not only adults."""
    for node, column in _find_filters(scope):
        left_out = [value for value in column.values or () if leaves_out(value, goal)]
        texts = _get_texts(node)
        if len(left_out) != 1 or not texts or any(stands_in(text, goal) for text in texts if text != left_out[0]):
            continue
        narrowed = node.sql(dialect="duckdb")
        node.replace(exp.NEQ(this=node.this.copy(), expression=exp.Literal.string(left_out[0])))
        yield f"The goal leaves {left_out[0]!r} out, so that is the condition, and not {narrowed}."


def _find_filters(scope: Scope) -> Iterator[tuple[exp.Expr, Column]]:
    """Yield each condition of WHERE that lets only rows with the given texts through, with the column it is on."""
    where = scope.select.args.get("where")
    if where is None:
        return
    for node in list(where.this.flatten()) if isinstance(where.this, exp.And) else [where.this]:
        if isinstance(node, exp.EQ | exp.In) and isinstance(node.this, exp.Column):
            known = scope.find_column(node.this)
            if known is not None and known.is_text:
                yield node, known


def _get_texts(node: exp.Expr) -> list[str]:
    """Return the texts that a column is compared with; empty if it is compared with anything else, too."""
    operands = [part for part in node.iter_expressions() if part is not node.this]
    texts = [part.name for part in operands if isinstance(part, exp.Literal) and part.is_string]
    return texts if len(texts) == len(operands) else []


def move_filters(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Compare a text of the goal with the only column that has it, if no row has it in the one that is compared."""
    for node, column in list(_find_filters(scope)):
        texts = _get_texts(node)
        if len(texts) != 1 or column.values is None or not stands_in(texts[0], goal) or _has(column, texts[0]):
            continue
        wrong = node.this.sql(dialect="duckdb")
        if (referred := _find_referred(node.this, texts[0], scope, schema)) is not None:
            node.replace(referred)
            yield f"No row has {texts[0]!r} in {wrong!r}; the table that it refers to has it."
            continue
        owner = _find_owner(texts[0], scope, schema)
        if owner is None:
            continue
        table, found = owner
        value = next(value for value in found.values or () if value.casefold() == texts[0].casefold())
        right = exp.column(found.name, table=table, quoted=not found.name.isidentifier())
        node.replace(exp.EQ(this=right, expression=exp.Literal.string(value)))
        yield f"No row has {texts[0]!r} in {wrong!r}; {found.name!r} of {table!r} has it and is compared."


def _find_referred(column: exp.Column, text: str, scope: Scope, schema: DatabaseSchema) -> exp.In | None:
    """Return a condition on the table that a key refers to, if one of its columns has a text: `origin = 'Oslo'`."""
    source = scope.resolve(column)
    known = source.relation.foreign_keys if source is not None and source.relation is not None else ()
    keys = [key for key in known if key.columns == (column.name,)]
    target = schema.relation(keys[0].table) if len(keys) == 1 else None
    owners = [each for each in target.columns if _has(each, text)] if target is not None else []
    if target is None or len(owners) != 1:
        return None
    value = next(value for value in owners[0].values or () if value.casefold() == text.casefold())
    name = exp.column(owners[0].name, quoted=not owners[0].name.isidentifier())
    query = exp.select(exp.column(keys[0].references[0])).from_(build_table(target.name)).where(name.eq(value))
    return exp.In(this=column.copy(), query=query.subquery())


def _has(column: Column, text: str) -> bool:
    return any(value.casefold() == text.casefold() for value in column.values or ())


def _find_owner(text: str, scope: Scope, schema: DatabaseSchema) -> tuple[str, Column] | None:
    """Return the only column with a text and how its table is called: of the tables here, else of one to be joined."""
    here = [
        (source.alias, column)
        for source in scope.sources
        if source.relation is not None
        for column in source.relation.columns
        if _has(column, text)
    ]
    if here:
        return here[0] if len(here) == 1 else None
    starts = [source.relation.name for source in scope.sources if source.relation is not None]
    there = [
        (relation.name, column)
        for relation in schema.relations
        if relation.kind == "table"
        for column in relation.columns
        if _has(column, text)
    ]
    # The repair of names joins the table along its foreign key.
    is_near = len(there) == 1 and find_join_path(starts, end=there[0][0], schema=schema)
    return there[0] if is_near else None


def find_filter_faults(scope: Scope, *, goal: str, schema: DatabaseSchema) -> Iterator[str]:
    """Yield a sentence for each filter that lets no row through, or the wrong ones."""
    for node, column in _find_filters(scope):
        texts = _get_texts(node)
        for text in texts if column.values is not None else ():
            if not _has(column, text):
                owner = _find_any_owner(text, schema)
                other = f"; {owner.name!r} has it" if owner is not None else ""
                yield f"No row has {text!r} in {node.this.sql(dialect='duckdb')!r}{other}."
        for value in column.values or ():
            if texts and leaves_out(value, goal) and value not in texts and len(column.values or ()) > len(texts) + 1:
                yield f"The goal leaves {value!r} out, and the query takes only {', '.join(map(repr, texts))}."
    yield from _find_empty_joins(scope)


def _find_any_owner(text: str, schema: DatabaseSchema) -> Relation | None:
    return next((each for each in schema.relations for column in each.columns if _has(column, text)), None)


def _find_empty_joins(scope: Scope) -> Iterator[str]:
    """Yield a sentence for each column that has to be empty and is joined by: no row of an inner join is both."""
    joined = {
        column.sql(dialect="duckdb").lower()
        for join in scope.select.args.get("joins") or ()
        if not join.side and isinstance(join.args.get("on"), exp.EQ)
        for column in (join.args["on"].this, join.args["on"].expression)
        if isinstance(column, exp.Column)
    }
    where = scope.select.args.get("where")
    for node in where.find_all(exp.Is) if where is not None else ():
        is_empty = isinstance(node.expression, exp.Null) and not isinstance(node.parent, exp.Not)
        if is_empty and isinstance(node.this, exp.Column) and node.this.sql(dialect="duckdb").lower() in joined:
            yield f"{node.this.sql(dialect='duckdb')} is joined by and has to be empty: no row is both."
