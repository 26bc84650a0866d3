"""What the evaluation of a condition may cost at most, computed from its text and from the sizes of what it uses.

The CEL engine runs in native code and cannot be stopped: while it works, no timeout, deadline or Ctrl-C has an effect.
So the cost is estimated first, over sizes instead of values. The prices are those of the engine, measured: it copies
what a name stands for, compares and copies values node by node, copies the growing list at each step of `map` and
`filter`, and compiles a regular expression each time it is used.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import prod

from pydantic import JsonValue

#: The bound in steps of about 0.1 microseconds.
MAX_COST = 10_000_000
_TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<number>0x[0-9a-fA-F]+u?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?u?)
    |(?P<text>[rRbB]{0,2}(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)
#: Without one of these the cost grows with the sizes of the values only, as does that of reading them.
_COSTLY = re.compile(r"\+|\bmatches\b|\.\s*(?:all|exists|exists_one|existsOne|map|filter)\s*\(")
_MACROS = frozenset({"all", "exists", "exists_one", "existsOne", "map", "filter"})
_PRECEDENCE = {"||": 1, "&&": 2, **dict.fromkeys(("<", "<=", ">", ">=", "==", "!=", "in"), 3), "+": 4, "-": 4}
_PRECEDENCE |= {"*": 5, "/": 5, "%": 5}
#: Deeper nesting is not estimated.
_MAX_EXPRESSION_DEPTH = 60
_MAX_VALUE_DEPTH = 40
_LETTERS_PER_STEP = 16
#: In steps: a regular expression, a class of Unicode letters in it, the largest one that the engine compiles.
_REGEX_COST, _UNICODE_CLASS_COST, _MAX_REGEX_COST = 1_000, 10_000, 2_000_000


@dataclass(frozen=True, slots=True)
class Size:
    """An upper bound of the size of a value; of one that is not known it is that of the largest it can be."""

    #: Steps to copy the value or to compare it.
    weight: int = 1
    #: Items of a list, keys of an object.
    length: int = 0
    text_length: int = 0
    #: The largest item of a list, or key of an object; None: not known.
    item: "Size | None" = None
    fields: Mapping[str, "Size"] = field(default_factory=dict)

    def get_item(self) -> "Size":
        """Return the size of any item or member; if it is not known, the whole."""
        return self.item or Size(self.weight, self.weight, self.text_length)


_SCALAR = Size()


class _NotEstimated(Exception):  # noqa: N818 - says what it is
    """The expression is nested too deeply, or has a form that this parser does not know."""


def estimate_cost(expression: str, values: Mapping[str, JsonValue]) -> int | None:
    """Return an upper bound of the cost of `expression` in steps, 0 if it has nothing costly; None: it has no bound.

    `values` are those of the variables; `expression` must parse.
    """
    if not _COSTLY.search(expression):
        return 0
    sizes = {name: measure_value(value) for name, value in values.items()}
    try:
        return _Estimator(expression, sizes).estimate()
    except _NotEstimated:
        return None


def measure_value(value: JsonValue, *, depth: int = 0) -> Size:
    """Return the size of `value`."""
    if isinstance(value, str):
        return _measure_text(len(value))
    if isinstance(value, list | dict) and depth > _MAX_VALUE_DEPTH:
        return _measure_deep_value(value)
    if isinstance(value, list):
        item: Size | None = None
        weight = 1
        for inner in value:
            size = measure_value(inner, depth=depth + 1)
            weight += size.weight
            item = size if item is None else _join(item, size)
        return Size(weight, len(value), item=item or _SCALAR)
    if isinstance(value, dict):
        fields = {}
        weight, longest = 2, 0
        for key, inner in value.items():
            fields[key] = measure_value(inner, depth=depth + 1)
            weight += 2 + fields[key].weight
            longest = max(longest, len(key))
        return Size(weight, len(value), item=_measure_text(longest), fields=fields)
    return _SCALAR


def _measure_deep_value(value: JsonValue) -> Size:
    weight, letters, waiting = 0, 0, [value]
    while waiting:
        inner = waiting.pop()
        weight += 3
        if isinstance(inner, str):
            letters = max(letters, len(inner))
            weight += len(inner) // _LETTERS_PER_STEP
        elif isinstance(inner, dict | list):
            waiting.extend(inner.values() if isinstance(inner, dict) else inner)
    return Size(weight, weight, letters)


def _measure_text(letters: int) -> Size:
    return Size(1 + letters // _LETTERS_PER_STEP, text_length=letters)


def _join(one: Size, other: Size) -> Size:
    """Return the size of what is one value or the other."""
    if one == other:
        return one
    if bool(one.fields) != bool(other.fields) and min(one.length, other.length):
        # Only of one of them the members are known.
        return Size(
            max(one.weight, other.weight), max(one.length, other.length), max(one.text_length, other.text_length)
        )
    fields = one.fields
    if one.fields or other.fields:
        both = one.fields.keys() & other.fields.keys()
        fields = {**one.fields, **other.fields, **{key: _join(one.fields[key], other.fields[key]) for key in both}}
    item = one.item if other.item is None else other.item if one.item is None else _join(one.item, other.item)
    if (one.item is None and one.length) or (other.item is None and other.length):
        item = None
    return Size(
        max(one.weight, other.weight),
        max(one.length, other.length),
        max(one.text_length, other.text_length),
        item,
        fields,
    )


class _Estimator:
    """One pass over the tokens of an expression, by precedence climbing, that adds up the cost of each part."""

    def __init__(self, expression: str, sizes: Mapping[str, Size]) -> None:
        self._tokens = tokenize(expression)
        self._position = 0
        self._variables = dict(sizes)
        self._depth = 0
        self._cost = 0
        #: How often the present part is evaluated.
        self._times = 1

    def estimate(self) -> int:
        whole = self._parse_expression()
        if self._position < len(self._tokens) or not self._tokens:
            raise _NotEstimated
        # The result is copied out of the engine before it is looked at.
        self._charge(whole.weight)
        return self._cost

    def _charge(self, steps: int) -> None:
        self._cost += self._times * (1 + steps)

    def _parse_expression(self) -> Size:
        self._depth += 1
        if self._depth > _MAX_EXPRESSION_DEPTH:
            raise _NotEstimated
        found = self._parse_binary(1)
        if self._accept("?"):
            one = self._parse_expression()
            self._expect(":")
            found = _join(one, self._parse_expression())
        self._depth -= 1
        return found

    def _parse_binary(self, lowest: int) -> Size:
        found = self._parse_unary()
        while (level := _PRECEDENCE.get(sign := self._peek(), 0)) >= lowest:
            self._position += 1
            found = self._combine(sign, found, self._parse_binary(level + 1))
        return found

    def _combine(self, sign: str, left: Size, right: Size) -> Size:
        if sign == "+":
            item = None
            if (left.item or not left.length) and (right.item or not right.length):
                item = _join(left.item or _SCALAR, right.item or _SCALAR)
            whole = Size(
                left.weight + right.weight, left.length + right.length, left.text_length + right.text_length, item
            )
            self._charge(whole.weight)
            return whole
        self._charge(left.weight + right.weight)
        return _SCALAR

    def _parse_unary(self) -> Size:
        signs = 0
        while self._peek() in {"!", "-"}:
            self._position += 1
            signs += 1
        found = self._parse_primary()
        while True:
            if self._accept("."):
                found = self._parse_member(found)
            elif self._accept("["):
                found = self._parse_index(found)
            else:
                break
        return _SCALAR if signs else found

    def _parse_member(self, found: Size) -> Size:
        name = self._next("name")
        if not self._accept("("):
            return self._follow(found, name)
        if name in _MACROS:
            return self._parse_macro(found, name)
        pattern = self._tokens[self._position] if self._position < len(self._tokens) else ("", "")
        is_literal = pattern[0] == "text" and self._tokens[self._position + 1 : self._position + 2] == [("sign", ")")]
        arguments = self._parse_list(")")
        if name == "matches":
            self._charge(estimate_regex_cost(pattern[1]) if is_literal else _MAX_REGEX_COST)
        return self._call([found, *arguments])

    def _call(self, arguments: list[Size]) -> Size:
        """Return the size of what a function returns: a text, number or copy, none larger than what it was given."""
        weight = sum(argument.weight for argument in arguments)
        self._charge(weight)
        if len(arguments) == 1:
            # `dyn` returns what it is given, `string` the text of a number or of bytes.
            return _join(arguments[0], _measure_text(32 + 4 * arguments[0].text_length))
        return _SCALAR

    def _parse_index(self, found: Size) -> Size:
        kind, text = self._tokens[self._position] if self._position < len(self._tokens) else ("", "")
        index = self._parse_expression()
        self._expect("]")
        self._charge(index.weight)
        key = text[1:-1]
        if kind == "text" and key in found.fields:
            return self._follow(found, key)
        sizes = [*found.fields.values()] or [found.get_item()]
        return _join_all(sizes)

    def _follow(self, found: Size, name: str) -> Size:
        size = found.fields.get(name)
        if size is None:
            # A member that does not exist, or one of a value of which only the size is known.
            size = _SCALAR if found.fields else found.get_item()
        self._charge(size.weight)
        return size

    def _parse_macro(self, found: Size, macro: str) -> Size:
        """Parse the arguments of a macro: its last one is evaluated for each item."""
        name = self._next("name")
        self._expect(",")
        item = found.get_item()
        hidden, times = self._variables.get(name), self._times
        self._variables[name] = item
        self._times = times * found.length
        self._charge(item.weight)
        results = self._parse_list(")")
        self._times = times
        if hidden is None:
            self._variables.pop(name)
        else:
            self._variables[name] = hidden
        if macro not in {"map", "filter"}:
            return _SCALAR
        kept = item if macro == "filter" else results[-1]
        # The list is copied whenever an item is appended to it.
        self._charge(found.length * (found.length + 1) // 2 * kept.weight)
        return Size(1 + found.length * kept.weight, found.length, kept.text_length, kept)

    def _parse_primary(self) -> Size:
        if self._position >= len(self._tokens):
            raise _NotEstimated
        kind, text = self._tokens[self._position]
        self._position += 1
        if kind == "text":
            return _measure_text(len(text))
        if kind == "name":
            if self._accept("("):
                return self._call(self._parse_list(")"))
            found = self._variables.get(text, _SCALAR)
            self._charge(found.weight)
            return found
        if text == "(":
            found = self._parse_expression()
            self._expect(")")
            return found
        if text in {"[", "{"}:
            return self._parse_literal("]" if text == "[" else "}")
        if kind == "number":
            self._charge(1)
            return _SCALAR
        raise _NotEstimated

    def _parse_literal(self, end: str) -> Size:
        inner = self._parse_list(end)
        weight = 2 + sum(2 + size.weight for size in inner)
        self._charge(weight)
        return Size(weight, len(inner), item=_join_all(inner))

    def _parse_list(self, end: str) -> list[Size]:
        found = []
        while not self._accept(end):
            found.append(self._parse_expression())
            if not (self._accept(",") or self._accept(":") or self._peek() == end):
                raise _NotEstimated
        return found

    def _peek(self) -> str:
        if self._position >= len(self._tokens):
            return ""
        kind, text = self._tokens[self._position]
        return text if kind == "sign" or text == "in" else ""

    def _accept(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self._position += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise _NotEstimated

    def _next(self, kind: str) -> str:
        if self._position >= len(self._tokens) or self._tokens[self._position][0] != kind:
            raise _NotEstimated
        self._position += 1
        return self._tokens[self._position - 1][1]


def _join_all(sizes: Iterable[Size]) -> Size:
    joined = _SCALAR
    for size in sizes:
        joined = size if joined is _SCALAR else _join(joined, size)
    return joined


def estimate_regex_cost(pattern: str) -> int:
    """Return an upper bound of the cost of compiling `pattern` once: repetitions are compiled as often as they say."""
    classes = len(re.findall(r"\\[wWpP]|\(\?\w*i", pattern))
    counts = prod(
        max(1, *map(int, re.findall(r"\d{1,9}", braces))) for braces in re.findall(r"\{[\d, ]*\d[\d, ]*\}", pattern)
    )
    return min(_MAX_REGEX_COST, (_REGEX_COST + len(pattern) + classes * _UNICODE_CLASS_COST) * counts)


def tokenize(expression: str) -> list[tuple[str, str]]:
    """Return the tokens of `expression`, each with its kind: number, text, name or sign. Empty if one is unknown."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            return []
        if match.lastgroup:
            found.append((match.lastgroup, match.group()))
        at = match.end()
    return found
