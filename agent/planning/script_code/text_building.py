"""Texts that a script puts together, by f-strings, `+`, `%`, `format` or `join`, as the parts of an f-string."""

import ast
import re
import string
from collections.abc import Callable
from typing import Final

from agent.planning.script_code.statements import ScriptError, quote_code

_PERCENT: Final = re.compile(r"%(?:\((?P<name>\w+)\))?[-+ 0]*\d*(?:\.\d+)?(?P<kind>[sdrfgi%])")
#: Methods of a text that change only how it looks.
_LOOKS: Final = frozenset({"strip", "rstrip", "lstrip", "title", "capitalize", "upper", "lower"})
#: A place in a plain text for a name of the script: the model forgot the `f`, or left a gap.
_PLACE: Final = re.compile(r"\{([^{}]*)\}|\[([A-Za-z_]\w*)\]|<([A-Za-z_]\w*)>|\$\{?([A-Za-z_]\w*)\}?")
IsText = Callable[[str], bool]


def split_text(node: ast.expr, is_text: IsText) -> list[ast.expr] | None:
    """Return the parts of a text: constants, and `FormattedValue`s for what is put in; None if it is no text.

    `is_text` says whether a name of the script stands for a text. Raises `ScriptError` for a text that cannot be read.
    """
    match node:
        case ast.Constant(value=str()):
            return [node]
        case ast.JoinedStr(values=parts):
            return list(parts)
        case ast.Name(id=name) if is_text(name):
            return [_put_in(node)]
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            return _split_sum(left, right, is_text)
        case ast.BinOp(left=ast.Constant(value=str() as pattern), op=ast.Mod(), right=right):
            return _fill_percents(pattern, right, node)
        case ast.Call():
            return _split_call(node, is_text)
        case _:
            return None


def _split_call(call: ast.Call, is_text: IsText) -> list[ast.expr] | None:
    match call:
        case ast.Call(func=ast.Name(id="str" | "repr"), args=[value], keywords=[]):
            return split_text(value, is_text) or [_put_in(value)]
        case ast.Call(func=ast.Attribute(value=ast.Name(id="json"), attr="dumps"), args=[value, *_]):
            return [_put_in(value)]
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as pattern), attr="format")):
            return _fill_pattern(pattern, call)
        case ast.Call(func=ast.Attribute(value=ast.Constant(value=str() as between), attr="join"), args=[items]):
            return _join_items(between, items, is_text)
        case ast.Call(func=ast.Attribute(value=value, attr=method), args=[]) if method in _LOOKS:
            return split_text(value, is_text)
        case _:
            return None


def _put_in(node: ast.expr) -> ast.FormattedValue:
    return ast.FormattedValue(value=node, conversion=-1)


def _split_sum(left: ast.expr, right: ast.expr, is_text: IsText) -> list[ast.expr] | None:
    parts = [split_text(side, is_text) for side in (left, right)]
    if parts == [None, None]:
        return None
    return [
        piece
        for side, split in zip((left, right), parts, strict=True)
        for piece in (split if split is not None else [_put_in(side)])
    ]


def _join_items(between: str, items: ast.expr, is_text: IsText) -> list[ast.expr]:
    if not isinstance(items, ast.List | ast.Tuple):
        return [_put_in(items)]
    parts: list[ast.expr] = []
    for place, item in enumerate(items.elts):
        parts += [ast.Constant(value=between)] if place else []
        parts += split_text(item, is_text) or [_put_in(item)]
    return parts


def _fill_percents(pattern: str, right: ast.expr, node: ast.expr) -> list[ast.expr]:
    values = list(right.elts) if isinstance(right, ast.Tuple) else [right]
    parts: list[ast.expr] = []
    at = used = 0
    for found in _PERCENT.finditer(pattern):
        parts.append(ast.Constant(value=pattern[at : found.start()]))
        at = found.end()
        if found["kind"] == "%":
            parts.append(ast.Constant(value="%"))
            continue
        if found["name"] or used >= len(values):
            raise ScriptError(f"{quote_code(node)} does not say what to put into the text; write an f-string.")
        parts.append(_put_in(values[used]))
        used += 1
    return [*parts, ast.Constant(value=pattern[at:])]


def _fill_pattern(pattern: str, call: ast.Call) -> list[ast.expr]:
    named = {word.arg: word.value for word in call.keywords if word.arg}
    parts: list[ast.expr] = []
    try:
        pieces = list(string.Formatter().parse(pattern))
    except ValueError as error:
        raise ScriptError(f"{quote_code(call)} cannot be read; write an f-string.") from error
    for number, (words, field, _, _) in enumerate(pieces):
        parts.append(ast.Constant(value=words))
        if field is None:
            continue
        root, *steps = re.split(r"[.\[\]]+", field.rstrip("]"))
        place = int(root) if root.isdigit() else number if not root else None
        value = named.get(root) if place is None else call.args[place] if place < len(call.args) else None
        if value is None:
            raise ScriptError(f"{quote_code(call)} does not say what to put into the text; write an f-string.")
        for step in steps:
            key: str | int = int(step) if step.isdigit() else step
            value = ast.Subscript(value=value, slice=ast.Constant(value=key), ctx=ast.Load())
        parts.append(_put_in(value))
    return parts


def fill_places(text: str, is_known: IsText) -> list[ast.expr] | None:
    """Return the parts of a plain text that has places for names of the script, such as `{flights}`; None if none.

    `is_known` says whether a name is one of the script's.
    """
    parts: list[ast.expr] = []
    at = 0
    for found in _PLACE.finditer(text):
        inner = _parse_place(next(filter(None, found.groups()), ""), is_known)
        if inner is not None:
            parts += [ast.Constant(value=text[at : found.start()]), _put_in(inner)]
            at = found.end()
    return [*parts, ast.Constant(value=text[at:])] if parts else None


def _parse_place(code: str, is_known: IsText) -> ast.expr | None:
    try:
        inner = ast.parse(code.strip(), mode="eval").body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    root: ast.expr = inner
    while isinstance(root, ast.Subscript | ast.Attribute):
        root = root.value
    return inner if isinstance(root, ast.Name) and is_known(root.id) else None
