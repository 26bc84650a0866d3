"""The 40 arithmetic functions of NESTFUL v2 as tools, made from the published description of what each one does.

Source of names, signatures and meaning: IBM NESTFUL v2 (arXiv 2409.03797). Two of them are not what their names say:
`sqrt` is the integer square root, and `log` drops what stands behind the point.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from agent.errors import ToolFailure

FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "add": lambda a, b: a + b,
    "subtract": lambda a, b: a - b,
    "multiply": lambda a, b: a * b,
    "divide": lambda a, b: a / b,
    "power": lambda base, exponent: base**exponent,
    "negate": lambda number: -number,
    "inverse": lambda number: 1 / number,
    "negate_prob": lambda probability: 1 - probability,
    "remainder": lambda a, b: a % b,
    "reminder": lambda a, b: a % b,
    "speed": lambda distance, time: distance / time,
    "floor": math.floor,
    "sqrt": math.isqrt,
    "log": lambda x, base=math.e: int(math.log(x, base)),
    "gcd": lambda a, b: math.gcd(int(a), int(b)),
    "lcm": lambda a, b: abs(a * b) // math.gcd(a, b),
    "factorial": math.factorial,
    "choose": math.comb,
    "permutation": math.perm,
    "max_number": max,
    "min_number": min,
    "circle_area": lambda radius: math.pi * radius**2,
    "circumface": lambda radius: 2 * math.pi * radius,
    "square_area": lambda side: side * side,
    "square_perimeter": lambda side: 4 * side,
    "square_edge_by_area": math.sqrt,
    "square_edge_by_perimeter": lambda perimeter: perimeter / 4,
    "rectangle_area": lambda length, width: length * width,
    "rectangle_perimeter": lambda length, width: 2 * (length + width),
    "diagonal": lambda length, width: math.sqrt(length**2 + width**2),
    "triangle_area": lambda base, height: 0.5 * base * height,
    "rhombus_area": lambda one, other: 0.5 * one * other,
    "volume_cube": lambda side: side**3,
    "surface_cube": lambda side: 6 * side**2,
    "cube_edge_by_volume": lambda volume: math.pow(volume, 1 / 3),
    "volume_cylinder": lambda radius, height: math.pi * radius**2 * height,
    "surface_cylinder": lambda radius, height: 2 * math.pi * radius * (radius + height),
    "volume_cone": lambda radius, height: 1 / 3 * math.pi * radius**2 * height,
    "volume_sphere": lambda radius: 4 / 3 * math.pi * radius**3,
    "surface_sphere": lambda radius: 4 * math.pi * radius**2,
}
_NUMBER = {"type": "number"}
#: Beyond these a result takes the machine's time and memory, and no goal needs it.
_LARGEST_EXPONENT, _LARGEST_COUNT = 4_000, 2_000
_COUNTING = frozenset({"factorial", "choose", "permutation"})


def tool(name: str, spec: Mapping[str, Any]) -> BaseTool:
    """Return the function `name` as a tool that takes `arg_0`, `arg_1` and gives `{"result": number}`.

    `spec` is its entry in the published list of tools. The types there are words such as `int or float`; as gold plans
    give an int for a float and the other way round, every number is a number.
    """
    parameters: Mapping[str, Mapping[str, str]] = spec["parameters"]
    properties = {
        each: ({"type": "array", "items": _NUMBER, "minItems": 1} if told["type"].startswith("list") else dict(_NUMBER))
        | {"description": told["description"]}
        for each, told in parameters.items()
    }
    required = [each for each in parameters if (name, each) != ("log", "arg_1")]

    def run(**args: Any) -> dict[str, Any]:
        return {"result": _result(name, [args[each] for each in parameters if each in args])}

    async def run_soon(**args: Any) -> dict[str, Any]:
        return run(**args)

    return StructuredTool.from_function(
        func=run,
        coroutine=run_soon,
        name=name,
        description=" ".join(spec["description"].split()),
        args_schema={
            "type": "object",
            "properties": properties,
            "required": required,
            "additionalProperties": False,
        },
        metadata={
            "readOnlyHint": True,
            "openWorldHint": False,
            "output_schema": {
                "type": "object",
                "properties": {"result": {"type": "number"}},
                "required": ["result"],
                "additionalProperties": False,
            },
        },
    )


def _result(name: str, values: list[Any]) -> Any:
    if name == "power" and abs(values[1]) > _LARGEST_EXPONENT:
        raise ToolFailure(f"The exponent {values[1]!r} is too large; give at most {_LARGEST_EXPONENT}.")
    if name in _COUNTING and max(values) > _LARGEST_COUNT:
        raise ToolFailure(f"{max(values)!r} is too large for {name!r}; give at most {_LARGEST_COUNT}.")
    try:
        result = FUNCTIONS[name](*values)
    except (ArithmeticError, TypeError, ValueError) as error:
        raise ToolFailure(f"{name!r} cannot be had of {values!r}: {error}.") from error
    if isinstance(result, complex) or (isinstance(result, float) and not math.isfinite(result)):
        raise ToolFailure(f"{name!r} of {values!r} is no number.")
    return result
