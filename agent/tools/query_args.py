"""The arguments of tools that run SQL, as the planner is shown them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.tools.sql_run import Query

Text = Annotated[str, Field(max_length=4_000)]
Scalar = bool | int | float | Text | None
Rows = Annotated[list[dict[str, JsonValue]], Field(max_length=10_000)]
Parameter = Scalar | Annotated[list[Scalar], Field(max_length=10_000)] | Rows
Name = Annotated[str, Field(max_length=200)]


class QueryArgs(BaseModel):
    """A query, its parameters, and how many of its rows are wanted."""

    model_config = ConfigDict(extra="forbid")

    sql: str = Field(
        min_length=1,
        max_length=4_000,
        description="One SELECT in DuckDB's SQL. Write $name for a value that params gives.",
    )
    params: dict[str, Parameter] = Field(
        default_factory=dict,
        max_length=50,
        description=(
            "Values for $name in the SQL, never written into it. A list is used as IN (SELECT unnest($name)); "
            'give a column of earlier rows as {"output_of": ..., "path": ["rows", "*", column]}.'
        ),
    )
    first_row_of_each: Name | None = Field(
        default=None,
        description=(
            "An output column: keep only the first row for each of its values, in the order of the query. For 'the "
            "best X of each Y', order by the measure descending and name Y's column here; else leave it out."
        ),
    )
    rows_per_value: int = Field(
        default=1, ge=1, le=1_000, description="With first_row_of_each: how many first rows of each value to keep."
    )
    max_rows: int = Field(default=1_000, ge=1, le=10_000, description="At most so many rows are returned.")

    def query(self) -> Query:
        """Return what is to be run."""
        return Query(
            sql=self.sql,
            params=self.params,
            first_row_of_each=self.first_row_of_each,
            rows_per_value=self.rows_per_value,
            max_rows=self.max_rows,
        )


class AnalyzeArgs(QueryArgs):
    """A query over rows of earlier outputs."""

    tables: dict[Name, Rows | dict[str, JsonValue]] = Field(
        min_length=1,
        max_length=20,
        description=(
            'Rows by the table name that the SQL uses, such as {"sales": {"output_of": ..., "path": ["rows"]}}; '
            "the whole output of a query may stand for its rows."
        ),
    )
