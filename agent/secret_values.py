"""Private values: named in a plan, filled in at the call, masked in whatever comes out of it.

An argument, or a part of one, is private where its schema says `writeOnly` and `format: password`, as that of a
pydantic `SecretStr` does.
A plan gives `secret:NAME` for it, and PLANWAVE_SECRET_NAME of the environment has the value. So plans, approvals,
checkpoints and traces know the name only. Private too are the `SecretStr` values that a tool is configured with.
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
from agent.core.plan.secret_fields import find_secret_values, map_secret_schemas
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.errors import ToolFailure, UsageError
from agent.json_values import JsonConversionError, to_json_value

MASK = "**********"
#: Shorter texts are in too many others to be masked, and are no secrets.
_MIN_SECRET_LENGTH = 4
#: Of Base64, which has no blanks and fewer marks, so that chance makes a short run of it sooner.
_MIN_BASE64_LENGTH = 6


def build_masks(texts: Iterable[str]) -> list[str]:
    """Return what is to be masked, the longest first: each text, also as in a URL, a JSON text, or Base64."""
    forms = {form for text in texts if len(text) >= _MIN_SECRET_LENGTH for form in _list_spellings(text)}
    return sorted(forms, key=lambda form: (-len(form), form))


def redact_text(text: str, masks: Iterable[str]) -> str:
    """Return `text` with each of `masks` made unreadable."""
    for mask in masks:
        text = text.replace(mask, MASK)
    return text


def _list_spellings(text: str) -> set[str]:
    escaped = {json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}
    # What is no UTF-8 has surrogates in it, which cannot be encoded.
    data = text.encode(errors="replace")
    in_urls = {quote(data, safe=""), quote(data), quote_plus(data)}
    return {text, *escaped, *in_urls, *_list_base64_forms(data)}


def _list_base64_forms(data: bytes) -> set[str]:
    """Return what Base64 makes of `data` wherever it stands in a longer text, as in `user:password` (RFC 4648).

    Three bytes become four letters, so there are three ways to cut it; letters that hold bits of a neighbour are left
    out, since they are not known.
    """
    found = set()
    for before in range(3):
        known = slice(-(-before * 8 // 6), (before + len(data)) * 8 // 6)
        for encode in (b64encode, urlsafe_b64encode):
            found.add(encode(bytes(before) + data).decode()[known])
    return {form for form in found if len(form) >= _MIN_BASE64_LENGTH}


_VARIABLE_PREFIX = "PLANWAVE_SECRET_"
#: Variables whose values are secrets too, though no plan names them.
_KEY_VARIABLE = re.compile("PLANWAVE_AES_KEY|.*_API_KEY")
#: The private texts of the tools that were called in this process.
_tool_secrets: set[str] = set()
_SECRET_REFERENCE = re.compile("secret:([A-Za-z0-9_]+)")
_MAX_DEPTH = 8


def replace_secret_schemas(schema: JsonSchema) -> JsonSchema:
    """Return the schema of a tool's arguments as a planner sees it: private ones take the name of a secret."""
    return map_secret_schemas(schema, _to_reference_schema)


