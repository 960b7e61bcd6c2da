import json
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import InvalidInput, MalformedRequest, Overloaded, PayloadTooLarge
from taxiway.inference import ModelInterface, layout
from taxiway.protocols import tf_serving
from taxiway.signature import Array, Column
from tests.interfaces import (
    FILE,
    IMAGE,
    JSON,
    ROW,
    TABULAR,
    TEXT,
    assert_columns,
    garbage,
    interface,
    joined,
    refuses_or_reads,
    response,
    tables,
)

PICTURE = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]


def columns(model: ModelInterface = TABULAR, **body: Any) -> dict[str, Array]:
    return joined(tf_serving.decode(json.dumps(body).encode(), JSON, model), model)


def refused(model: ModelInterface = TABULAR, **body: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        columns(model, **body)
    return caught.value


def answer(body: dict[str, Any], model: ModelInterface = TABULAR, **outputs: Any) -> Any:
    request = tf_serving.decode(json.dumps(body).encode(), JSON, model)
    found, headers = tf_serving.encode(request, response(**outputs))
    assert headers == ((b"content-type", b"application/json"),)
    return orjson.loads(found)


@given(tables(TABULAR), st.booleans())
@settings(deadline=None)
def test_rows_come_back_as_columns_from_either_form(rows: list[dict[str, Any]], by_row: bool) -> None:
    by_column = {name: [row[name] for row in rows] for name in TABULAR.inputs}
    found = columns(instances=rows) if by_row else columns(inputs=by_column)
    assert_columns(found, rows, TABULAR)


@given(tables(TABULAR))
@settings(deadline=None)
def test_rows_without_names_are_in_the_model_s_order(rows: list[dict[str, Any]]) -> None:
    assert_columns(columns(instances=[[row[name] for name in TABULAR.inputs] for row in rows]), rows, TABULAR)


@given(garbage("instances", "inputs", "signature_name"), st.sampled_from(["instances", "inputs", None]))
@settings(deadline=None)
def test_any_json_is_read_or_refused(body: Any, key: str | None) -> None:
    refuses_or_reads(tf_serving.decode, json.dumps({key: body} if key else body).encode(), JSON)


@given(st.binary(max_size=60))
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    refuses_or_reads(tf_serving.decode, body, JSON)
    refuses_or_reads(tf_serving.decode, b'{"instances": [NaN, Infinity, ' + body, JSON)


def test_a_row_may_hold_the_required_inputs_only() -> None:
    assert list(columns(instances=[["red", 1.5, 3, True]])) == ["color", "size", "count", "fragile"]


def test_a_column_that_some_rows_leave_out_is_missing_there() -> None:
    found = columns(instances=[ROW, {**ROW, "weight": 2.0}])
    np.testing.assert_array_equal(found["weight"], [np.nan, 2.0])
    assert "comment" not in found


def test_the_order_of_keys_does_not_part_a_batch() -> None:
    turned = dict(sorted(ROW.items(), reverse=True))
    one, other = (tf_serving.decode(json.dumps({"instances": [row]}).encode(), JSON, TABULAR) for row in (ROW, turned))
    assert layout(one.columns) == layout(other.columns)


def test_a_sole_input_takes_bare_values_and_rows_of_one() -> None:
    assert columns(TEXT, instances=["a", "b"])["text"].tolist() == ["a", "b"]
    assert columns(TEXT, instances=[["a"], ["b"]])["text"].tolist() == ["a", "b"]
    assert columns(TEXT, inputs=["a", "b"])["text"].tolist() == ["a", "b"]
    assert columns(TEXT, inputs={"text": [["a"], ["b"]]})["text"].tolist() == ["a", "b"]


def test_base64_stands_for_bytes_bare_and_by_name() -> None:
    assert columns(FILE, instances=[{"b64": "AP8="}, "text"])["file"].tolist() == [b"\x00\xff", b"text"]
    assert columns(FILE, instances=[{"b64": "AP8="}])["file"].tolist() == [b"\x00\xff"]
    assert columns(FILE, instances=[{"file": {"b64": "AP8="}}])["file"].tolist() == [b"\x00\xff"]


def test_base64_stands_for_text_too() -> None:
    assert columns(TEXT, instances=[{"b64": "w7w="}, "a"])["text"].tolist() == ["\u00fc", "a"]
    assert columns(TEXT, instances=[{"b64": "w7w="}])["text"].tolist() == ["\u00fc"]
    assert "holds no text in UTF-8" in str(refused(TEXT, instances=[{"text": {"b64": "/w=="}}]))
    assert "is not base64" in str(refused(TEXT, instances=[{"text": {"b64": "?"}}]))


def test_a_single_value_may_come_as_a_tensor_of_one() -> None:
    """As models with inputs of shape [1] are asked."""
    lists = {name: [value] for name, value in ROW.items()}
    assert columns(instances=[lists, lists])["size"].tolist() == [1.5, 1.5]
    assert refused(instances=[lists, ROW]).reject_code == "wrong_shape"
    assert refused(instances=[lists | {"size": [1.0, 2.0]}]).reject_code == "wrong_shape"


@pytest.mark.parametrize("body", [
    {"instances": [PICTURE, PICTURE]},
    {"instances": [{"image": PICTURE}, {"image": PICTURE}]},
    {"inputs": [PICTURE, PICTURE]},
    {"inputs": {"image": [PICTURE, PICTURE]}},
])  # fmt: skip
def test_tensors_come_bare_or_by_name(body: dict[str, Any]) -> None:
    image = columns(IMAGE, **body)["image"]
    assert (image.shape, image.dtype.name) == ((2, 2, 3), "float32")
    assert image[1].tolist() == PICTURE


@pytest.mark.parametrize(("tensor", "reason"), [
    ([[1, 2, 3]], "a list of 1 values"),
    ([[1, 2, 3], [4, 5]], "lists of 2 and of 3 values"),
    ([[1, 2, 3], 4], "a number where a list must be"),
    ([[[1], [2], [3]], [[4], [5], [6]]], "nested deeper"),
])  # fmt: skip
def test_a_tensor_of_another_shape_is_refused_with_what_was_found(tensor: Any, reason: str) -> None:
    error = refused(IMAGE, instances=[tensor])
    assert error.reject_code == "wrong_shape"
    assert str(error).startswith("image: expected tensors of shape [2, 3] in each row")
    assert reason in str(error)


def test_a_tensor_holds_only_values_of_its_type() -> None:
    assert refused(IMAGE, instances=[[[1, 2, True], [4, 5, 6]]]).reject_code == "wrong_type"
    assert refused(IMAGE, instances=[[[1, 2, None], [4, 5, 6]]]).reject_code == "missing_value"


def test_a_nullable_tensor_may_be_missing_in_some_rows() -> None:
    model = interface(Column(name="vector", dtype="int32", shape=(2,), nullable=True))
    found = columns(model, instances=[{"vector": [1, 2]}, {"vector": None}])["vector"]
    np.testing.assert_array_equal(found, [[1, 2], [np.nan, np.nan]])
    endless = interface(Column(name="vector", dtype="float32", shape=(-1,), nullable=True))
    assert refused(endless, instances=[{"vector": [1]}, {"vector": None}]).reject_code == "missing_value"


def test_python_s_nan_is_a_missing_value_and_its_infinity_a_number() -> None:
    model = interface(Column(name="size", dtype="float64", nullable=True), Column(name="text", dtype="string"))
    found = columns(model, instances=[[float("nan"), "NaN\ud83d\ude00"], [float("-inf"), '"Infinity']])
    np.testing.assert_array_equal(found["size"], [np.nan, -np.inf])
    assert found["text"].tolist() == ["NaN\U0001f600", '"Infinity']


@pytest.mark.parametrize(("body", "code"), [
    ({"instances": [{**ROW, "colour": "red"}]}, "unknown_column"),
    ({"instances": [ROW, {"color": "red"}]}, "missing_value"),
    ({"instances": [{**ROW, "count": "3"}]}, "wrong_type"),
    ({"instances": [ROW, ["red", 1.5, 3, True]]}, "wrong_type"),
    ({"instances": [["red", 1.5]]}, "wrong_shape"),
    ({"instances": [["red", 1.5, 3, True], ["red", 1.5, 3]]}, "wrong_shape"),
    ({"instances": [1, 2]}, "wrong_type"),
    ({"instances": ROW}, "wrong_type"),
    ({"instances": []}, "wrong_shape"),
    ({"instances": [{}]}, "missing_column"),
    ({"inputs": [[1, 2]]}, "wrong_type"),
    ({"inputs": {}}, "wrong_shape"),
    ({"inputs": {"size": 1.0}}, "wrong_type"),
    ({"inputs": {"size": [1.0], "count": [1, 2]}}, "wrong_shape"),
    ({"inputs": {"size": [[1.0, 2.0]]}}, "wrong_shape"),
])  # fmt: skip
def test_what_does_not_fit_the_model_is_refused_with_a_code(body: dict[str, Any], code: str) -> None:
    assert refused(TABULAR, **body).reject_code == code


@pytest.mark.parametrize("body", [
    b"", b"[1]", b"{}", b'{"instances": [1], "inputs": [1]}',
    b'{"instances": [NaN}', b'{"instances": ["\\ud800", NaN]}', b'{"instances": ["\\ud800", Infinity]}',
    b"[" * 100_000 + b"NaN", b'{"instances": [1], "signature_name": "regress"}', b'"' + b'\\"' * 100_000 + b"NaN",
])  # fmt: skip
def test_what_is_no_predict_request_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedRequest):
        tf_serving.decode(body, JSON, TEXT)


