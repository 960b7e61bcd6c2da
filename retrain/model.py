"""The classifier: which columns it sees, how it is built, and its last fit."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from retrain.dataset import Dataset
from taxiway.encoder import ColumnEncoder
from taxiway.errors import ConfigError
from taxiway.signature import Column

Parameters = Mapping[str, float]


@dataclass(frozen=True)
class Layout:
    """The columns of the matrix that the classifier sees; strings without categories are keys and not in it."""

    columns: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]

    @property
    def categorical(self) -> list[int]:
        return [position for position, name in enumerate(self.columns) if name in self.categories]

    def encoder(self) -> ColumnEncoder:
        return ColumnEncoder(self.columns, self.categories)


def layout(inputs: Sequence[Column], features: Sequence[str]) -> Layout:
    """
    Raises:
        ConfigError: no column is left for the matrix.
    """
    taken = [column for column in inputs if column.dtype != "string" or column.categories]
    names = dict.fromkeys([*(column.name for column in taken), *features])
    if not names:
        raise ConfigError("inputs: the model sees no column; a string needs categories, everything else is a key")
    return Layout(tuple(names), {column.name: column.categories for column in taken if column.categories})


def classifier(parameters: Parameters, categorical: list[int], seed: int) -> Any:
    """An unfitted classifier that adds iterations to what it has learned when it is fitted again."""
    return HistGradientBoostingClassifier(
        **parameters,
        max_iter=1,
        categorical_features=categorical or None,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    )


def refit(examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int) -> Pipeline:
    """A pipeline from named columns to probabilities, fitted on all examples."""
    last = classifier(parameters, layout.categorical, seed).set_params(max_iter=iterations, warm_start=False)
    pipeline = Pipeline([("encode", layout.encoder()), ("classify", last)])
    with one_thread():
        return pipeline.fit(examples.columns, examples.labels)


def predict(pipeline: Pipeline, examples: Dataset) -> NDArray[np.float64]:
    """The probability of label 1 for each example."""
    with one_thread():
        probabilities: NDArray[np.float64] = pipeline.predict_proba(examples.columns)[:, 1]
    return probabilities


def one_thread() -> AbstractContextManager[Any]:
    """One CPU for each fit: OpenMP's threads wait for each other actively, and on a machine where
    something else runs, two of them have been twenty times slower than one."""
    limits: AbstractContextManager[Any] = threadpool_limits(1, "openmp")
    return limits
