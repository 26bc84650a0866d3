"""The toolbox: LangChain tools, each with the specification that the planner and the compiler use."""

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, get_type_hints

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from langchain_core.tools import BaseTool
from pydantic import BaseModel, ValidationError
from pydantic.v1 import BaseModel as BaseModelV1

from agent.core.engine.rollback import find_missing_compensation_args
from agent.core.plan.json_schema import drop_unsupported_keywords
from agent.core.plan.tool_spec import JsonSchema, Policy, Preflight, ToolSpec
from agent.errors import ToolError
from agent.json_values import find_type_without_json_form
from agent.secret_masking import RegisteredSecrets, get_registered_masks
from agent.secret_values import find_tool_secrets, replace_secret_schemas
from agent.tools.async_tools import has_coroutine, prepare_tool, raise_reported_failures
from agent.tools.exact_arguments import keep_arguments
from agent.tools.server_hints import get_trusted_metadata

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
)


class Toolbox(Mapping[str, BaseTool]):
    """Tools by name, in the order given, with a `ToolSpec` for each in `specs`."""

    def __init__(self, tools: Iterable[BaseTool] = ()) -> None:
        """Check `tools`. Raises `ToolError` for a duplicate name, a bad schema or policy, or an unknown tool in it."""
        self._tools: dict[str, BaseTool] = {}
        self.specs: dict[str, ToolSpec] = {}
        for tool in tools:
            if tool.name in self._tools:
                raise ToolError(f"Two tools are named {tool.name!r}; rename one of them.")
            self.specs[tool.name] = _build_spec(tool)
            names = self.specs[tool.name].args_schema["properties"]
            exact = keep_arguments(tool, names)
            self._tools[tool.name] = prepare_tool(exact) if has_coroutine(exact) else raise_reported_failures(exact)
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


def _get_preflight(tool: BaseTool) -> Callable[..., Any] | None:
    check = getattr(tool, "preflight", None) or (tool.metadata or {}).get("preflight")
    return check if callable(check) else None


def _build_spec(tool: BaseTool) -> ToolSpec:
    metadata = get_trusted_metadata(tool)
    args_schema, takes_key = _build_args_schema(tool)
    output_schema = metadata.get("output_schema")
    _check_schema(tool.name, "output_schema", output_schema)
    _check_return_type(tool)
    hints = {ours: metadata[theirs] for theirs, ours in _HINT_FIELDS.items() if metadata.get(theirs) is not None}
    limits = {name: metadata[name] for name in _POLICY_FIELDS if metadata.get(name) is not None}
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
        output_schema=output_schema,
        policy=policy,
    )


def _find_provider_problem(args_schema: JsonSchema, policy: Policy) -> str | None:
    if not policy.read_only:
        return "and writes. Set 'readOnlyHint': True if it only reads, or remove 'context_provider'."
    needed = args_schema.get("required")
    if needed:
        return f"and needs {', '.join(map(repr, needed))}. Give it a default, or remove 'context_provider'."
    return None


def _infer_hints(hints: Mapping[str, Any]) -> dict[str, Any]:
    """Return the hints that a read-only tool has unless it says otherwise: not destructive, idempotent."""
    return {"destructive": False, "idempotent": True} if hints.get("read_only") is True else {}


def _build_args_schema(tool: BaseTool) -> tuple[JsonSchema, bool]:
    """Return the JSON Schema of the arguments that a planner sees, and whether the tool takes an idempotency key."""
    declared = tool.tool_call_schema
    # A copy, because LangChain returns a schema that it keeps.
    schema: JsonSchema = dict(declared if isinstance(declared, dict) else _get_model_schema(declared))
    _check_schema(tool.name, "args_schema", schema)
    schema.setdefault("type", "object")
    properties = schema.setdefault("properties", {})
    takes_key = IDEMPOTENCY_KEY in properties
    if takes_key:
        schema["properties"] = {name: inner for name, inner in properties.items() if name != IDEMPOTENCY_KEY}
        schema["required"] = [name for name in schema.get("required", []) if name != IDEMPOTENCY_KEY]
    return replace_secret_schemas(schema), takes_key


def _get_model_schema(model: type[BaseModel] | type[BaseModelV1]) -> JsonSchema:
    return model.model_json_schema() if issubclass(model, BaseModel) else model.schema()


def _check_return_type(tool: BaseTool) -> None:
    """Raise `ToolError` if the tool returns what cannot be stored, which a call would show when it has been made."""
    function = getattr(tool, "coroutine", None) or getattr(tool, "func", None) or tool._run  # noqa: SLF001 - what a tool overrides
    try:
        annotation = get_type_hints(function).get("return")
    except Exception:  # noqa: BLE001 - an annotation may name what is not there at run time
        return
    kind = find_type_without_json_form(annotation)
    if kind is not None:
        raise ToolError(
            f"Tool {tool.name!r} returns {kind}, which has no JSON form and cannot be stored; return texts, numbers, "
            "lists, objects, models or dataclasses instead."
        )


def _check_schema(name: str, role: str, schema: object) -> None:
    if schema is None:
        return
    if not isinstance(schema, dict):
        raise ToolError(f"Tool {name!r}: {role} is {type(schema).__name__}; give a JSON Schema object.")
    try:
        Draft202012Validator.check_schema(drop_unsupported_keywords(schema))
    except SchemaError as error:
        raise ToolError(f"Tool {name!r}: {role} is not a JSON Schema: {error.message}.") from error
