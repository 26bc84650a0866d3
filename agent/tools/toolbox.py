"""The toolbox: LangChain tools, each with the specification that the planner and the compiler use."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeAlias

from langchain_core.tools import BaseTool, StructuredTool
from pydantic import ValidationError

from agent.core.engine.rollback import find_missing_compensation_args
from agent.core.plan.tool_spec import JsonSchema, Policy, Preflight, ToolSpec
from agent.errors import ToolError
from agent.logging_context import get_logger
from agent.secret_masking import RegisteredSecrets, get_registered_masks
from agent.secret_values import find_tool_secrets, replace_secret_schemas
from agent.tools.async_tools import find_coroutine, has_coroutine, prepare_tool, raise_reported_failures
from agent.tools.exact_arguments import keep_arguments
from agent.tools.function_signatures import adapt_signature
from agent.tools.injected_arguments import (
    Injection,
    RunOffer,
    check_injections,
    fill_injected,
    find_injections,
)
from agent.tools.server_hints import get_trusted_metadata
from agent.tools.tool_schemas import ToolSchemas, build_schemas

_logger = get_logger(__name__)

#: A LangChain tool, or a function with a docstring, which becomes one.
ToolLike: TypeAlias = BaseTool | Callable[..., Any]

#: A tool that declares this parameter gets an idempotency key, with which its receiver can recognise a repeated call.
IDEMPOTENCY_KEY = "idempotency_key"
_HINT_FIELDS = {
    "readOnlyHint": "read_only",
    "destructiveHint": "destructive",
    "idempotentHint": "idempotent",
    "openWorldHint": "open_world",
}
_POLICY_FIELDS = (
    "timeout_s",
    "max_retries",
    "max_concurrency",
    "rate_per_s",
    "cache_ttl_s",
    "verify",
    "compensate",
    "context_provider",
    "dispatched_only",
    "pool",
    "worker_only",
)


class Toolbox(Mapping[str, BaseTool]):
    """Tools by name, in the order given, with a `ToolSpec` for each in `specs`."""

    def __init__(self, tools: Iterable[ToolLike] = (), *, offer: RunOffer | None = None) -> None:
        """Check `tools`; `offer` is what runs can fill in for injected arguments, None: that is not known yet.

        Raises `ToolError` for what is no tool, a duplicate name, a bad schema or policy, an unknown tool in it, and an
        argument that nothing fills in.
        """
        self._tools: dict[str, BaseTool] = {}
        self.specs: dict[str, ToolSpec] = {}
        #: What of the schemas of the tools cannot be checked, one sentence each.
        self.notes: list[str] = []
        given = as_tools(tools)
        for tool in map(adapt_signature, map(find_coroutine, (*given, *_list_worker_tools(given)))):
            if tool.name in self._tools:
                raise ToolError(f"Two tools are named {tool.name!r}; rename one of them.")
            metadata, injections = get_trusted_metadata(tool), find_injections(tool)
            check_injections(tool, injections, offer)
            schemas = build_schemas(tool, metadata.get("output_schema"))
            self.notes += schemas.notes
            self.specs[tool.name] = _build_spec(tool, metadata, schemas, injections)
            exact = keep_arguments(tool, schemas.parameters, injected=injections)
            filled = fill_injected(exact, injections)
            self._tools[tool.name] = prepare_tool(filled) if has_coroutine(filled) else raise_reported_failures(filled)
        for note in self.notes:
            _logger.warning(note)
        #: Kept here, so that they are masked for as long as the tools are in use.
        self._secrets = RegisteredSecrets(text for tool in self._tools.values() for text in find_tool_secrets(tool))
        for spec in self.specs.values():
            for role, related in (("verify", spec.policy.verify), ("compensate", spec.policy.compensate)):
                if related is not None and related not in self._tools:
                    raise ToolError(f"Tool {spec.name!r} names {related!r} to {role} it, but there is no such tool.")
            if (verifier := spec.policy.verify) is not None and not self.specs[verifier].policy.read_only:
                raise ToolError(
                    f"Tool {spec.name!r} names {verifier!r} to verify it, which is called without approval and writes. "
                    f"Set 'readOnlyHint': True if {verifier!r} only reads, or name another tool."
                )
            if (undo := spec.policy.compensate) is not None and (
                missing := find_missing_compensation_args(self.specs[undo], spec)
            ):
                raise ToolError(
                    f"Tool {spec.name!r} names {undo!r} to compensate it, which needs {', '.join(map(repr, missing))}; "
                    f"neither an argument nor the output of {spec.name!r} has that name."
                )

    def __getitem__(self, name: str) -> BaseTool:
        return self._tools[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._tools)

    def __len__(self) -> int:
        return len(self._tools)

    def has_preflight(self, name: str) -> bool:
        """Whether the tool can check arguments without side effects."""
        return _get_preflight(self._tools[name]) is not None

    def preflight(
        self, name: str, args: Mapping[str, Any], *, left_open: Mapping[str, JsonSchema], goal: str | None = None
    ) -> Preflight:
        """Let the tool check `args`; `Preflight` describes the protocol. Blocking: call it in a thread.

        `goal` is what a model wrote the arguments for; None: a caller wrote them. An exception in the preflight becomes
        a problem.
        """
        check = _get_preflight(self._tools[name])
        if check is None:
            return Preflight()
        offered = {"open": dict(left_open), "goal": goal}
        extra = {key: value for key, value in offered.items() if key in inspect.signature(check).parameters}
        try:
            result = check(dict(args), **extra)
        except Exception as error:  # noqa: BLE001 - a tool's own code; no exception of it may end the compiler
            result = f"The preflight of {name!r} failed: {type(error).__name__}: {error}."
        if not isinstance(result, Preflight):
            result = Preflight(problems=(result,) if isinstance(result, str) else tuple(map(str, result or ())))
        masks = get_registered_masks(find_tool_secrets(self._tools[name]))
        sentences = {"problems": result.problems, "notes": result.notes, "warnings": result.warnings}
        return result.model_copy(update={key: tuple(map(masks.redact, told)) for key, told in sentences.items()})


def _list_worker_tools(tools: Iterable[BaseTool]) -> Iterator[BaseTool]:
    """Yield what tools bring along for a rollback, each once; one that the toolbox has already is not needed."""
    seen = [(tool.name, getattr(tool, "func", None) or getattr(tool, "coroutine", None) or tool) for tool in tools]
    for tool in tools:
        for inner in getattr(tool, "worker_tools", ()):
            known = (inner.name, getattr(inner, "func", None) or getattr(inner, "coroutine", None) or inner)
            if known not in seen:
                seen.append(known)
                yield inner


def _get_preflight(tool: BaseTool) -> Callable[..., Any] | None:
    check = getattr(tool, "preflight", None) or (tool.metadata or {}).get("preflight")
    return check if callable(check) else None


def as_tools(given: Iterable[ToolLike]) -> list[BaseTool]:
    """Return tools and functions as LangChain tools. Raises `ToolError` for what is none and cannot become one."""
    tools: object = given
    if isinstance(tools, BaseTool):
        raise ToolError(f"The tools are a single one, {tools.name!r}; give a list of tools.")
    if isinstance(tools, str | bytes | Mapping) or not isinstance(tools, Iterable):
        raise ToolError(f"The tools are {tools!r:.100}; give a list of LangChain tools or functions.")
    return [tool if isinstance(tool, BaseTool) else _convert_function(tool) for tool in tools]


def _convert_function(function: object) -> BaseTool:
    """Return a function as a tool. Raises `ToolError`."""
    if inspect.isclass(function) and issubclass(function, BaseTool):
        raise ToolError(f"{function.__name__} is a class of tools; give an instance of it.")
    name = getattr(function, "__name__", "")
    if not (inspect.isfunction(function) or inspect.ismethod(function)):
        raise ToolError(f"{function!r:.100} is no tool; give a LangChain tool, or a function with a docstring.")
    if not name.isidentifier() or not inspect.getdoc(function):
        raise ToolError(
            f"The function {name!r} needs a name and a docstring, by which a planner chooses it; add them, or make a "
            "tool of it with `langchain_core.tools.tool`."
        )
    call: dict[str, Any] = {"coroutine" if inspect.iscoroutinefunction(function) else "func": function}
    try:
        return StructuredTool.from_function(**call, parse_docstring=True, error_on_invalid_docstring=False)
    except Exception as error:
        # Whatever LangChain, pydantic or an annotation raises.
        raise ToolError(f"The function {name!r} cannot become a tool: {error}") from error


def _build_spec(
    tool: BaseTool, metadata: Mapping[str, Any], schemas: ToolSchemas, injections: Mapping[str, Injection]
) -> ToolSpec:
    args_schema, takes_key = _hide_key(schemas.args)
    hints = {ours: metadata[theirs] for theirs, ours in _HINT_FIELDS.items() if metadata.get(theirs) is not None}
    limits = {name: metadata[name] for name in _POLICY_FIELDS if metadata.get(name) is not None}
    if any(each.source in {"state", "store", "runtime"} and each.is_required for each in injections.values()):
        limits["dispatched_only"] = True
    try:
        policy = Policy(**{**_infer_hints(hints), **hints, **limits}, takes_idempotency_key=takes_key)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        raise ToolError(f"Tool {tool.name!r}: metadata {first['loc'][0]!r} is wrong: {first['msg']}.") from error
    if policy.cache_ttl_s is not None and not policy.read_only:
        raise ToolError(
            f"Tool {tool.name!r} writes and has a 'cache_ttl_s'; only results of reading tools are cached. "
            "Remove it, or set 'readOnlyHint': True."
        )
    if policy.context_provider and (why := _find_provider_problem(args_schema, policy)) is not None:
        raise ToolError(
            f"Tool {tool.name!r} is a 'context_provider', which is called automatically before planning, {why}"
        )
    return ToolSpec(
        name=tool.name,
        description=tool.description,
        args_schema=args_schema,
        output_schema=schemas.output,
        infers_output=metadata.get("output_schema") is None,
        policy=policy,
    )


def _find_provider_problem(args_schema: JsonSchema, policy: Policy) -> str | None:
    if not policy.read_only:
        return "and writes. Set 'readOnlyHint': True if it only reads, or remove 'context_provider'."
    if policy.dispatched_only:
        return "and takes what only a run has. Give these arguments a default, or remove 'context_provider'."
    needed = args_schema.get("required")
    if needed:
        return f"and needs {', '.join(map(repr, needed))}. Give it a default, or remove 'context_provider'."
    return None


def _infer_hints(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hints that a read-only tool has unless it says otherwise: not destructive, idempotent."""
    return {"destructive": False, "idempotent": True} if hints.get("read_only") is True else {}


def _hide_key(schema: JsonSchema) -> tuple[JsonSchema, bool]:
    """Return the schema of the arguments that a planner sees, and whether the tool takes an idempotency key."""
    properties = schema["properties"]
    takes_key = IDEMPOTENCY_KEY in properties
    if takes_key:
        shown = {name: inner for name, inner in properties.items() if name != IDEMPOTENCY_KEY}
        required = [name for name in schema.get("required", []) if name != IDEMPOTENCY_KEY]
        schema = {**schema, "properties": shown, "required": required}
    return replace_secret_schemas(schema), takes_key
