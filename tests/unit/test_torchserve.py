import json
from typing import Any
from urllib.parse import urlencode

import httpx
import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import InvalidInput, MalformedRequest, NotFound, Overloaded, PayloadTooLarge
from taxiway.inference import ModelInterface
from taxiway.protocols import torchserve
from taxiway.signature import Array, Column
from tests.interfaces import (
    FILE,
    IMAGE,
    JSON,
    ROW,
    TABULAR,
    TEXT,
    Headers,
    assert_columns,
    garbage,
    interface,
    joined,
    refuses_or_reads,
    response,
    tables,
)

PICTURE = [[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]]
FORM = {b"content-type": b"application/x-www-form-urlencoded"}
MULTIPART = {b"content-type": b'multipart/form-data; boundary="edge"'}


def columns(body: Any, model: ModelInterface = TABULAR) -> dict[str, Array]:
    return joined(torchserve.decode(json.dumps(body).encode(), JSON, model), model)


def from_form(model: ModelInterface, **fields: bytes) -> dict[str, Array]:
    """As httpx writes multipart/form-data: each field a file, as `curl -F name=@file`."""
    sent = httpx.Request("POST", "http://localhost", files=list(fields.items()))
    headers = {b"content-type": sent.headers["content-type"].encode()}
    return joined(torchserve.decode(sent.read(), headers, model), model)


def answer(body: Any, model: ModelInterface = TABULAR, **outputs: Any) -> Any:
    request = torchserve.decode(json.dumps(body).encode(), JSON, model)
    found, headers = torchserve.encode(request, response(**outputs))
    assert headers == ((b"content-type", b"application/json"),)
    return orjson.loads(found)


@given(tables(TABULAR))
@settings(deadline=None)
def test_rows_come_back_as_columns_from_every_envelope(rows: list[dict[str, Any]]) -> None:
    for body in (rows, {"instances": rows}, {"data": rows}, [{"data": row} for row in rows]):
        assert_columns(columns(body), rows, TABULAR)
    assert_columns(columns(rows[0]), rows[:1], TABULAR)


@given(st.binary(), st.binary())
@settings(deadline=None)
def test_a_file_arrives_as_it_is(content: bytes, other: bytes) -> None:
    model = interface(Column(name="file", dtype="bytes"), Column(name="other", dtype="bytes", nullable=True))
    assert from_form(model, data=content)["file"].tolist() == [content]
    both = from_form(model, other=other, file=content)
    assert {name: values.tolist() for name, values in both.items()} == {"file": [content], "other": [other]}
    assert joined(torchserve.decode(content, {}, FILE), FILE)["file"].tolist() == [content]


@given(garbage("instances", "data", "body"))
@settings(deadline=None)
def test_any_json_is_read_or_refused(body: Any) -> None:
    refuses_or_reads(torchserve.decode, json.dumps(body).encode(), JSON)


@given(
    st.binary(max_size=60)
    | st.lists(st.sampled_from([b"--edge", b"\r\n", b"--", b": ", b'name="text"'])).map(b"".join),
    st.sampled_from([{}, JSON, FORM, MULTIPART, {b"content-type": b"multipart/form-data"}]),
)
@settings(deadline=None)
def test_any_bytes_are_read_or_refused(body: bytes, headers: Headers) -> None:
    refuses_or_reads(torchserve.decode, body, headers)
    head = b'--edge\r\nContent-Disposition: form-data; name="size"\r\n\r\n'
    refuses_or_reads(torchserve.decode, head + body + b"\r\n--edge--\r\n", headers)


@pytest.mark.parametrize("content_type", [b"", b"image/png", b"application/octet-stream", b"text/plain; charset=utf-8"])
def test_a_body_that_is_no_json_is_the_value_of_a_string_or_bytes_input(content_type: bytes) -> None:
    headers = {b"content-type": content_type}
    assert joined(torchserve.decode(b"\x89PNG\r\n", headers, FILE), FILE)["file"].tolist() == [b"\x89PNG\r\n"]
    assert joined(torchserve.decode(b'{"a": 1}', headers, TEXT), TEXT)["text"].tolist() == ['{"a": 1}']


