"""Secrets: named in a plan, injected at the call, redacted in its outputs and errors.

An argument, or a part of one, is secret if its schema says `writeOnly` and `format: password`, as the schema of a
pydantic `SecretStr` does. A plan gives `secret:NAME` for it, and PLANWAVE_SECRET_NAME in the environment has the value,
so that plans, approvals, checkpoints and traces have the name only. The `SecretStr` values that a tool is configured
with are secret too. All of them are redacted in what comes from any tool (`agent.secret_masking`).
"""

import asyncio
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import wraps
from typing import Any

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool
from pydantic import BaseModel, SecretBytes, SecretStr, ValidationError

from agent.core.plan.problems import format_path
from agent.core.plan.references import JsonPath
from agent.core.plan.secret_fields import (
    SECRET_REFERENCE,
    find_secret_values,
    map_secret_schemas,
    parse_secret_name,
)
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.errors import ToolFailure, UsageError
from agent.json_values import JsonConversionError, to_json_value
from agent.secret_masking import SECRET_VARIABLE_PREFIX, Masks, get_registered_masks, is_common

_MAX_DEPTH = 8


def replace_secret_schemas(schema: JsonSchema) -> JsonSchema:
    """Return the schema of a tool's arguments as a planner sees it: secret arguments take the name of a secret."""
    return map_secret_schemas(schema, _to_reference_schema)


def inject_secrets(
    args: Mapping[str, Any],
    spec: ToolSpec,
    *,
    named: Mapping[JsonPath, str],
    environ: Mapping[str, str] = os.environ,
) -> dict[str, Any]:
    """Return `args` with the value of each secret that they name and that the plan itself names: `named`, by place.

    Raises `ToolFailure` for a name that came from data, and for a secret that is not set.
    """
    injected: Any = dict(args)
    for path, value in find_secret_values(spec.args_schema, args):
        name = parse_secret_name(value)
        if name is None:
            continue
        if named.get(path) != name:
            raise ToolFailure(
                f"The secret argument {format_path(path)!r} of {spec.name!r} does not stand in the plan by name; "
                "a name that comes from data is not used."
            )
        variable = f"{SECRET_VARIABLE_PREFIX}{name}"
        if variable not in environ:
            raise ToolFailure(f"The secret {name!r} of {spec.name!r} is not set; set {variable} in the environment.")
        if is_common(environ[variable]):
            raise ToolFailure(
                f"The secret {name!r} of {spec.name!r} is too short or too common to be masked without mangling other "
                f"text, so it is not used; set {variable} to a longer one."
            )
        injected = _replace_at_path(injected, path, SecretStr(environ[variable]))
    return dict(injected)


def _replace_at_path(value: Any, path: JsonPath, new: object) -> Any:  # noqa: ANN401 - arguments, with secrets injected
    if not path:
        return new
    step, rest = path[0], path[1:]
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copy[step] = _replace_at_path(copy[step], rest, new)
    return copy


def has_secret_arguments(args: Mapping[str, Any], spec: ToolSpec) -> bool:
    """Whether a call gives a secret argument."""
    return any(value is not None for _, value in find_secret_values(spec.args_schema, args))


def find_tool_secrets(tool: BaseTool) -> set[str]:
    """Return the `SecretStr` values that a tool is configured with."""
    holders = (vars(tool), tool.__pydantic_private__ or {})
    return {text for value in holders for text in _find_secret_texts(value)}


def redacting_tool(tool: BaseTool, args: Mapping[str, Any]) -> BaseTool:
    """Return `tool` so that its outputs and errors contain no secret: of its own, of `args`, or of any other tool.

    They are redacted inside the call, before a tracer sees them, and so are the errors of LangChain's own check of the
    arguments. Where there are no secrets the tool is returned unchanged.
    """
    given = set(_find_secret_texts(dict(args)))
    masks = get_registered_masks(find_tool_secrets(tool) | given)
    if not masks:
        return tool
    copy, plain = tool.model_copy(), isinstance(tool.args_schema, dict)
    # Set past pydantic's fields: LangChain looks them up by name and inspects the signatures of the first two.
    object.__setattr__(copy, "_run", _redact_call(tool._run, masks, plain=plain))  # noqa: SLF001 - what a tool overrides
    object.__setattr__(copy, "_arun", _redact_async_call(tool._arun, masks, plain=plain))  # noqa: SLF001 - as above
    object.__setattr__(copy, "_parse_input", _redact_check(tool._parse_input, masks, hides_input=bool(given)))  # noqa: SLF001 - what LangChain calls first
    return copy


