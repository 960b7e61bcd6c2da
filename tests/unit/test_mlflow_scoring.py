import io
import json
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mlflow.deployments import PredictionsResponse
from mlflow.exceptions import RestException
from mlflow.pyfunc.scoring_server import predictions_to_json
from mlflow.utils.proto_json_utils import dump_input_data

from taxiway.errors import InvalidInput, MalformedRequest, NotFound, Overloaded, PayloadTooLarge
from taxiway.inference import InferRequest, ModelInterface
from taxiway.protocols import mlflow_scoring
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

CSV = {b"content-type": b"text/csv; charset=utf-8"}
FORMS = ["dataframe_split", "dataframe_records", "instances", "inputs"]
NUMBERS = interface(Column(name="size", dtype="float64"), Column(name="count", dtype="int64"))
BLANK = InferRequest(id=None, columns={}, rows=0)


def columns(model: ModelInterface = TABULAR, **body: Any) -> dict[str, Array]:
    return joined(mlflow_scoring.decode(json.dumps(body).encode(), JSON, model), model)


def from_client(data: Any, model: ModelInterface = TABULAR) -> dict[str, Array]:
    """As MLflow's own scoring client writes the body."""
    return joined(mlflow_scoring.decode(dump_input_data(data).encode(), JSON, model), model)


def from_csv(text: str | None, model: ModelInterface = TABULAR) -> dict[str, Array]:
    assert text is not None
    return joined(mlflow_scoring.decode(text.encode(), CSV, model), model)


def frame(rows: list[dict[str, Any]], model: ModelInterface = TABULAR) -> pd.DataFrame:
    """As pandas holds it: integers with missing values are floats."""
    return pd.DataFrame(rows, columns=list(model.inputs))


@given(tables(TABULAR))
@settings(deadline=None)
def test_a_data_frame_comes_back_from_mlflow_s_client(rows: list[dict[str, Any]]) -> None:
    assert_columns(from_client(frame(rows)), rows, TABULAR)


@given(tables(TABULAR))
@settings(deadline=None)
def test_records_and_columns_come_back(rows: list[dict[str, Any]]) -> None:
    by_column = {name: [row[name] for row in rows] for name in TABULAR.inputs}
    for body in ({"dataframe_records": rows}, {"instances": rows}, {"inputs": rows}, {"inputs": by_column}):
        assert_columns(columns(**body), rows, TABULAR)


@given(tables(TABULAR), st.booleans())
@settings(deadline=None)
def test_csv_that_pandas_writes_comes_back(rows: list[dict[str, Any]], with_index: bool) -> None:
    # pandas does not quote a carriage return, and its own reader takes it for the end of the row.
    clean = [{name: v.replace("\r", "") if isinstance(v, str) else v for name, v in row.items()} for row in rows]
    rows = [{name: None if value == "" else value for name, value in row.items()} for row in clean]
    assert_columns(from_csv(frame(rows).to_csv(index=with_index)), rows, TABULAR)


@given(garbage(*FORMS, "params"), st.sampled_from([*FORMS, None]))
@settings(deadline=None)
def test_any_json_is_read_or_refused(body: Any, form: str | None) -> None:
    refuses_or_reads(mlflow_scoring.decode, json.dumps({form: body} if form else body).encode(), JSON)


@given(
    st.binary(max_size=60) | st.text('size,count"\n\r1.x ', max_size=30).map(str.encode), st.sampled_from([JSON, CSV])
)
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(body: bytes, headers: dict[bytes, bytes]) -> None:
    refuses_or_reads(mlflow_scoring.decode, body, headers)
    refuses_or_reads(mlflow_scoring.decode, b"text\n" + body, headers)


def test_an_array_of_mlflow_s_client_is_rows_in_the_model_s_order() -> None:
    found = from_client(np.array([[1.5, 2.0], [2.5, 3.0]]), NUMBERS)
    assert found["size"].tolist() == [1.5, 2.5]
    assert (found["count"].tolist(), found["count"].dtype.name) == ([2, 3], "int64")


def test_a_float_that_is_not_whole_is_no_integer() -> None:
    with pytest.raises(InvalidInput, match=r"count: expected values of int64, got a number '2\.5'"):
        from_client(np.array([[1.5, 2.5]]), NUMBERS)


def test_tensors_of_mlflow_s_client_reach_a_tensor_model() -> None:
    pictures = np.arange(12, dtype=np.float32).reshape(2, 2, 3)
    for data in (pictures, pictures.tolist(), [{"image": picture.tolist()} for picture in pictures]):
        np.testing.assert_array_equal(from_client(data, IMAGE)["image"], pictures)
    vectors = interface(Column(name="vector", dtype="float32", shape=(3,)))
    np.testing.assert_array_equal(from_client(pd.DataFrame(pictures[0]), vectors)["vector"], pictures[0])


