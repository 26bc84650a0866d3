"""The schema that a value is given tells what it holds."""

import jsonschema
from hypothesis import given
from hypothesis import strategies as st

from agent.results.artifacts import infer_schema

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=6) | st.dictionaries(st.text(max_size=4), inner, max_size=6),
    max_leaves=30,
)


@given(VALUES)
def test_a_value_fits_its_schema(value):
    jsonschema.validate(value, infer_schema(value))


def test_a_row_that_lacks_a_column_and_one_that_has_another_kind_are_told():
    rows = [{"a": 1, "b": None}, {"a": 2.5}, {"b": "x", "c": [True]}]
    assert infer_schema(rows) == {
        "type": "array",
        "items": {
            "type": "object",
            "properties": {
                "a": {"type": "number"},
                "b": {"type": ["null", "string"]},
                "c": {"type": "array", "items": {"type": "boolean"}},
            },
        },
    }


def test_a_schema_stays_small():
    deep = value = {}
    for _ in range(50):
        value["in"] = {}
        value = value["in"]
    wide = [{f"column {n} {m}": n for n in range(100)} for m in range(1000)]
    assert len(str(infer_schema(deep))) < 1_000
    assert len(str(infer_schema(wide))) < 5_000