#: Variables whose values are secrets too, though no plan names them.
_KEY_VARIABLE = re.compile("PLANWAVE_AES_KEY|.*_API_KEY")


def redact_known_secrets(text: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return `text` without the registered secrets and the keys in the environment: for logs."""
    return get_known_masks(environ=environ).redact(text)


def get_known_masks(*, environ: Mapping[str, str] = os.environ) -> Masks:
    """Return the masks of the registered secrets and of the keys in the environment."""
    keys = {value for name, value in environ.items() if _KEY_VARIABLE.fullmatch(name) and not is_common(value)}
    return get_registered_masks(keys)


def reject_cleartext_secrets(plan: object, specs: Mapping[str, ToolSpec]) -> None:
    """Raise `UsageError` if a plan that is about to be stored gives a secret argument in any way but by name."""
    tasks = plan.get("tasks") if isinstance(plan, Mapping) else None
    for task in tasks if isinstance(tasks, list | tuple) else ():
        if isinstance(task, Mapping):
            reject_cleartext_call(task.get("tool"), task.get("args"), specs, where=f"Task {str(task.get('id'))!r}")
            undo = task.get("rollback")
            if isinstance(undo, Mapping):
                where = f"The rollback of {str(task.get('id'))!r}"
                reject_cleartext_call(undo.get("tool"), undo.get("args"), specs, where=where)


def reject_cleartext_call(tool: object, args: object, specs: Mapping[str, ToolSpec], *, where: str) -> None:
    """Raise `UsageError` if a call gives a secret argument in any way but by name; the message omits the value."""
    spec = specs.get(tool) if isinstance(tool, str) else None
    if spec is None or not isinstance(args, Mapping):
        return
    for path, value in find_secret_values(spec.args_schema, args):
        if value is not None and parse_secret_name(value) is None:
            name = next((step for step in reversed(path) if isinstance(step, str)), "")
            variable = re.sub(r"\W", "_", name).upper()
            raise UsageError(
                f"{where} gives the secret argument {format_path(path)!r} of {tool!r} as a value, which would be "
                f"stored; nothing was stored. Name it, as in 'secret:{variable}', "
                f"and set {SECRET_VARIABLE_PREFIX}{variable} in the environment."
            )


def _to_reference_schema(schema: JsonSchema) -> JsonSchema:
    description = f"{schema.get('description', '')} A secret: give `secret:NAME`, its name, never the value.".strip()
    rest = {key: value for key, value in schema.items() if key not in {"minLength", "maxLength"}}
    return {**rest, "pattern": f"^{SECRET_REFERENCE.pattern}$", "description": description}


def _find_secret_texts(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the secrets in the fields of a tool, or in arguments."""
    if isinstance(value, SecretStr):
        yield value.get_secret_value()
    elif isinstance(value, SecretBytes):
        yield value.get_secret_value().decode(errors="replace")
    elif depth < _MAX_DEPTH:
        inner: Iterable[object] = ()
        if isinstance(value, Mapping):
            inner = value.values()
        elif isinstance(value, list | tuple | set | frozenset):
            inner = value
        elif isinstance(value, BaseModel):
            inner = vars(value).values()
        for each in inner:
            yield from _find_secret_texts(each, depth + 1)


def _redact_call(call: Callable[..., Any], masks: Masks, *, plain: bool) -> Callable[..., Any]:
    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - whatever the tool takes
        try:
            return redact_value(call(*args, **(_unwrap_secrets(kwargs) if plain else kwargs)), masks)
        except (KeyboardInterrupt, GeneratorExit):
            raise
        except BaseException as error:  # noqa: BLE001 - a tool's own code; what it raises is passed on, redacted
            failure = error
        # Not in the handler, where Python would keep the error as it was beside the redacted one.
        raise _redact_error(failure, masks)

    return run


def _redact_async_call(call: Callable[..., Any], masks: Masks, *, plain: bool) -> Callable[..., Any]:
    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - whatever the tool takes
        try:
            return redact_value(await call(*args, **(_unwrap_secrets(kwargs) if plain else kwargs)), masks)
        except (KeyboardInterrupt, GeneratorExit, asyncio.CancelledError):
            raise
        except BaseException as error:  # noqa: BLE001 - a tool's own code; what it raises is passed on, redacted
            failure = error
        raise _redact_error(failure, masks)

    return run


def _redact_check(check: Callable[..., Any], masks: Masks, *, hides_input: bool) -> Callable[..., Any]:
    """Return LangChain's check of the arguments; its errors show no input if `hides_input`: pydantic shows it cut."""

    @wraps(check)
    def run(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - LangChain's own
        try:
            return check(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - a validator is a tool's own code
            failure: Exception = error
        if hides_input and isinstance(failure, ValidationError):
            told = [
                f"{format_path(tuple(each['loc']))}: {each['msg']}"
                for each in failure.errors(include_url=False, include_input=False, include_context=False)
            ]
            failure = ToolFailure(f"The arguments do not fit: {'; '.join(told)}.")
        raise _redact_error(failure, masks)

    return run


def _unwrap_secrets(arguments: Any) -> Any:  # noqa: ANN401 - whatever the tool takes
    """Return the arguments as a tool takes them whose schema is JSON, and which has no `SecretStr` fields."""
    if isinstance(arguments, Mapping):
        return {key: _unwrap_secrets(value) for key, value in arguments.items()}
    if isinstance(arguments, list):
        return [_unwrap_secrets(value) for value in arguments]
    return arguments.get_secret_value() if isinstance(arguments, SecretStr) else arguments


def redact_value(value: object, masks: Masks) -> object:
    """Return an output without secrets; the very value if there are none in it."""
    if isinstance(value, tuple):
        parts = tuple(redact_value(each, masks) for each in value)
        return value if all(new is old for new, old in zip(parts, value, strict=True)) else parts
    if isinstance(value, ToolMessage):
        content, artifact = redact_value(value.content, masks), redact_value(value.artifact, masks)
        if content is value.content and artifact is value.artifact:
            return value
        return value.model_copy(update={"content": content, "artifact": artifact})
    if isinstance(value, str):
        return masks.redact(value)
    try:
        plain = to_json_value(value)
    except JsonConversionError:
        shown = repr(value)
        redacted = masks.redact(shown)
        return value if redacted == shown else redacted
    found = masks.redact_json(plain)
    return value if found is plain else found


def _redact_error(error: BaseException, masks: Masks) -> BaseException:
    """Return the error without secrets, also in the errors that caused it, since a tracer records them all."""
    if _try_redact(error, masks):
        return error
    return ToolFailure(masks.redact(f"{type(error).__name__}: {_describe_with_parts(error)}"))


def _try_redact(error: BaseException, masks: Masks, depth: int = 0) -> bool:
    """Redact an error in place, with its notes and the errors of a group; return whether nothing is left in it.

    An error that caused it stays if nothing is left in that either.
    """
    for name in ("__cause__", "__context__"):
        cause = getattr(error, name)
        if cause is not None and (depth >= _MAX_DEPTH or not _try_redact(cause, masks, depth + 1)):
            setattr(error, name, None)
    error.args = tuple(masks.redact(each) if isinstance(each, str) else each for each in error.args)
    notes = getattr(error, "__notes__", None)
    if notes:
        error.__notes__ = [masks.redact(str(note)) for note in notes]
    # A list: each of them is redacted, whatever comes of the others.
    group = [each for each in getattr(error, "exceptions", ()) if isinstance(each, BaseException)]
    parts = [depth < _MAX_DEPTH and _try_redact(each, masks, depth + 1) for each in group]
    text = f"{error} {error!r}"
    return all(parts) and masks.redact(text) == text


def _describe_with_parts(error: BaseException) -> str:
    parts = [f"{type(each).__name__}: {_describe_with_parts(each)}" for each in getattr(error, "exceptions", ())]
    return "; ".join([str(error), *parts])


def mask_custom_part(part: Any, mode: object) -> Any:  # noqa: ANN401 - what LangGraph streams
    """Return a part of a stream with the secrets masked that a tool has written to it by itself."""
    masks = get_registered_masks()
    if not masks:
        return part
    if isinstance(part, dict) and part.get("type") == "custom" and "data" in part:
        return {**part, "data": redact_value(part["data"], masks)}
    if isinstance(part, tuple) and "custom" in part[:-1]:
        return (*part[:-1], redact_value(part[-1], masks))
    if mode == "custom":
        return (*part[:-1], redact_value(part[-1], masks)) if isinstance(part, tuple) else redact_value(part, masks)
    return part
