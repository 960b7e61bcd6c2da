"""From request columns to answers: the one path that a request and a row of a scoring job both take."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np

from taxiway.errors import DeadlineExceeded, FeatureStoreFailed, InvalidInput, Unavailable
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding, apply_policies
from taxiway.settings import OnFailure
from taxiway.signature import Array, Columns, Reject, RejectCode, Signature, missing_values, row_count, take

_log = logging.getLogger(__name__)


class Predictor(Protocol):
    """A loaded model."""

    def predict(self, columns: Columns) -> dict[str, Array]:
        """Named outputs, one value for each row of the named inputs."""


ReadFeatures = Callable[[Sequence[FeatureViewBinding], Columns], dict[str, Array]]
"""Reads every feature of some views for each of all rows, in order; an unknown entity's features are NaN."""


@dataclass(frozen=True)
class Scored:
    """Answers for `rows` (positions in the input, ascending) and the reason for every other row.

    A row that breaks several rules stands in several rejects; the first one counts. `fallback` names the
    feature views for which nulls or defaults stood in, because the store did not answer. `inputs` is what the model
    was given for `rows`, features included.
    """

    rows: Array
    outputs: dict[str, Array]
    rejects: list[Reject]
    fallback: tuple[str, ...] = ()
    inputs: Columns = field(default_factory=dict)


def score(
    columns: Columns,
    signature: Signature,
    features: FeatureBinding | None,
    read_features: ReadFeatures,
    predictor: Predictor,
    on_failure: OnFailure = "refuse",
) -> Scored:
    """Checks, completes and predicts; a bad row is set aside and never disturbs its neighbours.

    Raises:
        InvalidInput: a required column is not there at all.
        FeatureStoreFailed: the store does not answer, and `on_failure` is to refuse.
    """
    rejects = signature.rejects(columns)
    if features is not None:
        brought = (column for column in features.optional_inputs if column.name in columns)
        rejects += [reject for column in brought for reject in column.rejects(columns[column.name])]
    rows = row_count(columns)
    inputs = dict(columns)
    for column in signature.inputs:
        if column.name not in inputs:
            inputs[column.name] = missing_values(column, rows)
    names = [column.name for column in signature.inputs]
    fallback: tuple[str, ...] = ()
    if features is not None:
        unknown, fallback = _complete(inputs, features, read_features, on_failure)
        rejects += unknown
        names += features.columns
    good = np.arange(rows)
    if rejects:
        good = np.setdiff1d(good, np.concatenate([reject.rows for reject in rejects]))
        inputs = take(inputs, good)
    answer = _Answer(predictor, tuple(column.name for column in signature.outputs))
    given = {name: inputs[name] for name in names}
    answered, outputs, failed = answer.to(given, good)
    if failed:
        given = take(given, np.isin(good, answered))
    return Scored(answered, outputs, rejects + failed, fallback, given)


def _complete(
    inputs: dict[str, Array], features: FeatureBinding, read_features: ReadFeatures, on_failure: OnFailure
) -> tuple[list[Reject], tuple[str, ...]]:
    """Adds what the feature store brings, or what stands in for it; a feature that the request brought itself wins."""
    views = features.views_to_read(inputs)
    for view in views:
        for key in view.entity_keys:
            if key not in inputs:
                reason = f"this input is required: it is a key of the feature view {view.name!r}"
                raise InvalidInput(RejectCode.MISSING_COLUMN, key, reason)
    if not views:
        return [], ()
    rejects: list[Reject] = []
    fallback: tuple[str, ...] = ()
    try:
        completed, rejects = apply_policies(views, read_features(views, inputs), inputs)
    except FeatureStoreFailed:
        if on_failure == "refuse":
            raise
        fallback = tuple(view.name for view in views)
        rows = row_count(inputs)
        completed = {name: values for view in views for name, values in view.fallback(rows, on_failure).items()}
    for name, values in completed.items():
        inputs.setdefault(name, values)
    return rejects, fallback


@dataclass(frozen=True)
class _Answer:
    """Asks a model, and finds the rows that it can't answer."""

    predictor: Predictor
    outputs: tuple[str, ...]

    def to(self, inputs: Columns, rows: Array) -> tuple[Array, dict[str, Array], list[Reject]]:
        """Predicts all rows at once; when the model raises, halves them until the guilty ones stand alone."""
        if not len(rows):
            return rows, {}, []
        try:
            return rows, self._predict(inputs, len(rows)), []
        except (Unavailable, DeadlineExceeded):
            raise  # nobody answered: no row is to blame
        except Exception as error:  # noqa: BLE001 - whatever a model raises is about its rows
            if len(rows) == 1:
                _log.warning("the model raised on one row", exc_info=error)
                reasons = [f"the model raised {type(error).__name__}"]
                return rows[:0], {}, [Reject(rows, RejectCode.MODEL_FAILED, "", reasons)]
        middle = len(rows) // 2
        halves = [self.to(take(inputs, half), rows[half]) for half in (slice(None, middle), slice(middle, None))]
        answered = [outputs for found, outputs, _ in halves if len(found)]
        joined = {name: np.concatenate([outputs[name] for outputs in answered]) for name in self.outputs if answered}
        return np.concatenate([found for found, _, _ in halves]), joined, [*halves[0][2], *halves[1][2]]

    def _predict(self, inputs: Columns, rows: int) -> dict[str, Array]:
        """Answers are split by position afterwards: one value too many or too few must not pass."""
        outputs = self.predictor.predict(inputs)
        for name in self.outputs:
            if name not in outputs or len(outputs[name]) != rows:
                found = f"{len(outputs[name])} values" if name in outputs else "none"
                raise ValueError(f"the model must answer {rows} values of {name!r}, it answered {found}")
        return {name: outputs[name] for name in self.outputs}
