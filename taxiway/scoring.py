"""From request columns to answers: the one path that a request and a row of a scoring job both take."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from taxiway.errors import InvalidInput
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding
from taxiway.signature import Array, Columns, Reject, RejectCode, Signature, missing_values, row_count, take

_log = logging.getLogger(__name__)


class Predictor(Protocol):
    """A loaded model."""

    def predict(self, columns: Columns) -> dict[str, Array]:
        """Named outputs, one value for each row of the named inputs."""


ReadFeatures = Callable[[Sequence[FeatureViewBinding], Columns], dict[str, Array]]
"""Reads every feature of some views for each row; an unknown entity's features are NaN."""


@dataclass(frozen=True)
class Scored:
    """Answers for `rows` (positions in the input, ascending) and the reason for every other row.

    A row that breaks several rules stands in several rejects; the first one counts.
    """

    rows: Array
    outputs: dict[str, Array]
    rejects: list[Reject]


def score(
    columns: Columns,
    signature: Signature,
    features: FeatureBinding | None,
    read_features: ReadFeatures,
    predictor: Predictor,
) -> Scored:
    """Checks, completes and predicts; a bad row is set aside and never disturbs its neighbours.

    Raises:
        InvalidInput: a required column is not there at all.
        FeatureStoreFailed: the store does not answer.
    """
    rows = row_count(columns)
    rejects = signature.rejects(columns)
    inputs = dict(columns)
    for column in signature.inputs:
        if column.name not in inputs:
            inputs[column.name] = missing_values(column, rows)
    names = [column.name for column in signature.inputs]
    if features is not None:
        rejects += _complete(inputs, features, read_features)
        names += features.columns
    inputs = {name: inputs[name] for name in names}
    good = np.setdiff1d(np.arange(rows), np.concatenate([[], *(reject.rows for reject in rejects)])).astype(np.intp)
    answered, outputs, failed = _predict(predictor, inputs if len(good) == rows else take(inputs, good), good)
    return Scored(answered, outputs, rejects + failed)


def _complete(inputs: dict[str, Array], features: FeatureBinding, read_features: ReadFeatures) -> list[Reject]:
    """Adds what the feature store brings; a feature that the request brought itself wins."""
    views = features.views_to_read(inputs)
    if not views:
        return []
    for view in views:
        for key in view.entity_keys:
            if key not in inputs:
                reason = f"this input is required: it is a key of the feature view {view.name!r}"
                raise InvalidInput(RejectCode.MISSING_COLUMN, key, reason)
    read = read_features(views, inputs)
    rejects = [reject for view in views for reject in view.unknown_entities(read, inputs)]
    for name, values in read.items():
        inputs.setdefault(name, values)
    return rejects


def _predict(predictor: Predictor, inputs: Columns, rows: Array) -> tuple[Array, dict[str, Array], list[Reject]]:
    """Predicts all rows at once; when the model raises, halves them until the guilty ones stand alone."""
    if not len(rows):
        return rows, {}, []
    try:
        return rows, predictor.predict(inputs), []
    except Exception as error:  # noqa: BLE001 - whatever a model raises is about its rows
        if len(rows) == 1:
            _log.warning("the model raised on one row", exc_info=error)
            reasons = [f"the model raised {type(error).__name__}"]
            return rows[:0], {}, [Reject(rows, RejectCode.MODEL_FAILED, "", reasons)]
    middle = len(rows) // 2
    first, second = slice(None, middle), slice(middle, None)
    halves = [_predict(predictor, take(inputs, half), rows[half]) for half in (first, second)]
    answered = [half for half in halves if len(half[0])]
    outputs = {
        name: np.concatenate([half[1][name] for half in answered]) for name in (answered[0][1] if answered else ())
    }
    return np.concatenate([half[0] for half in halves]), outputs, [*halves[0][2], *halves[1][2]]
