"""The five schemas with their goals, as the set `schemas`."""

from collections.abc import Callable, Sequence
from functools import cache, partial

from agent.tools.sql.data_source import DataSource, open_data_source
from tests.evals.cases import Case
from tests.evals.sets.goal import Goal
from tests.evals.sets.goals import build_cases, make_folder
from tests.evals.sets.schemas.flights import FLIGHTS, build_flights
from tests.evals.sets.schemas.forum import FORUM, build_forum
from tests.evals.sets.schemas.lending import LENDING, build_lending
from tests.evals.sets.schemas.music import MUSIC, build_music
from tests.evals.sets.schemas.roster import ROSTER, build_roster


@cache
def _open(name: str) -> DataSource:
    """Return one of the databases, made anew in each process."""
    folder = make_folder()
    match name:
        case "lending":
            return open_data_source(build_lending(folder / "lending.sqlite"))
        case "flights":
            return open_data_source(build_flights(folder / "flights.duckdb"))
        case "music":
            return open_data_source(build_music(folder / "music"))
        case "roster":
            return open_data_source(build_roster(folder / "roster.sqlite"))
        case _:
            return open_data_source(build_forum(folder / "forum"))


WORLDS: Sequence[tuple[Sequence[Goal], Callable[[], DataSource]]] = (
    (LENDING, partial(_open, "lending")),
    (FLIGHTS, partial(_open, "flights")),
    (MUSIC, partial(_open, "music")),
    (ROSTER, partial(_open, "roster")),
    (FORUM, partial(_open, "forum")),
)


def cases() -> list[Case]:
    """Return the goals over the five schemas."""
    return build_cases(WORLDS)
