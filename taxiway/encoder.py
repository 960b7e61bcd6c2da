"""The first step of a tabular sklearn pipeline: named columns in, a matrix of floats out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, TransformerMixin


class ColumnEncoder(TransformerMixin, BaseEstimator):  # type: ignore[misc]
    """Stacks columns in order; a string becomes its category's position, a missing value NaN.

    Takes a mapping of numpy columns as well as a DataFrame: both are indexed by name, so the same
    fitted pipeline runs on the hot path without pandas and in MLflow's own tools with it.

    Args:
        columns: names, in the order of the matrix.
        categories: the categories of each string column; an unknown one becomes NaN.
    """

    accepts_columns = True

    def __init__(self, columns: Sequence[str], categories: Mapping[str, Sequence[str]]) -> None:
        self.columns = columns
        self.categories = categories

    def fit(self, columns: Any, target: Any = None) -> "ColumnEncoder":
        return self

    def transform(self, columns: Any) -> NDArray[np.float64]:
        """A matrix of shape [rows, len(self.columns)]."""
        matrix = np.empty((len(columns[self.columns[0]]), len(self.columns)))
        for position, name in enumerate(self.columns):
            values = columns[name]
            if name in self.categories:
                codes = self._codes(name)
                matrix[:, position] = [codes.get(value, np.nan) for value in values]
            else:
                matrix[:, position] = values
        return matrix

    def _codes(self, name: str) -> dict[str, float]:
        cache: dict[str, dict[str, float]] = self.__dict__.setdefault("_codes_by_column", {})
        if name not in cache:
            cache[name] = {category: float(code) for code, category in enumerate(self.categories[name])}
        return cache[name]

    def __sklearn_is_fitted__(self) -> bool:
        return True
