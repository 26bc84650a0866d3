"""A small toolbox about weather and a desk to plan at, for tests of the roles that ask a model."""

from collections.abc import Callable
from typing import Any

from langchain_core.tools import StructuredTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.llm.models import Model, resolve_model
from agent.planning.session import PlanningSession
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from tests.support.openai_endpoint import Endpoint

SETTINGS = Settings(max_repairs=2)
LIMITS = SETTINGS.build_limits(can_replan=True)
COLUMNS = {"station", "rain", "day"}


class ReadingsArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    sql: str = Field(description="One SELECT.")
    params: dict[str, JsonValue] = Field(default_factory=dict, description="Values for $name.")


class PlotArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    rows: list[dict[str, JsonValue]] = Field(description="The rows to draw.")
    x: str = Field(description="Column across.")
    title: str | None = None


class PostArgs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    text: str = Field(description="What to post.")
    urgent: bool = False


def readings(sql: str, params: dict[str, JsonValue] | None = None) -> dict[str, JsonValue]:
    """Query the readings of weather stations."""
    return {"rows": [{"station": "Cape Low", "rain": 12.5}], "row_count": 1}


def plot(rows: list[dict[str, JsonValue]], x: str, title: str | None = None) -> dict[str, JsonValue]:
    """Draw rows."""
    return {"png": "rain.png"}


def post(text: str, urgent: bool = False) -> dict[str, JsonValue]:
    """Post a message on the board."""
    return {"id": "m1"}


def _rows(properties: JsonSchema | None = None) -> JsonSchema:
    row = {"type": "object"} if properties is None else {"type": "object", "properties": properties}
    return {
        "type": "object",
        "properties": {"rows": {"type": "array", "items": row}, "row_count": {"type": "integer"}},
        "required": ["rows", "row_count"],
        "additionalProperties": False,
    }


def checked_sql(args: dict[str, Any]) -> Preflight:
    """Stand in for a database: SQL must say SELECT; its rows have the columns that it mentions."""
    if "SELECT" not in args["sql"]:
        return Preflight(problems=(f"The SQL {args['sql']!r} is no SELECT.",))
    columns = {name: {"type": "string"} for name in sorted(COLUMNS) if name in args["sql"]}
    return Preflight(output_schema=_rows(columns))


def toolbox() -> Toolbox:
    made: list[tuple[Callable[..., Any], type[BaseModel], dict[str, Any]]] = [
        (readings, ReadingsArgs, {"readOnlyHint": True, "output_schema": _rows(), "preflight": checked_sql}),
        (plot, PlotArgs, {"readOnlyHint": True, "columns_of": {"x": "rows"}}),
        (post, PostArgs, {}),
    ]
    return Toolbox(
        StructuredTool.from_function(function, args_schema=args, metadata=metadata) for function, args, metadata in made
    )


def model_at(endpoint: Endpoint, *, small: bool = False) -> Model:
    return resolve_model("openai:scripted", env=endpoint.env, timeout_s=20.0, scale="small" if small else "large")


def session_at(endpoint: Endpoint, tools: Toolbox, *, goal: str) -> PlanningSession:
    """Return a desk for a small model, to plan at in one certain way."""
    return PlanningSession(
        goal=goal,
        context="",
        toolbox=tools,
        model=model_at(endpoint, small=True),
        limits=LIMITS,
        max_repairs=SETTINGS.max_repairs,
        emit=lambda _event: None,
    )
