from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tritonclient.http import InferInput, InferResult
from tritonclient.http._utils import _get_inference_request

from taxiway.errors import InvalidInput, MalformedRequest, PayloadTooLarge
from taxiway.inference import InferRequest, ModelInterface
from taxiway.json_values import DATATYPE, NUMPY_TYPE
from taxiway.protocols import binary_tensors
from taxiway.protocols.open_inference import decode, encode
from taxiway.signature import Array, Column
from tests.interfaces import (
    EVERYTHING,
    FILE,
    IMAGE,
    TABULAR,
    TEXT,
    bit_patterns,
    interface,
    joined,
    refuses_or_reads,
    response,
)

LENGTH = b"inference-header-content-length"
NUMERIC = [dtype for dtype in DATATYPE if dtype not in ("string", "bytes")]
TWO_OUTPUTS = interface(Column(name="size", dtype="float64"), outputs=("score", "rank"))


def body_of(head: dict[str, Any], *parts: bytes) -> tuple[bytes, dict[bytes, bytes]]:
    json = orjson.dumps(head)
    return b"".join((json, *parts)), {LENGTH: str(len(json)).encode()}


def tensor(name: str, datatype: str, shape: Any, size: Any) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": shape, "parameters": {"binary_data_size": size}}


def from_triton(*inputs: tuple[str, str, Array], model: ModelInterface) -> InferRequest:
    """What Triton's own client sends, read."""
    tensors = [InferInput(name, values.shape, datatype) for name, datatype, values in inputs]
    for one, (_, _, values) in zip(tensors, inputs, strict=True):
        one.set_data_from_numpy(values, binary_data=True)
    body, length = _get_inference_request(tensors, "mine", None, 0, False, False, 0, 2_000_000, None)
    return decode(body, {LENGTH: str(length).encode()}, model)


def to_triton(request: InferRequest, **outputs: Any) -> InferResult:
    """Our answer, read by Triton's own client."""
    body, headers = encode(request, response(**outputs))
    length = dict(headers).get(LENGTH)
    return InferResult.from_response_body(body, header_length=None if length is None else int(length))


SIZE = tensor("size", "FP64", [1], 8)
ONE = np.float64(1.0).tobytes()


@pytest.mark.parametrize("dtype", NUMERIC)
@given(data=st.data())
@settings(max_examples=25, deadline=None)
def test_every_value_of_a_datatype_survives_the_way_to_us_and_back(dtype: str, data: st.DataObject) -> None:
    for shape in ((), (2, -1)):
        model = interface(Column(name="x", dtype=dtype, shape=shape))
        values = data.draw(bit_patterns(dtype, data.draw(st.integers(1, 5)), *map(abs, shape)))
        request = from_triton(("x", DATATYPE[dtype], values), model=model)
        found = joined(request, model)["x"]
        assert (request.id, request.timeout_s) == ("mine", 2.0)
        assert (found.dtype, found.shape, found.tobytes()) == (values.dtype, values.shape, values.tobytes())
        assert to_triton(request, score=found).as_numpy("score").tobytes() == values.tobytes()


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=9), st.lists(st.binary(), min_size=1))
def test_every_text_and_every_byte_survives_the_way_to_us_and_back(texts: list[str], files: list[bytes]) -> None:
    request = from_triton(("text", "BYTES", np.array(texts, dtype=object)), model=TEXT)
    found = joined(request, TEXT)["text"]
    assert found.tolist() == texts
    assert [text.decode() for text in to_triton(request, score=found).as_numpy("score")] == texts
    values = np.empty(len(files), dtype=object)
    values[:] = files
    request = from_triton(("file", "BYTES", values), model=FILE)
    found = joined(request, FILE)["file"]
    assert found.tolist() == files
    assert to_triton(request, score=found).as_numpy("score").tolist() == files


def test_bf16_becomes_float32() -> None:
    values = np.array([1.0, -2.5, np.inf, 3.140625], np.float32)
    for dtype in ("float32", "float64"):
        model = interface(Column(name="x", dtype=dtype))
        np.testing.assert_array_equal(joined(from_triton(("x", "BF16", values), model=model), model)["x"], values)
    with pytest.raises(InvalidInput, match="x: expected the datatype INT64, got BF16"):
        from_triton(("x", "BF16", values), model=interface(Column(name="x", dtype="int64")))