def test_texts_come_as_a_list_or_one_alone() -> None:
    assert from_client(["a", "b"], TEXT)["text"].tolist() == ["a", "b"]
    assert columns(TEXT, inputs="a")["text"].tolist() == ["a"]
    assert columns(TEXT, inputs={"text": "a"})["text"].tolist() == ["a"]


def test_dates_are_strings_in_iso_form() -> None:
    found = from_client(pd.DataFrame({"text": [pd.Timestamp("2026-01-02T03:04:05")]}), TEXT)
    assert found["text"].tolist() == ["2026-01-02T03:04:05"]


def test_bytes_are_base64_in_a_data_frame() -> None:
    assert columns(FILE, dataframe_split={"columns": ["file"], "data": [["AP8=\n"]]})["file"].tolist() == [b"\x00\xff"]
    assert columns(FILE, dataframe_records=[{"file": "AP8="}])["file"].tolist() == [b"\x00\xff"]
    assert columns(FILE, instances=[{"b64": "AP8="}])["file"].tolist() == [b"\x00\xff"]


def test_a_frame_without_names_is_in_the_model_s_order() -> None:
    assert columns(NUMBERS, dataframe_split={"data": [[1.5, 2]]})["count"].tolist() == [2]


def test_parameters_are_refused_unless_they_are_empty() -> None:
    assert columns(TEXT, inputs=["a"], params={})["text"].tolist() == ["a"]
    with pytest.raises(InvalidInput, match="parameters of a model are not supported"):
        columns(TEXT, inputs=["a"], params={"temperature": 1})


