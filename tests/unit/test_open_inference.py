import math
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from taxiway.errors import InvalidInput, MalformedRequest, PayloadTooLarge, TaxiwayError
from taxiway.inference import InferRequest, JsonColumn, ModelInterface
from taxiway.json_values import DATATYPE
from taxiway.protocols import open_inference
from taxiway.protocols.open_inference import decode, encode
from taxiway.signature import Array, Column
from tests.interfaces import (
    EVERYTHING,
    FILE,
    IMAGE,
    JSON,
    TABULAR,
    bit_patterns,
    interface,
    joined,
    refuses_or_reads,
    response,
)

UNNAMED = interface(Column(name="input", dtype="float64", shape=(3,)))
TWO_OUTPUTS = interface(Column(name="size", dtype="float64"), outputs=("score", "rank"))
NUMERIC = [dtype for dtype in DATATYPE if dtype not in ("string", "bytes")]


def tensor(name: str, datatype: str, data: Any, shape: Any = None) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape or [len(data)], "data": data}


DEEP = "a list that is deep"


def body_of(request: Any, depth: int = 1000) -> bytes:
    return orjson.dumps(request).replace(f'"{DEEP}"'.encode(), b"[" * depth + b"1" + b"]" * depth)


def read(*tensors: Any, model: ModelInterface = TABULAR, **rest: Any) -> InferRequest:
    return decode(body_of({"inputs": tensors} | rest), JSON, model)


def columns(*tensors: Any, model: ModelInterface = TABULAR) -> dict[str, Array]:
    return joined(read(*tensors, model=model), model)


SIZE = tensor("size", "FP64", [1.0])


def test_single_values_stay_json_until_a_batch_is_whole() -> None:
    request = read(SIZE, tensor("color", "BYTES", ["red"]), id="mine")
    assert (request.id, request.rows, request.outputs, request.timeout_s) == ("mine", 1, None, None)
    assert request.columns == {"size": JsonColumn([1.0], "FP64"), "color": JsonColumn(["red"], "BYTES")}


def test_columns_have_their_own_numpy_types() -> None:
    found = columns(
        tensor("color", "BYTES", ["red", None]),
        tensor("size", "FP32", [1, 2.5]),
        tensor("count", "INT8", [3, -4]),
        tensor("fragile", "BOOL", [True, False]),
        tensor("weight", "INT64", [3, None]),
        tensor("floor", "INT64", [3, None]),
    )
    assert {name: str(values.dtype) for name, values in found.items()} == {
        "color": "object", "size": "float64", "count": "int64", "fragile": "bool", "weight": "float32",
        "floor": "float64",
    }  # fmt: skip
    assert found["color"].tolist() == ["red", None]
    np.testing.assert_array_equal(found["floor"], [3, np.nan])


@pytest.mark.parametrize(
    ("data", "shape"),
    [([1.0, 2.0], [2]), ([1.0, 2.0], [2, 1]), ([[1.0], [2.0]], [2, 1]), ([[1.0], [2.0]], [2])],
)
def test_a_column_may_be_flat_or_nested(data: Any, shape: list[int]) -> None:
    assert columns(tensor("size", "FP64", data, shape))["size"].tolist() == [1.0, 2.0]


@pytest.mark.parametrize("dtype", NUMERIC)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_value_of_a_datatype_survives_json(dtype: str, data: st.DataObject) -> None:
    model = interface(Column(name="x", dtype=dtype))
    values = data.draw(bit_patterns(dtype, data.draw(st.integers(1, 60))))
    values = np.where(np.isfinite(values), values, values.dtype.type(1))
    found = columns(tensor("x", DATATYPE[dtype], values.tolist()), model=model)["x"]
    assert (found.dtype, found.tobytes()) == (values.dtype, values.tobytes())
    body, _ = encode(read(tensor("x", DATATYPE[dtype], values.tolist()), model=model), response(score=values))
    [output] = orjson.loads(body)["outputs"]
    assert (output["datatype"], output["shape"]) == (DATATYPE[dtype], [len(values)])
    assert np.array(output["data"], dtype=values.dtype).tobytes() == values.tobytes()


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=50))
def test_every_text_survives_json(texts: list[str]) -> None:
    found = columns(tensor("color", "BYTES", texts))["color"]
    assert found.tolist() == texts
    body, _ = encode(read(SIZE), response(score=found))
    assert orjson.loads(body)["outputs"][0]["data"] == texts