def test_a_body_without_a_type_is_json_for_every_other_model() -> None:
    for headers in ({}, FORM, {b"content-type": b"application/octet-stream"}):
        found = torchserve.decode(json.dumps(ROW).encode(), headers, TABULAR)
        assert joined(found, TABULAR)["count"].tolist() == [3]


def test_the_values_of_one_row_may_come_in_a_form() -> None:
    assert from_form(TABULAR, color=b"red", size=b"1.5", count=b"3", fragile=b"true")["size"].tolist() == [1.5]
    body = urlencode({"color": "dark red", "size": "1.5", "count": "3", "fragile": "true"}).encode()
    assert joined(torchserve.decode(body, FORM, TABULAR), TABULAR)["color"].tolist() == ["dark red"]
    assert from_form(IMAGE, image=json.dumps(PICTURE).encode())["image"].tolist() == [PICTURE]


def test_a_field_named_data_holds_json_for_a_model_of_columns() -> None:
    assert from_form(TABULAR, data=json.dumps([ROW, ROW]).encode())["count"].tolist() == [3, 3]
    assert from_form(TEXT, data=b"hello")["text"].tolist() == ["hello"]
    assert joined(torchserve.decode(b"data=hello+you", FORM, TEXT), TEXT)["text"].tolist() == ["hello you"]


def test_a_sole_input_takes_bare_values() -> None:
    assert columns("a", TEXT)["text"].tolist() == ["a"]
    assert columns({"data": "a"}, TEXT)["text"].tolist() == ["a"]
    assert columns(["a", "b"], TEXT)["text"].tolist() == ["a", "b"]
    assert columns({"instances": [{"data": "a"}, "b"]}, TEXT)["text"].tolist() == ["a", "b"]
    assert columns({"b64": "AP8="}, FILE)["file"].tolist() == [b"\x00\xff"]


def test_one_tensor_is_one_row_and_a_list_of_them_is_many() -> None:
    assert columns(PICTURE, IMAGE)["image"].shape == (1, 2, 3)
    assert columns([PICTURE, PICTURE], IMAGE)["image"].shape == (2, 2, 3)
    assert columns({"data": PICTURE}, IMAGE)["image"].shape == (1, 2, 3)
    assert columns({"instances": [PICTURE]}, IMAGE)["image"].shape == (1, 2, 3)
    vectors = interface(Column(name="vector", dtype="float32", shape=(2,)))
    assert columns([{"vector": [1, 2]}, {"vector": [3, 4]}], vectors)["vector"].tolist() == [[1, 2], [3, 4]]


def test_values_without_names_are_one_row_in_the_model_s_order() -> None:
    assert columns(["red", 1.5, 3, True])["color"].tolist() == ["red"]
    assert columns([["red", 1.5, 3, True], ["blue", 2, 4, False]])["color"].tolist() == ["red", "blue"]


