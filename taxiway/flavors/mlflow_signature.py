"""MLflow's own signatures: a model that somebody else logged says in one what it takes and answers."""

from collections.abc import Sequence
from typing import Any, cast

import numpy as np
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, DataType, Schema, TensorSpec

from taxiway.errors import PackageError
from taxiway.flavors.inputs import InputForm, Inputs
from taxiway.signature import Column, ColumnType

COLUMN_TYPE: dict[DataType, ColumnType] = {
    DataType.boolean: "bool",
    DataType.integer: "int32",
    DataType.long: "int64",
    DataType.float: "float32",
    DataType.double: "float64",
    DataType.string: "string",
    DataType.binary: "bytes",
}
_DATA_TYPE = {dtype: data_type for data_type, dtype in COLUMN_TYPE.items()}
_TENSOR_TYPES = frozenset(
    ["bool", *(f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)), "float16", "float32", "float64"]
)


def read_inputs(schema: Schema) -> Inputs:
    """What a model takes.

    Raises:
        PackageError: a type that no column has.
    """
    columns = read_columns(schema, "input")
    form: InputForm = "frame" if schema.has_input_names() else "numbered_frame"
    if schema.is_tensor_spec():
        form = "tensors" if schema.has_input_names() and len(columns) > 1 else "tensor"
    return Inputs(columns, form)


def read_columns(schema: Schema, unnamed: str) -> tuple[Column, ...]:
    """The columns of one side of a signature; those without a name are `unnamed`, or `unnamed_0` and so on.

    Raises:
        PackageError: a type that no column has.
    """
    specs = schema.inputs
    names = [unnamed] if len(specs) == 1 else [f"{unnamed}_{place}" for place in range(len(specs))]
    given = [name if spec.name is None else str(spec.name) for spec, name in zip(specs, names, strict=True)]
    if doubled := sorted({name for name in given if given.count(name) > 1}):
        raise PackageError(f"{doubled[0]}: the signature has this name twice")
    return tuple(_column(spec, name) for spec, name in zip(specs, given, strict=True))


def _column(spec: Any, name: str) -> Column:
    shape: tuple[int, ...] = ()
    if isinstance(spec, TensorSpec):
        dtype, shape = _tensor_type(spec, name), tuple(spec.shape[1:])
    elif isinstance(spec.type, DataType) and spec.type in COLUMN_TYPE:
        dtype = COLUMN_TYPE[spec.type]
    else:
        raise PackageError(
            f"{name}: the signature says {spec.type!r}, which is not served; "
            "log the model with numbers, booleans, strings, binary or tensors"
        )
    # MLflow checks the type of a column that is there and lets nulls, NaN and infinity pass to the model.
    nullable = not spec.required or dtype.startswith("float") or dtype in ("string", "bytes")
    return Column(name=name, dtype=dtype, shape=shape, nullable=nullable, required=spec.required, finite=False)


def _tensor_type(spec: TensorSpec, name: str) -> ColumnType:
    if not spec.shape or spec.shape[0] != -1:
        raise PackageError(f"{name}: the signature's shape is {spec.shape}; the first dimension must be -1, the rows")
    if spec.type.kind in "OUS":
        return "bytes" if spec.type.kind == "S" else "string"
    if spec.type.name not in _TENSOR_TYPES:
        raise PackageError(f"{name}: the signature says a tensor of {spec.type}, which is not served")
    return cast("ColumnType", spec.type.name)


def write_signature(inputs: Sequence[Column], outputs: Sequence[Column]) -> ModelSignature:
    """The signature under which MLflow's own tools know a package."""
    return ModelSignature(_schema(inputs), _schema(outputs))


def _schema(columns: Sequence[Column]) -> Schema:
    if all(column.dtype in _DATA_TYPE and not column.shape for column in columns):
        return Schema([ColSpec(_DATA_TYPE[it.dtype], it.name, required=it.is_required) for it in columns])
    return Schema([TensorSpec(_numpy_type(it), (-1, *it.shape), it.name) for it in columns])


def _numpy_type(column: Column) -> "np.dtype[Any]":
    return np.dtype({"string": "str", "bytes": "bytes"}.get(column.dtype, column.stored_dtype))
