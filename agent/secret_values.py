"""Secrets: named in a plan, injected at the call, redacted in its outputs and errors.

An argument, or a part of one, is secret if its schema says `writeOnly` and `format: password`, as the schema of a
pydantic `SecretStr` does. A plan gives `secret:NAME` for it, and PLANWAVE_SECRET_NAME in the environment has the value,
so that plans, approvals, checkpoints and traces have the name only. The `SecretStr` values that a tool is configured
with are secret too.
"""

import json
import os
import re
from base64 import b64encode, urlsafe_b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import lru_cache, wraps
from typing import Any
from urllib.parse import quote, quote_plus

from langchain_core.tools import BaseTool
from pydantic import BaseModel, JsonValue, SecretBytes, SecretStr

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

MASK = "**********"
#: Shorter texts occur in too many others to be redacted, and are not secrets.
_MIN_SECRET_LENGTH = 4
#: Of a Base64 form: it has no blanks and few punctuation marks, so that a short one occurs by chance more easily.
_MIN_BASE64_LENGTH = 6


def build_masks(texts: Iterable[str]) -> list[str]:
    """Return the texts to redact, the longest first: each of `texts` as it is, in a URL, in JSON, and in Base64."""
    forms = {form for text in texts if len(text) >= _MIN_SECRET_LENGTH for form in _list_spellings(text)}
    return sorted(forms, key=lambda form: (-len(form), form))


def redact_text(text: str, masks: Iterable[str]) -> str:
    """Return `text` with asterisks in place of each of `masks`."""
    for mask in masks:
        text = text.replace(mask, MASK)
    return text


def _list_spellings(text: str) -> set[str]:
    escaped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
    # A value that is not UTF-8 contains surrogates, which cannot be encoded.
    data = text.encode(errors="replace")
    in_urls = {quote(data, safe=""), quote(data), quote_plus(data)}
    return {text, *escaped, *in_urls, *_list_base64_forms(data)}


def _list_base64_forms(data: bytes) -> set[str]:
    """Return the Base64 forms of `data` at any position in a longer text, as in `user:password` (RFC 4648).

    Three bytes become four characters, so there are three alignments; characters that contain bits of a neighbouring
    byte are left out, since that byte is not known.
    """
    forms = set()
    for before in range(3):
        known = slice(-(-before * 8 // 6), (before + len(data)) * 8 // 6)
        for encode in (b64encode, urlsafe_b64encode):
            forms.add(encode(bytes(before) + data).decode()[known])
    return {form for form in forms if len(form) >= _MIN_BASE64_LENGTH}


_VARIABLE_PREFIX = "PLANWAVE_SECRET_"
#: Variables whose values are secrets too, though no plan names them.
_KEY_VARIABLE = re.compile("PLANWAVE_AES_KEY|.*_API_KEY")
#: The private texts of the tools that were called in this process.
_tool_secrets: set[str] = set()
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
        variable = f"{_VARIABLE_PREFIX}{name}"
        if variable not in environ:
            raise ToolFailure(f"The secret {name!r} of {spec.name!r} is not set; set {variable} in the environment.")
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


def redacting_tool(tool: BaseTool, args: Mapping[str, Any]) -> BaseTool:
    """Return `tool` so that its outputs and errors contain no secret of its own or of `args`.

    They are redacted inside the call, before a tracer sees them. A tool without secrets is returned unchanged.
    """
    own = {text for value in (vars(tool), tool.__pydantic_private__ or {}) for text in _find_secret_texts(value)}
    _tool_secrets.update(own)
    masks = build_masks(own.union(_find_secret_texts(dict(args))))
    if not masks:
        return tool
    copy, plain = tool.model_copy(), isinstance(tool.args_schema, dict)
    # Set past pydantic's fields: LangChain looks the two up by name and inspects their signatures.
    object.__setattr__(copy, "_run", _redact_call(tool._run, masks, plain=plain))  # noqa: SLF001 - what a tool overrides
    object.__setattr__(copy, "_arun", _redact_async_call(tool._arun, masks, plain=plain))  # noqa: SLF001 - as above
    return copy


def redact_known_secrets(text: str, *, environ: Mapping[str, str] = os.environ) -> str:
    """Return `text` without the secrets and keys of the environment and of the tools that were called: for logs."""
    named = {
        value for name, value in environ.items() if name.startswith(_VARIABLE_PREFIX) or _KEY_VARIABLE.fullmatch(name)
    }
    return redact_text(text, _build_known_masks(frozenset(named | _tool_secrets)))


@lru_cache(maxsize=1)
def _build_known_masks(texts: frozenset[str]) -> tuple[str, ...]:
    return tuple(build_masks(texts))


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
                f"and set {_VARIABLE_PREFIX}{variable} in the environment."
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


def _redact_call(call: Callable[..., Any], masks: list[str], *, plain: bool) -> Callable[..., Any]:
    @wraps(call)
    def run(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - whatever the tool takes
        try:
            return _redact_output(call(*args, **(_unwrap_secrets(kwargs) if plain else kwargs)), masks)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a tool's own code; what it raises is passed on, redacted
            raise _redact_error(error, masks) from None

    return run


def _redact_async_call(call: Callable[..., Any], masks: list[str], *, plain: bool) -> Callable[..., Any]:
    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - whatever the tool takes
        try:
            return _redact_output(await call(*args, **(_unwrap_secrets(kwargs) if plain else kwargs)), masks)
        except Exception as error:  # noqa: BLE001 - a tool's own code; what it raises is passed on, redacted
            raise _redact_error(error, masks) from None

    return run


def _unwrap_secrets(arguments: Any) -> Any:  # noqa: ANN401 - whatever the tool takes
    """Return the arguments as a tool takes them whose schema is JSON, and which has no `SecretStr` fields."""
    if isinstance(arguments, Mapping):
        return {key: _unwrap_secrets(value) for key, value in arguments.items()}
    if isinstance(arguments, list):
        return [_unwrap_secrets(value) for value in arguments]
    return arguments.get_secret_value() if isinstance(arguments, SecretStr) else arguments


def _redact_output(value: object, masks: list[str]) -> object:
    if isinstance(value, tuple):
        return tuple(_redact_output(each, masks) for each in value)
    try:
        return _redact_json(to_json_value(value), masks)
    except JsonConversionError:
        return value


def _redact_json(value: JsonValue, masks: list[str]) -> JsonValue:
    match value:
        case str():
            return redact_text(value, masks)
        case list():
            return [_redact_json(each, masks) for each in value]
        case dict():
            return {redact_text(key, masks): _redact_json(each, masks) for key, each in value.items()}
        case _:
            return value


def _redact_error(error: Exception | SystemExit, masks: list[str]) -> Exception | SystemExit:
    """Return the error without secrets, and without the errors that caused it, since a tracer records them all."""
    error.__cause__ = error.__context__ = None
    error.args = tuple(redact_text(each, masks) if isinstance(each, str) else each for each in error.args)
    text = f"{error} {error!r}"
    if not any(mask in text for mask in masks):
        return error
    return ToolFailure(f"{type(error).__name__}: {redact_text(str(error), masks)}")
