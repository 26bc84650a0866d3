"""What the schemas of earlier outputs say of a condition, before anything runs.

The expression is read once more, by precedence climbing over the grammar of CEL (cel.dev, "Language Definition",
syntax), and each part gets the JSON Schema of what it can be, `{}` where nothing is known. Only what cannot be counts:
a member that a schema rules out, an order of two things that have none, a whole that is neither true nor false.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from agent.core.plan.json_schema import NoSuchPath, part, types, words
from agent.core.plan.references import Place
from agent.core.plan.tool_spec import JsonSchema


class Known(NamedTuple):
    """What a part of an expression can be; `root` is where its schema's references are looked up."""

    schema: JsonSchema
    root: JsonSchema
    #: As it is written, for sentences; empty where it is no plain path.
    path: str = ""

    @property
    def kinds(self) -> frozenset[str] | None:
        """The JSON types, None where nothing is known."""
        return types(self.schema, self.root)


NOTHING = Known({}, {})
TRUTH = Known({"type": "boolean"}, {})
#: What functions and macros give.
RESULTS: Mapping[str, JsonSchema] = {
    "size": {"type": "integer"},
    "int": {"type": "integer"},
    "double": {"type": "number"},
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    **{
        name: {"type": "boolean"}
        for name in ("has", "all", "exists", "exists_one", "contains", "startsWith", "endsWith", "matches")
    },
}


def comparable_as(kind: str) -> str:
    """Return what a JSON type is ordered among; empty where it has no order."""
    return {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}.get(kind, "")


def reckonable_as(kind: str) -> str:
    """Return what a JSON type is reckoned with; empty where it is not."""
    return "number" if kind in {"integer", "number"} else ""


def addable_as(kind: str) -> str:
    """Return what a JSON type is added to; empty where it is not."""
    return kind if kind in {"string", "array"} else reckonable_as(kind)


def total(left: Known, right: Known) -> Known:
    """Return what a sum, or another reckoning, of two parts gives."""
    one, other = left.kinds, right.kinds
    if one is None or other is None or len(one | other) != 1:
        return NOTHING
    return Known({"type": next(iter(one))}, {})


def either(one: Known, other: Known) -> Known:
    """Return what is one part or the other."""
    if {} in (one.schema, other.schema) or one.root != other.root:
        return NOTHING
    return Known({"anyOf": [one.schema, other.schema]}, one.root)


_TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<number>0x[0-9a-fA-F]+u?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?u?)
    |(?P<text>[rRbB]{0,2}(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)
ORDERS = frozenset({"<", "<=", ">", ">="})
#: The grammar's levels of two-sided operators, the loosest first.
LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    ORDERS | {"==", "!=", "in"},
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)


def tokens(expression: str) -> list[tuple[str, str]]:
    """Return the words of `expression`, each behind its kind: number, text, name or sign. Empty: it cannot be read."""
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


_BINDING = frozenset({"all", "exists", "exists_one", "filter", "map"})
#: Deeper nesting is left to the run.
_DEPTH = 20


class Unknown(Exception):  # noqa: N818 - says what it is
    """The expression is beyond what is read here; nothing is said of it."""


def condition_faults(expression: str, outputs: Mapping[str, JsonSchema | None]) -> tuple[str, ...]:
    """Return what the outputs' schemas rule out of `expression`, which parses, as ends of a sentence on it."""
    reader = _Reader(expression, outputs)
    try:
        whole = reader.expression()
    except Unknown:
        return reader.told()
    kinds = whole.kinds
    if reader.at == len(reader.tokens) and kinds is not None and "boolean" not in kinds:
        reader.faults[f"gives {words(kinds)} where true or false is wanted"] = ""
    return reader.told()


