"""Open Inference Protocol v2, gRPC: ModelInferRequest to columns, columns to ModelInferResponse.

An answer is raw, but for a request of typed contents, which gets typed contents unless one of the outputs is FP16:
FP16 and BF16 are always raw. Its id is the prediction's if the request has none. Unknown parameters are ignored;
`timeout` is Triton's: microseconds.
"""

from collections.abc import Mapping, Sequence
from math import prod
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from taxiway.errors import InvalidInput, MalformedRequest
from taxiway.inference import InferRequest, InferResponse, ModelInterface, datatype_of
from taxiway.json_values import DATATYPE, NUMPY_TYPE
from taxiway.protocols import binary_tensors
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.protocols.open_inference import EXTENSIONS
from taxiway.protocols.tensor import Tensor
from taxiway.protocols.tensor_inputs import to_columns
from taxiway.signature import Array, Column, RejectCode

_FIELD: Mapping[str, str] = {
    "BOOL": "bool_contents",
    **{f"INT{bits}": "int_contents" for bits in (8, 16, 32)},
    "INT64": "int64_contents",
    **{f"UINT{bits}": "uint_contents" for bits in (8, 16, 32)},
    "UINT64": "uint64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
"""Where the typed contents of each datatype stand."""
_MAX_ELEMENTS = 2**59
"""More numpy refuses to address, even where a size of 0 means that there are none."""

Kind = TypeVar("Kind", bound=Message)


def parse(kind: type[Kind], data: bytes) -> Kind:
    """
    Raises:
        MalformedRequest: the bytes are no message of this kind.
    """
    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise MalformedRequest(f"these bytes are no {kind.__name__}: {error}") from None


def decode(message: pb.ModelInferRequest, model: ModelInterface) -> InferRequest:
    """Reads a request of ModelInfer; `answer_form` of the result is whether it was raw.

    Raises:
        MalformedRequest: the message contradicts itself.
        InvalidInput: a tensor has an unknown name, or a datatype, shape or value that its column forbids.
        PayloadTooLarge: more rows than the model takes.
    """
    _check_form(message)
    raw = message.raw_input_contents
    tensors = [_tensor(tensor, raw[position] if raw else None) for position, tensor in enumerate(message.inputs)]
    columns, rows = to_columns(tensors, model)
    return InferRequest(
        message.id or None, columns, rows, _wanted(message, model), _timeout_s(message), answer_form=bool(raw)
    )


def encode(request: InferRequest, response: InferResponse) -> pb.ModelInferResponse:
    """The answer in the form of the request."""
    outputs = [(name, datatype_of(values), values) for name, values in response.outputs.items()]
    raw = request.answer_form or any(datatype not in _FIELD for _, datatype, _ in outputs)
    return pb.ModelInferResponse(
        model_name=response.model_name,
        model_version=response.model_version,
        id=response.prediction_id if request.id is None else request.id,
        parameters={
            "prediction_id": pb.InferParameter(string_param=response.prediction_id),
            "variant": pb.InferParameter(string_param=response.variant),
        },
        outputs=[
            pb.ModelInferResponse.InferOutputTensor(
                name=name,
                datatype=datatype,
                shape=values.shape,
                contents=None if raw else _typed_contents(datatype, values),
            )
            for name, datatype, values in outputs
        ],
        raw_output_contents=[binary_tensors.from_array(values) for _, _, values in outputs] if raw else (),
    )


def server_metadata(version: str) -> pb.ServerMetadataResponse:
    return pb.ServerMetadataResponse(name="taxiway", version=version, extensions=EXTENSIONS)


def model_metadata(model: ModelInterface, versions: Sequence[str]) -> pb.ModelMetadataResponse:
    """The number of rows, -1, comes first in every shape."""
    return pb.ModelMetadataResponse(
        name=model.name,
        versions=versions,
        platform=model.platform,
        inputs=[_tensor_metadata(column) for column in model.inputs.values()],
        outputs=[_tensor_metadata(column) for column in model.outputs],
    )


def _tensor_metadata(column: Column) -> pb.ModelMetadataResponse.TensorMetadata:
    return pb.ModelMetadataResponse.TensorMetadata(
        name=column.name, datatype=DATATYPE[column.dtype], shape=(-1, *column.shape)
    )


def _check_form(message: pb.ModelInferRequest) -> None:
    inputs, raw = message.inputs, message.raw_input_contents
    if not inputs:
        raise MalformedRequest("'inputs' must hold at least one tensor")
    parameters = [tensor.parameters for tensor in inputs] + [output.parameters for output in message.outputs]
    if any("shared_memory_region" in given for given in parameters):
        raise MalformedRequest("shared memory is not supported; send and take the data in the messages")
    if any("classification" in given for given in parameters):
        raise MalformedRequest("'classification' is not supported; ask for the output itself and rank its values")
    if not raw:
        return
    if any(tensor.HasField("contents") for tensor in inputs):
        raise MalformedRequest("an input has 'contents' beside 'raw_input_contents'; send all inputs in one form")
    if len(raw) != len(inputs):
        raise MalformedRequest(f"'raw_input_contents' has {len(raw)} tensors where 'inputs' has {len(inputs)}")


def _tensor(tensor: pb.ModelInferRequest.InferInputTensor, raw: bytes | None) -> Tensor:
    shape = tuple(tensor.shape)
    found = Tensor(tensor.name, tensor.datatype, shape, _typed_elements(tensor) if raw is None else raw)
    if not shape or min(shape) < 0 or prod(size or 1 for size in shape) > _MAX_ELEMENTS:
        raise found.wrong_shape("'shape' must be sizes, the rows first")
    if isinstance(found.content, np.ndarray) and len(found.content) != prod(shape):
        means = f"the shape {found.shown_shape} means {prod(shape)} values"
        raise found.wrong_shape(f"{means}, 'contents' has {len(found.content)}")
    return found


def _typed_elements(tensor: pb.ModelInferRequest.InferInputTensor) -> Array:
    name, datatype = tensor.name[:80], tensor.datatype
    field = _FIELD.get(datatype)
    if field is None:
        known = datatype in ("FP16", "BF16")
        reason = f"{datatype} must be in 'raw_input_contents'" if known else f"there is no datatype {datatype[:20]!r}"
        raise InvalidInput(RejectCode.WRONG_TYPE, name, reason)
    for other, _ in tensor.contents.ListFields():
        if other.name != field:
            raise MalformedRequest(f"{name}: values of {datatype} must be in {field!r}, got {other.name!r}")
    values, declared = getattr(tensor.contents, field), NUMPY_TYPE[datatype]
    if datatype == "BYTES":
        return np.array(values[:], np.object_)
    found = np.asarray(values)
    if declared.kind in "iu" and found.size:
        # The fields are wider than their smaller datatypes, and a cast would wrap around.
        limits = np.iinfo(declared)
        for odd in (found.min(), found.max()):
            if not limits.min <= odd <= limits.max:
                reason = f"{odd} does not fit into {datatype}, {limits.min} to {limits.max}"
                raise InvalidInput(RejectCode.OUT_OF_RANGE, name, reason)
    return found.astype(declared, copy=False)


def _wanted(message: pb.ModelInferRequest, model: ModelInterface) -> tuple[str, ...] | None:
    if not message.outputs:
        return None
    names = tuple(output.name for output in message.outputs)
    known = [column.name for column in model.outputs]
    for position, name in enumerate(names):
        if name not in known:
            reason = f"this model has no such output; it gives {', '.join(known)}"
            raise InvalidInput(RejectCode.UNKNOWN_COLUMN, name[:80], reason)
        if name in names[:position]:
            raise InvalidInput(RejectCode.UNKNOWN_COLUMN, name, "this output is requested twice")
    return names


def _timeout_s(message: pb.ModelInferRequest) -> float | None:
    if "timeout" not in message.parameters:
        return None
    parameter = message.parameters["timeout"]
    kind = parameter.WhichOneof("parameter_choice")
    value = getattr(parameter, kind) if kind in ("int64_param", "uint64_param", "double_param") else -1
    if not 0 <= value < float("inf"):
        raise MalformedRequest("'timeout' must be a number of microseconds")
    return value / 1e6 or None


def _typed_contents(datatype: str, values: Array) -> pb.InferTensorContents:
    contents = pb.InferTensorContents()
    if datatype == "BYTES":
        values = binary_tensors.elements("", datatype, values.size, binary_tensors.from_array(values))
    getattr(contents, _FIELD[datatype]).extend(values.ravel().tolist())
    return contents
