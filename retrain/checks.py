"""Checks of a training set before anything learns from it: what is wrong, how much of it, and what is allowed."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Annotated, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from pydantic import Field

from retrain.dataset import Dataset
from retrain.leakage import category_auc, classes_auc, number_auc, rank_correlation
from retrain.tasks import BINARY, Classes, Labels, Task
from taxiway.settings import Settings
from taxiway.signature import Array, Column, RejectCode

Severity = Literal["error", "warning", "off"]
Code = Literal[
    "too_few_rows",
    "label_balance",
    "missing_share",
    "constant_column",
    "duplicate_row_ids",
    "contradicting_labels",
    "outside_signature",
    "time_gap",
    "leakage",
    "labels_changed",
]
Share = Annotated[float, Field(ge=0.0, le=1.0)]

_DAY = np.timedelta64(1, "D")


class CheckSettings(Settings):
    """What a training set must keep to."""

    min_rows: int = Field(default=1_000, ge=0, description="examples that there must be at least")
    min_label_share: Share = Field(
        default=0.001, description="examples with label 1, or of each class, as a share, at least"
    )
    max_label_share: Share = Field(
        default=0.999, description="examples with label 1, of one class or with one number, as a share, at most"
    )
    max_missing_share: Share = Field(default=0.5, description="missing values of a column, as a share, at most")
    max_missing_share_of: dict[str, Share] = Field(
        default_factory=dict, description="the same for single columns, by name"
    )
    max_contradicting_share: Share = Field(
        default=0.01, description="examples that another one with equal columns contradicts, as a share, at most"
    )
    max_gap_days: int = Field(default=3, ge=0, description="whole days (UTC) one after the other without an example")
    max_column_auc: float = Field(
        default=0.95,
        ge=0.5,
        le=1.0,
        description="how well one column alone may tell the labels apart (AUC; of several classes its mean over pairs)",
    )
    max_column_correlation: float = Field(
        default=0.95, ge=0.0, le=1.0, description="how well one column alone may tell a number (rank correlation)"
    )
    trusted: tuple[str, ...] = Field(default=(), description="columns that may tell the labels apart even better")
    leakage_rows: int = Field(default=200_000, ge=1_000, description="examples drawn to measure a single column's AUC")
    severity: dict[Code, Severity] = Field(
        default_factory=dict, description="per code: error, warning or off, where it differs from the default"
    )


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong; `measured` and `allowed` have the same unit, which the sentence names."""

    severity: Literal["error", "warning"]
    code: Code
    column: str | None
    measured: float
    allowed: float
    sentence: str


@dataclass(frozen=True)
class _Found:
    column: str | None
    measured: float
    allowed: float
    sentence: str


@dataclass(frozen=True)
class _Subject:
    """What is checked; a column's codes are computed once."""

    dataset: Dataset
    settings: CheckSettings
    inputs: Mapping[str, Column]
    span: tuple[datetime, datetime] | None
    task: Task

    @cached_property
    def missing(self) -> dict[str, int]:
        """Rows without a value, for each column."""
        return {name: int(_missing(values).sum()) for name, values in self.dataset.columns.items()}

    @cached_property
    def codes(self) -> dict[str, tuple[NDArray[np.intp], Array]]:
        """Of every column of objects: a number for each value, and the value of each number."""
        objects = {name: it for name, it in self.dataset.columns.items() if it.dtype == np.object_}
        return {name: _codes(values.reshape(-1)) for name, values in objects.items()}


def check(
    dataset: Dataset,
    settings: CheckSettings,
    inputs: Sequence[Column],
    span: tuple[datetime, datetime] | None = None,
    task: Task = BINARY,
) -> list[Finding]:
    """Everything that is wrong with a training set, errors first.

    Args:
        inputs: the rules of the columns that a request brings; further columns of `dataset` are features.
        span: the window, start inclusive, end exclusive; with it, days without examples at its ends count too.
    """
    subject = _Subject(dataset, settings, {column.name: column for column in inputs}, span, task)
    findings = []
    for code, (default, measure) in _CHECKS.items():
        severity = settings.severity.get(code, default)
        if severity == "off" or (code != "too_few_rows" and not len(dataset)):
            continue
        findings += [
            Finding(severity, code, it.column, it.measured, it.allowed, it.sentence) for it in measure(subject)
        ]
    return sorted(findings, key=lambda finding: finding.severity != "error")


