"""Planwave as an MCP server: plan, validate, run, answer, show, and each program of the library as a tool."""

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, StateSnapshot
from mcp import types
from mcp.server.lowlevel import Server
from pydantic import JsonValue

from agent.core.compiler.argument_check import did_you_mean, find_value_errors
from agent.core.plan.dependencies import waves
from agent.core.plan.tool_spec import JsonSchema
from agent.errors import PlanwaveError, UsageError
from agent.planning.planner import PlanningFailure, PlanningResult
from agent.planning.tool_prompts import describe_tools
from agent.programs.program import Program
from agent.tools.plan_check import CheckedPlan, check_plan
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence
from graphs.thread_status import collect_results, is_unfinished

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

#: Characters of a result in the record of a run; `show` with a task gives it whole.
_MAX_OUTPUT_LENGTH: Final = 4_000
#: Characters of the tools' description in the instructions of the server.
_MAX_TOOLS_LENGTH: Final = 12_000
_INSTRUCTIONS: Final = """\
Planwave plans a goal as a graph of tool calls, checks the plan, runs what can run together, and asks before it writes.
`run` takes a goal, or a goal with a plan. Where its status is `awaiting_approval`, calls wait for a person: show the
user each of `requests`, and give what they decide to `answer`, by the digest of the request. Never decide it yourself.
A plan is {"tasks": [{"id", "tool", "args", "depends_on"}]}; anywhere in `args`, {"output_of": ID, "path": [...]} stands
for a part of an earlier output. `validate` names every problem of a plan. The tools that a plan can use:

"""


