"""A goal over a database, with the SQL that gives its right rows; none of it reaches the model."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Gold:
    """Rows that the run must have given; further columns do no harm."""

    sql: str
    #: Whether the order of the rows belongs to the answer.
    ordered: bool = True


@dataclass(frozen=True)
class Goal:
    """What is asked for, in words and in gold."""

    name: str
    text: str
    golds: tuple[Gold, ...]
    chart: bool = False
    #: The ending of the file that must have been saved.
    file: str | None = None
