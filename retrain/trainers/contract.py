"""What a trainer is: a search space, a fit that goes on step by step and can be saved, and the last fit."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline

from retrain.dataset import Dataset
from retrain.model import Layout, Parameters
from retrain.trainers.space import Space
from taxiway.signature import Column, Columns

if TYPE_CHECKING:
    from taxiway.flavors.loading import Flavor
    from taxiway.flavors.verified import Ask

Matrix = NDArray[np.float64]
Labels = NDArray[np.int64]
Probabilities = NDArray[np.float64]


@dataclass(frozen=True)
class SearchData:
    """Two encoded windows: the one that trials learn from and the later one that judges them.

    Args:
        inputs: [rows, columns], as the layout's encoder gives them: categories as codes, NaN for a missing value.
        labels: 0 or 1.
    """

    inputs: Matrix
    labels: Labels
    validation_inputs: Matrix
    validation_labels: Labels
    layout: Layout


@dataclass(frozen=True)
class Report:
    """How a fit does on the validation window after so many iterations in all."""

    iterations: int
    log_loss: float
    auc: float


class FitSteps(ABC):
    """A fit under way. What it does next depends on nothing but its arguments and its state."""

    def __init__(self, data: SearchData) -> None:
        self.data = data

    @abstractmethod
    def learn(self, iterations: int) -> None:
        """Goes on until there are so many iterations in all; nothing to do where there are."""

    @abstractmethod
    def validate(self) -> Probabilities:
        """The probability of label 1 for each row of the validation window."""

    @abstractmethod
    def save(self) -> bytes:
        """What `restore` needs in another process to go on as if nothing had happened."""

    @abstractmethod
    def restore(self, state: bytes) -> None:
        """Takes up a saved fit of the same data, parameters and seed."""

    def step(self, iterations: int) -> Report:
        """Learns until there are so many iterations in all, and judges what has been learned."""
        self.learn(iterations)
        probabilities, labels = self.validate().astype(np.float64), self.data.validation_labels
        return Report(
            iterations=iterations,
            log_loss=float(log_loss(labels, probabilities, labels=[0, 1])),
            auc=float(roc_auc_score(labels, probabilities)),
        )


@dataclass(frozen=True)
class FittedModel:
    """A fitted model with what `taxiway.package` has to know of it.

    Args:
        model: what `log_package` takes for the flavor.
        requirements: distribution -> version of what the model needs beyond Taxiway.
        inputs: the columns of the package, those of the request and those of the store.
    """

    model: Any
    flavor: "Flavor"
    requirements: Mapping[str, str]
    inputs: tuple[Column, ...]

    def predict(self, columns: Columns) -> Probabilities:
        """The probability of label 1 for each row.

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

        method = "predict_proba" if hasattr(self.model, "predict_proba") else "predict"
        return positive(ask_of(self.flavor, self.model, inputs_of(self.inputs), method, Placement("cpu")))


class Trainer(ABC):
    """Fits models. A class of one's own stands in the config file as `trainer: {class: "package.module:Class"}`.

    It is pickled on its way to the trials.

    Attributes:
        threads: CPUs that a fit may keep busy; a search sets it to its `cpus`.
    """

    threads: int = 1

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
    pipeline = Pipeline([("encode", layout.encoder()), ("classify", estimator)])
    return FittedModel(pipeline, "sklearn", {"scikit-learn": version("scikit-learn"), **requirements}, layout.inputs)