@dataclass(frozen=True, slots=True)
class McpService:
    """What the tools of the server work with."""

    graph: PlanwaveGraph
    persistence: Persistence
    #: Makes a plan and runs nothing; raises as the planner does.
    make_plan: Callable[[str], Awaitable[PlanningResult | PlanningFailure]]
    #: Returns the config of a thread, with what `planwave resume` needs to know of it.
    make_config: Callable[[str], RunnableConfig]

    async def list_programs(self) -> dict[str, Program]:
        """Return the programs of the library by the names of their tools."""
        programs = await self.graph.library.list_programs() if self.graph.library is not None else []
        return {f"program_{each.name}" if each.name in _TOOLS else each.name: each for each in programs}

    async def list_tools(self) -> list[types.Tool]:
        """Return the tools of the server as they are now; a program that is added meanwhile is among them."""
        programs = await self.list_programs()
        return [*_TOOLS.values(), *(_describe_program(name, program) for name, program in programs.items())]

    async def call_tool(self, name: str, args: dict[str, Any]) -> types.CallToolResult:
        """Call a tool of the server; what cannot be done is an error in a sentence."""
        try:
            record = await self._call(name, args)
        except PlanwaveError as error:
            return types.CallToolResult(content=[types.TextContent(type="text", text=str(error))], isError=True)
        text = json.dumps(record, ensure_ascii=False, indent=1)
        return types.CallToolResult(content=[types.TextContent(type="text", text=text)], structuredContent=record)

    async def _call(self, name: str, args: dict[str, Any]) -> dict[str, Any]:
        program = None if name in _TOOLS else (await self.list_programs()).get(name)
        if name not in _TOOLS and program is None:
            known = [tool.name for tool in await self.list_tools()]
            hint = did_you_mean(name, known) or f"There are {', '.join(known)}."
            raise UsageError(f"There is no tool {name!r}. {hint}")
        schema = program.inputs_schema if program is not None else _TOOLS[name].inputSchema
        if errors := find_value_errors(schema, args):
            raise UsageError(f"The arguments of {name!r} do not fit: {'; '.join(errors[:5])}.")
        if program is not None:
            return await self._run(program.goal or program.name, plan=program.plan, inputs=args)
        match name:
            case "plan":
                return await self._plan(**args)
            case "validate":
                return await self._validate(**args)
            case "run":
                return await self._run(**args)
            case "answer":
                return await self._answer(**args)
            case _:
                return await self._show(**args)

    async def _plan(self, goal: str) -> dict[str, Any]:
        result = await self.make_plan(goal)
        if isinstance(result, PlanningFailure):
            raise UsageError(f"No plan was made. {' '.join(map(str, result.problems))}")
        warnings = list(dict.fromkeys(sentence for said in result.warnings.values() for sentence in said))
        return {"plan": result.plan, "waves": list(map(list, waves(result.compiled.needs))), "warnings": warnings}

    async def _validate(self, plan: dict[str, Any], inputs: dict[str, Any] | None = None) -> dict[str, Any]:
        toolbox = await self.graph.toolbox()
        document = {**plan, "input_values": inputs} if inputs is not None else plan
        limits = self.graph.limits(None, True)
        checked = await check_plan(document, toolbox, limits=limits, needs_values=inputs is not None)
        if not isinstance(checked, CheckedPlan):
            return {"valid": False, "problems": list(map(str, checked)), "warnings": []}
        warnings = [f"{task}: {sentence}" for task, said in checked.list_warnings().items() for sentence in said]
        return {"valid": True, "problems": [], "warnings": warnings}

    async def _run(
        self,
        goal: str,
        plan: dict[str, Any] | None = None,
        inputs: dict[str, Any] | None = None,
        thread: str | None = None,
    ) -> dict[str, Any]:
        name = thread or f"mcp-{secrets.token_hex(4)}"
        config = self.make_config(name)
        if thread is not None and is_unfinished(await self.graph.aget_state(config)):
            raise UsageError(f"The thread {name!r} is not finished; look at it with 'show', or leave 'thread' out.")
        await self.graph.ainvoke({"goal": goal, "plan": plan, "inputs": inputs or {}}, config)
        return await self._show(name)

    async def _answer(self, thread: str, decisions: list[dict[str, Any]]) -> dict[str, Any]:
        state = await self._load(thread)
        if not state.interrupts:
            raise UsageError(f"The thread {thread!r} waits for no answer; 'show' says how it stands.")
        requests = {
            request["digest"]: (waiting.id, request)
            for waiting in state.interrupts
            for request in waiting.value.get("action_requests", ())
            if request.get("digest")
        }
        answers: dict[str, dict[str, list[dict[str, Any]]]] = {}
        for decision in decisions:
            if decision["digest"] not in requests:
                waiting_for = ", ".join(requests) or "none that has a digest"
                raise UsageError(f"No request has the digest {decision['digest']!r}; those that wait: {waiting_for}.")
            place, request = requests[decision["digest"]]
            answers.setdefault(place, {"decisions": []})["decisions"].append(_build_decision(decision, request))
        await self.graph.ainvoke(Command(resume=answers), self.make_config(thread))
        return await self._show(thread)

    async def _show(self, thread: str, task: str | None = None) -> dict[str, Any]:
        state = await self._load(thread)
        results = collect_results(state)
        if task is not None:
            if task not in results:
                raise UsageError(
                    f"The thread {thread!r} has no result of a task {task!r}; it has {', '.join(results)}."
                )
            return {
                "thread": thread,
                "task": task,
                **(await self.graph.aload_outputs({task: results[task]}, self.make_config(thread)))[task],
            }
        values = state.values
        return {
            "thread": thread,
            "status": await self._get_status(state, thread),
            "goal": values.get("goal") or "",
            "answer": values.get("answer") or "",
            "requests": [_show_request(each) for waiting in state.interrupts for each in _list_requests(waiting.value)],
            "results": {name: _shorten_record(record) for name, record in results.items()},
            "problems": list(values.get("problems") or ()),
            "warnings": list(values.get("warnings") or ()),
        }

    async def _load(self, thread: str) -> StateSnapshot:
        state = await self.graph.aget_state(self.make_config(thread))
        if state.created_at is None:
            known = await self.persistence.threads()
            raise UsageError(f"There is no thread {thread!r}. {did_you_mean(thread, known)}".rstrip())
        return state

    async def _get_status(self, state: StateSnapshot, thread: str) -> str:
        if await self.persistence.is_busy(thread):
            return "running"
        if state.interrupts:
            return "awaiting_approval"
        return "interrupted" if is_unfinished(state) else str(state.values.get("status") or "failed")


