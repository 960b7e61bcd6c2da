"""What every trainer shares: which columns a model sees, and how many threads a fit may keep busy."""

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline
from threadpoolctl import threadpool_limits

from retrain.dataset import Dataset
from retrain.tasks import BINARY, Task
from taxiway.encoder import ColumnEncoder
from taxiway.errors import ConfigError
from taxiway.signature import Column

Parameters = Mapping[str, Any]


@dataclass(frozen=True)
class Layout:
    """The columns of the matrix that the estimator sees; strings without categories are keys and not in it.

    It is what a trainer is told of the model: what goes in, and with `task` what it answers.

    Attributes:
        inputs: everything that the model's package will declare, keys and features of the store included.
    """

    columns: tuple[str, ...]
    categories: dict[str, tuple[str, ...]]
    inputs: tuple[Column, ...]
    task: Task = BINARY

    @property
    def categorical(self) -> list[int]:
        return [position for position, name in enumerate(self.columns) if name in self.categories]

    @property
    def is_numeric(self) -> bool:
        """Whether the package's columns, side by side, are the matrix: no text, each once and in order."""
        names = tuple(column.name for column in self.inputs)
        return names == self.columns and not any(column.is_object for column in self.inputs)

    def encoder(self) -> ColumnEncoder:
        return ColumnEncoder(self.columns, self.categories)


def layout(inputs: Sequence[Column], features: Sequence[str], task: Task = BINARY) -> Layout:
    """
    Raises:
        ConfigError: no column is left for the matrix.
    """
    taken = [column for column in inputs if column.dtype != "string" or column.categories]
    names = dict.fromkeys([*(column.name for column in taken), *features])
    if not names:
        raise ConfigError("inputs: the model sees no column; a string needs categories, everything else is a key")
    categories = {column.name: column.categories for column in taken if column.categories}
    of_the_store = (Column(name=name, dtype="float64", nullable=True) for name in features)
    return Layout(tuple(names), categories, (*inputs, *of_the_store), task)


def predict(pipeline: Pipeline, examples: Dataset) -> NDArray[np.float64]:
    """The probability of label 1 for each example."""
    with one_thread():
        probabilities: NDArray[np.float64] = pipeline.predict_proba(examples.columns)[:, 1]
    return probabilities


def one_thread() -> AbstractContextManager[Any]:
    """One CPU for each fit: OpenMP's threads wait for each other actively, and on a machine where
    something else runs, two of them have been twenty times slower than one."""
    return openmp_threads(1)


def openmp_threads(limit: int) -> AbstractContextManager[Any]:
    limits: AbstractContextManager[Any] = threadpool_limits(limit, "openmp")
    return limits