def _few_rows(subject: _Subject) -> Iterator[_Found]:
    rows, allowed = len(subject.dataset), subject.settings.min_rows
    if rows < allowed or not rows:
        sentence = f"the training set has {rows:,} examples, fewer than {max(allowed, 1):,}; widen the window"
        yield _Found(None, rows, max(allowed, 1), sentence)


def _balance(subject: _Subject) -> Iterator[_Found]:
    labels, settings = subject.dataset.labels, subject.settings
    shares = _label_shares(subject.task, labels)
    for what, share in shares.items():
        low = settings.min_label_share if subject.task.name != "regression" else 0.0
        high = settings.max_label_share
        if not low <= share <= high or share in (0.0, 1.0):
            sentence = f"{share:.4%} of the examples have label {what}, and {low:.4%} to {high:.4%} are allowed"
            yield _Found(None, share, low if share < 0.5 else high, sentence)


def _label_shares(task: Task, labels: Labels) -> dict[str, float]:
    """What share of the examples has label 1, has each class, has the number that occurs most often."""
    if isinstance(task, Classes):
        shares = np.bincount(labels, minlength=len(task.classes)) / len(labels)
        return dict(zip(task.classes, map(float, shares), strict=True))
    if task.name == "binary":
        return {"1": float(labels.mean())}
    numbers, rows = np.unique(labels, return_counts=True)
    return {f"{numbers[rows.argmax()]:g}": float(rows.max() / len(labels))}


def _missing_shares(subject: _Subject) -> Iterator[_Found]:
    for name, missing in subject.missing.items():
        share = missing / len(subject.dataset)
        allowed = subject.settings.max_missing_share_of.get(name, subject.settings.max_missing_share)
        if share > allowed:
            sentence = f"{name}: {share:.1%} of the values are missing, and {allowed:.1%} are allowed"
            yield _Found(name, share, allowed, sentence)


def _constants(subject: _Subject) -> Iterator[_Found]:
    for name, values in subject.dataset.columns.items():
        if len(subject.dataset) > 1 and _is_constant(subject, name, values):
            yield _Found(name, 1, 2, f"{name}: every example has the same value; the model can't learn from it")


def _is_constant(subject: _Subject, name: str, values: Array) -> bool:
    if name in subject.codes and values.ndim == 1:
        return len(subject.codes[name][1]) == 1
    missing = subject.missing[name]
    if missing or values.ndim > 1:
        return missing == len(values)
    return bool(values.min() == values.max())


def _repeated_ids(subject: _Subject) -> Iterator[_Found]:
    repeated = int(pd.Series(subject.dataset.row_ids).duplicated(keep=False).sum())
    if repeated:
        sentence = f"{repeated:,} examples share their row id with another; features can't be joined to them"
        yield _Found(None, repeated, 0, sentence)


def _contradictions(subject: _Subject) -> Iterator[_Found]:
    """Equal in all columns, yet with another label: more than noise when it happens often. Numbers may well differ."""
    if not subject.dataset.columns or subject.task.name == "regression":
        return
    codes, uniques = pd.factorize(_row_hashes(subject))
    labels, rows = subject.dataset.labels, np.bincount(codes, minlength=len(uniques))
    first = labels[np.unique(codes, return_index=True)[1]]
    others = np.bincount(codes, weights=labels != first[codes], minlength=len(uniques))
    share = float(rows[others > 0].sum() / len(codes))
    allowed = subject.settings.max_contradicting_share
    if share > allowed:
        which = "the other" if subject.task.name == "binary" else "another"
        sentence = f"{share:.1%} of the examples equal one with {which} label, and {allowed:.1%} are allowed"
        yield _Found(None, share, allowed, sentence)


def _outside(subject: _Subject) -> Iterator[_Found]:
    for name, column in subject.inputs.items():
        values = subject.dataset.columns.get(name)
        if values is None:
            if column.is_required:
                yield _Found(name, len(subject.dataset), 0, f"{name}: the training set has no such column")
            continue
        for code, rows in _rejected(subject, column, values).items():
            yield _Found(name, rows, 0, f"{name}: the signature refuses {rows:,} values ({code})")


def _rejected(subject: _Subject, column: Column, values: Array) -> dict[RejectCode, int]:
    """How many values each rule refuses; texts are judged once for all rows that hold the same one."""
    if column.is_object and not column.shape and column.name in subject.codes:
        codes, uniques = subject.codes[column.name]
        rows = np.bincount(codes, minlength=len(uniques))
        return {reject.code: int(rows[reject.rows].sum()) for reject in column.rejects(uniques)}
    return {reject.code: len(reject.rows) for reject in column.rejects(values)}