def inject_secrets(
    args: Mapping[str, Any], spec: ToolSpec, *, environ: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """Return `args` with the value of each secret that they name. Raises `ToolFailure` for one that is not set."""
    found: Any = dict(args)
    for place, value in find_secret_values(spec.args_schema, args):
        name = _SECRET_REFERENCE.fullmatch(value) if isinstance(value, str) else None
        if name is None:
            continue
        variable = f"{_VARIABLE_PREFIX}{name[1]}"
        if variable not in environ:
            raise ToolFailure(f"The secret {name[1]!r} of {spec.name!r} is not set; set {variable} in the environment.")
        found = _replace_at_place(found, place, SecretStr(environ[variable]))
    return dict(found)


def _replace_at_place(value: Any, place: JsonPath, new: object) -> Any:  # noqa: ANN401 - arguments, with secrets filled in
    if not place:
        return new
    step, rest = place[0], place[1:]
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    copy[step] = _replace_at_place(copy[step], rest, new)
    return copy


def has_secret_arguments(args: Mapping[str, Any], spec: ToolSpec) -> bool:
    """Whether a call gives a private argument."""
    return any(value is not None for _, value in find_secret_values(spec.args_schema, args))


def redacting_tool(tool: BaseTool, args: Mapping[str, Any]) -> BaseTool:
    """Return `tool` so that what it returns and raises holds no private value of its own or of `args`.

    It is masked inside the call, before a tracer sees it. A tool without private values is returned as it is.
    """
    own = {text for value in (vars(tool), tool.__pydantic_private__ or {}) for text in _find_secret_texts(value)}
    _tool_secrets.update(own)
    masks = build_masks(own.union(_find_secret_texts(dict(args))))
    if not masks:
        return tool
    copy, plain = tool.model_copy(), isinstance(tool.args_schema, dict)
    # Set beside pydantic's fields: LangChain looks the two up by name and reads their signatures.
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
    """Raise `UsageError` where a plan that is about to be stored gives a private argument in any way but by name."""
    tasks = plan.get("tasks") if isinstance(plan, Mapping) else None
    for task in tasks if isinstance(tasks, list | tuple) else ():
        if isinstance(task, Mapping):
            reject_cleartext_call(task.get("tool"), task.get("args"), specs, where=f"Task {str(task.get('id'))!r}")
            undo = task.get("rollback")
            if isinstance(undo, Mapping):
                where = f"The rollback of {str(task.get('id'))!r}"
                reject_cleartext_call(undo.get("tool"), undo.get("args"), specs, where=where)


def reject_cleartext_call(tool: object, args: object, specs: Mapping[str, ToolSpec], *, where: str) -> None:
    """Raise `UsageError` where one call gives a private argument in any way but by name; the value is not repeated."""
    spec = specs.get(tool) if isinstance(tool, str) else None
    if spec is None or not isinstance(args, Mapping):
        return
    for place, value in find_secret_values(spec.args_schema, args):
        if value is not None and not (isinstance(value, str) and _SECRET_REFERENCE.fullmatch(value)):
            name = next((step for step in reversed(place) if isinstance(step, str)), "")
            variable = re.sub(r"\W", "_", name).upper()
            raise UsageError(
                f"{where} gives the private argument {format_path(place)!r} of {tool!r} itself, which would be stored; "
                f"nothing was. Name it, as in 'secret:{variable}', "
                f"and set {_VARIABLE_PREFIX}{variable} in the environment."
            )


def _to_reference_schema(schema: JsonSchema) -> JsonSchema:
    told = f"{schema.get('description', '')} A secret: give `secret:NAME`, its name, never the value.".strip()
    kept = {key: value for key, value in schema.items() if key not in {"minLength", "maxLength"}}
    return {**kept, "pattern": f"^{_SECRET_REFERENCE.pattern}$", "description": told}


def _find_secret_texts(value: object, depth: int = 0) -> Iterator[str]:
    """Yield the private texts in the fields of a tool, or in arguments."""
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
        except (Exception, SystemExit) as error:  # noqa: BLE001 - a tool's own code; what it raises goes on, masked
            raise _redact_error(error, masks) from None

    return run


def _redact_async_call(call: Callable[..., Any], masks: list[str], *, plain: bool) -> Callable[..., Any]:
    @wraps(call)
    async def run(*args: Any, **kwargs: Any) -> object:  # noqa: ANN401 - whatever the tool takes
        try:
            return _redact_output(await call(*args, **(_unwrap_secrets(kwargs) if plain else kwargs)), masks)
        except Exception as error:  # noqa: BLE001 - a tool's own code; what it raises goes on, masked
            raise _redact_error(error, masks) from None

    return run


def _unwrap_secrets(arguments: Any) -> Any:  # noqa: ANN401 - whatever the tool takes
    """Return the arguments of a tool whose schema is JSON and makes no `SecretStr` itself."""
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
    """Return the error without private values, and without those that led to it: a tracer writes all of them down."""
    error.__cause__ = error.__context__ = None
    error.args = tuple(redact_text(each, masks) if isinstance(each, str) else each for each in error.args)
    words = f"{error} {error!r}"
    if not any(mask in words for mask in masks):
        return error
    return ToolFailure(f"{type(error).__name__}: {redact_text(str(error), masks)}")