@given(spaces=st.integers(0, 16), rows=st.integers(1, 3))
def test_columns_are_views_of_the_body_where_the_bytes_lie_well(spaces: int, rows: int) -> None:
    json = orjson.dumps({"inputs": [tensor("size", "FP64", [rows], 8 * rows)]}) + b" " * spaces
    body = json + np.arange(rows, dtype=np.float64).tobytes()
    found = decode(body, {LENGTH: str(len(json)).encode()}, TABULAR).columns["size"]
    assert isinstance(found, np.ndarray)
    assert found.tolist() == list(range(rows))
    assert found.flags.aligned
    in_place = np.frombuffer(body, np.uint8)
    assert np.shares_memory(found, in_place) == (len(json) % 8 == 0)


def test_json_and_binary_tensors_mix_in_one_request() -> None:
    count = {"name": "count", "datatype": "INT64", "shape": [2], "data": [3, 4]}
    color = tensor("color", "BYTES", [2, 1], 12)
    body, headers = body_of(
        {"inputs": [color, count, tensor("size", "FP32", [2], 8)]},
        b"\x03\0\0\0red\x01\0\0\0x", np.array([1.5, 2.5], np.float32).tobytes(),
    )  # fmt: skip
    found = joined(decode(body, headers, TABULAR), TABULAR)
    assert {name: values.tolist() for name, values in found.items()} == {
        "color": ["red", "x"], "count": [3, 4], "size": [1.5, 2.5]
    }  # fmt: skip
    assert found["size"].dtype == np.float64


def test_a_number_that_does_not_fit_its_column_is_refused() -> None:
    with pytest.raises(InvalidInput, match="floor: 70000 does not fit into INT16"):
        from_triton(("floor", "INT64", np.array([70_000])), model=TABULAR)
    with pytest.raises(InvalidInput, match="color: expected text in UTF-8"):
        from_triton(("color", "BYTES", np.array([b"\xff"], dtype=object)), model=TABULAR)


@pytest.mark.parametrize(
    ("inputs", "data", "complaint"),
    [
        ([SIZE], b"", "'binary_data_size' is 8, the body has only 0 bytes left"),
        ([SIZE], ONE[:7], "'binary_data_size' is 8, the body has only 7 bytes left"),
        ([SIZE], ONE + b"x", "has 9 bytes behind its JSON, the tensors take 8"),
        ([SIZE, tensor("count", "INT64", [1], 8)], ONE + b"1234", "is 8, the body has only 4 bytes left"),
        ([tensor("size", "FP64", [2], 8)], ONE, "size: 2 elements of FP64 are 16 bytes, the request has 8"),
        ([tensor("size", "FP64", [1], 7)], ONE[:7], "size: 1 elements of FP64 are 8 bytes, the request has 7"),
        ([tensor("size", "FP64", [2**62], 8)], ONE, "rows, at most 100"),
        ([tensor("pixels", "UINT8", [1, 2, 2**62], 8)], ONE, "pixels: 9223372036854775808 elements of UINT8"),
        ([tensor("size", "FP64", [1], -8)], ONE, "must be a whole number of bytes, got a number '-8'"),
        ([tensor("size", "FP64", [1], 8.0)], ONE, "must be a whole number of bytes, got a number '8.0'"),
        ([tensor("size", "FP64", [1], "8")], ONE, "must be a whole number of bytes, got a string '8'"),
        ([tensor("size", "FP64", [1], True)], ONE, "must be a whole number of bytes, got a boolean"),
        ([tensor("size", "FP64", [1], [8])], ONE, "must be a whole number of bytes, got a list"),
        ([tensor("size", "FP64", [1], 2**63)], ONE, "the body has only 8 bytes left"),
        ([SIZE | {"data": [1.0]}], ONE, "has both 'data' and 'binary_data_size'"),
        ([tensor("size", "FP64", [-1], 8)], ONE, "size: 'shape' must be a list of sizes"),
        ([tensor("size", "FP65", [1], 8)], ONE, "size: expected the datatype FP64, got FP65"),
        ([tensor("fragile", "BOOL", [1], 1)], b"\x02", "fragile: a BOOL is a byte of 0 or 1, got 2"),
        ([tensor("color", "BYTES", [1], 3)], b"abc", "1 elements of BYTES need more than the 3 bytes"),
        ([tensor("color", "BYTES", [1], 6)], b"\x03\0\0\0ab", "the bytes end within element 0 of 1"),
        ([tensor("color", "BYTES", [2], 9)], b"\x03\0\0\0abcde", "the bytes end within element 1 of 2"),
        ([tensor("color", "BYTES", [1], 9)], b"\x01\0\0\0abcde", "4 bytes follow the last of 1 elements"),
        ([tensor("color", "BYTES", [1], 8)], b"\xff\xff\xff\xffabcd", "the bytes end within element 0"),
        ([tensor("color", "BYTES", [2**40], 8)], b"\x04\0\0\0abcd", "rows, at most 100"),
        ([{"name": "size", "datatype": "FP64", "shape": [1]}], ONE, "has 8 bytes behind its JSON, the tensors take 0"),
    ],
)
def test_bytes_that_are_not_what_the_json_says_are_refused(inputs: Any, data: bytes, complaint: str) -> None:
    body, headers = body_of({"inputs": inputs}, data)
    with pytest.raises((MalformedRequest, InvalidInput, PayloadTooLarge), match=complaint):
        decode(body, headers, EVERYTHING)