def _build_decision(decision: Mapping[str, Any], request: Mapping[str, Any]) -> dict[str, Any]:
    """Return a decision as LangChain's schema has it."""
    kind = decision["decision"]
    built: dict[str, Any] = {"type": kind, "digest": decision["digest"]}
    if kind == "edit":
        if "args" not in decision:
            raise UsageError("The decision 'edit' needs 'args', all arguments of the call as it is to be made.")
        built["edited_action"] = {"name": request["name"], "args": decision["args"]}
    if "message" in decision:
        built["message"] = decision["message"]
    return built


def _list_requests(payload: Mapping[str, Any]) -> list[dict[str, Any]]:
    error = {"error": payload["error"]} if payload.get("error") else {}
    allowed = [config.get("allowed_decisions") for config in payload.get("review_configs", ())]
    requests = payload.get("action_requests", ())
    return [
        {**each, **error, "decisions": allowed[at] if at < len(allowed) else None} for at, each in enumerate(requests)
    ]


def _show_request(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a person must see of a request, and the digest by which it is answered."""
    keys = ("digest", "name", "args", "description", "task_id", "doubt", "decisions", "error")
    return {("tool" if key == "name" else key): request[key] for key in keys if request.get(key) is not None}


def _shorten_record(record: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    shown = {key: record[key] for key in ("status", "error", "warnings") if record.get(key)}
    if isinstance(artifact := record.get("artifact"), dict):
        return {**shown, "preview": artifact["preview"]}
    if record.get("output") is None:
        return shown
    text = json.dumps(record["output"], ensure_ascii=False)
    if len(text) > _MAX_OUTPUT_LENGTH:
        return {**shown, "preview": f"{text[:_MAX_OUTPUT_LENGTH]}..."}
    return {**shown, "output": record["output"]}


def _make_schema(required: Sequence[str], **properties: JsonSchema) -> JsonSchema:
    return {"type": "object", "properties": properties, "required": [*required], "additionalProperties": False}


_GOAL: Final = {"type": "string", "minLength": 1, "description": "What is to be found out or done, in sentences."}
_PLAN: Final = {"type": "object", "description": "A plan document, as `plan` returns it."}
_INPUTS: Final = {"type": "object", "description": "Values for the inputs that the plan declares, by name."}
_THREAD: Final = {"type": "string", "minLength": 1, "description": "The name of a run, as `run` returns it."}
_DECISION: Final = _make_schema(
    ("digest", "decision"),
    digest={"type": "string", "description": "Of the request that is decided."},
    decision={"enum": ["approve", "edit", "reject", "respond"]},
    args={"type": "object", "description": "Of `edit`: all arguments of the call."},
    message={"type": "string", "description": "Of `reject`: why. Of `respond`: the result, given by hand."},
)
_READS: Final = types.ToolAnnotations(readOnlyHint=True, openWorldHint=False)
_WRITES: Final = types.ToolAnnotations(readOnlyHint=False, destructiveHint=True)
#: A run asks before it writes; what then is written is the work of `answer`.
_ASKS: Final = types.ToolAnnotations(readOnlyHint=False, destructiveHint=False)


def _build_tool(name: str, about: str, schema: JsonSchema, hints: types.ToolAnnotations) -> types.Tool:
    return types.Tool(name=name, description=about, inputSchema=schema, annotations=hints)


_TOOLS: Final = {
    tool.name: tool
    for tool in (
        _build_tool(
            "plan", "Plan a goal and run nothing; returns the plan.", _make_schema(("goal",), goal=_GOAL), _READS
        ),
        _build_tool(
            "validate",
            "Compile a plan against the tools and name every problem; nothing runs.",
            _make_schema(("plan",), plan=_PLAN, inputs=_INPUTS),
            _READS,
        ),
        _build_tool(
            "run",
            "Plan a goal, or take a given plan, and carry it out. Returns the thread, the status and the answer; if "
            "calls must be approved first, the status is `awaiting_approval` and they are in `requests`.",
            _make_schema(
                ("goal",),
                goal=_GOAL,
                plan=_PLAN,
                inputs=_INPUTS,
                thread={**_THREAD, "description": "Default: a new one."},
            ),
            _ASKS,
        ),
        _build_tool(
            "answer",
            "Give what a person has decided about requests of a thread that waits, and go on with the run.",
            _make_schema(
                ("thread", "decisions"), thread=_THREAD, decisions={"type": "array", "items": _DECISION, "minItems": 1}
            ),
            _WRITES,
        ),
        _build_tool(
            "show",
            "Show a run: status, answer, requests, results; with a task, its whole result.",
            _make_schema(("thread",), thread=_THREAD, task={"type": "string"}),
            _READS,
        ),
    )
}


def _describe_program(name: str, program: Program) -> types.Tool:
    about = f"{program.goal_template or program.goal or program.name} (a program, {program.label}; returns as `run`)"
    return _build_tool(name, about, program.inputs_schema, _ASKS)


async def build_mcp_server(service: McpService) -> "Server[object, Any]":
    """Return the server over a service; `serve_stdio` and `serve_http` run it."""
    tools = describe_tools((await service.graph.toolbox()).specs.values())
    more = len(tools) - _MAX_TOOLS_LENGTH
    shown = tools if more <= 0 else f"{tools[:_MAX_TOOLS_LENGTH]}... ({more:,} more characters)"
    server: Server[object, Any] = Server("planwave", version=version("planwave"), instructions=_INSTRUCTIONS + shown)
    server.list_tools()(service.list_tools)  # type: ignore[no-untyped-call]  # of the package

    # Arguments are checked here, so that what does not fit is told as everywhere else.
    server.call_tool(validate_input=False)(service.call_tool)
    return server


async def serve_stdio(server: "Server[object, Any]") -> None:
    """Serve one client over standard input and output until it goes."""
    from mcp.server.stdio import stdio_server  # noqa: PLC0415 - only for this transport

    async with stdio_server() as (received, sent):
        await server.run(received, sent, server.create_initialization_options())


async def serve_http(server: "Server[object, Any]", *, port: int) -> None:
    """Serve any number of clients at `http://127.0.0.1:PORT/mcp`, for this machine only, until it is stopped."""
    import uvicorn  # noqa: PLC0415 - only for this transport
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager  # noqa: PLC0415 - as above
    from mcp.server.transport_security import TransportSecuritySettings  # noqa: PLC0415 - as above
    from starlette.applications import Starlette  # noqa: PLC0415 - as above
    from starlette.routing import Mount  # noqa: PLC0415 - as above

    hosts = [f"127.0.0.1:{port}", f"localhost:{port}"]
    # A page in a browser of this machine must not reach it.
    security = TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=[f"http://{host}" for host in hosts])
    sessions = StreamableHTTPSessionManager(server, security_settings=security)

    async def handle(scope: "Scope", receive: "Receive", send: "Send") -> None:
        await sessions.handle_request(scope, receive, send)

    @asynccontextmanager
    async def hold_sessions(_app: Starlette) -> AsyncIterator[None]:
        async with sessions.run():
            yield

    app = Starlette(routes=[Mount("/mcp", app=handle)], lifespan=hold_sessions)
    await uvicorn.Server(uvicorn.Config(app, host="127.0.0.1", port=port, log_level="warning")).serve()
