"""The test of an `if` as a condition of the plan, which is written in CEL."""

import ast
import json
import re
from collections.abc import Callable
from typing import Final

from pydantic import JsonValue

from agent.core.plan.json_schema import find_allowed_types, get_subschema, iterate_properties
from agent.core.plan.references import JsonPath, OutputReference, parse_reference
from agent.core.plan.tool_spec import JsonSchema
from agent.planning.script_code.statements import ScriptError, quote_code

_IDENTIFIER: Final = re.compile(r"[A-Za-z_]\w*")
_RESERVED: Final = frozenset(
    {
        *("true", "false", "null", "in", "as", "break", "const", "continue", "else", "for", "function", "if", "import"),
        *("let", "loop", "package", "namespace", "return", "var", "void", "while", "outputs", "inputs"),
    }
)
_SIGNS: Final[dict[type[ast.cmpop], str]] = {
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.Is: "==",
    ast.IsNot: "!=",
}
Resolve = Callable[[ast.expr], JsonValue]
#: Returns the schema of the value that a reference stands for, `{}` if nothing is known.
Describe = Callable[[JsonValue], JsonSchema]


def write_path(task: str, path: JsonPath) -> str:
    """Return a part of a task's output as CEL says it: `stock.count`, `outputs["a b"][0]`."""
    whole = task if _IDENTIFIER.fullmatch(task) and task not in _RESERVED else f"outputs[{json.dumps(task)}]"
    return whole + "".join(map(_write_step, path))


def _write_step(step: str | int) -> str:
    if isinstance(step, str) and _IDENTIFIER.fullmatch(step) and step not in _RESERVED:
        return f".{step}"
    return f"[{json.dumps(step)}]"


def negate_condition(condition: str) -> str:
    """Return the condition that is true where `condition` is false."""
    return condition[2:-1] if re.fullmatch(r"!\([^()]*\)", condition) else f"!({condition})"


class ConditionWriter:
    """Converts tests; `resolve` gives the value that an expression of the script stands for."""

    def __init__(self, resolve: Resolve, describe: Describe) -> None:
        self._resolve = resolve
        self._describe = describe
        #: The variables of `any(... for x in ...)`, each as CEL has it.
        self._variables: set[str] = set()

    def convert(self, node: ast.expr) -> str:
        """Return the condition. Raises `ScriptError` for what CEL over earlier outputs cannot say."""
        match node:
            case ast.BoolOp(op=op, values=values):
                sign = " && " if isinstance(op, ast.And) else " || "
                return sign.join(f"({self.convert(value)})" for value in values)
            case ast.UnaryOp(op=ast.Not(), operand=operand):
                return negate_condition(self.convert(operand))
            case ast.Compare(left=left, ops=ops, comparators=rights):
                sides = [left, *rights]
                pairs = zip(ops, sides, sides[1:], strict=False)
                return " && ".join(self._compare(op, one, other, node) for op, one, other in pairs)
            case ast.Call(func=ast.Name(id=("any" | "all") as which), args=[ast.GeneratorExp() as of]):
                return self._quantify(of, "exists" if which == "any" else "all", node)
            case ast.Constant(value=bool() as value):
                return "true" if value else "false"
            case _:
                return self._convert_truth(node)

    def _compare(self, op: ast.cmpop, left: ast.expr, right: ast.expr, node: ast.expr) -> str:
        if isinstance(op, ast.In | ast.NotIn):
            found = self._find_in(left, right)
            return found if isinstance(op, ast.In) else negate_condition(found)
        one, other = self._write_operand(left, right), self._write_operand(right, left)
        sign = _SIGNS.get(type(op))
        if sign is None:
            raise ScriptError(f"{quote_code(node)} cannot be a condition; compare by <, <=, >, >=, == or !=.")
        return f"{one} {sign} {other}"

    def _find_in(self, left: ast.expr, right: ast.expr) -> str:
        one, other = self._write_operand(left, left), self._write_operand(right, right)
        is_text = not isinstance(right, ast.List | ast.Tuple) and self._find_types(right) == frozenset({"string"})
        return f"{other}.contains({one})" if is_text else f"{one} in {other}"

    def _convert_truth(self, node: ast.expr) -> str:
        """Return what Python takes for true of a value: a list with items, a number other than 0, a text."""
        written, kinds = self._write_operand(node, node), self._find_types(node)
        if kinds is None:
            raise ScriptError(f"{quote_code(node)} cannot be a condition by itself; compare it with something.")
        kinds = kinds - {"null"}
        if kinds == {"array"}:
            return f"size({written}) > 0"
        if kinds and kinds <= {"integer", "number"}:
            return f"{written} != 0"
        if kinds == {"string"}:
            return f'{written} != ""'
        return written if kinds == {"boolean"} else f"{written} != null"

    def _write_operand(self, node: ast.expr, against: ast.expr) -> str:
        match node:
            case ast.Call(func=ast.Name(id="len"), args=[of]):
                return f"size({self._write_operand(of, of)})"
            case ast.Constant(value=None):
                return "null"
            case ast.Constant(value=bool() | int() | float() | str() as value):
                return json.dumps(value, ensure_ascii=False)
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return json.dumps(-value)
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return f"[{', '.join(self._write_operand(item, item) for item in items)}]"
        if (local := self._write_variable(node)) is not None:
            return local
        resolved = self._resolve(node)
        found = parse_reference(resolved)
        if isinstance(found, OutputReference):
            return write_path(found.task, (*found.path, *self._choose_field(resolved, against)))
        if not isinstance(resolved, dict | list):
            return json.dumps(resolved, ensure_ascii=False)
        raise ScriptError(f"{quote_code(node)} cannot stand in a condition; name an output or a part of one.")

    def _choose_field(self, value: JsonValue, against: ast.expr) -> JsonPath:
        """Return the way into a whole object that is compared with a number: its only number."""
        schema = self._describe(value)
        if not isinstance(against, ast.Constant | ast.UnaryOp) or find_allowed_types(schema, schema) != frozenset(
            {"object"}
        ):
            return ()
        wanted = {"string"} if isinstance(getattr(against, "value", None), str) else {"integer", "number"}
        kinds = {name: find_allowed_types(part, schema) for name, part in iterate_properties(schema)}
        fitting = [name for name, found in kinds.items() if found is not None and found <= wanted]
        return (fitting[0],) if len(fitting) == 1 else ()

    def _write_variable(self, node: ast.expr) -> str | None:
        match node:
            case ast.Name(id=name) if name in self._variables:
                return name
            case ast.Subscript(value=of, slice=ast.Constant(value=str() | int() as step)):
                return None if (inner := self._write_variable(of)) is None else inner + _write_step(step)
            case ast.Attribute(value=of, attr=step):
                return None if (inner := self._write_variable(of)) is None else inner + _write_step(step)
            case _:
                return None

    def _quantify(self, of: ast.GeneratorExp, macro: str, node: ast.expr) -> str:
        match of.generators:
            case [ast.comprehension(target=ast.Name(id=name), iter=source, ifs=[])]:
                listed = self._write_operand(source, source)
                self._variables.add(name)
                try:
                    inner = self.convert(of.elt)
                finally:
                    self._variables.discard(name)
                return f"{listed}.{macro}({name}, {inner})"
            case _:
                raise ScriptError(f"{quote_code(node)} cannot be a condition; write `any(test for x in list)`.")

    def _find_types(self, node: ast.expr) -> frozenset[str] | None:
        if self._write_variable(node) is not None:
            return None
        schema = self._describe(self._resolve(node))
        return find_allowed_types(get_subschema(schema, (), root=schema), schema)
