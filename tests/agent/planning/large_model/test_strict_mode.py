"""Plans asked for in OpenAI's strict mode: every request within its restrictions, whatever the size of the catalogue.

The server here takes or turns down a schema by the rules of the guide "Structured model outputs" (February 2026),
written down a second time and independently of the code that keeps to them.
"""

from collections.abc import Iterator
from typing import Any, Literal

import pytest
from langchain_core.tools import StructuredTool
from pydantic import BaseModel, ConfigDict, Field

from agent.llm.response_schema import find_exceeded_limits
from agent.planning.planner import PlanningResult, make_plan
from agent.planning.tool_selection import select_tools
from agent.tools.toolbox import Toolbox
from tests.support.openai_endpoint import Endpoint, Failure, Request
from tests.support.planning_kit import LIMITS, SETTINGS, model_at

TOPICS = ("invoices", "customers", "shipments", "holidays", "recipes", "trains", "meetings", "songs", "plants", "taxes")
KNOWN = {
    *("type", "enum", "const", "title", "description", "pattern", "minItems", "maxItems", "minimum", "maximum"),
    *("exclusiveMinimum", "exclusiveMaximum", "multipleOf", "properties", "required", "additionalProperties", "items"),
    *("anyOf", "$ref", "$defs", "format"),
}


class Where(BaseModel):
    model_config = ConfigDict(extra="forbid")

    field: str
    value: str | int | None = None


class Args(BaseModel):
    text: str = Field(description="What to look for.")
    order: Literal["newest", "oldest", "best"] = "best"
    limit: int = 10
    tags: list[str] = []
    where: list[Where] = []
    labels: dict[str, str] = {}


def catalogue(number: int, *, choices: int = 0) -> Toolbox:
    """Return tools that look for a topic in the files of a department; `choices` adds a long list to each."""

    def search(**_given: Any) -> list[str]:
        return []

    def tool(index: int) -> StructuredTool:
        topic = TOPICS[index % len(TOPICS)]
        schema = Args.model_json_schema()
        if choices:
            schema["properties"]["place"] = {"type": "string", "enum": [f"place {n}" for n in range(choices)]}
        return StructuredTool.from_function(
            search,
            name=f"search_{topic}_{index}",
            description=f"Searches the {topic} of department {index}.",
            args_schema=schema,
            metadata={"readOnlyHint": True},
        )

    return Toolbox(map(tool, range(number)))


def parts(part: dict[str, Any], depth: int = 0) -> Iterator[tuple[dict[str, Any], int]]:
    """Yield every schema in a schema, with the number of objects around it."""
    depth += "properties" in part
    yield part, depth
    items = [part["items"]] if isinstance(part.get("items"), dict) else []
    for inner in (*part.get("properties", {}).values(), *part.get("anyOf", []), *items):
        yield from parts(inner, depth)
    for inner in part.get("$defs", {}).values():
        yield from parts(inner)


def of_object(part: dict[str, Any], depth: int) -> Iterator[str]:
    if "properties" not in part:
        if part.get("type") == "object" or "object" in part.get("type", []):
            yield "an object of any shape"
        return
    if part.get("additionalProperties") is not False:
        yield "an object is open"
    if sorted(part.get("required", [])) != sorted(part["properties"]):
        yield "a property is optional"
    if depth > 10:
        yield "too deep"


def faults(schema: dict[str, Any]) -> list[str]:
    """Return why the strict mode would turn a schema down."""
    found = [] if schema.get("type") == "object" and "anyOf" not in schema else ["the root is no object"]
    properties = choices = letters = 0
    for part, depth in parts(schema):
        found += [f"{word} is not known" for word in part.keys() - KNOWN]
        found += of_object(part, depth)
        values = part.get("enum", [])
        properties += len(part.get("properties", {}))
        choices += len(values)
        words = [*values, part.get("const", ""), *part.get("properties", {}), *part.get("$defs", {})]
        letters += sum(len(str(word)) for word in words)
        if len(values) > 250 and sum(map(len, values)) > 15_000:
            found.append("a list of choices is too long")
    most = ((properties, 5_000), (letters, 120_000), (choices, 1_000))
    return found + [f"{number} of at most {limit}" for number, limit in most if number > limit]


