"""Checks of a training set: each finds the defect planted for it, and a sound set has none."""

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from sklearn.metrics import roc_auc_score

from retrain.checks import CheckSettings, Finding, check
from retrain.dataset import Dataset
from retrain.leakage import category_auc, number_auc
from taxiway.signature import Array, Column

ROWS = 4_000
INPUTS = (
    Column(name="kind", dtype="string", categories=("a", "b", "c")),
    Column(name="key", dtype="string", nullable=True),
    Column(name="size", dtype="int64", minimum=0),
    Column(name="weight", dtype="float64", nullable=True),
)


def sound(rows: int = ROWS, **columns: Array) -> Dataset:
    """Labels that lean on the weight a little, ten examples each hour."""
    random = np.random.default_rng(7)
    weight = random.normal(size=rows)
    start = np.datetime64("2024-01-01", "us")
    own: dict[str, Array] = {
        "kind": random.choice(["a", "b", "c"], rows).astype(object),
        "key": np.array([f"k{place % 97}" for place in range(rows)], object),
        "size": random.integers(0, 1_000, rows),
        "weight": weight,
    }
    return Dataset(
        row_ids=np.arange(rows),
        moments=start + np.arange(rows) * np.timedelta64(6, "m"),
        labels=(random.normal(size=rows) + weight / 2 > 0.8).astype(np.int64),
        columns=own | columns,
    )


def replaced(dataset: Dataset, **fields: Any) -> Dataset:
    return Dataset(**{name: getattr(dataset, name) for name in ("row_ids", "moments", "labels", "columns")} | fields)


def found(dataset: Dataset, span: tuple[datetime, datetime] | None = None, **settings: Any) -> list[Finding]:
    return check(dataset, CheckSettings(**settings), INPUTS, span)


def only(findings: list[Finding]) -> Finding:
    assert len(findings) == 1, findings
    return findings[0]


def test_a_sound_training_set_has_no_finding() -> None:
    assert found(sound()) == []


def test_too_few_rows_are_the_only_finding_of_an_empty_set() -> None:
    finding = only(found(sound(0)))
    assert (finding.severity, finding.code, finding.measured, finding.allowed) == ("error", "too_few_rows", 0, 1_000)
    assert only(found(sound(0), min_rows=0)).code == "too_few_rows"
    assert only(found(sound(900))).measured == 900
    assert found(sound(900), min_rows=900) == []


@pytest.mark.parametrize(("positives", "allowed"), [(0, 0.05), (100, 0.05), (ROWS - 100, 0.9), (ROWS, 0.9)])
def test_labels_out_of_balance_are_an_error(positives: int, allowed: float) -> None:
    labels = (np.arange(ROWS) < positives).astype(np.int64)
    finding = only(found(replaced(sound(), labels=labels), min_label_share=0.05, max_label_share=0.9))
    assert (finding.severity, finding.code, finding.measured) == ("error", "label_balance", positives / ROWS)
    assert finding.allowed == allowed


def test_one_class_is_an_error_whatever_is_allowed() -> None:
    labels = np.zeros(ROWS, np.int64)
    finding = only(found(replaced(sound(), labels=labels), min_label_share=0.0, max_label_share=1.0))
    assert finding.code == "label_balance"


def test_a_column_with_many_missing_values_is_named_and_may_be_allowed_them() -> None:
    weight, key = sound().columns["weight"].copy(), sound().columns["key"].copy()
    weight[:2_400] = np.nan
    key[:2_800] = None
    off: Any = {"contradicting_labels": "off"}
    findings = found(sound(weight=weight, key=key), severity=off)
    assert [(it.column, it.measured) for it in findings] == [("key", 0.7), ("weight", 0.6)]
    assert {(it.severity, it.code, it.allowed) for it in findings} == {("warning", "missing_share", 0.5)}
    allowed = found(sound(weight=weight, key=key), severity=off, max_missing_share_of={"key": 0.7})
    assert only(allowed).column == "weight"


@pytest.mark.parametrize(
    "values",
    [
        np.full(ROWS, 3.5),
        np.full(ROWS, 7),
        np.zeros(ROWS, np.bool_),
        np.full(ROWS, "same", object),
        np.full(ROWS, np.nan),
        np.full(ROWS, None, object),
    ],
)
def test_a_constant_column_is_named(values: Array) -> None:
    finding = only(found(sound(extra=values), max_missing_share=1.0))
    assert (finding.code, finding.column) == ("constant_column", "extra")


