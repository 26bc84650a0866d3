"""Planwave for agents: `planwave_tool`, which takes a goal or the inputs of a program, and `planwave_subagent`."""

from collections.abc import Mapping
from typing import Any, Final, TypedDict

from langchain_core.messages import AIMessage
from langchain_core.runnables import Runnable, RunnableLambda
from langchain_core.tools import BaseTool, StructuredTool, ToolException
from pydantic import BaseModel, Field

from agent.core.plan.document import Plan
from agent.errors import UsageError
from agent.llm.models import ModelChoice
from agent.programs.program import Program, read_program_plan
from agent.settings import Settings
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence
from graphs.plan_execute import build_graph
from graphs.run.services import ToolsOrFactory
from graphs.state import Output

_DEFAULT_NAME: Final = "planwave"
_DEFAULT_DESCRIPTION: Final = (
    "Plans a goal as a graph of tool calls, checks the plan, runs it, and returns what came out. Give it a whole goal "
    "in one call, with everything that it needs to know; it does not see this conversation."
)
#: Characters of a program's goal that are its description.
_MAX_GOAL_LENGTH: Final = 500


class GoalArgs(BaseModel):
    """Arguments of a tool that plans."""

    goal: str = Field(
        min_length=1, description="What is to be found out or done, in sentences, with all names, periods and numbers."
    )


def planwave_tool(
    program: Program | Plan | Mapping[str, Any] | None = None,
    *,
    tools: ToolsOrFactory | None = None,
    model: ModelChoice = None,
    settings: Settings | None = None,
    persistence: Persistence | None = None,
    name: str = _DEFAULT_NAME,
    description: str | None = None,
) -> BaseTool:
    """Return a tool that runs a graph over `tools`, for `create_agent`, `ToolNode` or any other agent.

    Its argument is `goal`, or the inputs of `program`: one of a `Library`, or a plan that declares some. It returns the
    answer as text, with the run's output as artifact; a run that fails or is cancelled is a tool error with the answer
    that says why. Approvals are interrupts of the graph around it, which needs a checkpointer for them. The other
    parameters are those of `build_graph`. Raises `UsageError` for a program that is no plan, and as `build_graph` does.
    """
    graph = build_graph(tools=tools, model=model, settings=settings, persistence=persistence, name=name)
    return create_graph_tool(graph, program, name=name, description=description)


def create_graph_tool(
    graph: PlanwaveGraph,
    program: Program | Plan | Mapping[str, Any] | None = None,
    *,
    name: str = _DEFAULT_NAME,
    description: str | None = None,
) -> BaseTool:
    """Return the tool that `planwave_tool` describes, of a graph that exists already."""
    plan, goal, schema = (None, "", GoalArgs) if program is None else _read_program(program)

    def build_input(args: dict[str, Any]) -> Any:  # noqa: ANN401 - an `Input`, which a `TypedDict` cannot take apart
        return args if plan is None else {"goal": goal, "plan": plan, "inputs": args}

    def run(**args: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - by the schema
        return _read_output(graph.invoke(build_input(args)), name=name)

    async def arun(**args: Any) -> tuple[str, dict[str, Any]]:  # noqa: ANN401 - by the schema
        return _read_output(await graph.ainvoke(build_input(args)), name=name)

    return StructuredTool.from_function(
        run,
        arun,
        name=name,
        description=description or goal[:_MAX_GOAL_LENGTH] or graph.description or _DEFAULT_DESCRIPTION,
        args_schema=schema,
        infer_schema=False,
        response_format="content_and_artifact",
        handle_tool_error=True,
    )


class Subagent(TypedDict):
    """A subagent as deepagents take it: its `CompiledSubAgent`."""

    name: str
    description: str
    runnable: Runnable[Any, Any]


def planwave_subagent(
    graph: PlanwaveGraph | None = None,
    *,
    tools: ToolsOrFactory | None = None,
    model: ModelChoice = None,
    settings: Settings | None = None,
    persistence: Persistence | None = None,
    name: str | None = None,
    description: str | None = None,
) -> Subagent:
    """Return a subagent for `create_deep_agent(subagents=[...])`, or for whatever else gives tasks as `messages`.

    It runs `graph`, or a graph over `tools`; the other parameters are those of `build_graph`. The last human message
    is the goal, and the answer is the last message; of a run that failed it says why. Approvals are interrupts of the
    graph around it, which needs a checkpointer for them. Raises `UsageError` for a graph beside tools, and as
    `build_graph`.
    """
    if graph is not None and any(each is not None for each in (tools, model, settings, persistence)):
        raise UsageError("Give either a graph, or what to build one of: 'tools', 'model', 'settings', 'persistence'.")
    if graph is None:
        graph = build_graph(
            tools=tools, model=model, settings=settings, persistence=persistence, name=name or _DEFAULT_NAME
        )
    own, called = graph, name or graph.get_name()

    # A deep agent hands down its whole state, and takes over all that comes back.
    def run(state: Mapping[str, Any]) -> dict[str, Any]:
        return _read_messages(own.invoke({"messages": state["messages"]}), name=called)

    async def arun(state: Mapping[str, Any]) -> dict[str, Any]:
        return _read_messages(await own.ainvoke({"messages": state["messages"]}), name=called)

    about = description or own.description or _DEFAULT_DESCRIPTION
    return Subagent(name=called, description=about, runnable=RunnableLambda(run, arun, name=called))


def _read_messages(out: Output, *, name: str) -> dict[str, Any]:
    try:
        text, _ = _read_output(out, name=name)
    except ToolException as error:
        text = str(error)
    return {"messages": [AIMessage(text, name=name)]}


def _read_program(program: Program | Plan | Mapping[str, Any]) -> tuple[dict[str, Any], str, dict[str, Any]]:
    """Return the plan of a program, its goal, and the schema of its inputs."""
    if isinstance(program, Program):
        return program.plan, program.goal, program.inputs_schema
    if isinstance(program, Plan):
        document, goal = program.model_dump(mode="json", exclude_defaults=True), ""
    else:
        inner = program.get("plan")
        document = dict(inner) if isinstance(inner, Mapping) else {k: v for k, v in program.items() if k != "goal"}
        goal = str(program.get("goal") or "")
    return document, goal, read_program_plan(document)[1]


def _read_output(out: Output, *, name: str) -> tuple[str, dict[str, Any]]:
    """Return the answer and the output of a run. Raises `ToolException` with the reason if its goal was not reached."""
    answer = out.get("answer") or ""
    match out["status"]:
        case "completed":
            return answer, {key: value for key, value in out.items() if key not in {"__interrupt__", "messages"}}
        case "awaiting_approval":
            # Under a graph with a checkpointer the interrupt has left this call.
            raise ToolException(
                f"{name!r} must have a call approved, and nobody can be asked here: call it in a graph or an agent "
                "with a checkpointer, or build it with Settings(approve='never'). Nothing that writes was done."
            )
        case _:
            raise ToolException(answer or "; ".join(out.get("problems") or ()) or f"The run is {out['status']}.")
