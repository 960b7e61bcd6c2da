from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.errors import InvalidInput
from taxiway.json_values import DATATYPE, NUMPY_TYPE, accepted_datatypes, accepted_type, json_type, numbers, to_array
from taxiway.signature import Column


def column(dtype: str, **rules: Any) -> Column:
    return Column.model_validate({"name": "x", "dtype": dtype, **rules})


@pytest.mark.parametrize("dtype", DATATYPE)
def test_a_column_takes_its_own_datatype_and_what_can_become_it(dtype: str) -> None:
    takes = accepted_datatypes(column(dtype))
    assert DATATYPE[dtype] in takes
    kinds = {NUMPY_TYPE[datatype].kind for datatype in takes}
    assert (
        kinds
        == {"b": {"b"}, "i": {"i", "u"}, "u": {"i", "u"}, "f": {"i", "u", "f"}, "O": {"O"}}[
            NUMPY_TYPE[DATATYPE[dtype]].kind
        ]
    )
    assert accepted_type(column(dtype), None) == NUMPY_TYPE[DATATYPE[dtype]]


@pytest.mark.parametrize(
    ("own", "declared", "values", "found"),
    [
        ("float64", "FP32", [0.1], [float(np.float32(0.1))]),
        ("float32", "FP64", [1e300, 1], [np.inf, 1]),
        ("float16", None, [70_000], [np.inf]),
        ("float64", "FP16", [70_000, 0.5], [np.inf, 0.5]),
        ("int8", "INT64", [-128, 127], [-128, 127]),
        ("uint64", "INT8", [0, 127], [0, 127]),
        ("int64", "UINT64", [2**63 - 1], [2**63 - 1]),
    ],
)
def test_a_value_means_the_same_in_json_as_in_an_array_of_its_datatype(
    own: str, declared: str, values: list[Any], found: list[Any]
) -> None:
    into = column(own)
    read = to_array(into, values, declared)
    assert read.dtype == own
    assert read.tolist() == found
    if declared is not None:
        with np.errstate(over="ignore"):
            typed = np.array(values, NUMPY_TYPE[declared])
        assert numbers(into, typed, NUMPY_TYPE[declared]).tolist() == found


@pytest.mark.parametrize(
    ("own", "declared", "values", "complaint"),
    [
        ("int8", "INT64", [0, 128], "128 does not fit into INT8"),
        ("uint8", "INT64", [-1], "-1 does not fit into UINT8"),
        ("uint64", "INT64", [-1], "-1 does not fit into UINT64"),
        ("int64", "INT8", [1, 128], "a value does not fit into INT8, -128 to 127"),
        ("uint8", None, [-1], "a value does not fit into UINT8, 0 to 255"),
        ("float64", None, [10**400], "a value does not fit into FP64"),
        ("int64", None, [True], "expected values of int64, got a boolean"),
        ("float64", "FP64", [1, None], "got nothing, expected a float64"),
        ("float64", "FP64", [None, "1"], "expected values of FP64, got a string"),
        ("string", None, ["a", 1], "expected strings, got a number"),
        ("bytes", None, [{"b64": "?"}], "this is not base64"),
        ("bytes", None, [1], "expected a string or"),
    ],
)
def test_a_value_that_is_not_of_its_type_is_refused(own: str, declared: Any, values: list[Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        to_array(column(own), values, declared)


@given(st.lists(st.none() | st.integers(-128, 127), max_size=9))
def test_a_nullable_integer_is_a_float_whether_a_neighbour_is_missing_or_not(values: list[int | None]) -> None:
    found = to_array(column("int8", nullable=True), values, "INT64")
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, np.array(values, dtype=np.float64))


@given(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.lists(st.none()) | st.just({}))
def test_every_json_value_has_a_name(value: Any) -> None:
    assert json_type(value) in ("null", "a boolean", "a number", "a string", "a list", "an object")
