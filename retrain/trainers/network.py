"""A small network for tables. Registered models hold these classes: serving imports them without the trainers."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin

from taxiway.flavors.library import library

torch: Any = library("torch")
nn: Any = torch.nn

_FARTHEST = 10.0
"""Standard deviations from the mean; what lies beyond counts as this far."""
_ROWS_AT_A_TIME = 65_536


class TabularNetwork(nn.Module):  # type: ignore[misc]
    """A matrix of raw columns in, the probability of label 1 out: [rows, columns] float32 -> [rows] float32.

    The kinds for other tasks extend it.

    Numbers are standardised, a missing one becomes the mean and a flag that says so. A category's code becomes
    one of as many inputs as there are categories, a missing or unknown one none of them.

    Args:
        inputs: the matrix that it will learn from: means and deviations are taken of it.
        categories: for each column how many there are; 0 is a number.
        width, depth: of the hidden layers.
        start: the logits that it answers before it has learned, one for each output.
    """

    def __init__(
        self,
        inputs: NDArray[np.float32],
        categories: Sequence[int],
        width: int,
        depth: int,
        dropout: float,
        start: Sequence[float],
    ) -> None:
        super().__init__()
        numbers = [place for place, size in enumerate(categories) if not size]
        places = [place for place, size in enumerate(categories) for _ in range(size)]
        codes = [code for size in categories for code in range(size)]
        means, scales = _moments(inputs[:, numbers])
        self.register_buffer("numbers", torch.tensor(numbers, dtype=torch.long))
        self.register_buffer("places", torch.tensor(places, dtype=torch.long))
        self.register_buffer("codes", torch.tensor(codes, dtype=torch.float32))
        self.register_buffer("means", torch.from_numpy(means))
        self.register_buffer("scales", torch.from_numpy(scales))
        self.layers = _layers(2 * len(numbers) + len(codes), width, depth, dropout, len(start))
        with torch.no_grad():
            self.layers[-1].bias.copy_(torch.tensor(start, dtype=torch.float32))

    def forward(self, matrix: Any) -> Any:
        return torch.sigmoid(self.logits(matrix).float())

    def logits(self, matrix: Any) -> Any:
        """[rows]; of several outputs [rows, outputs]."""
        values = matrix.index_select(1, self.numbers)
        missing = torch.isnan(values)
        standard = ((values - self.means) / self.scales).clamp(-_FARTHEST, _FARTHEST)
        chosen = matrix.index_select(1, self.places) == self.codes
        known = torch.where(missing, torch.zeros_like(standard), standard)
        return self.layers(torch.cat((known, missing.float(), chosen.float()), dim=1)).squeeze(1)


class ClassNetwork(TabularNetwork):
    """The same with the probabilities of several classes out, [rows, classes]."""

    def forward(self, matrix: Any) -> Any:
        return torch.softmax(self.logits(matrix).float(), dim=1)


class NumberNetwork(TabularNetwork):
    """The same with a number out, [rows]: it learns numbers of mean 0 and deviation 1."""

    def __init__(self, *arguments: Any, mean: float, scale: float, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float64))
        self.register_buffer("scale", torch.tensor(scale, dtype=torch.float64))

    def forward(self, matrix: Any) -> Any:
        return self.logits(matrix).double() * self.scale + self.mean


class Logits(nn.Module):  # type: ignore[misc]
    """A network as it learns: what exchanges gradients asks a module as a whole, not one of its methods."""

    def __init__(self, network: TabularNetwork) -> None:
        super().__init__()
        self.network = network

    def forward(self, matrix: Any) -> Any:
        return self.network.logits(matrix)


def row_losses(network: Any, rows: Sequence[Any]) -> Any:
    """The cross-entropy of each row, [rows]; of inputs and labels."""
    inputs, labels = rows
    return nn.functional.binary_cross_entropy_with_logits(network(inputs).float(), labels, reduction="none")


def class_losses(network: Any, rows: Sequence[Any]) -> Any:
    """The cross-entropy of each row, [rows]; of inputs and positions among the classes."""
    inputs, labels = rows
    return nn.functional.cross_entropy(network(inputs).float(), labels, reduction="none")


def number_losses(network: Any, rows: Sequence[Any]) -> Any:
    """The squared error of each row, [rows]; of inputs and standardised labels."""
    inputs, labels = rows
    return nn.functional.mse_loss(network(inputs).float(), labels, reduction="none")


def _moments(values: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Mean and standard deviation of each column's known values; 0 and 1 where there is nothing to tell."""
    known = np.isfinite(values)
    rows = np.maximum(known.sum(axis=0), 1)
    means = np.where(known, values, 0.0).sum(axis=0, dtype=np.float64) / rows
    spread = np.sqrt((np.where(known, values - means, 0.0) ** 2).sum(axis=0) / rows)
    scales = np.where(spread > 1e-12 * np.maximum(np.abs(means), 1.0), spread, 1.0)
    return means.astype(np.float32), scales.astype(np.float32)


def _layers(inputs: int, width: int, depth: int, dropout: float, outputs: int) -> Any:
    layers: list[Any] = []
    for before in (inputs, *[width] * (depth - 1)):
        layers += [nn.Linear(before, width), nn.ReLU(), nn.Dropout(dropout)]
    return nn.Sequential(*layers, nn.Linear(width, outputs))


def answers(network: Any, matrix: Any) -> NDArray[Any]:
    """A network's answers, some rows at a time."""
    network.eval()
    with torch.inference_mode():
        return np.concatenate([network(rows).cpu().numpy() for rows in matrix.split(_ROWS_AT_A_TIME)])


class NetworkClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]
    """A fitted network on the CPU as the last step of a scikit-learn pipeline."""

    def __init__(self, network: TabularNetwork) -> None:
        self.network = network

    @property
    def classes_(self) -> NDArray[np.int64]:
        return np.arange(max(2, self.network.layers[-1].out_features))

    def fit(self, inputs: Any, labels: Any) -> "NetworkClassifier":
        """Nothing: the network has learned already. scikit-learn asks for the method."""
        return self

    def predict_proba(self, inputs: NDArray[np.float64]) -> NDArray[np.float32]:
        """[rows, classes]."""
        found = answers(self.network, torch.from_numpy(inputs.astype(np.float32)))
        return found if found.ndim == 2 else np.column_stack((1.0 - found, found))

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.asarray(self.predict_proba(inputs).argmax(axis=1), np.int64)

    def __sklearn_is_fitted__(self) -> bool:
        return True


class NetworkRegressor(RegressorMixin, BaseEstimator):  # type: ignore[misc]
    """The same for a network that answers a number."""

    def __init__(self, network: NumberNetwork) -> None:
        self.network = network

    def fit(self, inputs: Any, labels: Any) -> "NetworkRegressor":
        """Nothing, as `NetworkClassifier.fit`."""
        return self

    def predict(self, inputs: NDArray[np.float64]) -> NDArray[np.float64]:
        return answers(self.network, torch.from_numpy(inputs.astype(np.float32)))

    def __sklearn_is_fitted__(self) -> bool:
        return True
