"""What the schemas of earlier outputs say of a condition, before anything runs.

The expression is read once more, by precedence climbing over the grammar of CEL (cel.dev, "Language Definition",
syntax), and each part gets the JSON Schema of what it can be, `{}` where nothing is known. Only what cannot be counts:
a member that a schema rules out, an order of two things that have none, a whole that is neither true nor false.
"""

import re
from collections.abc import Callable, Mapping
from typing import NamedTuple

from agent.core.plan.json_schema import NoSuchPath, describe_types, find_allowed_types, get_subschema
from agent.core.plan.references import JsonPath
from agent.core.plan.tool_spec import JsonSchema


class ExpressionType(NamedTuple):
    """What a part of an expression can be; `root` is where its schema's references are looked up."""

    schema: JsonSchema
    root: JsonSchema
    #: As it is written, for sentences; empty where it is no plain path.
    path: str = ""

    @property
    def json_types(self) -> frozenset[str] | None:
        """The JSON types, None where nothing is known."""
        return find_allowed_types(self.schema, self.root)


UNKNOWN_TYPE = ExpressionType({}, {})
BOOLEAN_TYPE = ExpressionType({"type": "boolean"}, {})
#: What functions and macros give.
FUNCTION_RESULTS: Mapping[str, JsonSchema] = {
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


def get_comparison_group(kind: str) -> str:
    """Return what a JSON type is ordered among; empty where it has no order."""
    return {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}.get(kind, "")


def get_arithmetic_group(kind: str) -> str:
    """Return what a JSON type is reckoned with; empty where it is not."""
    return "number" if kind in {"integer", "number"} else ""


def get_addition_group(kind: str) -> str:
    """Return what a JSON type is added to; empty where it is not."""
    return kind if kind in {"string", "array"} else get_arithmetic_group(kind)


def infer_arithmetic_type(left: ExpressionType, right: ExpressionType) -> ExpressionType:
    """Return what a sum, or another reckoning, of two parts gives."""
    one, other = left.json_types, right.json_types
    if one is None or other is None or len(one | other) != 1:
        return UNKNOWN_TYPE
    return ExpressionType({"type": next(iter(one))}, {})


def join_types(one: ExpressionType, other: ExpressionType) -> ExpressionType:
    """Return what is one part or the other."""
    if {} in (one.schema, other.schema) or one.root != other.root:
        return UNKNOWN_TYPE
    return ExpressionType({"anyOf": [one.schema, other.schema]}, one.root)


_TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<number>0x[0-9a-fA-F]+u?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?u?)
    |(?P<text>[rRbB]{0,2}(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)
ORDERING_OPERATORS = frozenset({"<", "<=", ">", ">="})
#: The grammar's levels of two-sided operators, the loosest first.
PRECEDENCE_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    ORDERING_OPERATORS | {"==", "!=", "in"},
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)


def tokenize(expression: str) -> list[tuple[str, str]]:
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


_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
#: Deeper nesting is left to the run.
_MAX_DEPTH = 20


class UnsupportedExpression(Exception):  # noqa: N818 - says what it is
    """The expression is beyond what is read here; nothing is said of it."""


def find_condition_faults(expression: str, outputs: Mapping[str, JsonSchema | None]) -> tuple[str, ...]:
    """Return what the outputs' schemas rule out of `expression`, which parses, as ends of a sentence on it."""
    reader = _ConditionParser(expression, outputs)
    try:
        whole = reader.parse_expression()
    except UnsupportedExpression:
        return reader.report_faults()
    kinds = whole.json_types
    if reader.position == len(reader.tokens) and kinds is not None and "boolean" not in kinds:
        reader.faults[f"gives {describe_types(kinds)} where true or false is wanted"] = ""
    return reader.report_faults()