def test_a_column_that_is_constant_but_for_missing_values_tells_something() -> None:
    extra = np.where(np.arange(ROWS) % 2, 1.0, np.nan)
    assert found(sound(extra=extra)) == []
    assert found(sound(extra=np.where(np.arange(ROWS) % 2, "x", None).astype(object))) == []


@pytest.mark.parametrize("as_text", [False, True])
def test_row_ids_that_repeat_are_counted(as_text: bool) -> None:
    ids = np.arange(ROWS)
    ids[10:13] = 5
    named = np.array([f"row-{number}" for number in ids], object) if as_text else ids
    finding = only(found(replaced(sound(), row_ids=named)))
    assert (finding.severity, finding.code, finding.measured) == ("error", "duplicate_row_ids", 4)


def test_equal_examples_with_another_label_are_counted() -> None:
    dataset = sound()
    columns = {name: values.copy() for name, values in dataset.columns.items()}
    labels = dataset.labels.copy()
    columns["weight"][0] = np.nan
    columns["key"][0] = None
    for name in columns:
        columns[name][:100] = columns[name][0]
        columns[name][100:200] = columns[name][100]
    columns["weight"][100:200] = np.where(np.arange(100) % 2, 0.0, -0.0)
    labels[:100] = np.arange(100) % 2
    labels[100:200] = np.arange(100) == 0
    finding = only(found(replaced(dataset, columns=columns, labels=labels)))
    assert (finding.severity, finding.code, finding.measured) == ("warning", "contradicting_labels", 200 / ROWS)
    labels[100:200] = 1
    assert only(found(replaced(dataset, columns=columns, labels=labels))).measured == 100 / ROWS
    assert found(replaced(dataset, columns=columns, labels=labels), max_contradicting_share=0.025) == []


def test_equal_values_in_exchanged_columns_are_no_contradiction() -> None:
    labels = np.arange(ROWS) % 2
    one, another = np.where(labels, 1.0, 2.0), np.where(labels, 2.0, 1.0)
    dataset = replaced(sound(), labels=labels, columns={"one": one, "another": another})
    settings = CheckSettings(severity={"leakage": "off", "outside_signature": "off"})
    assert check(dataset, settings, ()) == []


def test_values_outside_the_signature_are_counted_by_rule() -> None:
    kind, size, weight = (sound().columns[name].copy() for name in ("kind", "size", "weight"))
    kind[:3] = "z"
    kind[3:5] = None
    size[:7] = -1
    weight[:2] = np.inf
    findings = found(sound(kind=kind, size=size, weight=weight))
    assert {(it.column, it.measured) for it in findings} == {("kind", 3), ("kind", 2), ("size", 7), ("weight", 2)}
    assert {(it.severity, it.code, it.allowed) for it in findings} == {("error", "outside_signature", 0)}
    assert "kind: the signature refuses 3 values (unknown_category)" in {it.sentence for it in findings}


def test_a_required_column_that_is_not_there_is_named_and_an_optional_one_is_not() -> None:
    dataset = sound()
    for name, wanted in (("size", ["size"]), ("key", [])):
        columns = {known: values for known, values in dataset.columns.items() if known != name}
        assert [it.column for it in found(replaced(dataset, columns=columns))] == wanted


def test_days_without_an_example_are_a_gap() -> None:
    dataset = sound()
    moments = dataset.moments.copy()
    moments[2_000:] += np.timedelta64(10, "D")
    moments[3_500:] += np.timedelta64(5, "D")
    finding = only(found(replaced(dataset, moments=moments)))
    assert (finding.severity, finding.code, finding.measured, finding.allowed) == ("warning", "time_gap", 9, 3)
    assert "no example from 2024-01-10 to 2024-01-18, 9 days, and 3 are allowed; 1 more" in finding.sentence
    assert found(replaced(dataset, moments=moments), max_gap_days=9) == []


def test_days_without_an_example_at_the_ends_of_the_window_are_a_gap() -> None:
    # The examples are of January 1 to 17.
    def gap(start: datetime, end: datetime) -> list[float]:
        return [it.measured for it in found(sound(), (start, end))]

    assert gap(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 18, tzinfo=UTC)) == []
    assert gap(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 21, tzinfo=UTC)) == []
    assert gap(datetime(2024, 1, 1, tzinfo=UTC), datetime(2024, 1, 22, tzinfo=UTC)) == [4]
    assert gap(datetime(2023, 12, 20, tzinfo=UTC), datetime(2024, 1, 18, tzinfo=UTC)) == [12]