def _gaps(subject: _Subject) -> Iterator[_Found]:
    days = np.unique(subject.dataset.moments.astype("datetime64[D]"))
    if subject.span is not None:
        start, end = (np.datetime64(it.astimezone(UTC).replace(tzinfo=None), "us") for it in subject.span)
        last = (end - np.timedelta64(1, "us")).astype("datetime64[D]")
        days = np.concatenate([[start.astype("datetime64[D]") - _DAY], days, [last + _DAY]])
    empty = np.diff(days) // _DAY - 1
    allowed = subject.settings.max_gap_days
    gaps = int((empty > allowed).sum())
    if gaps:
        longest = int(empty.argmax())
        first, last = days[longest] + _DAY, days[longest + 1] - _DAY
        sentence = f"no example from {first} to {last}, {empty[longest]:,} days, and {allowed} are allowed"
        others = f"; {gaps - 1:,} more such gaps" if gaps > 1 else ""
        yield _Found(None, int(empty[longest]), allowed, sentence + others)


def _leaks(subject: _Subject) -> Iterator[_Found]:
    rows = _drawn(len(subject.dataset), subject.settings.leakage_rows)
    labels = subject.dataset.labels[rows]
    if labels.min() == labels.max():
        return
    is_number = subject.task.name == "regression"
    told = "tells the label with a rank correlation of" if is_number else "tells the labels apart with an AUC of"
    allowed = subject.settings.max_column_correlation if is_number else subject.settings.max_column_auc
    for name, values in subject.dataset.columns.items():
        if values.ndim > 1 or name in subject.settings.trusted:
            continue
        is_category = name in subject.codes
        column = subject.codes[name][0] if is_category else values
        found = _told_alone(subject.task, column[rows], labels, is_category)
        if found > allowed:
            sentence = (
                f"{name}: this column alone {told} {found:.3f}, above {allowed:.3f}; "
                "it may hold what is known only afterwards"
            )
            yield _Found(name, found, allowed, sentence)


def _told_alone(task: Task, column: Array, labels: Labels, is_category: bool) -> float:
    if task.name == "regression":
        return rank_correlation(column, labels, is_category)
    if task.name == "classes":
        return classes_auc(column, labels, is_category)
    return category_auc(column, labels) if is_category else number_auc(column, labels)


_CHECKS: Mapping[Code, tuple[Literal["error", "warning"], Callable[[_Subject], Iterator[_Found]]]] = {
    "too_few_rows": ("error", _few_rows),
    "label_balance": ("error", _balance),
    "missing_share": ("warning", _missing_shares),
    "constant_column": ("warning", _constants),
    "duplicate_row_ids": ("error", _repeated_ids),
    "contradicting_labels": ("warning", _contradictions),
    "outside_signature": ("error", _outside),
    "time_gap": ("warning", _gaps),
    "leakage": ("error", _leaks),
}


def _missing(values: Array) -> NDArray[np.bool_]:
    """Rows without a value; a tensor is missing where something in it is."""
    missing = np.asarray(pd.isna(values), np.bool_)
    return np.asarray(missing.reshape(len(values), math.prod(values.shape[1:])).any(axis=1))


def _codes(values: Array) -> tuple[NDArray[np.intp], Array]:
    codes, uniques = pd.factorize(values, use_na_sentinel=False)
    found = np.asarray(uniques, np.object_)
    found[pd.isna(found)] = None
    return codes, found


def _drawn(rows: int, most: int) -> slice | NDArray[np.intp]:
    if rows <= most:
        return slice(None)
    return np.random.default_rng(0).choice(rows, most, replace=False, shuffle=False)


def _row_hashes(subject: _Subject) -> NDArray[np.uint64]:
    """64 bits for each row; two rows with equal columns have the same, others have not but by chance."""
    hashes = np.zeros(len(subject.dataset), np.uint64)
    for name, values in subject.dataset.columns.items():
        bits = subject.codes[name][0].astype(np.uint64) if name in subject.codes else _bits(values.reshape(-1))
        for place in bits.reshape(len(values), -1).T:
            hashes = _mixed(hashes ^ _mixed(place))
    return hashes


def _bits(values: Array) -> NDArray[np.uint64]:
    """Equal numbers have equal bits: there is one zero, and one NaN."""
    if values.dtype.kind == "f":
        numbers = values.astype(np.float64) + 0.0
        return np.where(np.isnan(numbers), np.nan, numbers).view(np.uint64)
    return values.astype(np.uint64)


def _mixed(bits: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014)."""
    mixed = bits + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed ^= mixed >> np.uint64(31)
    return mixed
