"""MLflow's own signatures become ours, and ours MLflow's."""

import numpy as np
import pytest
from mlflow.types import ColSpec, DataType, Schema, TensorSpec
from mlflow.types.schema import Array

from taxiway.errors import PackageError
from taxiway.flavors.mlflow_signature import read_columns, read_inputs, write_signature
from taxiway.signature import Column


def test_every_type_of_a_table_becomes_a_column_type() -> None:
    types = [
        DataType.boolean,
        DataType.integer,
        DataType.long,
        DataType.float,
        DataType.double,
        DataType.string,
        DataType.binary,
    ]
    columns = read_columns(Schema([ColSpec(kind, kind.name) for kind in types]), "input")
    assert [column.dtype for column in columns] == ["bool", "int32", "int64", "float32", "float64", "string", "bytes"]


def test_a_required_column_may_hold_nulls_and_infinity_where_mlflow_lets_them_pass() -> None:
    schema = Schema([ColSpec(DataType.double, "number"), ColSpec(DataType.string, "text"), ColSpec(DataType.long, "n")])
    number, text, count = read_columns(schema, "input")
    assert number.is_required
    assert number.nullable
    assert number.rejects(np.array([np.nan, np.inf])) == []
    assert text.is_required
    assert text.rejects(np.array([None, ""], dtype=object)) == []
    assert count.is_required
    assert not count.nullable


def test_an_optional_column_may_be_left_out() -> None:
    (count,) = read_columns(Schema([ColSpec(DataType.long, "n", required=False)]), "input")
    assert not count.is_required
    assert count.stored_dtype == "float64"


def test_tensors_keep_the_shape_of_one_row_and_get_a_name() -> None:
    image = TensorSpec(np.dtype(np.uint8), (-1, 3, -1))
    (column,) = read_columns(Schema([image]), "input")
    assert (column.name, column.dtype, column.shape) == ("input", "uint8", (3, -1))
    texts = TensorSpec(np.dtype("str"), (-1,), "texts"), TensorSpec(np.dtype("bytes"), (-1,), "blobs")
    assert [it.dtype for it in read_columns(Schema(list(texts)), "input")] == ["string", "bytes"]


def test_several_columns_without_names_are_numbered() -> None:
    schema = Schema([ColSpec(DataType.double), ColSpec(DataType.long)])
    assert [column.name for column in read_columns(schema, "output")] == ["output_0", "output_1"]


@pytest.mark.parametrize(
    ("schema", "form"),
    [
        (Schema([ColSpec(DataType.double, "x")]), "frame"),
        (Schema([ColSpec(DataType.double)]), "numbered_frame"),
        (Schema([TensorSpec(np.dtype(float), (-1, 2))]), "tensor"),
        (Schema([TensorSpec(np.dtype(float), (-1, 2), name) for name in "ab"]), "tensors"),
    ],
    ids=["frame", "numbered_frame", "tensor", "tensors"],
)
def test_the_form_of_the_inputs_is_the_one_that_mlflow_passes(schema: Schema, form: str) -> None:
    assert read_inputs(schema).form == form


@pytest.mark.parametrize(
    ("spec", "sentence"),
    [
        (ColSpec(DataType.datetime, "when"), "when: the signature says datetime, which is not served"),
        (ColSpec(Array(DataType.double), "list"), "which is not served"),
        (TensorSpec(np.dtype(np.complex64), (-1, 2), "wave"), "wave: the signature says a tensor of complex64"),
        (TensorSpec(np.dtype(float), (8, 2), "fixed"), "the first dimension must be -1"),
    ],
    ids=["datetime", "nested", "complex", "fixed-batch"],
)
def test_what_no_column_can_be_is_refused_with_its_name(spec: ColSpec | TensorSpec, sentence: str) -> None:
    with pytest.raises(PackageError, match=sentence):
        read_columns(Schema([spec]), "input")


def test_our_columns_become_a_table_for_mlflow_where_they_can() -> None:
    table = (Column(name="n", dtype="int64"), Column(name="text", dtype="string", nullable=True))
    written = write_signature(table, (Column(name="p", dtype="float64"),))
    assert not written.inputs.is_tensor_spec()
    assert [spec.required for spec in written.inputs.inputs] == [True, False]
    assert [column.dtype for column in read_columns(written.inputs, "input")] == ["int64", "string"]


def test_tensors_and_rarer_types_become_tensors_for_mlflow() -> None:
    columns = (Column(name="image", dtype="uint8", shape=(8, 8)), Column(name="text", dtype="string"))
    written = write_signature(columns, (Column(name="score", dtype="float16"),))
    read = read_columns(written.inputs, "input")
    assert [(it.name, it.dtype, it.shape) for it in read] == [("image", "uint8", (8, 8)), ("text", "string", ())]
    assert written.outputs.is_tensor_spec()
