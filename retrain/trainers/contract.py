"""What a trainer is: a search space, a fit that goes on step by step and can be saved, and the last fit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.pipeline import Pipeline

from retrain.dataset import Dataset
from retrain.model import Layout, Parameters
from retrain.tasks import BINARY, Answers, Labels, Task, TaskName
from retrain.trainers.space import Space
from taxiway.signature import Column, Columns

if TYPE_CHECKING:
    from taxiway.flavors.loading import Flavor
    from taxiway.flavors.verified import Ask

Matrix = NDArray[np.float64]
Probabilities = Answers


@dataclass(frozen=True)
class SearchData:
    """Two encoded windows: the one that trials learn from and the later one that judges them.

    Args:
        inputs: [rows, columns], as the layout's encoder gives them: categories as codes, NaN for a missing value.
        labels: as the task has them.
    """

    inputs: Matrix
    labels: Labels
    validation_inputs: Matrix
    validation_labels: Labels
    layout: Layout


@dataclass(frozen=True)
class Report:
    """How a fit does on the validation window after so many iterations in all: `loss` and `score` of the task."""

    iterations: int
    loss: float
    score: float


class FitSteps(ABC):
    """A fit under way. What it does next depends on nothing but its arguments and its state."""

    def __init__(self, data: SearchData) -> None:
        self.data = data

    @abstractmethod
    def learn(self, iterations: int) -> None:
        """Goes on until there are so many iterations in all; nothing to do where there are."""

    @abstractmethod
    def validate(self) -> Answers:
        """The task's answer for each row of the validation window: the probability of label 1, say."""

    @abstractmethod
    def save(self) -> bytes:
        """What `restore` needs in another process to go on as if nothing had happened."""

    @abstractmethod
    def restore(self, state: bytes) -> None:
        """Takes up a saved fit of the same data, parameters and seed."""

    def step(self, iterations: int) -> Report:
        """Learns until there are so many iterations in all, and judges what has been learned."""
        self.learn(iterations)
        task = self.data.layout.task
        found = task.measure(self.data.validation_labels, self.validate().astype(np.float64))
        return Report(iterations, found[task.loss], found[task.score])


@dataclass(frozen=True)
class FittedModel:
    """A fitted model with what `taxiway.package` has to know of it.

    Args:
        model: what `log_package` takes for the flavor.
        requirements: distribution -> version of what the model needs beyond Taxiway.
        inputs: the columns of the package, those of the request and those of the store.
        task: what the model answers.
    """

    model: Any
    flavor: "Flavor"
    requirements: Mapping[str, str]
    inputs: tuple[Column, ...]
    task: Task = BINARY

    @property
    def method(self) -> str:
        """The model's method that gives the task's answer."""
        has_probabilities = self.task.answers_probabilities and hasattr(self.model, "predict_proba")
        return "predict_proba" if has_probabilities else "predict"

    def predict(self, columns: Columns) -> Answers:
        """The task's answer for each row.

        Raises:
            PackageError: the flavor can't take these inputs.
        """
        return np.asarray(self.asked()(columns), np.float64)

    def asked(self) -> "Ask":
        """What asks the model as serving and scoring jobs do; raises as `predict`."""
        # MLflow takes seconds to import: a trial does without it.
        from taxiway.flavors.answers import positive
        from taxiway.flavors.inputs import inputs_of
        from taxiway.flavors.loading import Placement, ask_of

        ask = ask_of(self.flavor, self.model, inputs_of(self.inputs), self.method, Placement("cpu"))
        return positive(ask) if self.task.name == "binary" else ask


class Trainer(ABC):
    """Fits models. A class of one's own stands in the config file as `trainer: {class: "package.module:Class"}`.

    It is pickled on its way to the trials.

    Attributes:
        threads: CPUs that a fit may keep busy; a search sets it to its `cpus`.
        tasks: what it can fit; `layout.task` says what is asked for.
    """

    threads: int = 1
    tasks: tuple[TaskName, ...] = ("binary",)

    @abstractmethod
    def space(self) -> Space:
        """What the search may vary."""

    @abstractmethod
    def fit_steps(self, data: SearchData, parameters: Parameters, seed: int) -> FitSteps:
        """A fit of one trial, before its first step."""

    @abstractmethod
    def final(
        self, examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> FittedModel:
        """The model to register: fitted on all examples with the parameters that the search has found."""


def behind_encoder(estimator: Any, layout: Layout, requirements: Mapping[str, str]) -> FittedModel:
    """A fitted estimator of matrices as a scikit-learn pipeline that takes the named columns.

    Args:
        requirements: beyond scikit-learn.
    """
    last = "classify" if layout.task.answers_probabilities else "predict"
    pipeline = Pipeline([("encode", layout.encoder()), (last, estimator)])
    needed = {"scikit-learn": version("scikit-learn"), **requirements}
    return FittedModel(pipeline, "sklearn", needed, layout.inputs, layout.task)
