"""Type-checks conditions against the schemas of earlier outputs, before anything runs.

The expression is parsed again, by precedence climbing over the grammar of CEL (cel.dev, "Language Definition", syntax),
and each part gets the JSON Schema of its possible values, `{}` if nothing is known. Only what cannot work is reported:
a member that a schema rules out, an operator with values that it does not take, a result that is not true or false.
"""

import re
from collections.abc import Mapping
from typing import NamedTuple

from agent.core.plan.condition_cost import tokenize
from agent.core.plan.json_schema import NoSuchPath, describe_types, find_allowed_types, get_subschema
from agent.core.plan.references import JsonPath
from agent.core.plan.tool_spec import JsonSchema


class _ExpressionType(NamedTuple):
    """The possible values of a part of an expression; `root` is where references of its schema are looked up."""

    schema: JsonSchema
    root: JsonSchema
    #: The part as it is written, for sentences; empty if it is not a plain path.
    path: str = ""

    @property
    def json_types(self) -> frozenset[str] | None:
        """The JSON types, None if nothing is known."""
        return find_allowed_types(self.schema, self.root)


_UNKNOWN_TYPE = _ExpressionType({}, {})
_BOOLEAN_TYPE = _ExpressionType({"type": "boolean"}, {})
#: The result types of functions and macros.
_FUNCTION_RESULTS: Mapping[str, JsonSchema] = {
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
_ORDERING_OPERATORS = frozenset({"<", "<=", ">", ">="})
_COMPARISON_OPERATORS = _ORDERING_OPERATORS | {"==", "!=", "in"}
#: The levels of binary operators in the grammar, the loosest first.
_PRECEDENCE_LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    _COMPARISON_OPERATORS,
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
#: The groups of JSON types that operators take on both sides; a type that is not here has no such operator.
_ORDERING_GROUPS = {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}
_ARITHMETIC_GROUPS = {"integer": "number", "number": "number"}
_ADDITION_GROUPS = {**_ARITHMETIC_GROUPS, "string": "string", "array": "array"}
_MACROS = frozenset({"all", "exists", "exists_one", "filter", "map"})
#: Deeper nesting is not checked here, only when the condition is evaluated.
_MAX_DEPTH = 20


class _UnsupportedExpression(Exception):  # noqa: N818 - says what it is
    """The expression uses what this parser does not support, so the rest of it is not checked."""


def find_condition_faults(expression: str, outputs: Mapping[str, JsonSchema | None]) -> tuple[str, ...]:
    """Return what the schemas of `outputs` rule out of `expression`, which must parse.

    Each fault completes a sentence whose subject is the expression. `outputs` are schemas by task id, None if unknown.
    """
    reader = _ConditionParser(expression, outputs)
    try:
        whole = reader.parse_expression()
    except _UnsupportedExpression:
        return reader.report_faults()
    kinds = whole.json_types
    if reader.position == len(reader.tokens) and kinds is not None and "boolean" not in kinds:
        reader.faults[f"gives {describe_types(kinds)} where true or false is expected"] = ""
    return reader.report_faults()


class _ConditionParser:
    """One pass over the tokens of an expression."""

    def __init__(self, expression: str, outputs: Mapping[str, JsonSchema | None]) -> None:
        self.tokens = tokenize(expression)
        self.position = 0
        #: In order, each once, with the path that does not exist if that is the fault, else with an empty text.
        self.faults: dict[str, str] = {}
        self._tested_paths: set[str] = set()
        self._variables: dict[str, _ExpressionType] = {
            task: _ExpressionType(schema or {}, schema or {}, task) for task, schema in outputs.items()
        }
        self._depth = 0
        #: Inside `has(...)`, where a member may be missing.
        self._is_inside_has = False

    def report_faults(self) -> tuple[str, ...]:
        """Return the faults, except missing members that the expression itself tests with `has`."""
        return tuple(fault for fault, path in self.faults.items() if not path or path not in self._tested_paths)

    def parse_expression(self) -> _ExpressionType:
        """Parse `a ? b : c`, or an expression that binds tighter."""
        self._enter_level()
        found = self._parse_operators(0)
        if self._accept("?"):
            self._require_boolean(found, "?")
            one = self.parse_expression()
            self._expect(":")
            other = self.parse_expression()
            found = _join_types(one, other)
        self._depth -= 1
        return found

    def _enter_level(self) -> None:
        self._depth += 1
        if self._depth > _MAX_DEPTH:
            raise _UnsupportedExpression

    def _parse_operators(self, level: int) -> _ExpressionType:
        if level == len(_PRECEDENCE_LEVELS):
            return self._parse_unary()
        found = self._parse_operators(level + 1)
        while (sign := self._peek()) in _PRECEDENCE_LEVELS[level]:
            self.position += 1
            found = self._infer_operation(sign, found, self._parse_operators(level + 1))
        return found

    def _infer_operation(self, sign: str, left: _ExpressionType, right: _ExpressionType) -> _ExpressionType:
        if sign in {"||", "&&"}:
            for side in (left, right):
                self._require_boolean(side, sign)
            return _BOOLEAN_TYPE
        if sign in _ORDERING_OPERATORS:
            self._check_operands(sign, left, right, groups=_ORDERING_GROUPS)
        elif sign not in _COMPARISON_OPERATORS:
            self._check_operands(sign, left, right, groups=_ADDITION_GROUPS if sign == "+" else _ARITHMETIC_GROUPS)
        if sign in _COMPARISON_OPERATORS:
            return _BOOLEAN_TYPE
        return _infer_arithmetic_type(left, right)

    def _check_operands(
        self, sign: str, left: _ExpressionType, right: _ExpressionType, *, groups: Mapping[str, str]
    ) -> None:
        """Add a fault if no type of the left side is in the same group as one of the right side."""
        one, other = left.json_types, right.json_types
        if one is None or other is None:
            return
        if not {groups[kind] for kind in one if kind in groups} & {groups.get(kind) for kind in other}:
            sides = f"{_describe_operand(left, one)} and {_describe_operand(right, other)}"
            self.faults[f"applies {sign!r} to {sides}, which does not work"] = ""

    def _parse_unary(self) -> _ExpressionType:
        sign = self._peek()
        if sign not in {"!", "-"}:
            return self._parse_members(self._parse_primary())
        self.position += 1
        self._enter_level()
        found = self._parse_unary()
        self._depth -= 1
        if sign == "!":
            self._require_boolean(found, sign)
            return _BOOLEAN_TYPE
        self._require_type(found, {"integer", "number"}, sign, takes="a number")
        return _ExpressionType(found.schema, found.root)

    def _parse_members(self, found: _ExpressionType) -> _ExpressionType:
        while True:
            if self._accept("."):
                found = self._parse_member(found, self._expect_name())
            elif self._accept("["):
                found = self._parse_index(found)
            else:
                return found

    def _parse_member(self, found: _ExpressionType, name: str) -> _ExpressionType:
        if not self._accept("("):
            return self._follow_step(found, name, f".{name}")
        if name in _MACROS:
            return self._parse_macro(found, name)
        self._parse_arguments()
        return _ExpressionType(_FUNCTION_RESULTS.get(name, {}), {})

    def _parse_index(self, found: _ExpressionType) -> _ExpressionType:
        kind, text = self.tokens[self.position] if self.position < len(self.tokens) else ("", "")
        plain = kind in {"number", "text"} and self.tokens[self.position + 1 : self.position + 2] == [("sign", "]")]
        if not plain:
            self.parse_expression()
            self._expect("]")
            return _UNKNOWN_TYPE
        self.position += 2
        if kind == "number":
            return self._follow_step(found, int(text), f"[{text}]") if text.isdigit() else _UNKNOWN_TYPE
        key = text[1:-1]
        if "\\" in text or text[0] not in "'\"" or text[:3] in {"'''", '"""'}:
            return _UNKNOWN_TYPE
        if found.path == "outputs":
            return self._variables.get(key, _UNKNOWN_TYPE)
        return self._follow_step(found, key, f"[{text}]")

    def _follow_step(self, found: _ExpressionType, step: str | int, written: str) -> _ExpressionType:
        path: JsonPath = (step,)
        try:
            # In the path of a reference "*" means every item; in CEL it is a plain key.
            schema = {} if step == "*" else get_subschema(found.schema, path, root=found.root)
        except NoSuchPath as error:
            whole = f"{found.path}{written}"
            # Only the last member inside `has(...)` may be missing.
            if self._is_inside_has and self._peek() == ")":
                self._tested_paths.add(whole)
            else:
                self.faults[f"uses {whole}, but {found.path or 'the part before it'} {error}"] = whole
            return _UNKNOWN_TYPE
        return _ExpressionType(schema, found.root, f"{found.path}{written}" if found.path else "")

    def _parse_macro(self, found: _ExpressionType, macro: str) -> _ExpressionType:
        """Parse the arguments of a macro, in which a name stands for each item."""
        name = self._expect_name()
        self._expect(",")
        kinds = found.json_types
        item = _UNKNOWN_TYPE
        if kinds == frozenset({"array"}):
            item = _ExpressionType(get_subschema(found.schema, (0,), root=found.root), found.root, name)
        hidden = self._variables.get(name)
        self._variables[name] = item
        inner = self._parse_nested()
        if macro != "map":
            self._require_boolean(inner, macro)
        while self._accept(","):
            inner = self._parse_nested()
        self._expect(")")
        self._variables.pop(name)
        if hidden is not None:
            self._variables[name] = hidden
        if macro == "filter":
            return _ExpressionType(found.schema, found.root)
        if macro == "map":
            return _ExpressionType({"type": "array", "items": inner.schema}, inner.root)
        return _BOOLEAN_TYPE

    def _parse_primary(self) -> _ExpressionType:
        if self.position >= len(self.tokens):
            raise _UnsupportedExpression
        kind, text = self.tokens[self.position]
        self.position += 1
        if kind == "number":
            is_integer = re.fullmatch(r"(0x[0-9a-fA-F]+|\d+)u?", text) is not None
            return _ExpressionType({"type": "integer" if is_integer else "number"}, {})
        if kind == "text":
            is_bytes = text[0] in "bB" or text[:2].lower() == "rb"
            return _UNKNOWN_TYPE if is_bytes else _ExpressionType({"type": "string"}, {})
        if kind == "name":
            return self._parse_identifier(text)
        if text == "(":
            found = self._parse_nested()
            self._expect(")")
            return found
        if text == "[":
            self._parse_literal("]")
            return _ExpressionType({"type": "array"}, {})
        if text == "{":
            self._parse_literal("}")
            return _ExpressionType({"type": "object"}, {})
        raise _UnsupportedExpression

    def _parse_identifier(self, name: str) -> _ExpressionType:
        if name in {"true", "false"}:
            return _BOOLEAN_TYPE
        if name == "null":
            return _ExpressionType({"type": "null"}, {})
        if self._accept("("):
            is_inside_has, self._is_inside_has = self._is_inside_has, name == "has"
            self._parse_arguments()
            self._is_inside_has = is_inside_has
            return _ExpressionType(_FUNCTION_RESULTS.get(name, {}), {})
        if name == "outputs" and name not in self._variables:
            return _ExpressionType({}, {}, "outputs")
        return self._variables.get(name, _UNKNOWN_TYPE)

    def _parse_arguments(self) -> None:
        if self._accept(")"):
            return
        self.parse_expression()
        while self._accept(","):
            self.parse_expression()
        self._expect(")")

    def _parse_literal(self, end: str) -> None:
        while not self._accept(end):
            self._parse_nested()
            if not (self._accept(",") or self._accept(":") or self._peek() == end):
                raise _UnsupportedExpression

    def _parse_nested(self) -> _ExpressionType:
        """Parse an expression in brackets, which is not the direct argument of a `has` around it."""
        is_inside_has, self._is_inside_has = self._is_inside_has, False
        found = self.parse_expression()
        self._is_inside_has = is_inside_has
        return found

    def _require_boolean(self, found: _ExpressionType, sign: str) -> None:
        self._require_type(found, {"boolean"}, sign, takes="true or false")

    def _require_type(self, found: _ExpressionType, allowed: set[str], sign: str, *, takes: str) -> None:
        kinds = found.json_types
        if kinds is not None and not kinds & allowed:
            self.faults[f"applies {sign!r} to {_describe_operand(found, kinds)}, but it takes {takes}"] = ""

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
            raise _UnsupportedExpression

    def _expect_name(self) -> str:
        if self.position >= len(self.tokens) or self.tokens[self.position][0] != "name":
            raise _UnsupportedExpression
        self.position += 1
        return self.tokens[self.position - 1][1]


def _describe_operand(part: _ExpressionType, kinds: frozenset[str]) -> str:
    return f"{part.path} ({describe_types(kinds)})" if part.path else describe_types(kinds)


def _infer_arithmetic_type(left: _ExpressionType, right: _ExpressionType) -> _ExpressionType:
    """Return the type of an arithmetic operation on two parts."""
    one, other = left.json_types, right.json_types
    if one is None or other is None or len(one | other) != 1:
        return _UNKNOWN_TYPE
    return _ExpressionType({"type": next(iter(one))}, {})


def _join_types(one: _ExpressionType, other: _ExpressionType) -> _ExpressionType:
    """Return the type of a value that is one part or the other."""
    if {} in (one.schema, other.schema) or one.root != other.root:
        return _UNKNOWN_TYPE
    return _ExpressionType({"anyOf": [one.schema, other.schema]}, one.root)
