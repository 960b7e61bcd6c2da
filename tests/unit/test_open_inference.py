import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import InvalidInput, MalformedRequest, PayloadTooLarge, RequestError
from taxiway.protocols.open_inference import InferRequest, decode_request, encode_response
from taxiway.signature import Column
from tests.tiny_model import SIGNATURE

INPUTS = SIGNATURE.input_by_name | {
    "flag": Column(name="flag", dtype="bool"),
    "maybe": Column(name="maybe", dtype="int64", nullable=True),
}


def tensor(name: str, datatype: str, data: list[Any], shape: Any = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


def deep(depth: int) -> list[Any]:
    inner: list[Any] = [1]
    for _ in range(depth):
        inner = [inner]
    return inner


def decode(*tensors: Any, **rest: Any) -> InferRequest:
    body = json.dumps({"inputs": tensors} | rest).encode()
    return decode_request(body, INPUTS, ["probability"], max_rows=100)


def test_columns_have_their_own_numpy_types() -> None:
    request = decode(
        tensor("color", "BYTES", ["red", None]),
        tensor("size", "FP64", [1, 2.5]),
        tensor("count", "INT64", [3, -4]),
        tensor("flag", "BOOL", [True, False]),
        id="mine",
    )
    assert (request.id, request.rows, request.outputs) == ("mine", 2, None)
    assert request.columns["color"].tolist() == ["red", None]
    assert {name: values.dtype.kind for name, values in request.columns.items()} == {
        "color": "O", "size": "f", "count": "i", "flag": "b"
    }  # fmt: skip


def test_nested_data_and_a_second_dimension_of_one_are_the_same_as_flat() -> None:
    request = decode(
        tensor("size", "FP64", [[1.0], [2.0]], shape=[2, 1]), tensor("count", "INT64", [1, 2], shape=[2, 1])
    )
    assert request.columns["size"].tolist() == [1.0, 2.0]


def test_a_null_is_a_missing_number() -> None:
    assert np.isnan(decode(tensor("weight", "FP64", [1.0, None])).columns["weight"][1])
    assert np.isnan(decode(tensor("weight", "FP64", [None])).columns["weight"][0])
    assert np.isnan(decode(tensor("weight", "INT8", [1, None])).columns["weight"][1])


def test_a_nullable_integer_is_a_float_whether_a_neighbour_is_missing_or_not() -> None:
    with_null = decode(tensor("maybe", "INT64", [3, None])).columns["maybe"]
    without = decode(tensor("maybe", "INT64", [3, 4])).columns["maybe"]
    assert (with_null.dtype, without.dtype) == (np.float64, np.float64)
    np.testing.assert_array_equal(with_null, [3.0, np.nan])


def test_every_double_survives_json_bit_by_bit() -> None:
    values = np.frombuffer(np.random.default_rng(0).bytes(8 * 100), dtype=np.float64)
    values = values[np.isfinite(values)]
    decoded = decode(tensor("size", "FP64", values.tolist())).columns["size"]
    assert decoded.tobytes() == values.tobytes()
    body = encode_response("m", "1", "a", "p", {"probability": values}, None)
    assert np.array(orjson.loads(body)["outputs"][0]["data"]).tobytes() == values.tobytes()


def test_a_narrower_datatype_is_taken_with_its_own_precision_and_range() -> None:
    assert decode(tensor("size", "FP32", [0.1])).columns["size"][0] == float(np.float32(0.1))
    assert decode(tensor("count", "UINT8", [255])).columns["count"].tolist() == [255]
    with pytest.raises(InvalidInput, match="300 does not fit into INT8"):
        decode(tensor("count", "INT8", [300]))
    with pytest.raises(InvalidInput, match="does not fit into INT64"):
        decode(tensor("count", "UINT64", [2**63]))


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (tensor("pink", "FP64", [1.0]), "pink: this model has no such input; it takes color, size"),
        (tensor("size", "BYTES", ["1"]), "size: expected the datatype FP64, got BYTES"),
        (tensor("size", "FP65", [1.0]), "size: expected the datatype FP64, got FP65"),
        ({"name": "size", "shape": [1], "data": [1.0]}, "size: expected the datatype FP64, got null"),
        (tensor("count", "FP64", [1.0]), "count: expected the datatype INT64, got FP64"),
        (tensor("size", "FP64", ["1.0"]), "size: expected values of FP64, got a string '1.0'"),
        (tensor("size", "FP64", [True]), "size: expected values of FP64, got a boolean"),
        (tensor("count", "INT64", [1.5]), "count: expected values of INT64, got a number '1.5'"),
        (tensor("count", "INT64", [1, None]), "count: got nothing, expected a int64"),
        (tensor("count", "INT64", [2**70]), "count: "),
        (tensor("count", "INT64", [1, True]), "count: expected values of INT64, got a boolean"),
        (tensor("flag", "BOOL", [1]), "flag: expected values of BOOL, got a number"),
        (tensor("color", "BYTES", [1]), "color: expected strings, got a number"),
        (tensor("color", "BYTES", [["red", "blue"]], shape=[1]), "color: nested 'data' must hold one value"),
        (tensor("size", "FP64", [1.0], shape=[2]), r"size: the shape \[2\] means 2 values, 'data' has 1"),
        (tensor("size", "FP64", [1.0, 2.0], shape=[1, 2]), r"size: expected the shape \[rows\] or \[rows, 1\]"),
        (tensor("size", "FP64", [1.0], shape=[-1]), "size: "),
        (tensor("size", "FP64", [1.0], shape="1"), "size: 'shape' must be a list of numbers"),
        (tensor("size", "FP64", [1.0], shape=[True]), "size: 'shape' must be a list of numbers"),
        (tensor("size", "FP64", [1.0], shape=[1, 1.0]), "size: 'shape' must be a list of numbers"),
        (tensor("weight", "INT8", [300, None]), "weight: 300 does not fit into INT8"),
        (tensor("size", "FP64", [None]), "size: got nothing, expected a float64"),
        ({"name": "size", "datatype": "FP64", "shape": [1], "data": 1.0}, "size: 'data' must be a list"),
        (tensor("size", "FP64", []), "size: expected at least one row"),
        (tensor("size", "FP64", [[[1.0]]]), "size: "),
    ],
)
def test_a_bad_tensor_is_refused_with_its_name_and_what_was_expected(bad: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        decode(bad)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "must be an object with 'inputs', got a list"),
        (b"{}", "'inputs' must be a list with at least one tensor"),
        (b'{"inputs": {}}', "'inputs' must be a list"),
        (b'{"inputs": [1]}', "each of 'inputs' must be an object"),
        (b'{"inputs": [{}]}', "needs a 'name'"),
        (b'{"id": 1, "inputs": []}', "'id' must be a string"),
    ],
)
def test_a_body_that_is_no_request_is_refused(body: bytes, complaint: str) -> None:
    with pytest.raises(MalformedRequest, match=complaint):
        decode_request(body, INPUTS, ["probability"], 100)