@given(arrays.arrays(np.uint8, arrays.array_shapes(min_dims=3, max_dims=3)))
@settings(deadline=None)
def test_a_tensor_is_the_same_nested_or_flat(pixels: Array) -> None:
    values = pixels.astype(np.float32) / 3
    model = interface(Column(name="x", dtype="float32", shape=(-1, values.shape[2])))
    nested = columns(tensor("x", "FP32", values.tolist()) | {"shape": values.shape}, model=model)["x"]
    flat = columns(tensor("x", "FP32", values.ravel().tolist(), values.shape), model=model)["x"]
    assert nested.tobytes() == flat.tobytes() == values.tobytes()
    assert nested.shape == flat.shape == values.shape


def test_a_tensor_column_is_an_array_at_once() -> None:
    request = read(tensor("image", "FP32", [1, 2, 3, 4, 5, 6], [1, 2, 3]), model=IMAGE)
    found = request.columns["image"]
    assert isinstance(found, np.ndarray)
    assert found.tolist() == [[[1, 2, 3], [4, 5, 6]]]


def test_the_only_input_may_have_any_name_if_it_is_a_tensor_of_its_shape() -> None:
    """MLServer's NumpyRequestCodec."""
    assert columns(tensor("input-0", "FP32", [1, 2, 3, 4, 5, 6], [1, 2, 3]), model=IMAGE)["image"].shape == (1, 2, 3)
    with pytest.raises(InvalidInput, match="input-0: this model has no such input"):
        columns(tensor("input-0", "FP32", [1, 2, 3, 4], [1, 2, 2]), model=IMAGE)


def test_python_s_nan_is_a_missing_value_and_its_infinity_a_number() -> None:
    """Triton's client writes them into JSON."""
    weight = b'{"inputs":[{"name":"weight","datatype":"FP32","shape":[3],"data":[NaN,-Infinity,0.5]}]}'
    found = joined(decode(weight, JSON, TABULAR), TABULAR)["weight"]
    np.testing.assert_array_equal(found, np.array([np.nan, -np.inf, 0.5], np.float32))
    head = b'{"inputs":[{"name":"size","datatype":"FP64","shape":[1],"data":[NaN]}]}'
    with pytest.raises(InvalidInput, match="size: got nothing, expected a float64"):
        joined(decode(head, {b"inference-header-content-length": str(len(head)).encode()}, TABULAR), TABULAR)


@pytest.mark.parametrize("shape", [[2], [2, 1]])
def test_bytes_in_base64_are_decoded_where_the_content_type_says_so(shape: list[int]) -> None:
    """MLServer's Base64Codec."""
    encoded = tensor("file", "BYTES", ["AP8=", "YWJj"], shape)
    declared = encoded | {"parameters": {"content_type": "base64"}}
    assert columns(declared, model=FILE)["file"].tolist() == [b"\x00\xff", b"abc"]
    assert columns(encoded, model=FILE)["file"].tolist() == [b"AP8=", b"YWJj"]
    title = tensor("title", "BYTES", ["YWJj"]) | {"parameters": {"content_type": "base64"}}
    assert columns(title, model=interface(Column(name="title", dtype="string")))["title"].tolist() == ["YWJj"]
    with pytest.raises(InvalidInput, match="file: this is not base64"):
        columns(declared | {"data": ["AP8=", "?"]}, model=FILE)