@pytest.mark.parametrize(("body", "code"), [
    ({**ROW, "colour": "red"}, "unknown_column"),
    ({"data": 1, "colour": "red"}, "unknown_column"),
    ([], "wrong_shape"),
    ({"instances": []}, "wrong_shape"),
    ({}, "missing_column"),
    (None, "wrong_type"),
    ([ROW, 1], "wrong_type"),
    ({"instances": ROW}, "wrong_type"),
])  # fmt: skip
def test_what_does_not_fit_the_model_is_refused_with_a_code(body: Any, code: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        columns(body)
    assert caught.value.reject_code == code


@pytest.mark.parametrize(("body", "headers"), [
    (b"{", JSON),
    (b"no json", {}),
    (b"--edge\r\nContent-Disposition: form-data; name=size\r\n\r\n1.5", MULTIPART),
    (b"--edge\r\nContent-Type: text/plain\r\n\r\n1.5\r\n--edge--", MULTIPART),
    (b"--edge--", {b"content-type": b"multipart/form-data"}),
    (b"a=1&" * 2000, FORM),
])  # fmt: skip
def test_what_is_no_request_is_refused(body: bytes, headers: Headers) -> None:
    with pytest.raises(MalformedRequest):
        torchserve.decode(body, headers, TABULAR)


def test_a_form_may_hold_any_text() -> None:
    found = joined(
        torchserve.decode(urlencode({**ROW, "comment": "gr\u00fc\u00df & 1+1=2"}).encode(), FORM, TABULAR), TABULAR
    )
    assert found["comment"].tolist() == ["gr\u00fc\u00df & 1+1=2"]
    assert joined(torchserve.decode(b"data=%FF+%00", FORM, FILE), FILE)["file"].tolist() == [b"\xff \x00"]


def test_text_under_curls_default_content_type_is_no_form() -> None:
    for text in ("a=1&a=2", "a & b", "&" * 2000, "no form"):
        assert joined(torchserve.decode(text.encode(), FORM, TEXT), TEXT)["text"].tolist() == [text]


def test_a_field_that_is_there_twice_is_refused() -> None:
    part = b"--edge\r\nContent-Disposition: form-data; name=data\r\n\r\n%b\r\n"
    for body, headers in ((part % b"a" + part % b"b" + b"--edge--", MULTIPART), (b"data=a&data=b", FORM)):
        with pytest.raises(MalformedRequest, match="the field 'data' twice"):
            torchserve.decode(body, headers, TEXT)


def test_a_file_may_hold_what_looks_like_a_boundary() -> None:
    body = b"--edge \r\nContent-Disposition: form-data; name=data\r\n\r\na\r\n--edges\r\nb\r\n--edge--\r\n"
    assert joined(torchserve.decode(body, MULTIPART, FILE), FILE)["file"].tolist() == [b"a\r\n--edges\r\nb"]


def test_text_that_is_not_utf_8_is_refused() -> None:
    with pytest.raises(InvalidInput, match="text: expected text in UTF-8, byte 1 is none"):
        torchserve.decode(b"a\xff", {}, TEXT)


def test_more_rows_than_the_model_takes_are_refused() -> None:
    model = interface(Column(name="text", dtype="string"), max_rows=2)
    for body in (["a"] * 3, {"instances": ["a"] * 3}):
        with pytest.raises(PayloadTooLarge):
            columns(body, model)


def test_an_answer_has_the_form_of_its_request() -> None:
    one: dict[str, Any] = {"score": np.array([0.1, np.nan], np.float32)}
    two: dict[str, Any] = {**one, "label": np.array(["x", b"\x00\xff"], object)}
    first, second = {"score": 0.1, "label": "x"}, {"score": None, "label": {"b64": "AP8="}}
    assert answer("a", TEXT, **one) == 0.1
    assert answer("a", TEXT, **two) == first
    assert answer(["a", "b"], TEXT, **one) == [0.1, None]
    assert answer(["a", "b"], TEXT, **two) == [first, second]
    assert answer({"instances": ["a", "b"]}, TEXT, **one) == {"predictions": [0.1, None]}


def test_an_answer_to_a_file_is_its_value() -> None:
    request = torchserve.decode(b"\x00", {}, FILE)
    assert orjson.loads(torchserve.encode(request, response(label=np.array(["cat"], object)))[0]) == "cat"


def test_an_error_has_torchserve_s_form() -> None:
    error = orjson.loads(torchserve.encode_error(MalformedRequest("no JSON")))
    assert error == {"code": 400, "type": "BadRequestException", "message": "no JSON"}
    assert orjson.loads(torchserve.encode_error(NotFound("no such model")))["type"] == "ModelNotFoundException"
    assert orjson.loads(torchserve.encode_error(Overloaded("later")))["type"] == "ServiceUnavailableException"


def test_health_and_workers_are_told() -> None:
    assert orjson.loads(torchserve.ping()) == {"status": "Healthy"}
    (model,) = orjson.loads(torchserve.describe(TABULAR, ready=True))
    assert (model["modelName"], model["modelVersion"]) == ("parcel", "3")
    assert [worker["status"] for worker in model["workers"]] == ["READY"]