class Strict:
    """A server's answers: a plan with one tool, or the error of a schema that cannot be strict."""

    def __init__(self, tool: str):
        self.tool = tool
        self.turned_down: list[str] = []

    def __call__(self, request: Request) -> dict[str, Any] | Failure:
        form = request.body["response_format"]["json_schema"]
        assert form["strict"] is True
        if found := faults(form["schema"]):
            self.turned_down += found
            return Failure(400, f"Invalid schema for response_format 'plan': {found[0]}", code="invalid_json_schema")
        task = {"id": "found", "description": "Look", "reasoning": "Asked for", "tool": self.tool}
        rest = {"expected_outcome": None, "phase": None, "depends_on": None, "condition": None, "for_each": None}
        args = {"text": "late", "order": None, "limit": None, "tags": None, "where": None, "labels": None}
        names = form["schema"]["$defs"][f"args_{self.tool}"]["properties"]
        filled = {name: args.get(name) for name in names}
        return {"execution_mode": "parallel", "tasks": [{**task, "args": filled, **rest}]}


async def planned(toolbox: Toolbox, tool: str, goal: str) -> tuple[Any, Strict, Endpoint]:
    server = Strict(tool)
    with Endpoint(server) as endpoint:
        found = await make_plan(
            goal,
            context="",
            toolbox=toolbox,
            model=model_at(endpoint),
            settings=SETTINGS,
            limits=LIMITS,
            emit=lambda _event: None,
        )
    return found, server, endpoint


@pytest.mark.parametrize("number", [1, 10, 100])
async def test_a_catalogue_of_up_to_a_hundred_tools_is_accepted_whole(number):
    toolbox = catalogue(number)
    found, server, endpoint = await planned(toolbox, "search_invoices_0", "Which invoices are late?")
    assert isinstance(found, PlanningResult), found
    assert server.turned_down == []
    assert len(endpoint.requests) == 1
    assert all(f"- {name} " in endpoint.requests[0].text for name in toolbox)


@pytest.mark.parametrize(("number", "choices"), [(600, 0), (40, 60)])
async def test_a_larger_one_is_narrowed_to_what_the_goal_is_about(number, choices):
    toolbox = catalogue(number, choices=choices)
    last = max(index for index in range(number) if TOPICS[index % len(TOPICS)] == "trains")
    goal = f"Which train of department {last} was late?"
    found, server, endpoint = await planned(toolbox, f"search_trains_{last}", goal)
    assert isinstance(found, PlanningResult), found
    assert server.turned_down == []
    named = endpoint.requests[0].text.count("- search_")
    assert 10 < named < number
    assert f"- search_trains_{last} " in endpoint.requests[0].text


def test_what_is_nearest_to_the_goal_stays_and_the_order_with_it():
    specs = catalogue(30).specs
    chosen = select_tools(specs, goal='Songs and "PLANTS", please (or NOT)', fits=lambda some: len(some) <= 6)
    assert list(chosen) == [name for name in specs if "songs" in name or "plants" in name]
    assert list(select_tools(specs, goal="§§", fits=lambda some: len(some) <= 3)) == list(specs)[:3]
    assert select_tools(specs, goal="", fits=lambda some: False).keys() == {next(iter(specs))}


def test_what_is_too_large_is_named_with_its_limit():
    wide = {"type": "object", "properties": {f"p{n}": {"type": "string"} for n in range(5_001)}}
    assert find_exceeded_limits(wide) == "The schema has 5001 properties, at most 5000."
    deep: dict[str, Any] = {"type": "string"}
    for _ in range(11):
        deep = {"type": "object", "properties": {"a": {"anyOf": [{"type": "array", "items": deep}]}}}
    assert find_exceeded_limits(deep) == "The schema has 11 levels of objects, at most 10."
    long = {"enum": [f"{n:060}" for n in range(251)]}
    assert find_exceeded_limits(long) == "The schema has 15060 characters in one list of choices, at most 15000."
    assert (
        find_exceeded_limits({"enum": list(range(1_001))})
        == "The schema has 1001 values in lists of choices, at most 1000."
    )
    assert find_exceeded_limits({"$defs": {"a" * 120_001: {}}}) == (
        "The schema has 120001 characters of names and values, at most 120000."
    )
