"""A small world of tools of one's own that writes down what was done, and a run of a scripted goal in it."""

import os
from collections.abc import Callable
from typing import Any
from unittest.mock import patch

from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from agent.errors import ToolFailure
from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint, Text


class Bed(TypedDict):
    number: int
    plant: str
    keeper: str


class Moisture(TypedDict):
    bed: int
    percent: float
    is_raining: bool


class Person(TypedDict):
    name: str
    email: str


BEDS: list[Bed] = [
    {"number": 4, "plant": "Rose", "keeper": "kim@g.example"},
    {"number": 9, "plant": "Fern", "keeper": "lea@g.example"},
]


class Garden:
    """The tools of one run; `done` has the calls that did something."""

    def __init__(self) -> None:
        self.done: list[tuple[Any, ...]] = []
        self.percents = {4: 20.0, 9: 55.0}

    def tools(self) -> list[BaseTool | Callable[..., Any]]:
        done = self.done

        def list_beds(zone: str) -> list[Bed]:
            """List the beds of a zone; the keeper is an email address."""
            return BEDS if zone == "north" else []

        def measure_moisture(bed: int) -> Moisture:
            """Measure how moist a bed is."""
            return {"bed": bed, "percent": self.percents[bed], "is_raining": False}

        def count_seeds(plant: str) -> int:
            """Count the seeds of a plant, in the singular, that are left."""
            return {"rose": 3, "fern": 80}[plant]

        def find_person(name: str) -> Person:
            """Look up a person."""
            if name.lower() == "boss":
                raise ToolFailure("There is nobody of that name.")
            return {"name": name, "email": f"{name.split(maxsplit=1)[0].lower()}@g.example"}

        def water_bed(bed: int, litres: float) -> str:
            """Water a bed."""
            done.append(("water", bed, litres))
            return "watered"

        def buy_seeds(plant: str, packets: int) -> str:
            """Buy packets of seeds of a plant, in the singular."""
            done.append(("buy", plant, packets))
            return "bought"

        def mail_person(to: str, text: str) -> str:
            """Send a mail to an address."""
            done.append(("mail", to, text))
            return "sent"

        reads = (list_beds, measure_moisture, find_person)
        return [
            *(StructuredTool.from_function(each, metadata={"readOnlyHint": True}) for each in reads),
            # Plain functions do not say whether they only read.
            *(count_seeds, water_bed, buy_seeds, mail_person),
        ]

    def run(self, goal: str, *scripts: str, resume: Any = None, **settings: Any) -> dict[str, Any]:
        """Run a goal; the last script is given to every further question of the planner."""
        answers = iter([*scripts, *[scripts[-1]] * 20])
        with Endpoint(lambda _request: Text(next(answers))) as endpoint:
            given = {**endpoint.env, "PLANWAVE_MODEL_SCALE": "small"}
            with patch.dict(os.environ, given):
                chosen = Settings(**{"approve": "never", **settings})
                graph = build_graph(
                    tools=self.tools(), model="openai:scripted", settings=chosen, checkpointer=InMemorySaver()
                )
                config = {"configurable": {"thread_id": "garden"}}
                out = graph.invoke({"goal": goal}, config)
                out = out if resume is None else graph.invoke(resume, config)
        self.questions = [request.text for request in endpoint.requests]
        return dict(out)