def test_the_default_signature_may_be_named() -> None:
    assert columns(TEXT, instances=["a"], signature_name="serving_default")["text"].tolist() == ["a"]


def test_more_rows_than_the_model_takes_are_refused() -> None:
    model = interface(Column(name="size", dtype="float64"), max_rows=2)
    assert len(columns(model, instances=[1, 2])["size"]) == 2
    for body in ({"instances": [1, 2, 3]}, {"inputs": [1, 2, 3]}, {"inputs": {"size": [1, 2, 3]}}):
        with pytest.raises(PayloadTooLarge, match="has 3 rows, at most 2"):
            columns(model, **body)


def test_an_answer_has_the_form_of_its_request() -> None:
    rows, inputs = {"instances": ["a", "b"]}, {"inputs": ["a", "b"]}
    one: dict[str, Any] = {"score": [0.5, np.nan]}
    two: dict[str, Any] = {"score": np.array([0.1, 0.2], np.float32), "label": np.array(["x", "y"], object)}
    assert answer(rows, TEXT, **one) == {"predictions": [0.5, None]}
    assert answer(inputs, TEXT, **one) == {"outputs": [0.5, None]}
    assert answer(rows, TEXT, **two) == {
        "predictions": [{"score": 0.1, "label": "x"}, {"score": 0.2, "label": "y"}]
    }  # fmt: skip
    assert answer(inputs, TEXT, **two) == {"outputs": {"score": [0.1, 0.2], "label": ["x", "y"]}}


