"""A program for each of the goals over databases: the gold queries as its plan, with the inputs that are proposed."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from agent.core.plan.parser import parse_plan
from agent.programs.input_proposal import propose_inputs
from agent.tools.sql.data_source import DataSource
from agent.tools.toolbox import Toolbox
from graphs.stores.library import Library
from planwave import Program
from tests.evals.sets.goal import Goal
from tests.evals.sets.goals import bikes, clinic, shop
from tests.evals.sets.goals_bikes import BIKES
from tests.evals.sets.goals_clinic import CLINIC
from tests.evals.sets.goals_shop import SHOP

WORLDS: dict[str, tuple[tuple[Goal, ...], Callable[[], DataSource]]] = {
    "shop": (SHOP, shop),
    "clinic": (CLINIC, clinic),
    "bikes": (BIKES, bikes),
}
#: A gold that is always empty asks nothing of the data, and one without the months cannot be drawn.
_QUERIES = {
    "nothing_sold": (
        "SELECT DISTINCT product_name FROM sales WHERE category_name = 'Electronics' AND country = 'Norway' "
        "AND order_year = 2018"
    ),
    "bikes_nobody_so_old": (
        "SELECT DISTINCT full_name FROM trips JOIN members USING (member_id) "
        "JOIN stations ON start_station_id = station_id WHERE birth_year < 1940 AND station_name = 'Airport Road'"
    ),
    "clinic_no_neurology": (
        "SELECT DISTINCT LastName FROM tbl_Patient JOIN appt USING (PatientNo) JOIN physician USING (phys_id) "
        "WHERE Town = 'Lakeside' AND specialty = 'Neurology' AND year(\"Visit Date\") = 2021"
    ),
    "clinic_visits_by_month": (
        'SELECT month("Visit Date") AS month, COUNT(*) AS appointments FROM appt '
        'WHERE year("Visit Date") = 2023 GROUP BY 1 ORDER BY 1'
    ),
    "bikes_monthly": (
        "SELECT month(started_at) AS month, COUNT(*) AS trips FROM trips "
        "WHERE year(started_at) = 2024 GROUP BY 1 ORDER BY 1"
    ),
}


@dataclass(frozen=True)
class NamedProgram:
    """A program with the goal that it was made of."""

    goal: Goal
    program: Program


def build_document(goal: Goal, source: DataSource) -> dict[str, Any]:
    """Return the plan of a goal: a query for each gold, and the chart and the file that it asks for."""
    queries = [_QUERIES[goal.name]] if goal.name in _QUERIES else [gold.sql for gold in goal.golds]
    names = ["rows", *(f"rows_{number}" for number in range(2, len(queries) + 1))]
    tasks: list[dict[str, Any]] = [
        {"id": name, "tool": "query_database", "args": {"sql": sql}} for name, sql in zip(names, queries, strict=True)
    ]
    rows = {"output_of": "rows", "path": ["rows"]}
    if goal.chart:
        with source.get_connection() as connection:
            x, y = [column[0] for column in connection.execute(queries[0]).description or ()][:2]
        kind = "line" if "line chart" in goal.text else "bar"
        tasks.append({"id": "chart", "tool": "draw_chart", "args": {"rows": rows, "kind": kind, "x": x, "y": y}})
    if goal.file:
        [path] = [word for word in goal.text.split() if word.endswith(goal.file)]
        tasks.append({"id": "file", "tool": "save_file", "args": {"path": path, "content": rows, "overwrite": True}})
    return {"tasks": tasks}


async def add_program(goal: Goal, source: DataSource, toolbox: Toolbox, library: Library) -> NamedProgram:
    """Keep the plan of a goal as `planwave library add` does, with each input that is proposed."""
    plan = parse_plan(build_document(goal, source))
    assert not isinstance(plan, tuple), plan
    proposal = propose_inputs(plan, goal.text, toolbox.specs)
    program = await library.add(goal.name, proposal.plan, goal=goal.text, goal_template=proposal.goal_template)
    return NamedProgram(goal, program)