@pytest.mark.parametrize("header", [b"", b"-1", b"1.0", b"0x1", b"one", b"9" * 40, b"5000", "１".encode()])
def test_a_header_that_is_no_length_within_the_body_is_refused(header: bytes) -> None:
    body, _ = body_of({"inputs": [SIZE]}, ONE)
    with pytest.raises(MalformedRequest, match="Inference-Header-Content-Length"):
        decode(body, {LENGTH: header}, TABULAR)


def test_a_header_that_cuts_the_json_is_refused() -> None:
    body, headers = body_of({"inputs": [SIZE]}, ONE)
    with pytest.raises(MalformedRequest, match="not JSON"):
        decode(body, {LENGTH: str(int(headers[LENGTH]) - 1).encode()}, TABULAR)


RAW = {LENGTH: b"0"}
PAIR = interface(Column(name="a", dtype="float32"), Column(name="b", dtype="float32"))


@pytest.mark.parametrize(
    ("model", "body", "found"),
    [
        (interface(Column(name="x", dtype="float64")), np.arange(3.0), {"x": [0, 1, 2]}),
        (IMAGE, np.arange(6, dtype=np.float32), {"image": [[[0, 1, 2], [3, 4, 5]]]}),
        (
            interface(Column(name="x", dtype="int16", shape=(2, -1))),
            np.arange(4, dtype="i2"),
            {"x": [[[0, 1], [2, 3]]]},
        ),
        (TEXT, np.frombuffer("schön".encode(), "u1"), {"text": ["schön"]}),
        (FILE, np.frombuffer(b"\xff\0", "u1"), {"file": [b"\xff\0"]}),
        (PAIR, np.arange(4, dtype=np.float32), {"a": [0, 2], "b": [1, 3]}),
    ],
)
def test_a_body_without_json_is_the_only_input_or_rows_of_all_columns(model: Any, body: Array, found: Any) -> None:
    request = decode(body.tobytes(), RAW, model)
    assert {name: values.tolist() for name, values in joined(request, model).items()} == found
    answer, headers = encode(request, response(score=[0.5]))
    assert dict(headers)[b"content-type"] == b"application/octet-stream"
    assert answer.endswith(np.float64(0.5).tobytes())


@pytest.mark.parametrize(
    ("model", "body", "complaint"),
    [
        (TABULAR, ONE, "needs a model with one input"),
        (IMAGE, ONE, "8 bytes, which is no multiple of the 24 bytes of a row"),
        (IMAGE, b"", "expected at least one row"),
        (PAIR, b"1234", "no multiple of the 8 bytes of a row"),
        (interface(Column(name="x", dtype="float32", shape=(-1, -1))), ONE, r"\[rows, -1, -1\] can't be inferred"),
        (interface(Column(name="x", dtype="string", shape=(2,))), ONE, "only be a single element of BYTES"),
        (interface(Column(name="x", dtype="int8")), b"1" * 101, "101 rows, at most 100"),
    ],
)
def test_a_body_without_json_that_can_mean_anything_is_refused(model: Any, body: bytes, complaint: str) -> None:
    with pytest.raises((MalformedRequest, InvalidInput, PayloadTooLarge), match=complaint):
        decode(body, RAW, model)