def test_an_input_without_a_name_takes_a_tensor_of_any_name() -> None:
    found = columns(tensor("x", "FP64", [[1.0, 2.0, 3.0]], [1, 3]), model=UNNAMED)
    assert found["input"].tolist() == [[1.0, 2.0, 3.0]]


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (tensor("pink", "FP64", [1.0]), "pink: this model has no such input; it takes color, size"),
        (tensor("size", "BYTES", ["1"]), "size: expected the datatype FP64, got BYTES"),
        (tensor("size", "FP65", [1.0]), "size: expected the datatype FP64, got FP65"),
        (tensor("size", "BF16", [1.0]), "size: BF16 has no form in JSON"),
        ({"name": "size", "shape": [1], "data": [1.0]}, "size: 'datatype' must be a string, got null"),
        (tensor("count", "FP64", [1.0]), "count: expected the datatype INT64, got FP64"),
        (tensor("size", "FP64", ["1.0"]), "size: expected values of FP64, got a string '1.0'"),
        (tensor("size", "FP64", [True]), "size: expected values of FP64, got a boolean"),
        (tensor("size", "FP64", [1.0, [2.0]]), "size: expected values of FP64, got a list"),
        (tensor("size", "FP64", [[1.0], 2.0]), "size: nested 'data' must have the shape"),
        (tensor("size", "FP64", [[1.0, 2.0]]), "size: nested 'data' must have the shape"),
        (tensor("size", "FP64", [[[1.0]]]), "size: 'data' is nested deeper than the shape"),
        (tensor("count", "INT64", [1.5]), "count: expected values of INT64, got a number '1.5'"),
        (tensor("count", "INT64", [1, None]), "count: got nothing, expected a int64"),
        (tensor("count", "UINT64", [2**63]), "count: 9223372036854775808 does not fit into INT64"),
        (tensor("count", "INT8", [300]), "count: a value does not fit into INT8, -128 to 127"),
        (tensor("floor", "INT64", [70_000, None]), "floor: 70000 does not fit into INT16"),
        (tensor("fragile", "BOOL", [1]), "fragile: expected values of BOOL, got a number"),
        (tensor("color", "BYTES", [1]), "color: expected strings, got a number"),
        (tensor("size", "FP64", [1.0], [2]), r"size: the shape \[2\] means 2 values, 'data' has 1"),
        (tensor("size", "FP64", [1.0, 2.0], [1, 2]), r"size: expected the shape \[rows\] or \[rows, 1\]"),
        (tensor("size", "FP64", [1.0], [-1]), "size: 'shape' must be a list of sizes"),
        (tensor("size", "FP64", [1.0], "1"), "size: 'shape' must be a list of sizes"),
        (tensor("size", "FP64", [1.0], [True]), "size: 'shape' must be a list of sizes"),
        (tensor("size", "FP64", [1.0], [1, 1.0]), "size: 'shape' must be a list of sizes"),
        (tensor("size", "FP64", [None]), "size: got nothing, expected a float64"),
        (tensor("size", "FP64", [], [0]), "size: expected at least one row"),
        ({"name": "size", "datatype": "FP64", "shape": [1], "data": 1.0}, "size: 'data' must be a list"),
        ({"name": "size", "datatype": "FP64", "shape": [1]}, "size: 'data' must be a list, got null"),
        (SIZE | {"data": None, "parameters": {"binary_data_size": 8}}, "needs the header Inference-Header"),
        (SIZE | {"data": None, "parameters": {"shared_memory_region": "a"}}, "shared memory is not supported"),
    ],
)
def test_a_bad_tensor_is_refused_with_its_name_and_what_was_expected(bad: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        columns(bad)


@pytest.mark.parametrize(
    ("data", "shape", "complaint"),
    [
        ([1.0] * 6, [2, 3], r"image: expected the shape \[rows, 2, 3\], got \[2, 3\]"),
        ([1.0] * 6, [1, 3, 2], r"image: expected the shape \[rows, 2, 3\], got \[1, 3, 2\]"),
        ([1.0] * 5, [1, 2, 3], "means 6 values, 'data' has 5"),
        ([[[1.0] * 3] * 3], [1, 2, 3], "nested 'data' must have the shape"),
        ([[[1.0] * 3, [1.0] * 2]], [1, 2, 3], "nested 'data' must have the shape"),
        ([[1.0] * 6], [1, 2, 3], "nested 'data' must have the shape"),
    ],
)
def test_a_tensor_of_another_shape_is_refused(data: Any, shape: list[int], complaint: str) -> None:
    with pytest.raises(InvalidInput, match=complaint):
        columns(tensor("image", "FP32", data, shape), model=IMAGE)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[" * 2000, "not JSON"),
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
        decode(body, JSON, TABULAR)


@pytest.mark.parametrize("key", ["name", "shape", "data", "datatype", "parameters"])
@pytest.mark.parametrize("name", ["size", "pixels"])
def test_a_part_too_deep_to_print_is_refused_or_ignored(name: str, key: str) -> None:
    one = {"name": name, "datatype": "FP64", "shape": [1], "data": [1.0]} | {key: DEEP}
    refuses_or_reads(decode, body_of({"inputs": [one]}), JSON)
    refuses_or_reads(decode, body_of({"inputs": [one, one]}), JSON)


def test_inputs_of_different_lengths_are_refused() -> None:
    with pytest.raises(InvalidInput, match="count: has 2 rows where 'size' has 1"):
        read(SIZE, tensor("count", "INT64", [1, 2]))


def test_an_input_given_twice_is_refused() -> None:
    with pytest.raises(InvalidInput, match="size: this input is given twice"):
        read(SIZE, SIZE)


@pytest.mark.parametrize("shape", [[101], [101, 1]])
def test_too_many_rows_are_refused(shape: list[int]) -> None:
    with pytest.raises(PayloadTooLarge, match="101 rows, at most 100"):
        read(tensor("size", "FP64", [1.0] * 101, shape))
    with pytest.raises(PayloadTooLarge, match="101 rows, at most 100"):
        read(tensor("image", "FP32", [1.0] * 606, [101, 2, 3]), model=IMAGE)


def test_outputs_are_requested_by_name() -> None:
    request = read(SIZE, model=TWO_OUTPUTS, outputs=[{"name": "rank"}, {"name": "score", "parameters": None}])
    assert request.outputs == ("rank", "score")
    assert read(SIZE, outputs=[], parameters=None, id=None).outputs is None


@pytest.mark.parametrize(
    ("rest", "complaint"),
    [
        ({"outputs": [{"name": "odds"}]}, "odds: this model has no such output; it gives score"),
        ({"outputs": [{"name": "score"}] * 2}, "score: this output is requested twice"),
        ({"outputs": [{"name": DEEP}]}, "each of 'outputs' must be an object with a 'name'"),
        ({"outputs": ["score"]}, "each of 'outputs' must be an object with a 'name'"),
        ({"outputs": {"name": "score"}}, "'outputs' must be a list, got an object"),
        ({"outputs": [{"name": "score", "parameters": [1]}]}, "'parameters' must be an object"),
        ({"outputs": [{"name": "score", "parameters": {"binary_data": 1}}]}, "'binary_data' must be true or false"),
        ({"outputs": [{"name": "score", "parameters": {"classification": 3}}]}, "'classification' is not supported"),
        ({"outputs": [{"name": "score", "parameters": {"shared_memory_region": "a"}}]}, "shared memory"),
        ({"parameters": {"classification": 3}}, "'classification' is not supported"),
        ({"parameters": [1]}, "'parameters' must be an object, got a list"),
        ({"parameters": {"binary_data_output": "yes"}}, "'binary_data_output' must be true or false, got a string"),
        ({"parameters": {"timeout": -1}}, "'timeout' must be a number of microseconds, got a number '-1'"),
        ({"parameters": {"timeout": True}}, "'timeout' must be a number of microseconds, got a boolean"),
    ],
)
def test_wishes_that_can_not_be_met_are_refused(rest: dict[str, Any], complaint: str) -> None:
    with pytest.raises((MalformedRequest, InvalidInput), match=complaint):
        read(SIZE, **rest)


def test_the_timeout_comes_in_microseconds_and_other_parameters_are_ignored() -> None:
    assert read(SIZE, parameters={"timeout": 1_500, "priority": 3, "content_type": "pd"}).timeout_s == 0.0015
    assert read(SIZE, parameters={"timeout": 0}).timeout_s is None


def test_an_answer_names_the_model_the_prediction_and_the_variant() -> None:
    body, headers = encode(read(SIZE), response(score=[0.25, 0.5]))
    assert headers == ((b"content-type", b"application/json"),)
    assert orjson.loads(body) == {
        "model_name": "parcel",
        "model_version": "3",
        "id": "0190",
        "parameters": {"prediction_id": "0190", "variant": "champion"},
        "outputs": [{"name": "score", "datatype": "FP64", "shape": [2], "data": [0.25, 0.5]}],
    }


@pytest.mark.parametrize("identifier", ["mine", ""])
def test_a_sent_id_comes_back(identifier: str) -> None:
    body, _ = encode(read(SIZE, id=identifier), response(score=[0.5]))
    assert orjson.loads(body)["id"] == identifier


@pytest.mark.parametrize("size", [2, 300])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_json_holds_the_exact_double_of_every_float_and_null_for_what_is_no_number(size: int, dtype: Any) -> None:
    values = np.full(size, 0.1, dtype)
    values[0] = np.nan
    data = orjson.loads(encode(read(SIZE), response(score=values))[0])["outputs"][0]["data"]
    assert data == [None, *[float(dtype(0.1))] * (size - 1)]
    values[0] = np.inf
    assert orjson.loads(encode(read(SIZE), response(score=values))[0])["outputs"][0]["data"][0] is None


def test_an_output_of_many_dimensions_is_flat_and_row_major() -> None:
    for values in (np.arange(6).reshape(2, 3), np.arange(600).reshape(200, 3).T, np.array([["a", "b"]])):
        [output] = orjson.loads(encode(read(SIZE), response(score=values))[0])["outputs"]
        assert output["shape"] == list(values.shape)
        assert output["data"] == values.ravel().tolist()


def test_objects_become_text_and_bytes_that_are_none_need_binary_data() -> None:
    values = np.array([b"abc", "d\ud800é", None, 4], dtype=object)
    body, _ = encode(read(SIZE), response(score=values))
    assert orjson.loads(body)["outputs"][0]["data"] == ["abc", "d?é", None, "4"]
    with pytest.raises(InvalidInput, match=r"score: .* not UTF-8.*binary_data"):
        encode(read(SIZE), response(score=np.array([b"\xff"], dtype=object)))


def test_metadata_say_what_the_specification_says() -> None:
    assert orjson.loads(open_inference.model_metadata(EVERYTHING, ["3", "4"])) == {
        "name": "parcel",
        "versions": ["3", "4"],
        "platform": "sklearn",
        "inputs": [
            {"name": name, "datatype": DATATYPE[column.dtype], "shape": [-1, *column.shape]}
            for name, column in EVERYTHING.inputs.items()
        ],
        "outputs": [{"name": "score", "datatype": "FP64", "shape": [-1]}],
    }
    assert orjson.loads(open_inference.server_metadata("1.0")) == {
        "name": "taxiway", "version": "1.0", "extensions": ["binary_tensor_data"]
    }  # fmt: skip
    assert orjson.loads(open_inference.model_ready("parcel", False)) == {"name": "parcel", "ready": False}
    assert orjson.loads(open_inference.server_live(True)) == {"live": True}
    assert orjson.loads(open_inference.server_ready(True)) == {"ready": True}


def test_the_repository_index_lists_every_version() -> None:
    index = orjson.loads(open_inference.repository_index([("parcel", "3", "READY", "")]))
    assert index == [{"name": "parcel", "version": "3", "state": "READY", "reason": ""}]
    assert [open_inference.wants_only_ready(body) for body in (b"", b"{}", b'{"ready":true}')] == [False, False, True]
    with pytest.raises(MalformedRequest, match="'ready' must be true or false"):
        open_inference.wants_only_ready(b'{"ready":1}')


def test_an_error_is_one_sentence_whatever_is_in_it() -> None:
    assert open_inference.encode_error(TaxiwayError('a "b" \ud800')) == b'{"error":"a \\"b\\" ?"}'


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=10,
)
TENSOR = st.fixed_dictionaries(
    {
        "name": st.sampled_from([*EVERYTHING.inputs, "image", "text", "pink"]),
        "datatype": st.sampled_from(["BOOL", "INT8", "UINT64", "INT64", "FP16", "FP32", "FP64", "BF16", "BYTES"])
        | VALUES,
        "shape": st.lists(st.integers(0, 3), min_size=1, max_size=3) | st.lists(st.integers(-1, 2**63)) | VALUES,
        "data": st.lists(st.integers(0, 2) | st.floats() | st.text(max_size=2), max_size=6) | VALUES,
    },
    optional={"parameters": VALUES},
)
REQUEST = st.fixed_dictionaries(
    {"inputs": st.lists(TENSOR | VALUES, max_size=3) | VALUES},
    optional={"id": VALUES, "outputs": VALUES, "parameters": VALUES},
)


@settings(max_examples=500, deadline=None)
@given(request=REQUEST)
def test_no_body_whatever_fails_otherwise_than_with_a_request_error(request: dict[str, Any]) -> None:
    refuses_or_reads(decode, orjson.dumps(request), JSON)


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_json_are_refused(body: bytes) -> None:
    refuses_or_reads(decode, body, JSON)


@settings(max_examples=300, deadline=None)
@given(tensors=st.lists(TENSOR, min_size=1, max_size=3))
def test_the_fast_way_and_the_whole_one_read_the_same(tensors: list[Any]) -> None:
    fast = open_inference._plain_json(orjson.loads(orjson.dumps(tensors)), TABULAR)
    if fast is None:
        return
    whole = open_inference.to_columns(
        [open_inference.from_json(one, None) for one in orjson.loads(orjson.dumps(tensors))], TABULAR
    )
    assert fast[1] == whole[1]
    assert [(name, column.datatype) for name, column in fast[0].items() if isinstance(column, JsonColumn)] == [
        (name, column.datatype) for name, column in whole[0].items() if isinstance(column, JsonColumn)
    ]
    assert all(
        math.isnan(left) if isinstance(left, float) and math.isnan(left) else left == right
        for name in fast[0]
        for left, right in zip(fast[0][name].values, whole[0][name].values, strict=True)  # type: ignore[union-attr]
    )
