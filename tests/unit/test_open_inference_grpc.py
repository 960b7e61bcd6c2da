"""The gRPC codec: what a message becomes, what an answer looks like, and what is refused."""

import struct
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from tritonclient.grpc import service_pb2 as triton

from taxiway.errors import InvalidInput, MalformedRequest, PayloadTooLarge, RequestError
from taxiway.inference import InferRequest, InferResponse, ModelInterface, join
from taxiway.json_values import DATATYPE
from taxiway.protocols import binary_tensors
from taxiway.protocols import open_inference_grpc as codec
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.signature import Array, Column

Input = pb.ModelInferRequest.InferInputTensor
Contents = pb.InferTensorContents
FIELD = {
    "bool": "bool_contents",
    "int8": "int_contents",
    "int16": "int_contents",
    "int32": "int_contents",
    "int64": "int64_contents",
    "uint8": "uint_contents",
    "uint16": "uint_contents",
    "uint32": "uint_contents",
    "uint64": "uint64_contents",
    "float32": "fp32_contents",
    "float64": "fp64_contents",
}
NUMBERS = [*FIELD, "float16"]


def model(*inputs: Column, outputs: tuple[Column, ...] = (Column(name="y", dtype="float64"),)) -> ModelInterface:
    return ModelInterface("m", "3", "sklearn", {column.name: column for column in inputs}, outputs, max_rows=100)


def one(dtype: Any, *shape: int) -> ModelInterface:
    return model(Column(name="x", dtype=dtype, shape=shape, finite=False))