class _ConditionParser:
    """One pass over the tokens of an expression."""

    def __init__(self, expression: str, outputs: Mapping[str, JsonSchema | None]) -> None:
        self.tokens = tokenize(expression)
        self.position = 0
        #: In order, each once, with the path that is not there where that is the fault.
        self.faults: dict[str, str] = {}
        self._tested_paths: set[str] = set()
        self._variables: dict[str, ExpressionType] = {
            task: ExpressionType(schema or {}, schema or {}, task) for task, schema in outputs.items()
        }
        self._depth = 0
        #: Inside `has(...)`, where a member may be missing.
        self._is_inside_has = False

    def report_faults(self) -> tuple[str, ...]:
        """Return the faults, but for members that the expression itself asks about with `has`."""
        return tuple(fault for fault, path in self.faults.items() if not path or path not in self._tested_paths)

    def parse_expression(self) -> ExpressionType:
        """Read `a ? b : c` or what is above it."""
        self._enter_level()
        found = self._parse_operators(0)
        if self._accept("?"):
            self._require_type(found, {"boolean"}, "is asked with '?'")
            one = self.parse_expression()
            self._expect(":")
            other = self.parse_expression()
            found = join_types(one, other)
        self._depth -= 1
        return found

    def _enter_level(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise UnsupportedExpression

    def _parse_operators(self, level: int) -> ExpressionType:
        if level == len(PRECEDENCE_LEVELS):
            return self._parse_unary()
        found = self._parse_operators(level + 1)
        while (sign := self._peek()) in PRECEDENCE_LEVELS[level]:
            self.position += 1
            found = self._infer_operation(sign, found, self._parse_operators(level + 1))
        return found

    def _infer_operation(self, sign: str, left: ExpressionType, right: ExpressionType) -> ExpressionType:
        if sign in {"||", "&&"}:
            for side in (left, right):
                self._require_type(side, {"boolean"}, f"stands beside {sign!r}")
            return BOOLEAN_TYPE
        if sign in ORDERING_OPERATORS:
            self._check_operands(sign, left, right, by=get_comparison_group, word="compares")
        elif sign not in PRECEDENCE_LEVELS[2]:
            self._check_operands(
                sign, left, right, by=get_addition_group if sign == "+" else get_arithmetic_group, word="reckons"
            )
        if sign in PRECEDENCE_LEVELS[2]:
            return BOOLEAN_TYPE
        return infer_arithmetic_type(left, right)

    def _check_operands(
        self, sign: str, left: ExpressionType, right: ExpressionType, *, by: Callable[[str], str], word: str
    ) -> None:
        """Note a fault where no type that the left side may have goes with one of the right side."""
        one, other = left.json_types, right.json_types
        if one is None or other is None:
            return
        if not (set(map(by, one)) & set(map(by, other))) - {""}:
            name = f"{left.path} " if left.path else ""
            self.faults[f"{word} {name}({describe_types(one)}) by {sign!r} with {describe_types(other)}"] = ""

    def _parse_unary(self) -> ExpressionType:
        sign = self._peek()
        if sign not in {"!", "-"}:
            return self._parse_members(self._parse_primary())
        self.position += 1
        self._enter_level()
        found = self._parse_unary()
        self._depth -= 1
        self._require_type(found, {"boolean"} if sign == "!" else {"integer", "number"}, f"stands behind {sign!r}")
        return BOOLEAN_TYPE if sign == "!" else ExpressionType(found.schema, found.root)

    def _parse_members(self, found: ExpressionType) -> ExpressionType:
        while True:
            if self._accept("."):
                found = self._parse_member(found, self._expect_name())
            elif self._accept("["):
                found = self._parse_index(found)
            else:
                return found

    def _parse_member(self, found: ExpressionType, name: str) -> ExpressionType:
        if not self._accept("("):
            return self._follow_step(found, name, f".{name}")
        if name in _MACROS:
            return self._parse_macro(found, name)
        self._parse_arguments()
        return ExpressionType(FUNCTION_RESULTS.get(name, {}), {})

    def _parse_index(self, found: ExpressionType) -> ExpressionType:
        kind, text = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        plain = kind in {"number", "text"} and self.tokens[self.position + 1 : self.position + 2] == [("sign", "]")]
        if not plain:
            self.parse_expression()
            self._expect("]")
            return UNKNOWN_TYPE
        self.position += 2
        if kind == "number":
            return self._follow_step(found, int(text), f"[{text}]") if text.isdigit() else UNKNOWN_TYPE
        key = text[1:-1]
        if "\\" in text or text[0] not in "'\"" or text[:3] in {"'''", '"""'}:
            return UNKNOWN_TYPE
        if found.path == "outputs":
            return self._variables.get(key, UNKNOWN_TYPE)
        return self._follow_step(found, key, f"[{text}]")

    def _follow_step(self, found: ExpressionType, step: str | int, written: str) -> ExpressionType:
        path: JsonPath = (step,)
        try:
            # What the path of a reference takes for every item is a plain key here.
            schema = {} if step == "*" else get_subschema(found.schema, path, root=found.root)
        except NoSuchPath as error:
            whole = f"{found.path}{written}"
            # The last member inside `has(...)` may be missing, nothing before it.
            if self._is_inside_has and self._peek() == ")":
                self._tested_paths.add(whole)
            else:
                self.faults[f"asks for {whole}, but {found.path or 'what is before it'} {error}"] = whole
            return UNKNOWN_TYPE
        return ExpressionType(schema, found.root, f"{found.path}{written}" if found.path else "")

    def _parse_macro(self, found: ExpressionType, macro: str) -> ExpressionType:
        """Read the arguments of a macro, in which a name stands for each item."""
        name = self._expect_name()
        self._expect(",")
        kinds = found.json_types
        item = UNKNOWN_TYPE
        if kinds == frozenset({"array"}):
            item = ExpressionType(get_subschema(found.schema, (0,), root=found.root), found.root, name)
        hidden = self._variables.get(name)
        self._variables[name] = item
        inner = self._parse_nested(self.parse_expression)
        if macro != "map":
            self._require_type(inner, {"boolean"}, f"is what {macro!r} asks")
        while self._accept(","):
            inner = self._parse_nested(self.parse_expression)
        self._expect(")")
        self._variables.pop(name)
        if hidden is not None:
            self._variables[name] = hidden
        if macro == "filter":
            return ExpressionType(found.schema, found.root)
        if macro == "map":
            return ExpressionType({"type": "array", "items": inner.schema}, inner.root)
        return BOOLEAN_TYPE

    def _parse_primary(self) -> ExpressionType:
        if self.position >= len(self.tokens):
            raise UnsupportedExpression
        kind, text = self.tokens[self.position]
        self.position += 1
        if kind == "number":
            return ExpressionType(
                {"type": "integer" if re.fullmatch(r"(0x[0-9a-fA-F]+|\d+)u?", text) else "number"}, {}
            )
        if kind == "text":
            return (
                ExpressionType({}, {})
                if text[0] in "bB" or text[:2].lower() == "rb"
                else ExpressionType({"type": "string"}, {})
            )
        if kind == "name":
            return self._parse_identifier(text)
        if text == "(":
            found = self._parse_nested(self.parse_expression)
            self._expect(")")
            return found
        if text == "[":
            self._parse_literal("]")
            return ExpressionType({"type": "array"}, {})
        if text == "{":
            self._parse_literal("}")
            return ExpressionType({"type": "object"}, {})
        raise UnsupportedExpression

    def _parse_identifier(self, name: str) -> ExpressionType:
        if name in {"true", "false"}:
            return BOOLEAN_TYPE
        if name == "null":
            return ExpressionType({"type": "null"}, {})
        if self._accept("("):
            asking, self._is_inside_has = self._is_inside_has, name == "has"
            self._parse_arguments()
            self._is_inside_has = asking
            return ExpressionType(FUNCTION_RESULTS.get(name, {}), {})
        if name == "outputs" and name not in self._variables:
            return ExpressionType({}, {}, "outputs")
        return self._variables.get(name, UNKNOWN_TYPE)

    def _parse_arguments(self) -> None:
        if self._accept(")"):
            return
        self.parse_expression()
        while self._accept(","):
            self.parse_expression()
        self._expect(")")

    def _parse_literal(self, end: str) -> None:
        while not self._accept(end):
            self._parse_nested(self.parse_expression)
            if not (self._accept(",") or self._accept(":") or self._peek() == end):
                raise UnsupportedExpression

    def _parse_nested(self, read: Callable[[], ExpressionType]) -> ExpressionType:
        asking, self._is_inside_has = self._is_inside_has, False
        found = read()
        self._is_inside_has = asking
        return found

    def _require_type(self, found: ExpressionType, allowed: set[str], where: str) -> None:
        kinds = found.json_types
        if kinds is not None and not kinds & allowed:
            name = f"{found.path}, {describe_types(kinds)}," if found.path else describe_types(kinds)
            self.faults[f"does not hold together: {name} {where}"] = ""

    def _peek(self) -> str:
        if self.position >= len(self.tokens):
            return ""
        kind, text = self.tokens[self.position]
        return text if kind == "sign" or text == "in" else ""

    def _accept(self, sign: str) -> bool:
        if self._peek() != sign:
            return False
        self.position += 1
        return True

    def _expect(self, sign: str) -> None:
        if not self._accept(sign):
            raise UnsupportedExpression

    def _expect_name(self) -> str:
        if self.position >= len(self.tokens) or self.tokens[self.position][0] != "name":
            raise UnsupportedExpression
        self.position += 1
        return self.tokens[self.position - 1][1]
