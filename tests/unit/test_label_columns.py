"""Reports as columns: the same rules as for a report alone, whatever form a file gives them."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import InvalidInput
from taxiway.predictions import ids
from taxiway.predictions.ground_truth import parse_ground_truth
from taxiway.predictions.label_columns import label_columns
from taxiway.predictions.labels import LABEL_SCHEMA, label_table
from tests.prediction_records import NOON, an_id, minutes

NOW = minutes(5)
IDS = st.sampled_from([an_id(), an_id(minutes(3), 7).upper(), an_id(minutes(5.9)), an_id(minutes(7)), "x", "", None])
WORDS = st.none() | st.text(st.characters(codec="utf-8"), max_size=5) | st.sampled_from(["x" * 1000, "x" * 1001])
MOMENTS = st.none() | st.sampled_from([NOON, minutes(5.9), minutes(6.1), NOON - timedelta(days=400)])
ISO = st.sampled_from(
    [None, "2026-01-01", "2026-01-01T12:00:00", "2026-01-01T13:00:00+01:00", "2026-01-01 12:01", "no"]
)
COLUMNS = {
    "label": [
        st.none() | st.floats(),
        st.none() | st.integers(-(2**60), 2**60),
        st.none() | st.booleans(),
        WORDS,
        st.none() | st.lists(st.integers(0, 9)),
    ],
    "row": [st.none() | st.integers(-3, 2**33), st.none() | st.floats(-2, 3), st.none() | st.booleans(), st.none()],
    "became_true": [MOMENTS, ISO, st.none(), st.none() | st.integers(0, 9)],
    "value": [st.none() | st.floats(), st.none() | st.integers(-(2**60), 2**60), st.none() | st.booleans(), WORDS],
    "source": [WORDS, st.none(), st.none() | st.integers(0, 9)],
}


def one_by_one(reports):
    taken, bad = [], []
    for row, report in enumerate(reports.to_pylist()):
        if isinstance(report.get("row"), float) and report["row"].is_integer():
            report["row"] = int(report["row"])
        try:
            taken.append(parse_ground_truth(report, NOW))
        except InvalidInput as error:
            bad.append((row, error.reject_code, error.field))
    return label_table(taken), bad


def of(reports, **columns):
    return pa.table({"prediction_id": [an_id(number=place) for place in range(reports)], **columns})


def unordered(table):
    return sorted(map(repr, table.to_pylist()))


@given(st.data())
@settings(deadline=None, max_examples=60)
def test_columns_are_judged_as_each_report_alone(data):
    rows = data.draw(st.integers(1, 6))
    several = {name: data.draw(st.sampled_from(kinds)) for name, kinds in COLUMNS.items()}
    chosen = {"label": several.pop("label")} | {name: it for name, it in several.items() if data.draw(st.booleans())}
    values = {name: [data.draw(it) for _ in range(rows)] for name, it in ({"prediction_id": IDS} | chosen).items()}
    reports = pa.table(values)
    labels, bad = label_columns(reports, NOW)
    expected, refused = one_by_one(reports)
    assert labels.schema == LABEL_SCHEMA
    assert unordered(labels) == unordered(expected)
    assert [(it.row, it.code, it.field) for it in bad] == refused


def test_a_label_has_the_defaults_of_a_report():
    labels, bad = label_columns(of(1, label=[3]), NOW)
    assert not bad
    assert (
        labels.to_pylist() == label_table([parse_ground_truth({"prediction_id": an_id(), "label": 3}, NOW)]).to_pylist()
    )


@pytest.mark.parametrize("kind", [pa.uuid(), pa.binary(16), pa.large_string(), pa.dictionary(pa.int32(), pa.string())])
def test_ids_may_have_any_form(kind):
    texts = [an_id(), None, an_id(number=2)]
    plain = pa.array([None if text is None else ids.parse([text]).tobytes() for text in texts], ids.ID_TYPE)
    if kind == pa.uuid():
        values = pa.ExtensionArray.from_storage(pa.uuid(), plain)
    elif kind == ids.ID_TYPE:
        values = plain
    else:
        values = pa.array(texts).cast(kind) if kind == pa.large_string() else pa.array(texts).dictionary_encode()
    labels, bad = label_columns(pa.table({"prediction_id": values, "label": [1, 2, 3]}), NOW)
    assert labels["label_number"].to_pylist() == [1.0, 3.0]
    assert [(it.row, it.code, it.field) for it in bad] == [(1, "missing_value", "prediction_id")]


@pytest.mark.parametrize(
    ("column", "moments"),
    [
        (pa.array([datetime(2026, 1, 1, 11)]), [datetime(2026, 1, 1, 11, tzinfo=UTC)]),
        (pa.array([date(2026, 1, 1)]), [datetime(2026, 1, 1, tzinfo=UTC)]),
        (pa.array([NOON]).cast(pa.timestamp("ns", "Europe/Berlin")), [NOON]),
        (pa.array(["2026-01-01T13:00:00+01:00"]), [NOON]),
    ],
)
def test_moments_may_have_any_form_and_are_utc_where_they_do_not_say(column, moments):
    labels, bad = label_columns(of(1, label=[1], became_true=column), NOW)
    assert labels["became_true"].to_pylist() == moments
    assert not bad


def test_rows_as_floats_of_pandas_are_rows_and_a_missing_one_is_every_row():
    labels, bad = label_columns(of(3, label=[1, 2, 3], row=[0.0, None, 1.5]), NOW)
    assert labels["row"].to_pylist() == [0, None]
    assert [(it.row, it.field) for it in bad] == [(2, "row")]


def test_decimals_and_unsigned_numbers_are_numbers():
    labels, bad = label_columns(of(2, label=[Decimal("1.5"), Decimal(2)], value=pa.array([1, 2**63], pa.uint64())), NOW)
    assert labels["label_number"].to_pylist() == [1.5]
    assert [(it.row, it.code) for it in bad] == [(1, "out_of_range")]


def test_what_is_refused_says_why():
    _, (bad,) = label_columns(of(1, label=["x" * 1001]), NOW)
    assert bad.reason == "has 1001 characters, at most 1000 are taken"


@given(st.lists(st.uuids() | st.text(max_size=40), max_size=8))
def test_texts_are_ids_as_when_each_is_looked_at_alone(found):
    texts = [str(one) for one in found]
    values, is_id = ids.of_texts(pa.array(texts, pa.string()))
    assert is_id.tolist() == [ids.is_prediction_id(text.lower()) for text in texts]
    kept = [text for text, good in zip(texts, is_id, strict=True) if good]
    assert ids.text(values[is_id]).to_pylist() == [text.lower() for text in kept]
