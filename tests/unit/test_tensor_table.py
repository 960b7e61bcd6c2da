"""One [rows, columns] tensor for all columns of a model."""

from contextlib import suppress
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import InvalidInput, MalformedRequest, PayloadTooLarge, RequestError
from taxiway.inference import JsonColumn, ModelInterface
from taxiway.protocols.open_inference import decode
from taxiway.signature import Array, Column
from tests.interfaces import IMAGE, JSON, TEXT, interface, joined, refuses_or_reads

NUMBERS = interface(
    Column(name="size", dtype="float64"),
    Column(name="count", dtype="int64"),
    Column(name="fragile", dtype="bool"),
    Column(name="floor", dtype="int16", nullable=True),
)
FLOATS = interface(*(Column(name=name, dtype="float64") for name in "abc"))
TEXTS = interface(Column(name="title", dtype="string"), Column(name="file", dtype="bytes"))


def as_json(datatype: str, data: Any, shape: list[int]) -> tuple[bytes, dict[bytes, bytes]]:
    return orjson.dumps(
        {"inputs": [{"name": "table", "datatype": datatype, "shape": shape, "data": data}]}
    ), dict(JSON)  # fmt: skip


def as_binary(datatype: str, data: bytes, shape: list[int]) -> tuple[bytes, dict[bytes, bytes]]:
    parameters = {"binary_data_size": len(data)}
    head = orjson.dumps({"inputs": [{"name": "table", "datatype": datatype, "shape": shape, "parameters": parameters}]})
    return head + data, {b"inference-header-content-length": str(len(head)).encode()}


def columns(body: tuple[bytes, dict[bytes, bytes]], model: ModelInterface) -> dict[str, Array]:
    return joined(decode(*body, model), model)


@pytest.mark.parametrize("data", [[1, 2, 3, 4, 5, 6], [[1, 2, 3], [4, 5, 6]]])
def test_a_table_is_split_into_the_columns_in_the_model_s_order(data: Any) -> None:
    request = decode(*as_json("FP64", data, [2, 3]), FLOATS)
    assert request.rows == 2
    assert request.columns == {name: JsonColumn([at, at + 3], "FP64") for name, at in (("a", 1), ("b", 2), ("c", 3))}


@pytest.mark.parametrize("datatype", ["FP64", "FP32", "FP16", "INT64", "UINT8"])
def test_one_datatype_serves_columns_of_several_types(datatype: str) -> None:
    values = [[1, 2, 1, 4], [5, 6, 0, 7]]
    raw = np.array(values, np.dtype({"FP64": "f8", "FP32": "f4", "FP16": "f2", "INT64": "i8", "UINT8": "u1"}[datatype]))
    from_json = columns(as_json(datatype, values, [2, 4]), NUMBERS)
    from_bytes = columns(as_binary(datatype, raw.tobytes(), [2, 4]), NUMBERS)
    for found in (from_json, from_bytes):
        assert {name: values.tolist() for name, values in found.items()} == {
            "size": [1, 5], "count": [2, 6], "fragile": [True, False], "floor": [4, 7]
        }  # fmt: skip
        assert all(found[name].dtype == column.numpy_dtype for name, column in NUMBERS.inputs.items())


def test_the_columns_that_may_be_left_out_may_be_left_out() -> None:
    assert list(columns(as_json("FP64", [1, 2, 0], [1, 3]), NUMBERS)) == ["size", "count", "fragile"]