class _Reader:
    """One pass over the tokens of an expression."""

    def __init__(self, expression: str, outputs: Mapping[str, JsonSchema | None]) -> None:
        self.tokens = tokens(expression)
        self.at = 0
        #: In order, each once, with the path that is not there where that is the fault.
        self.faults: dict[str, str] = {}
        self._asked: set[str] = set()
        self._names: dict[str, Known] = {
            task: Known(schema or {}, schema or {}, task) for task, schema in outputs.items()
        }
        self._depth = 0
        #: Inside `has(...)`, where a member may be missing.
        self._asking = False

    def told(self) -> tuple[str, ...]:
        """Return the faults, but for members that the expression itself asks about with `has`."""
        return tuple(fault for fault, path in self.faults.items() if not path or path not in self._asked)

    def expression(self) -> Known:
        """Read `a ? b : c` or what is above it."""
        self._deeper()
        found = self._level(0)
        if self._take("?"):
            self._wanted(found, {"boolean"}, "is asked with '?'")
            one = self.expression()
            self._need(":")
            other = self.expression()
            found = either(one, other)
        self._depth -= 1
        return found

    def _deeper(self) -> None:
        self._depth += 1
        if self._depth > _DEPTH:
            raise Unknown

    def _level(self, level: int) -> Known:
        if level == len(LEVELS):
            return self._unary()
        found = self._level(level + 1)
        while (sign := self._peek()) in LEVELS[level]:
            self.at += 1
            found = self._joined(sign, found, self._level(level + 1))
        return found

    def _joined(self, sign: str, left: Known, right: Known) -> Known:
        if sign in {"||", "&&"}:
            for side in (left, right):
                self._wanted(side, {"boolean"}, f"stands beside {sign!r}")
            return TRUTH
        if sign in ORDERS:
            self._paired(sign, left, right, by=comparable_as, word="compares")
        elif sign not in LEVELS[2]:
            self._paired(sign, left, right, by=addable_as if sign == "+" else reckonable_as, word="reckons")
        if sign in LEVELS[2]:
            return TRUTH
        return total(left, right)

    def _paired(self, sign: str, left: Known, right: Known, *, by: Callable[[str], str], word: str) -> None:
        """Note a fault where no type that the left side may have goes with one of the right side."""
        one, other = left.kinds, right.kinds
        if one is None or other is None:
            return
        if not (set(map(by, one)) & set(map(by, other))) - {""}:
            name = f"{left.path} " if left.path else ""
            self.faults[f"{word} {name}({words(one)}) by {sign!r} with {words(other)}"] = ""

    def _unary(self) -> Known:
        sign = self._peek()
        if sign not in {"!", "-"}:
            return self._members(self._primary())
        self.at += 1
        self._deeper()
        found = self._unary()
        self._depth -= 1
        self._wanted(found, {"boolean"} if sign == "!" else {"integer", "number"}, f"stands behind {sign!r}")
        return TRUTH if sign == "!" else Known(found.schema, found.root)

    def _members(self, found: Known) -> Known:
        while True:
            if self._take("."):
                found = self._member(found, self._name())
            elif self._take("["):
                found = self._element(found)
            else:
                return found

    def _member(self, found: Known, name: str) -> Known:
        if not self._take("("):
            return self._step(found, name, f".{name}")
        if name in _BINDING:
            return self._bound(found, name)
        self._arguments()
        return Known(RESULTS.get(name, {}), {})

    def _element(self, found: Known) -> Known:
        kind, text = self.tokens[self.at] if self.at < len(self.tokens) else ("", "")
        plain = kind in {"number", "text"} and self.tokens[self.at + 1 : self.at + 2] == [("sign", "]")]
        if not plain:
            self.expression()
            self._need("]")
            return NOTHING
        self.at += 2
        if kind == "number":
            return self._step(found, int(text), f"[{text}]") if text.isdigit() else NOTHING
        key = text[1:-1]
        if "\\" in text or text[0] not in "'\"" or text[:3] in {"'''", '"""'}:
            return NOTHING
        if found.path == "outputs":
            return self._names.get(key, NOTHING)
        return self._step(found, key, f"[{text}]")

    def _step(self, found: Known, step: str | int, written: str) -> Known:
        path: Place = (step,)
        try:
            # What the path of a reference takes for every item is a plain key here.
            schema = {} if step == "*" else part(found.schema, path, root=found.root)
        except NoSuchPath as error:
            whole = f"{found.path}{written}"
            # The last member inside `has(...)` may be missing, nothing before it.
            if self._asking and self._peek() == ")":
                self._asked.add(whole)
            else:
                self.faults[f"asks for {whole}, but {found.path or 'what is before it'} {error}"] = whole
            return NOTHING
        return Known(schema, found.root, f"{found.path}{written}" if found.path else "")

    def _bound(self, found: Known, macro: str) -> Known:
        """Read the arguments of a macro, in which a name stands for each item."""
        name = self._name()
        self._need(",")
        kinds = found.kinds
        item = NOTHING
        if kinds == frozenset({"array"}):
            item = Known(part(found.schema, (0,), root=found.root), found.root, name)
        hidden = self._names.get(name)
        self._names[name] = item
        inner = self._inside(self.expression)
        if macro != "map":
            self._wanted(inner, {"boolean"}, f"is what {macro!r} asks")
        while self._take(","):
            inner = self._inside(self.expression)
        self._need(")")
        self._names.pop(name)
        if hidden is not None:
            self._names[name] = hidden
        if macro == "filter":
            return Known(found.schema, found.root)
        if macro == "map":
            return Known({"type": "array", "items": inner.schema}, inner.root)
        return TRUTH

    def _primary(self) -> Known:
        if self.at >= len(self.tokens):
            raise Unknown
        kind, text = self.tokens[self.at]
        self.at += 1
        if kind == "number":
            return Known({"type": "integer" if re.fullmatch(r"(0x[0-9a-fA-F]+|\d+)u?", text) else "number"}, {})
        if kind == "text":
            return Known({}, {}) if text[0] in "bB" or text[:2].lower() == "rb" else Known({"type": "string"}, {})
        if kind == "name":
            return self._named(text)
        if text == "(":
            found = self._inside(self.expression)
            self._need(")")
            return found
        if text == "[":
            self._listed("]")
            return Known({"type": "array"}, {})
        if text == "{":
            self._listed("}")
            return Known({"type": "object"}, {})
        raise Unknown

    def _named(self, name: str) -> Known:
        if name in {"true", "false"}:
            return TRUTH
        if name == "null":
            return Known({"type": "null"}, {})
        if self._take("("):
            asking, self._asking = self._asking, name == "has"
            self._arguments()
            self._asking = asking
            return Known(RESULTS.get(name, {}), {})
        if name == "outputs" and name not in self._names:
            return Known({}, {}, "outputs")
        return self._names.get(name, NOTHING)

    def _arguments(self) -> None:
        if self._take(")"):
            return
        self.expression()
        while self._take(","):
            self.expression()
        self._need(")")

    def _listed(self, end: str) -> None:
        while not self._take(end):
            self._inside(self.expression)
            if not (self._take(",") or self._take(":") or self._peek() == end):
                raise Unknown

    def _inside(self, read: Callable[[], Known]) -> Known:
        asking, self._asking = self._asking, False
        found = read()
        self._asking = asking
        return found

    def _wanted(self, found: Known, allowed: set[str], where: str) -> None:
        kinds = found.kinds
        if kinds is not None and not kinds & allowed:
            name = f"{found.path}, {words(kinds)}," if found.path else words(kinds)
            self.faults[f"does not hold together: {name} {where}"] = ""

    def _peek(self) -> str:
        if self.at >= len(self.tokens):
            return ""
        kind, text = self.tokens[self.at]
        return text if kind == "sign" or text == "in" else ""

    def _take(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self.at += 1
        return True

    def _need(self, sign: str) -> None:
        if not self._take(sign):
            raise Unknown

    def _name(self) -> str:
        if self.at >= len(self.tokens) or self.tokens[self.at][0] != "name":
            raise Unknown
        self.at += 1
        return self.tokens[self.at - 1][1]