def _labels() -> NDArray[np.int64]:
    return sound().labels


def _noise() -> Array:
    return np.random.default_rng(11).normal(size=ROWS)


@pytest.mark.parametrize(
    "leak",
    [
        _labels() + _noise() / 10,
        -_labels() + _noise() / 10,
        _labels() == 1,
        np.where(_labels() == 1, _noise(), np.nan),
        np.where(_labels() == 1, np.nan, _noise()),
        np.where(_labels() == 1, "cancelled", "flown").astype(object),
        np.where(_labels() == 1, "known", None).astype(object),
    ],
    ids=["number", "reversed", "boolean", "gaps of zeros", "gaps of ones", "text", "text gaps"],
)
def test_a_column_that_tells_the_labels_apart_alone_is_named(leak: Array) -> None:
    finding = only(found(sound(leak=leak), max_missing_share=1.0))
    assert (finding.severity, finding.code, finding.column) == ("error", "leakage", "leak")
    assert finding.measured > 0.99
    assert finding.allowed == 0.95
    assert found(sound(leak=leak), max_missing_share=1.0, trusted=("leak",)) == []


def test_a_key_of_each_row_is_no_leak() -> None:
    keys = np.array([f"row-{place}" for place in range(ROWS)], object)
    assert found(sound(key=keys)) == []
    codes = np.arange(ROWS)
    assert category_auc(codes, _labels()) == pytest.approx(0.5, abs=0.02)


def test_a_leak_is_found_in_a_sample_of_the_rows() -> None:
    rows = 30_000
    dataset = sound(rows)
    columns = dataset.columns | {"leak": dataset.labels * 1.0, "word": dataset.labels.astype(str).astype(object)}
    findings = found(replaced(dataset, columns=columns), leakage_rows=1_000)
    assert [it.column for it in findings] == ["leak", "word"]


def test_severities_are_the_operators_and_errors_come_first() -> None:
    dataset = sound(extra=np.ones(ROWS), leak=_labels() * 1.0)
    assert [it.code for it in found(dataset)] == ["leakage", "constant_column"]
    other = found(dataset, severity={"leakage": "warning", "constant_column": "error"})
    assert [(it.code, it.severity) for it in other] == [("constant_column", "error"), ("leakage", "warning")]
    assert found(dataset, severity={"leakage": "off", "constant_column": "off"}) == []
    with pytest.raises(ValidationError, match="severity"):
        CheckSettings(severity={"leaks": "off"})


VALUES = st.sampled_from([0.0, 1.0, 2.5, -3.0, np.inf])
EXAMPLES = st.lists(st.tuples(VALUES, st.integers(0, 1)), min_size=2, max_size=40).filter(
    lambda rows: len({label for _, label in rows}) == 2
)


@given(EXAMPLES)
def test_the_auc_of_numbers_is_that_of_scikit_learn(rows: list[tuple[float, int]]) -> None:
    values, labels = np.array([row[0] for row in rows]), np.array([row[1] for row in rows])
    wanted = roc_auc_score(labels, np.where(np.isinf(values), 99.0, values))
    assert number_auc(values, labels) == pytest.approx(max(wanted, 1 - wanted))
    gaps = np.where(np.isinf(values), np.nan, values)
    both = [roc_auc_score(labels, np.where(np.isnan(gaps), end, gaps)) for end in (-99.0, 99.0)]
    assert number_auc(gaps, labels) == pytest.approx(max(*both, *(1 - auc for auc in both)))


def test_the_auc_of_categories_is_that_of_their_rates() -> None:
    random = np.random.default_rng(5)
    codes = random.integers(0, 5, 100_000)
    rates = np.array([0.1, 0.3, 0.5, 0.7, 0.9])[codes]
    labels = (random.random(100_000) < rates).astype(np.int64)
    assert category_auc(codes, labels) == pytest.approx(roc_auc_score(labels, rates), abs=0.005)
    assert category_auc(random.integers(0, 30_000, 100_000), labels) == pytest.approx(0.5, abs=0.01)


def test_a_large_training_set_is_checked_in_seconds() -> None:
    rows = 200_000
    random = np.random.default_rng(0)
    words = np.array([f"w{place}" for place in range(500)], object)
    wide: dict[str, Array] = {f"n{place}": random.normal(size=rows) for place in range(20)}
    wide |= {f"t{place}": words[random.integers(0, 500, rows)] for place in range(5)}
    dataset = sound(rows, **wide)
    start = time.perf_counter()
    assert found(dataset) == []
    assert time.perf_counter() - start < 20
