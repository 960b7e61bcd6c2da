"""The default trainer with a clock: what trials spend on learning, and what passes between two looks."""

import json
import math
import os
import secrets
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path

from retrain.model import Parameters
from retrain.trainers.boosting import Boosting
from retrain.trainers.contract import FitSteps, Probabilities, Report, SearchData


@dataclass(frozen=True)
class Step:
    """One look at one trial, seconds of wall time; `began` and `ended` are of the machine's monotonic clock.

    Attributes:
        fit: of steps of the same fit in the same process.
        saved_s: what the fit took to become bytes since its step before.
    """

    process: int
    fit: str
    iterations: int
    began: float
    ended: float
    learn_s: float
    validate_s: float
    saved_s: float

    @property
    def useful_s(self) -> float:
        return self.learn_s + self.validate_s


class Timed(Boosting):
    """Boosted trees; each process of a trial appends its steps to a file of its own in `folder`."""

    def __init__(self, folder: str) -> None:
        self._folder = folder

    def fit_steps(self, data: SearchData, parameters: Parameters, seed: int) -> FitSteps:
        return _TimedSteps(super().fit_steps(data, parameters, seed), Path(self._folder))


class _TimedSteps(FitSteps):
    def __init__(self, timed: FitSteps, folder: Path) -> None:
        super().__init__(timed.data)
        self._timed = timed
        self._file = folder / f"{os.getpid()}.jsonl"
        self._fit = secrets.token_hex(8)
        self._spent = dict.fromkeys(("learn_s", "validate_s", "saved_s"), 0.0)

    @contextmanager
    def _clock(self, name: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        self._spent[name] += time.monotonic() - began

    def learn(self, iterations: int) -> None:
        with self._clock("learn_s"):
            self._timed.learn(iterations)

    def validate(self) -> Probabilities:
        with self._clock("validate_s"):
            return self._timed.validate()

    def save(self) -> bytes:
        with self._clock("saved_s"):
            return self._timed.save()

    def restore(self, state: bytes) -> None:
        self._timed.restore(state)

    def step(self, iterations: int) -> Report:
        began = time.monotonic()
        report = super().step(iterations)
        found = Step(os.getpid(), self._fit, iterations, began, time.monotonic(), **self._spent)
        with self._file.open("a") as file:
            file.write(json.dumps(asdict(found)) + "\n")
        self._spent = dict.fromkeys(self._spent, 0.0)
        return report


def read_steps(folder: Path) -> list[Step]:
    """Of all processes, in the order of their beginnings."""
    lines = [line for file in folder.glob("*.jsonl") for line in file.read_text().splitlines()]
    return sorted((Step(**json.loads(line)) for line in lines), key=lambda step: step.began)


def gaps(steps: Sequence[Step]) -> list[float]:
    """Seconds from each look to the next step of the same fit: reporting, deciding, saving, asking again."""
    fits: dict[str, list[Step]] = {}
    for step in steps:
        fits.setdefault(step.fit, []).append(step)
    return [later.began - earlier.ended for fit in fits.values() for earlier, later in pairwise(fit)]


@dataclass(frozen=True)
class Account:
    """Where the core seconds of a search went; they add up to its wall time times its cores.

    Attributes:
        useful_s: learning, and predicting the validation window.
        scoring_s: log loss and AUC of those predictions.
        between_looks_s: a trial waited to be told to go on.
        between_trials_s: a process waited for its next trial.
        ends_s: a core without a trial after the first has begun and before the last has ended.
        around_s: before the first trial and after the last: Ray's start, imports, Ray's end.
    """

    useful_s: float
    scoring_s: float
    between_looks_s: float
    between_trials_s: float
    ends_s: float
    around_s: float

    @property
    def total_s(self) -> float:
        return math.fsum(asdict(self).values())

    @property
    def useful_share(self) -> float:
        return self.useful_s / self.total_s


def account(steps: Sequence[Step], wall_s: float, cores: int) -> Account:
    """
    Args:
        steps: all of one search, one or more, no more than `cores` at a time.
        wall_s: of the search.
    """
    processes: dict[int, list[Step]] = {}
    for step in steps:
        processes.setdefault(step.process, []).append(step)
    span = max(step.ended for step in steps) - min(step.began for step in steps)
    present = sum(own[-1].ended - own[0].began for own in processes.values())
    stepping = sum(step.ended - step.began for step in steps)
    between_looks, useful = sum(gaps(steps)), sum(step.useful_s for step in steps)
    return Account(
        useful_s=useful,
        scoring_s=stepping - useful,
        between_looks_s=between_looks,
        between_trials_s=present - stepping - between_looks,
        ends_s=span * cores - present,
        around_s=(wall_s - span) * cores,
    )