def test_tensors_and_bytes_are_answered() -> None:
    vectors = np.arange(8, dtype=np.float16).reshape(2, 4)[:, ::2]
    assert answer({"instances": ["a", "b"]}, TEXT, vector=vectors) == {"predictions": [[0, 2], [4, 6]]}
    both = {"vector": vectors, "file": np.array([b"\x00\xff", None], object)}
    assert answer({"instances": ["a", "b"]}, TEXT, **both) == {
        "predictions": [{"vector": [0, 2], "file": {"b64": "AP8="}}, {"vector": [4, 6], "file": None}]
    }  # fmt: skip


def test_an_error_has_tensorflow_serving_s_form() -> None:
    assert orjson.loads(tf_serving.encode_error(Overloaded("try later"))) == {"error": "try later"}


def test_the_status_serves_readers_of_both_kinds() -> None:
    status = orjson.loads(tf_serving.model_status("parcel", ["3", "2"], ready=True))
    assert (status["name"], status["ready"]) == ("parcel", True)
    assert status["model_version_status"] == [
        {"version": version, "state": "AVAILABLE", "status": {"error_code": "OK", "error_message": ""}}
        for version in ("3", "2")
    ]
    loading = orjson.loads(tf_serving.model_status("parcel", ["3"], ready=False))
    assert (loading["ready"], loading["model_version_status"][0]["state"]) == (False, "LOADING")


def test_the_metadata_names_types_and_shapes() -> None:
    metadata = orjson.loads(tf_serving.model_metadata(IMAGE))
    assert metadata["model_spec"] == {"name": "parcel", "signature_name": "", "version": "3"}
    signature = metadata["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert signature["inputs"]["image"]["dtype"] == "DT_FLOAT"
    assert [dim["size"] for dim in signature["inputs"]["image"]["tensor_shape"]["dim"]] == ["-1", "2", "3"]
    assert signature["outputs"]["score"]["dtype"] == "DT_DOUBLE"
