"""Models as protocols see them, requests for them, and what must come out: for the tests of every codec."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from hypothesis import strategies as st

from taxiway.errors import RequestError
from taxiway.inference import InferRequest, InferResponse, ModelInterface, join
from taxiway.signature import Array, Column

Headers = Mapping[bytes, bytes]
JSON: Headers = {b"content-type": b"application/json"}


def interface(*inputs: Column, outputs: tuple[str, ...] = ("score",), max_rows: int = 100) -> ModelInterface:
    return ModelInterface(
        name="parcel",
        version="3",
        platform="sklearn",
        inputs={column.name: column for column in inputs},
        outputs=tuple(Column(name=name, dtype="float64") for name in outputs),
        max_rows=max_rows,
    )


TABULAR = interface(
    Column(name="color", dtype="string"),
    Column(name="size", dtype="float64"),
    Column(name="count", dtype="int64"),
    Column(name="fragile", dtype="bool"),
    Column(name="weight", dtype="float32", nullable=True),
    Column(name="floor", dtype="int16", nullable=True),
    Column(name="comment", dtype="string", nullable=True),
)
IMAGE = interface(Column(name="image", dtype="float32", shape=(2, 3)))
TEXT = interface(Column(name="text", dtype="string"))
FILE = interface(Column(name="file", dtype="bytes"))
EVERYTHING = interface(
    *TABULAR.inputs.values(), Column(name="pixels", dtype="uint8", shape=(2, -1)), Column(name="file", dtype="bytes")
)

ROW: Mapping[str, Any] = {"color": "red", "size": 1.5, "count": 3, "fragile": True}


def response(**outputs: Any) -> InferResponse:
    arrays = {name: values if isinstance(values, np.ndarray) else np.array(values) for name, values in outputs.items()}
    return InferResponse("parcel", "3", "champion", "0190", arrays)


def joined(request: InferRequest, model: ModelInterface) -> dict[str, Array]:
    """The request's columns as the model gets them."""
    columns = join([request.columns], model.inputs)
    assert {len(values) for values in columns.values()} == {request.rows}
    return columns


def values_of(column: Column) -> st.SearchStrategy[Any]:
    """What a client may send for one row."""
    if column.dtype == "string":
        value: st.SearchStrategy[Any] = st.text(st.characters(codec="utf-8"), max_size=8)
    elif column.dtype == "bool":
        value = st.booleans()
    elif column.dtype.startswith("float"):
        value = st.floats(width=32, allow_nan=False, allow_infinity=False)
    else:
        limits = np.iinfo(column.dtype)
        value = st.integers(int(limits.min), int(limits.max))
    return st.none() | value if column.nullable else value


def tables(model: ModelInterface) -> st.SearchStrategy[list[dict[str, Any]]]:
    """One to five whole rows."""
    row = st.fixed_dictionaries({name: values_of(column) for name, column in model.inputs.items()})
    return st.lists(row, min_size=1, max_size=5)


def assert_columns(found: Mapping[str, Array], rows: list[dict[str, Any]], model: ModelInterface) -> None:
    """`found` holds exactly `rows`, in the model's order and each column's own type."""
    assert list(found) == list(model.inputs)
    for name, column in model.inputs.items():
        values = [row[name] for row in rows]
        assert found[name].dtype == column.numpy_dtype
        if column.is_object:
            assert found[name].tolist() == values
        else:
            wanted = np.array([np.nan if value is None else value for value in values], column.numpy_dtype)
            np.testing.assert_array_equal(found[name], wanted)


def garbage(*keys: str) -> st.SearchStrategy[Any]:
    """JSON values that may look like a request: objects with some of a protocol's keys and of the inputs."""
    scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3)
    names = st.sampled_from([*keys, *EVERYTHING.inputs, "b64", "columns", "index", "other"])
    return st.recursive(
        scalars,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4),
        max_leaves=12,
    )


Decode = Callable[[bytes, Headers, ModelInterface], InferRequest]


def refuses_or_reads(decode: Decode, body: bytes, headers: Headers) -> None:
    """Whatever the body is, the caller is told so, or the columns are whole."""
    for model in (TABULAR, IMAGE, TEXT, FILE, EVERYTHING):
        try:
            joined(decode(body, headers, model), model)
        except RequestError as error:
            str(error).encode()


def bit_patterns(dtype: str, *shape: int) -> st.SearchStrategy[Array]:
    """Arrays of a numeric type in which every value is as likely as any other, NaN and infinity too."""
    kind = np.dtype(dtype)
    size = int(np.prod(shape)) * kind.itemsize

    def array(raw: bytes) -> Array:
        found = np.frombuffer(raw, np.uint8) % 2 == 1 if kind == np.bool_ else np.frombuffer(raw, kind)
        return found.reshape(shape)

    return st.binary(min_size=size, max_size=size).map(array)