@pytest.mark.parametrize(("body", "code"), [
    ({"dataframe_records": [{**ROW, "colour": "red"}]}, "unknown_column"),
    ({"dataframe_split": {"columns": ["size", "size"], "data": [[1.0, 2.0]]}}, "unknown_column"),
    ({"dataframe_split": {"columns": [0], "data": [[1.0]]}}, "unknown_column"),
    ({"dataframe_split": {"columns": ["size"], "data": [[1.0, 2.0]]}}, "wrong_shape"),
    ({"dataframe_split": {"columns": ["size"], "data": [1.0]}}, "wrong_type"),
    ({"dataframe_split": {"columns": ["size"], "data": []}}, "wrong_shape"),
    ({"dataframe_split": {"columns": ["size"], "data": [[float("nan")]]}}, "missing_value"),
    ({"dataframe_records": [{**ROW, "fragile": 1.0}]}, "wrong_type"),
    ({"inputs": 3}, "wrong_type"),
    ({"inputs": {}}, "missing_column"),
])  # fmt: skip
def test_what_does_not_fit_the_model_is_refused_with_a_code(body: dict[str, Any], code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        columns(TABULAR, **body)
    assert caught.value.reject_code == code


@pytest.mark.parametrize("body", [
    [ROW], {}, {"inputs": [1], "instances": [1]}, {"dataframe_records": ROW}, {"dataframe_records": [["red"]]},
    {"dataframe_split": [[1]]}, {"dataframe_split": {"columns": ["size"]}},
    {"dataframe_split": {"columns": [None], "data": [[1]]}},
    {"dataframe_split": {"columns": ["size"], "data": [[1]], "extra": 1}},
])  # fmt: skip
def test_what_is_no_scoring_request_is_refused(body: Any) -> None:
    with pytest.raises((MalformedRequest, InvalidInput)):
        mlflow_scoring.decode(json.dumps(body).encode(), JSON, TABULAR)


@pytest.mark.parametrize(("content_type", "sentence"), [
    (b"application/vnd.apache.parquet", "must be application/json or text/csv"),
    (b"application/json; charset=latin-1", "must be utf-8"),
])  # fmt: skip
def test_other_content_types_are_refused(content_type: bytes, sentence: str) -> None:
    with pytest.raises(MalformedRequest, match=sentence):
        mlflow_scoring.decode(b'{"inputs": ["a"]}', {b"content-type": content_type}, TEXT)


def test_json_is_meant_where_no_content_type_is_sent() -> None:
    assert joined(mlflow_scoring.decode(b'{"inputs": ["a"]}', {}, TEXT), TEXT)["text"].tolist() == ["a"]


def test_a_csv_cell_has_the_type_of_its_column() -> None:
    found = from_csv('count,size,floor,fragile,color\r\n7, 1e3,2.0,TRUE,007\r\n-1,NaN,,false,"a,""b"""\r\n\r\n')
    assert found["count"].tolist() == [7, -1]
    assert found["color"].tolist() == ["007", 'a,"b"']
    assert found["fragile"].tolist() == [True, False]
    np.testing.assert_array_equal(found["floor"], [2.0, np.nan])
    np.testing.assert_array_equal(found["size"], [1000.0, np.nan])


@pytest.mark.parametrize("missing", ["", "NaN", "nan", "NA", "N/A", "null", "NULL", "None", " "])
def test_a_missing_number_in_csv_is_written_in_many_ways(missing: str) -> None:
    found = from_csv(f"floor,weight,comment\n{missing},{missing},NA\n3,1.5,x\n", TABULAR)
    np.testing.assert_array_equal(found["floor"], [np.nan, 3])
    np.testing.assert_array_equal(found["weight"], np.array([np.nan, 1.5], np.float32))
    assert found["comment"].tolist() == ["NA", "x"]


def test_a_boolean_in_csv_is_a_word_or_a_digit() -> None:
    assert from_csv("fragile\nTrue\nFALSE\n1\n0\n", TABULAR)["fragile"].tolist() == [True, False, True, False]


@pytest.mark.parametrize(("text", "code"), [
    ("size,count\n1.0,x\n", "wrong_type"),
    ("size,count\n1.0,2.5\n", "wrong_type"),
    ("size,count\n1_0,2\n", "wrong_type"),
    ("size,count\n,2\n", "missing_value"),
    ("size,count\n1.0\n", "wrong_shape"),
    ("size,width\n1.0,2\n", "unknown_column"),
    ("size,size\n1.0,2\n", "unknown_column"),
    ("size,count\n", "wrong_shape"),
    ("size,count\n1.0,99999999999999999999\n", "out_of_range"),
])  # fmt: skip
def test_csv_that_does_not_fit_is_refused_with_a_code(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        from_csv(text, NUMBERS)
    assert caught.value.reject_code == code


def test_a_tensor_can_t_come_as_csv() -> None:
    with pytest.raises(InvalidInput, match="send JSON"):
        from_csv("image\n1\n", IMAGE)


@pytest.mark.parametrize("body", [b"text\n\xff\n", b'text\n"open\n', b""])
def test_what_is_no_csv_is_refused(body: bytes) -> None:
    with pytest.raises((MalformedRequest, InvalidInput)):
        mlflow_scoring.decode(body, CSV, TEXT)


def test_more_rows_than_the_model_takes_are_refused() -> None:
    model = interface(Column(name="text", dtype="string"), max_rows=2)
    for data in (["a"] * 3, pd.DataFrame({"text": ["a"] * 3})):
        with pytest.raises(PayloadTooLarge):
            from_client(data, model)
    with pytest.raises(PayloadTooLarge):
        from_csv("text\na\nb\nc\n", model)


@pytest.mark.parametrize("outputs", [
    {"score": np.array([0.25, 3.0])},
    {"label": np.array(["x", "y"], object)},
    {"score": np.array([0.25, 3.0]), "label": np.array(["x", "y"], object), "ok": np.array([True, False])},
])  # fmt: skip
def test_the_answer_is_what_mlflow_itself_would_write(outputs: dict[str, Array]) -> None:
    body, headers = mlflow_scoring.encode(BLANK, response(**outputs))
    written = io.StringIO()
    predictions = next(iter(outputs.values())) if len(outputs) == 1 else pd.DataFrame(outputs)
    predictions_to_json(predictions, written)  # type: ignore[no-untyped-call]
    assert headers == ((b"content-type", b"application/json"),)
    assert json.loads(body) == json.loads(written.getvalue())
    found = PredictionsResponse.from_json(body.decode()).get_predictions()  # type: ignore[no-untyped-call]
    assert found.to_numpy().tolist() == pd.DataFrame(predictions).to_numpy().tolist()


def test_what_is_not_finite_is_null_and_bytes_are_base64() -> None:
    body, _ = mlflow_scoring.encode(BLANK, response(score=[np.nan, np.inf]))
    assert orjson.loads(body) == {"predictions": [None, None]}
    body, _ = mlflow_scoring.encode(BLANK, response(file=np.array([b"\x00\xff"], object)))
    assert orjson.loads(body) == {"predictions": ["AP8="]}


def test_mlflow_reads_our_errors() -> None:
    for error, code, status in (
        (MalformedRequest("no JSON"), "BAD_REQUEST", 400),
        (NotFound("no such model"), "RESOURCE_DOES_NOT_EXIST", 404),
        (Overloaded("try later"), "TEMPORARILY_UNAVAILABLE", 503),
    ):
        read = RestException(orjson.loads(mlflow_scoring.encode_error(error)))  # type: ignore[no-untyped-call]
        assert (read.error_code, read.get_http_status_code()) == (code, status)  # type: ignore[no-untyped-call]
        assert str(error) in read.message