@pytest.mark.parametrize("key", ["shape", "data", "datatype"])
def test_a_part_too_deep_to_print_is_refused(key: str) -> None:
    deep = "[" * 1015 + "1" + "]" * 1015
    parts = {"shape": "[1]", "data": "[1.0]", "datatype": '"FP64"'} | {key: deep}
    tensor = ", ".join(f'"{name}": {part}' for name, part in parts.items())
    body = f'{{"inputs": [{{"name": "size", {tensor}}}]}}'
    with pytest.raises(InvalidInput, match="size: "):
        decode_request(body.encode(), INPUTS, ["probability"], 100)


def test_inputs_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="count: has 2 rows where 'size' has 1"):
        decode(tensor("size", "FP64", [1.0]), tensor("count", "INT64", [1, 2]))


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="size: this input is given twice"):
        decode(tensor("size", "FP64", [1.0]), tensor("size", "FP64", [2.0]))


def test_too_many_rows_are_refused() -> None:
    with pytest.raises(PayloadTooLarge, match="101 rows, at most 100"):
        decode(tensor("size", "FP64", [1.0] * 101))


def test_an_unknown_output_is_refused_and_a_known_one_selected() -> None:
    one = tensor("size", "FP64", [1.0])
    assert decode(one, outputs=[{"name": "probability"}]).outputs == ("probability",)
    with pytest.raises(InvalidInput, match="odds: this model has no such output; it gives probability"):
        decode(one, outputs=[{"name": "odds"}])
    with pytest.raises(InvalidInput, match="probability: this output is requested twice"):
        decode(one, outputs=[{"name": "probability"}, {"name": "probability"}])
    with pytest.raises(MalformedRequest, match="each of 'outputs' needs a 'name'"):
        decode(one, outputs=[{"name": deep(900)}])
    with pytest.raises(MalformedRequest, match="'outputs' must be"):
        decode(one, outputs=["probability"])


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*INPUTS, "pink"]),
        "datatype": st.sampled_from(["BOOL", "INT8", "UINT64", "INT64", "FP16", "FP32", "FP64", "BYTES"]) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "data": st.lists(JSON, max_size=3) | JSON,
    }
)


REQUEST = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR | JSON, max_size=3) | JSON}, optional={"id": JSON, "outputs": JSON}
)


@settings(max_examples=500, deadline=None)
@given(request=REQUEST)
def test_no_body_whatever_fails_otherwise_than_with_a_request_error(request: dict[str, Any]) -> None:
    try:
        decoded = decode_request(orjson.dumps(request), INPUTS, ["probability"], 100)
    except RequestError:
        return
    assert {len(values) for values in decoded.columns.values()} == {decoded.rows}
    assert all(
        values.dtype == {"string": object}.get(INPUTS[name].dtype, INPUTS[name].stored_dtype)
        for name, values in decoded.columns.items()
    )
