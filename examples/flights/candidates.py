"""Challengers with a fault: classifiers that wrap a fitted one. A replica imports this file, so it needs little."""

import time
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin

from taxiway.signature import Array


class Swap(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """A pipeline step that exchanges two columns of the matrix, as a client does that mixes up two fields."""

    def __init__(self, one: int, other: int) -> None:
        self.one = one
        self.other = other

    def fit(self, rows: Any, labels: Any = None) -> "Swap":
        return self

    def transform(self, rows: Array) -> Array:
        """A copy of shape [rows, columns]."""
        order = np.arange(rows.shape[1])
        order[[self.one, self.other]] = self.other, self.one
        return rows[:, order]

    def __sklearn_is_fitted__(self) -> bool:
        return True


class Wrapped(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted classifier of two classes; subclasses change what it answers."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self.classes_ = np.array([0, 1])

    def fit(self, rows: Any, labels: Any = None) -> "Wrapped":
        return self

    def predict_proba(self, rows: Array) -> Array:
        """Of shape [rows, 2]."""
        positive = self.positive(rows)
        return np.column_stack((1.0 - positive, positive))

    def positive(self, rows: Array) -> Array:
        """The probability of label 1 for each row."""
        return np.asarray(self.model.predict_proba(rows)[:, 1], np.float64)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class Slow(Wrapped):
    """Takes `seconds` longer for each call, of one row or of many."""

    def __init__(self, model: Any, seconds: float) -> None:
        super().__init__(model)
        self.seconds = seconds

    def positive(self, rows: Array) -> Array:
        time.sleep(self.seconds)
        return super().positive(rows)


class Failing(Wrapped):
    """Raises on about the share `share` of rows, always on the same ones."""

    def __init__(self, model: Any, share: float) -> None:
        super().__init__(model)
        self.share = share

    def positive(self, rows: Array) -> Array:
        if self.refused(rows).any():
            raise RuntimeError("a row that I can't take")
        return super().positive(rows)

    def refused(self, rows: Array) -> Array:
        """Which rows: those whose numbers have a sum with a large remainder. No single column tells."""
        remainder: Array = np.mod(np.nansum(rows, axis=1) * 137.0, 1.0)
        return remainder >= 1.0 - self.share


class Drifting(Wrapped):
    """Adds an offset to each probability: 0 at first, `per_answer` more with each answer, `most` at last.

    What it has answered is counted in its process and is lost with it, as with a cache that fills with wrong values.
    """

    def __init__(self, model: Any, per_answer: float, most: float) -> None:
        super().__init__(model)
        self.per_answer = per_answer
        self.most = most
        self.answers = 0

    def positive(self, rows: Array) -> Array:
        offsets = np.minimum(self.per_answer * (self.answers + np.arange(len(rows))), self.most)
        self.answers += len(rows)
        drifted: Array = np.clip(super().positive(rows) + offsets, 0.0, 1.0)
        return drifted
