"""The labels of a feedback request: both shapes, and what is refused."""

import asyncio
import contextlib
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.feedback import MOST_LABELS, feedback, labels_of
from serve.http_protocol import HttpRequest
from taxiway.errors import InvalidInput, MalformedRequest, PayloadTooLarge, Unavailable
from taxiway.predictions.truth_log import GroundTruthLog
from tests.prediction_records import NOON, an_id

NOW = NOON + timedelta(minutes=5)


def parsed(body: Any) -> list[Any]:
    return labels_of(json.dumps(body).encode(), NOW)


def test_one_label_stands_alone() -> None:
    (found,) = parsed({"prediction_id": an_id(), "label": True})
    assert (found.prediction_id, found.row, found.label, found.received_at) == (an_id(), 0, 1.0, NOW)
    assert found.became_true == NOW


def test_several_labels_keep_their_order() -> None:
    labels = [{"prediction_id": an_id(number=place), "label": place, "row": None} for place in range(3)]
    found = parsed({"labels": labels})
    assert [(it.prediction_id, it.label, it.row) for it in found] == [
        (an_id(number=place), float(place), None) for place in range(3)
    ]


def test_all_that_may_be_said_of_a_label_is_kept() -> None:
    told = {"label": "late", "row": 2, "became_true": "2026-01-01T12:01:00+00:00", "value": 12.5, "source": "tower"}
    (found,) = parsed({"prediction_id": an_id(), **told})
    assert (found.label, found.row, found.value, found.source) == ("late", 2, 12.5, "tower")
    assert found.became_true == datetime(2026, 1, 1, 12, 1, tzinfo=UTC)


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[]", b"1", b"null", b'"text"'])
def test_what_is_no_json_object_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequest, match="expected"):
        labels_of(body, NOW)


@pytest.mark.parametrize("labels", [[], {}, None, "x", 1])
def test_labels_must_be_a_list_with_something_in_it(labels: Any) -> None:
    with pytest.raises(MalformedRequest, match="at least one label"):
        parsed({"labels": labels})


def test_labels_stand_alone() -> None:
    with pytest.raises(MalformedRequest, match="stands alone"):
        parsed({"labels": [{"prediction_id": an_id(), "label": 1}], "label": 1})


def test_a_wrong_label_among_good_ones_is_named_and_nothing_is_taken() -> None:
    good = {"prediction_id": an_id(), "label": 1}
    with pytest.raises(InvalidInput) as caught:
        parsed({"labels": [good, good | {"label": None}]})
    assert caught.value.field == "labels[1].label"
    with pytest.raises(MalformedRequest, match=r"labels\[0\] is a int"):
        parsed({"labels": [3]})


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"prediction_id": "x"}, "prediction_id"),
        ({"prediction_id": an_id(NOON + timedelta(days=1))}, "prediction_id"),
        ({"label": [1]}, "label"),
        ({"row": -1}, "row"),
        ({"labl": 1}, "labl"),
        ({"became_true": "soon"}, "became_true"),
    ],
)
def test_what_can_not_be_is_refused_by_its_name(change: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parsed({"prediction_id": an_id(), "label": 1} | change)
    assert caught.value.field == field


def test_one_request_has_a_bounded_number_of_labels() -> None:
    label = {"prediction_id": an_id(), "label": 1}
    assert len(parsed({"labels": [label] * MOST_LABELS})) == MOST_LABELS
    with pytest.raises(PayloadTooLarge, match="at most 10,000"):
        parsed({"labels": [label] * (MOST_LABELS + 1)})


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda it: st.lists(it) | st.dictionaries(st.text(), it)
    )
)
def test_no_json_does_anything_else_than_be_taken_or_be_refused(body: Any) -> None:
    with contextlib.suppress(InvalidInput, MalformedRequest):
        assert parsed(body)


def test_the_code_of_a_request_that_is_refused_is_told(tmp_path: Path) -> None:
    log, refused = GroundTruthLog(str(tmp_path)), list[str]()
    handler = feedback(log, refused.append)
    path = "/v2/models/delay/feedback"
    bodies = [b"{", b'{"prediction_id": "x", "label": 1}', json.dumps({"prediction_id": an_id(), "label": 1}).encode()]
    for body in bodies[:2]:
        with pytest.raises((InvalidInput, MalformedRequest)):
            handler(HttpRequest("POST", path, b"", {}, body, "here", 0.0), lambda _: None)
    log.close()

    async def late() -> None:
        handler(HttpRequest("POST", path, b"", {}, bodies[2], "here", 0.0), lambda _: None)

    with pytest.raises(Unavailable):
        asyncio.run(late())
    assert refused == ["malformed_request", "wrong_type", "unavailable"]