def test_a_missing_value_is_null_in_json_and_nan_in_bytes() -> None:
    assert np.isnan(columns(as_json("FP64", [1, 2, 0, None], [1, 4]), NUMBERS)["floor"][0])
    raw = np.array([1, 2, 0, np.nan]).tobytes()
    assert np.isnan(columns(as_binary("FP64", raw, [1, 4]), NUMBERS)["floor"][0])
    for row in ([1, None, 0, 1], [1, 2, None, 1]):
        with pytest.raises(InvalidInput, match="got nothing, expected a"):
            columns(as_json("FP64", row, [1, 4]), NUMBERS)
        raw = np.array(row, dtype=np.float64).tobytes()
        with pytest.raises(InvalidInput, match="got nothing, expected a"):
            columns(as_binary("FP64", raw, [1, 4]), NUMBERS)


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ([1, 2.5, 0, 1], "count: expected values of INT64, got the number 2.5"),
        ([1, 2.0**63, 0, 1], "count: expected values of INT64, got the number 9.2"),
        ([1, -(2.0**63) - 2048, 0, 1], "count: expected values of INT64, got the number -9.2"),
        ([1, 2, 2, 1], "fragile: expected values of BOOL, got the number 2.0"),
        ([1, 2, 0, 40_000], "floor: expected values of INT16, got the number 40000.0"),
    ],
)
def test_a_number_that_its_column_can_not_hold_is_refused(row: list[float], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        columns(as_json("FP64", row, [1, 4]), NUMBERS)
    with pytest.raises(InvalidInput, match=complaint):
        columns(as_binary("FP64", np.array(row, dtype=np.float64).tobytes(), [1, 4]), NUMBERS)


def test_the_limits_of_64_bits_themselves_fit() -> None:
    assert columns(as_json("FP64", [1, -(2.0**63), 0], [1, 3]), NUMBERS)["count"].tolist() == [-(2**63)]


def test_a_table_of_text_is_split_too() -> None:
    assert columns(as_json("BYTES", ["a", "b", "c", "d"], [2, 2]), TEXTS)["file"].tolist() == [b"b", b"d"]
    raw = b"\x01\0\0\0a\x01\0\0\0\xff"
    found = columns(as_binary("BYTES", raw, [1, 2]), TEXTS)
    assert {name: values.tolist() for name, values in found.items()} == {"title": ["a"], "file": [b"\xff"]}


def test_a_model_of_one_column_takes_a_table_of_one() -> None:
    assert columns(as_json("BYTES", ["a", "b"], [2, 1]), TEXT)["text"].tolist() == ["a", "b"]


@pytest.mark.parametrize(
    ("body", "model", "complaint"),
    [
        (as_json("FP64", [1, 2], [1, 2]), NUMBERS, "table: row 0 has 2 values, this model takes 3 or 4: size, count"),
        (as_json("FP64", [1], [1, 1]), NUMBERS, "table: this model has no such input"),
        (as_json("FP64", [1], [1]), NUMBERS, "table: this model has no such input"),
        (as_json("FP64", [[], []], [2, 0]), NUMBERS, "table: this model has no such input"),
        (as_json("FP64", [1, 2], [1, 2]), IMAGE, "table: this model has no such input"),
        (as_json("FP64", [1, 2, 3], [2, 3]), FLOATS, "means 6 values, 'data' has 3"),
        (as_json("FP64", [[1, 2, 3], [1, 2]], [2, 3]), FLOATS, "nested 'data' must have the shape"),
        (as_json("FP64", [], [0, 3]), FLOATS, "table: expected at least one row"),
        (as_json("FP64", ["a", 1, 2], [1, 3]), FLOATS, "a: expected values of FP64, got a string"),
        (as_json("FP64", [1, True, 0], [1, 3]), NUMBERS, "count: expected values of FP64, got a boolean"),
        (as_json("FP65", [1, 2, 3], [1, 3]), FLOATS, "a: expected the datatype FP64, got one tensor of FP65"),
        (as_json("FP64", [1, 2], [1, 2]), TEXTS, "title: expected the datatype BYTES, got one tensor of FP64"),
        (as_json("BOOL", [True] * 3, [1, 3]), NUMBERS, "size: expected the datatype FP64, got one tensor of BOOL"),
        (as_binary("FP64", b"1234567", [1, 3]), FLOATS, "3 elements of FP64 are 24 bytes, the request has 7"),
        (as_json("FP64", [1.0] * 303, [101, 3]), FLOATS, "101 rows, at most 100"),
    ],
)
def test_a_tensor_that_is_no_table_of_the_model_is_refused(body: Any, model: ModelInterface, complaint: str) -> None:
    with pytest.raises((InvalidInput, MalformedRequest, PayloadTooLarge), match=complaint):
        columns(body, model)


@settings(max_examples=300, deadline=None)
@given(
    datatype=st.sampled_from(["FP64", "FP16", "INT8", "UINT64", "BOOL", "BYTES", "BF16"]),
    data=st.lists(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(), max_size=8),
    shape=st.lists(st.integers(0, 8), min_size=2, max_size=2),
    raw=st.binary(max_size=64),
)
def test_any_table_is_read_or_refused(datatype: str, data: list[Any], shape: list[int], raw: bytes) -> None:
    refuses_or_reads(decode, *as_json(datatype, data, shape))
    refuses_or_reads(decode, *as_binary(datatype, raw, shape))
    for model in (NUMBERS, FLOATS, TEXTS):
        for body in (as_json(datatype, data, shape), as_binary(datatype, raw, shape)):
            with suppress(RequestError):
                columns(body, model)