def raw(values: Array, datatype: str, name: str = "x", **more: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(
        inputs=[Input(name=name, datatype=datatype, shape=values.shape)],
        raw_input_contents=[binary_tensors.from_array(values)],
        **more,
    )


def typed(datatype: str, shape: list[int], **contents: Any) -> pb.ModelInferRequest:
    return pb.ModelInferRequest(inputs=[Input(name="x", datatype=datatype, shape=shape, contents=Contents(**contents))])


def column(message: pb.ModelInferRequest, interface: ModelInterface, name: str = "x") -> Array:
    request = codec.decode(message, interface)
    found = join([request.columns], interface.inputs)[name]
    assert len(found) == request.rows
    return found


def answer(outputs: dict[str, Array], answer_form: bool, identifier: str | None = "mine") -> pb.ModelInferResponse:
    request = InferRequest(identifier, {}, 1, answer_form=answer_form)
    return codec.encode(request, InferResponse("m", "3", "champion", "p-1", outputs))


def test_names_numbers_and_types_are_those_that_tritonclient_has() -> None:
    for name, message in pb.DESCRIPTOR.message_types_by_name.items():
        assert fields(message) == fields(triton.DESCRIPTOR.message_types_by_name[name])
    theirs = triton.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    ours = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
    assert ours.full_name == theirs.full_name
    for method in ours.methods:
        same = theirs.methods_by_name[method.name]
        assert method.input_type.full_name == same.input_type.full_name
        assert method.output_type.full_name == same.output_type.full_name


def fields(message: Any) -> Any:
    own = {(found.name, found.number, found.type, found.is_repeated) for found in message.fields}
    return own, {nested.name: fields(nested) for nested in message.nested_types}


def test_the_generated_modules_are_current() -> None:
    subprocess.run([sys.executable, "configs/protos.py", "--check"], check=True)


@pytest.mark.parametrize("dtype", NUMBERS)
@given(data=st.data())
def test_raw_numbers_come_out_as_they_went_in(dtype: Any, data: st.DataObject) -> None:
    shape = data.draw(arrays.array_shapes(min_dims=2, max_dims=3, max_side=4))
    values = data.draw(arrays.arrays(dtype, shape))
    found = column(raw(values, DATATYPE[dtype]), one(dtype, *shape[1:]))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@pytest.mark.parametrize("dtype", list(FIELD))
@given(data=st.data())
def test_typed_numbers_come_out_as_they_went_in(dtype: Any, data: st.DataObject) -> None:
    values = data.draw(arrays.arrays(dtype, st.integers(1, 20)))
    message = typed(DATATYPE[dtype], [len(values)], **{FIELD[dtype]: values.tolist()})
    found = column(message, one(dtype))
    assert found.dtype == values.dtype
    np.testing.assert_array_equal(found, values)


@given(values=st.lists(st.binary(max_size=20), min_size=1, max_size=10))
def test_bytes_come_out_as_they_went_in(values: list[bytes]) -> None:
    objects = np.empty(len(values), np.object_)
    objects[:] = values
    assert column(raw(objects, "BYTES"), one("bytes")).tolist() == values
    assert column(typed("BYTES", [len(values)], bytes_contents=values), one("bytes")).tolist() == values


@given(values=st.lists(st.text(max_size=10), min_size=1, max_size=10))
def test_text_comes_out_as_it_went_in(values: list[str]) -> None:
    assert column(raw(np.array(values, np.object_), "BYTES"), one("string")).tolist() == values
    encoded = [value.encode() for value in values]
    assert column(typed("BYTES", [len(values)], bytes_contents=encoded), one("string")).tolist() == values


def test_raw_numbers_of_the_columns_own_type_are_not_copied() -> None:
    found = codec.decode(raw(np.arange(6.0), "FP64"), one("float64")).columns["x"]
    assert isinstance(found, np.ndarray)
    assert not found.flags.owndata


def test_bf16_becomes_float32() -> None:
    bits = (np.array([1.5, -2.0], np.float32).view(np.uint32) >> 16).astype(np.uint16)
    assert column(raw(bits, "BF16"), one("float32")).tolist() == [1.5, -2.0]


def test_a_column_may_come_as_rows_of_one() -> None:
    assert column(raw(np.array([[1], [2]]), "INT64"), one("float64")).tolist() == [1.0, 2.0]


@pytest.mark.parametrize("form", ["raw", "typed"])
def test_one_tensor_of_another_name_holds_all_columns(form: str) -> None:
    interface = model(Column(name="a", dtype="float64"), Column(name="b", dtype="int64"))
    values = np.array([[1.5, 2.0], [3.5, 4.0]])
    message = raw(values, "FP64") if form == "raw" else typed("FP64", [2, 2], fp64_contents=values.ravel().tolist())
    assert column(message, interface, "a").tolist() == [1.5, 3.5]
    assert column(message, interface, "b").tolist() == [2, 4]


def test_id_outputs_and_timeout_are_read() -> None:
    wanted = [pb.ModelInferRequest.InferRequestedOutputTensor(name="y")]
    timeout = {"timeout": pb.InferParameter(int64_param=1_500_000)}
    request = codec.decode(raw(np.ones(1), "FP64", id="7", outputs=wanted, parameters=timeout), one("float64"))
    assert (request.id, request.outputs, request.timeout_s) == ("7", ("y",), 1.5)
    plain = codec.decode(raw(np.ones(1), "FP64"), one("float64"))
    assert (plain.id, plain.outputs, plain.timeout_s) == (None, None, None)


X = Input(name="x", datatype="FP64", shape=[1])
EIGHT = [bytes(8)]


@pytest.mark.parametrize(
    ("message", "error", "says"),
    [
        (pb.ModelInferRequest(), MalformedRequest, "at least one tensor"),
        (pb.ModelInferRequest(inputs=[X]), InvalidInput, "means 1 values, 'contents' has 0"),
        (pb.ModelInferRequest(inputs=[X], raw_input_contents=EIGHT * 2), MalformedRequest, "has 2 tensors"),
        (pb.ModelInferRequest(inputs=[X], raw_input_contents=[bytes(7)]), MalformedRequest, "has 7"),
        (pb.ModelInferRequest(inputs=[X, X], raw_input_contents=EIGHT * 2), InvalidInput, "given twice"),
        (typed("FP64", [2], fp64_contents=[1.0]), InvalidInput, "means 2 values"),
        (typed("FP64", [1], fp32_contents=[1.0]), MalformedRequest, "must be in 'fp64_contents'"),
        (typed("FP16", [1]), InvalidInput, "must be in 'raw_input_contents'"),
        (typed("FP128", [1]), InvalidInput, "no datatype 'FP128'"),
        (typed("INT8", [1], int_contents=[128]), InvalidInput, "128 does not fit into INT8"),
        (typed("UINT16", [1], uint_contents=[65536]), InvalidInput, "65536 does not fit into UINT16"),
        (typed("BYTES", [1], bytes_contents=[b"a"]), InvalidInput, "expected the datatype FP64"),
        (typed("FP64", [], fp64_contents=[1.0]), InvalidInput, "rows first"),
        (typed("FP64", [-1], fp64_contents=[1.0]), InvalidInput, "rows first"),
        (typed("FP64", [0]), InvalidInput, "at least one row"),
        (raw(np.ones(101), "FP64"), PayloadTooLarge, "at most 100"),
        (raw(np.ones(1), "FP64", name="z" * 99), InvalidInput, "no such input"),
        (
            raw(np.ones(1), "FP64", parameters={"timeout": pb.InferParameter(string_param="1")}),
            MalformedRequest,
            "micro",
        ),
    ],
)
def test_a_message_that_makes_no_sense_is_refused_in_a_sentence(
    message: pb.ModelInferRequest, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says):
        codec.decode(message, one("float64"))


def test_contents_beside_raw_contents_are_refused() -> None:
    message = typed("FP64", [1], fp64_contents=[1.0])
    message.raw_input_contents.append(struct.pack("<d", 1.0))
    with pytest.raises(MalformedRequest, match="beside"):
        codec.decode(message, one("float64"))


@pytest.mark.parametrize("key", ["shared_memory_region", "classification"])
def test_what_is_not_supported_is_refused(key: str) -> None:
    parameters = {key: pb.InferParameter(string_param="1")}
    output = pb.ModelInferRequest.InferRequestedOutputTensor(name="y", parameters=parameters)
    with pytest.raises(MalformedRequest, match="not supported"):
        codec.decode(raw(np.ones(1), "FP64", outputs=[output]), one("float64"))


@pytest.mark.parametrize("shape", [[1, 2**62, 0], [1, 0, 2**63 - 1], [2**62, 2**62, 0]])
def test_a_shape_that_no_array_can_have_is_refused(shape: list[int]) -> None:
    message = pb.ModelInferRequest(inputs=[Input(name="x", datatype="FP64", shape=shape)], raw_input_contents=[b""])
    with pytest.raises(RequestError):
        codec.decode(message, one("float64", -1, -1))


@given(data=st.binary(max_size=200))
def test_garbage_is_refused(data: bytes) -> None:
    try:
        message = codec.parse(pb.ModelInferRequest, data)
    except MalformedRequest:
        return
    with pytest.raises(RequestError):
        codec.decode(message, one("float64"))


@given(
    datatype=st.sampled_from([*DATATYPE.values(), "BF16", ""]),
    shape=st.lists(st.integers(-2, 4) | st.integers(-(2**63), 2**63 - 1), max_size=4),
    content=st.binary(max_size=64),
    dtype=st.sampled_from(list(DATATYPE)),
    dims=st.sampled_from([(), (2,), (-1,), (-1, -1)]),
)
def test_any_tensor_is_read_or_refused(
    datatype: str, shape: list[int], content: bytes, dtype: str, dims: tuple[int, ...]
) -> None:
    tensor = Input(name="x", datatype=datatype, shape=shape)
    try:
        found = column(pb.ModelInferRequest(inputs=[tensor], raw_input_contents=[content]), one(dtype, *dims))
    except RequestError:
        return
    assert 1 <= len(found) <= 100


def test_an_answer_has_the_form_of_its_request() -> None:
    outputs = {"y": np.array([[0.5, 1.5]], np.float32), "label": np.array(["\u00fc"], np.object_)}
    typed_answer = answer(outputs, answer_form=False)
    assert list(typed_answer.outputs[0].contents.fp32_contents) == [0.5, 1.5]
    assert list(typed_answer.outputs[1].contents.bytes_contents) == ["\u00fc".encode()]
    assert not typed_answer.raw_output_contents
    raw_answer = answer(outputs, answer_form=True)
    assert [list(output.shape) for output in raw_answer.outputs] == [[1, 2], [1]]
    assert [output.datatype for output in raw_answer.outputs] == ["FP32", "BYTES"]
    assert list(raw_answer.raw_output_contents) == [struct.pack("<ff", 0.5, 1.5), b"\x02\x00\x00\x00\xc3\xbc"]
    assert not any(output.HasField("contents") for output in raw_answer.outputs)


@pytest.mark.parametrize("dtype", list(FIELD))
def test_every_typed_output_stands_in_the_field_of_its_datatype(dtype: str) -> None:
    [output] = answer({"y": np.array([0, 1], dtype)}, answer_form=False).outputs
    assert output.datatype == DATATYPE[dtype]
    assert [(field.name, list(values)) for field, values in output.contents.ListFields()] == [(FIELD[dtype], [0, 1])]


def test_an_output_of_fp16_makes_the_answer_raw() -> None:
    found = answer({"y": np.ones(1, np.float16), "z": np.ones(1)}, answer_form=False)
    assert len(found.raw_output_contents) == 2
    assert not any(output.HasField("contents") for output in found.outputs)


def test_an_answer_names_who_gave_it() -> None:
    found = answer({"y": np.ones(1)}, answer_form=True)
    assert (found.model_name, found.model_version, found.id) == ("m", "3", "mine")
    assert found.parameters["prediction_id"].string_param == "p-1"
    assert found.parameters["variant"].string_param == "champion"
    assert answer({}, answer_form=True, identifier=None).id == "p-1"


def test_metadata_tells_every_column_and_its_shape() -> None:
    found = codec.model_metadata(one("float32", 2, -1), ["3", "4"])
    assert (found.name, list(found.versions), found.platform) == ("m", ["3", "4"], "sklearn")
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in found.inputs] == [
        ("x", "FP32", [-1, 2, -1])
    ]
    assert [(tensor.name, tensor.datatype, list(tensor.shape)) for tensor in found.outputs] == [("y", "FP64", [-1])]
