"""What tools return, as JSON: values of Python and of other libraries, and what has no JSON form."""

import array
import collections
import dataclasses
import datetime as dt
import decimal
import enum
import fractions
import io
import itertools
import json
import pathlib
import types
import uuid

import numpy as np
import pytest
from pydantic import BaseModel, ConfigDict, Field, SecretStr
from pydantic.dataclasses import dataclass as pydantic_dataclass

from agent.json_values import JsonConversionError, to_json_value


class Colour(enum.Enum):
    RED = "red"


class Level(enum.IntEnum):
    HIGH = 3


@dataclasses.dataclass
class Point:
    x: object
    y: object = None


@pydantic_dataclass
class Place:
    on: dt.date


class Order(BaseModel):
    model_config = ConfigDict(arbitrary_types_allowed=True)

    number: object = Field(alias="orderNumber")
    on: dt.date = dt.date(2024, 2, 29)


class Attributes:
    """As attrs makes a class."""

    __attrs_attrs__ = (types.SimpleNamespace(name="a"), types.SimpleNamespace(name="b"))

    def __init__(self, a, b):
        self.a, self.b = a, b


class Frame:
    """As pandas has it."""

    columns = ("a",)

    def to_dict(self, orient):
        return [{"a": np.int64(1)}] if orient == "records" else {}


Pair = collections.namedtuple("Pair", "left right")  # noqa: PYI024 - what tools have
BINARY = "data:application/octet-stream;base64,/wA="
CONVERTED = [
    (np.int64(2), 2),
    (np.uint64(2**64 - 1), 2**64 - 1),
    (np.float32(1.5), 1.5),
    (np.float64("nan"), None),
    (np.longdouble(2), 2.0),
    (np.bool_(True), True),
    (np.str_("a"), "a"),
    (np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
    (np.array(7), 7),
    (np.array([1.0, float("inf")]), [1.0, None]),
    (np.array([None, {"a": np.int8(1)}], object), [None, {"a": 1}]),
    (np.ma.array([1, 2], mask=[False, True]), [1, None]),
    (np.datetime64("2024-01-01T00:00:00.000000001"), "2024-01-01T00:00:00.000000001"),
    (np.array(["2024-01-01", "NaT"], "M8[D]"), ["2024-01-01", None]),
    ({np.int64(1): "a"}, {"1": "a"}),
    (Frame(), [{"a": 1}]),
    (range(3), [0, 1, 2]),
    (memoryview(b"ab"), "ab"),
    (memoryview(array.array("i", [1, 2])), [1, 2]),
    (array.array("d", [1.5]), [1.5]),
    (b"caf\xc3\xa9", "café"),
    (b"\xff\x00", BINARY),
    (bytearray(b"\xff\x00"), BINARY),
    ({"a": b"\xff\x00"}, {"a": BINARY}),
    ({"a": 1}.keys(), ["a"]),
    ({"a": 1}.values(), [1]),
    ({"a": 1}.items(), [["a", 1]]),
    (types.MappingProxyType({"a": 1}), {"a": 1}),
    ({1}, [1]),
    (frozenset("a"), ["a"]),
    (collections.deque([1]), [1]),
    (collections.UserString("u"), "u"),
    (collections.Counter("aab"), {"a": 2, "b": 1}),
    ((each for each in "ab"), ["a", "b"]),
    (map(str, [1]), ["1"]),
    (Pair(1, (2,)), [1, [2]]),
    (Point(1, Point(b"\xff\x00")), {"x": 1, "y": {"x": BINARY, "y": None}}),
    (Place(on=dt.date(2024, 2, 29)), {"on": "2024-02-29"}),
    (Attributes(1, {2}), {"a": 1, "b": [2]}),
    (Order(orderNumber=np.int64(3)), {"orderNumber": 3, "on": "2024-02-29"}),
    (Order(orderNumber=b"\xff\x00"), {"orderNumber": BINARY, "on": "2024-02-29"}),
    (Colour.RED, "red"),
    ({Colour.RED: Level.HIGH}, {"red": 3}),
    (decimal.Decimal("1.10"), "1.10"),
    (fractions.Fraction(1, 2), "1/2"),
    (dt.datetime(2024, 2, 29, tzinfo=dt.UTC), "2024-02-29T00:00:00Z"),
    (dt.timedelta(days=1), "P1D"),
    (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
    (pathlib.PurePosixPath("/a"), "/a"),
    (SecretStr("s3cret"), "**********"),
    (float("-inf"), None),
    ({True: 1, 2: 3}, {"true": 1, "2": 3}),
    ("half \ud800", "half \ufffd"),
    (10**4_299, 10**4_299),
    (-(2**100), -(2**100)),
]


@pytest.mark.parametrize(("value", "expected"), CONVERTED, ids=lambda value: type(value).__name__)
def test_a_value_gets_its_json_form(value, expected):
    found = to_json_value({"value": [value]})["value"][0]
    assert (found, type(found)) == (expected, type(expected))
    json.dumps(found, allow_nan=False)


@pytest.mark.parametrize(
    ("value", "because"),
    [
        (1j, "a value of type complex has no JSON form"),
        (np.complex128(1j), "complex128 has no JSON form"),
        (object(), "a value of type object has no JSON form"),
        (int, "the type int has no JSON form"),
        (len, "has no JSON form"),
        (io.StringIO("a"), "a value of type _io.StringIO has no JSON form"),
        (ValueError("x"), "a value of type ValueError has no JSON form"),
        (10**4_300, "a whole number of more than 4,300 digits"),
        (range(10**15), "more than 10,000,000 items"),
        (itertools.count(), "more than 10,000,000 items"),
        ({1: "a", "1": "b"}, "two keys that are both written '1'"),
        (dict.fromkeys(["\ud800", "\udfff"]), "two keys that are both written '\ufffd'"),
        ((1 // each for each in (1, 0)), "integer division or modulo by zero"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_value_without_a_json_form_is_refused_in_a_sentence(value, because):
    with pytest.raises(JsonConversionError) as refused:
        to_json_value([value])
    assert str(refused.value).startswith("is not a JSON value: ")
    assert because in str(refused.value)


@pytest.mark.parametrize("wrap", [lambda inner: [inner], lambda inner: {"a": inner}, lambda inner: (inner,)])
def test_250_levels_are_taken_and_no_more(wrap):
    value = 1
    for _ in range(250):
        value = wrap(value)
    to_json_value(value)
    with pytest.raises(JsonConversionError, match="nested deeper than 250 levels"):
        to_json_value(wrap(value))
