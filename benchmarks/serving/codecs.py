"""How rows are asked about and answered in each server's own protocol."""

import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.load import Sample, post
from benchmarks.serving.model import COLUMNS, Matrix

Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class Codec:
    """`encode` makes the whole HTTP request about some rows, `decode` reads the positive class's probabilities."""

    encode: Callable[[Matrix], bytes]
    decode: Callable[[Sample], Probabilities]


def plain(path: str) -> Codec:
    """`{"rows": [[…], …]}` -> `{"predictions": […]}`, or the bare list where a server can't name it."""

    def encode(rows: Matrix) -> bytes:
        return post(path, orjson.dumps({"rows": rows.tolist()}))

    def decode(answer: Sample) -> Probabilities:
        found = orjson.loads(answer.body)
        return _numbers(found if isinstance(found, list) else found["predictions"])

    return Codec(encode, decode)


def mlflow_scoring(path: str) -> Codec:
    """`{"inputs": [[…], …]}` -> `{"predictions": [[negative, positive], …]}`."""

    def encode(rows: Matrix) -> bytes:
        return post(path, orjson.dumps({"inputs": rows.tolist()}))

    return Codec(encode, lambda answer: _positive(_numbers(orjson.loads(answer.body)["predictions"])))


def inference(path: str, output: str, sticky: str | None = None) -> Codec:
    """Open Inference Protocol, one tensor for all columns; the header `sticky` names one of many customers."""

    def encode(rows: Matrix) -> bytes:
        tensor = {"name": "rows", "shape": list(rows.shape), "datatype": "FP64", "data": rows.ravel().tolist()}
        return post(path, orjson.dumps({"inputs": [tensor], "outputs": [{"name": output}]}), _customer(rows, sticky))

    return Codec(encode, _tensor)


def inference_by_column(path: str, output: str, sticky: str | None = None) -> Codec:
    """Open Inference Protocol, a tensor for each column."""

    def encode(rows: Matrix) -> bytes:
        tensors = [
            {"name": name, "shape": [len(rows)], "datatype": "FP64", "data": rows[:, position].tolist()}
            for position, name in enumerate(COLUMNS)
        ]
        return post(path, orjson.dumps({"inputs": tensors, "outputs": [{"name": output}]}), _customer(rows, sticky))

    return Codec(encode, _tensor)


def inference_binary(path: str, output: str, sticky: str | None = None) -> Codec:
    """Open Inference Protocol with the binary tensor extension, one tensor for all columns, both ways."""

    def encode(rows: Matrix) -> bytes:
        raw = np.ascontiguousarray(rows, "<f8").tobytes()
        tensor = {
            "name": "rows",
            "shape": list(rows.shape),
            "datatype": "FP64",
            "parameters": {"binary_data_size": len(raw)},
        }
        wanted = {"name": output, "parameters": {"binary_data": True}}
        head = orjson.dumps({"inputs": [tensor], "outputs": [wanted]})
        headers = {"content-type": "application/octet-stream", "inference-header-content-length": str(len(head))}
        return post(path, head + raw, headers | _customer(rows, sticky))

    return Codec(encode, _tensor)


def _customer(rows: Matrix, header: str | None) -> dict[str, str]:
    """Made of the first row, so that requests come from many customers."""
    return {} if header is None else {header: f"customer-{zlib.crc32(rows[0].tobytes()) % 10_000}"}


def _tensor(answer: Sample) -> Probabilities:
    """The first output, binary when the answer's headers say so."""
    size = int(answer.headers.get("inference-header-content-length", len(answer.body)))
    output: Mapping[str, Any] = orjson.loads(answer.body[:size])["outputs"][0]
    values = _numbers(output["data"]) if "data" in output else np.frombuffer(answer.body[size:], "<f8")
    return _positive(values.reshape(output["shape"]))


def _positive(values: Probabilities) -> Probabilities:
    """The last column of [rows, 2]; [rows] and [rows, 1] are the positive class already."""
    return values if values.ndim == 1 else values[:, -1]


def _numbers(values: Any) -> Probabilities:
    return np.asarray(values, dtype=np.float64)