@pytest.mark.parametrize(
    ("outputs", "parameters", "binary"),
    [
        (None, None, set()),
        (None, {"binary_data_output": True}, {"score", "rank"}),
        ([{"name": "score"}, {"name": "rank"}], {"binary_data_output": True}, {"score", "rank"}),
        ([{"name": "score", "parameters": {"binary_data": True}}, {"name": "rank"}], None, {"score"}),
        (
            [{"name": "score", "parameters": {"binary_data": False}}, {"name": "rank"}],
            {"binary_data_output": True},
            {"rank"},
        ),
    ],
)
def test_each_output_comes_back_in_the_form_that_was_asked_for(outputs: Any, parameters: Any, binary: set[str]) -> None:
    head = {"inputs": [SIZE], "outputs": outputs, "parameters": parameters}
    request = decode(*body_of(head, ONE), TWO_OUTPUTS)
    values = {"score": np.array([0.5, 0.25], np.float32), "rank": np.array([[1], [2]])}
    body, headers = encode(request, response(**values))
    assert (b"content-type", b"application/octet-stream" if binary else b"application/json") in headers
    assert (LENGTH in dict(headers)) == bool(binary)
    answer = orjson.loads(body[: int(dict(headers).get(LENGTH, len(body)))])
    assert {output["name"] for output in answer["outputs"] if "data" not in output} == binary
    read = to_triton(request, **values)
    for name, sent in values.items():
        np.testing.assert_array_equal(read.as_numpy(name), sent)


def test_an_array_that_is_not_in_one_piece_or_of_another_byte_order_is_written_right() -> None:
    values = np.arange(6, dtype=np.int32).reshape(2, 3)
    assert binary_tensors.from_array(values.T) == np.ascontiguousarray(values.T).tobytes()
    assert binary_tensors.from_array(values.astype(">i4")) == values.tobytes()
    assert binary_tensors.from_array(np.array(["é", b"\xff", None], dtype=object)) == (
        b"\x02\0\0\0\xc3\xa9" + b"\x01\0\0\0\xff" + b"\0\0\0\0"
    )


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=64), length=st.integers(0, 64))
def test_garbage_is_refused(body: bytes, length: int) -> None:
    refuses_or_reads(decode, body, {LENGTH: str(length).encode()})


TENSORS = st.lists(
    st.builds(
        tensor,
        st.sampled_from([*EVERYTHING.inputs, "image", "text", "x"]),
        st.sampled_from([*NUMPY_TYPE, "BF16", "FP8"]),
        st.lists(st.integers(0, 3), min_size=1, max_size=3),
        st.integers(0, 30) | st.none() | st.booleans(),
    ),
    min_size=1,
    max_size=3,
)


@settings(max_examples=500, deadline=None)
@given(inputs=TENSORS, data=st.data())
def test_tensors_of_any_bytes_are_read_or_refused(inputs: list[Any], data: st.DataObject) -> None:
    sizes = sum(one["parameters"]["binary_data_size"] or 0 for one in inputs)
    rest = data.draw(st.binary(min_size=sizes, max_size=sizes) | st.binary(max_size=40))
    refuses_or_reads(decode, *body_of({"inputs": inputs}, rest))


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_whole_request_with_a_few_bytes_more_less_or_changed_is_read_or_refused(data: st.DataObject) -> None:
    color = tensor("color", "BYTES", [2], 12)
    body, headers = body_of({"inputs": [color, tensor("size", "FP64", [2], 16)]}, b"\x03\0\0\0red\x01\0\0\0x", ONE, ONE)
    start, length = data.draw(st.integers(0, len(body))), data.draw(st.integers(0, 4))
    changed = body[:start] + data.draw(st.binary(max_size=4)) + body[start + length :]
    refuses_or_reads(decode, changed, headers)
