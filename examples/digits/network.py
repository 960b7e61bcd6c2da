"""The network of the digits, and how its answers are judged."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import confusion_matrix, log_loss

from examples.digits.data import CLASSES, Digits, Images, Labelled
from retrain.learner import Task, seeded
from taxiway.flavors.library import library

_NORMAL_95 = 1.959963984540054


@dataclass(frozen=True)
class Judgement:
    """Answers beside the truth.

    Attributes:
        accuracy: with the ends of its 95% interval.
        confusion: [10, 10], rows by truth and column.
    """

    rows: int
    accuracy: float
    accuracy_low: float
    accuracy_high: float
    log_loss: float
    confusion: NDArray[np.int64]

    @property
    def metrics(self) -> dict[str, float]:
        names = ("accuracy", "accuracy_low", "accuracy_high", "log_loss", "rows")
        return {f"evaluate_{name}": float(getattr(self, name)) for name in names}


def network() -> Any:
    """[rows, 1, 8, 8] in, a logit for each digit out. Made of PyTorch's own parts: serving imports nothing of ours."""
    nn = library("torch").nn
    return nn.Sequential(
        nn.Conv2d(1, 16, 3, padding=1),
        nn.ReLU(),
        nn.Conv2d(16, 32, 3, padding=1),
        nn.ReLU(),
        nn.MaxPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.25),
        nn.Linear(32 * 4 * 4, 64),
        nn.ReLU(),
        nn.Linear(64, CLASSES),
    )


def row_losses(network: Any, rows: Sequence[Any]) -> Any:
    """The cross-entropy of each row, [rows]; of images and digits."""
    images, digits = rows
    return library("torch").nn.functional.cross_entropy(network(images).float(), digits, reduction="none")


def task(labelled: Labelled, epochs: int, seed: int, batch_rows: int = 64, learning_rate: float = 2e-3) -> Task:
    """What is learned of the labelled images."""
    with seeded(library("torch").device("cpu"), seed, 0):
        begun = network()
    return Task(
        network=begun,
        losses=row_losses,
        arrays=(labelled.images, labelled.digits),
        optimizer="AdamW",
        options={"lr": learning_rate, "weight_decay": 1e-3},
        epochs=epochs,
        batch_rows=batch_rows,
        seed=seed,
    )


def classifier(state: dict[str, Any]) -> Any:
    """The module to register: of a learned state dict, answers [rows, 10] probabilities."""
    learned = network()
    learned.load_state_dict(state)
    return library("torch").nn.Sequential(*learned, library("torch").nn.Softmax(dim=1)).eval()


def probabilities(module: Any, images: Images) -> NDArray[np.float32]:
    """[rows, 10]."""
    torch = library("torch")
    with torch.inference_mode():
        answers: NDArray[np.float32] = module(torch.from_numpy(images)).numpy()
    return answers


def judge(answers: NDArray[np.float32], digits: Digits) -> Judgement:
    """How good probabilities [rows, 10] are."""
    rows, right = len(digits), int((answers.argmax(axis=1) == digits).sum())
    low, high = accuracy_interval(right, rows)
    shares = answers.astype(np.float64) / answers.sum(axis=1, dtype=np.float64)[:, None]
    return Judgement(
        rows=rows,
        accuracy=right / rows,
        accuracy_low=low,
        accuracy_high=high,
        log_loss=float(log_loss(digits, shares, labels=range(CLASSES))),
        confusion=confusion_matrix(digits, answers.argmax(axis=1), labels=range(CLASSES)),
    )


def accuracy_interval(right: int, rows: int) -> tuple[float, float]:
    """Wilson's 95% interval of a share (Wilson 1927): true to its level near 1 too, where the normal one is not."""
    share, z2 = right / rows, _NORMAL_95**2
    middle = (share + z2 / (2 * rows)) / (1 + z2 / rows)
    half = _NORMAL_95 * np.sqrt(share * (1 - share) / rows + z2 / (4 * rows**2)) / (1 + z2 / rows)
    return float(max(middle - half, 0.0)), float(min(middle + half, 1.0))


def confusion_table(confusion: NDArray[np.int64]) -> str:
    """Lines of text: truth down, answer across."""
    head = "truth  " + "".join(f"{digit:>5}" for digit in range(CLASSES))
    lines = (f"{digit:>5}  " + "".join(f"{count or '.':>5}" for count in row) for digit, row in enumerate(confusion))
    return "\n".join([head, *lines])
