"""Which hyperparameters a search tries next, and under which number."""

from collections.abc import Callable, Mapping, Sequence
from importlib.util import find_spec
from typing import Any

import numpy as np
from ray import tune
from ray.tune.search import Searcher
from ray.tune.search.variant_generator import generate_variants

from retrain.journal import Journal, TrialRecord, best_look
from retrain.settings import SearchSettings
from retrain.tasks import BINARY, MetricName
from retrain.trainers.space import Choice, Dimension, LogInt, LogUniform, Space, Uniform
from taxiway.errors import ConfigError
from taxiway.flavors.library import library


def tune_space(space: Space) -> dict[str, Any]:
    """The dimensions as Ray Tune's own."""
    return {name: _domain(dimension) for name, dimension in space.dimensions.items()}


def _domain(dimension: Dimension) -> Any:
    match dimension:
        case LogUniform(low, high):
            return tune.loguniform(low, high)
        case Uniform(low, high):
            return tune.uniform(low, high)
        case LogInt(low, high):
            return tune.lograndint(low, high)
        case Choice(values):
            return tune.choice(list(values))


class RandomPoints(Searcher):  # type: ignore[misc]
    """The defaults, then points drawn from the space: the same ones for the same seed."""

    def __init__(self, space: Space, seed: int, trials: int, skipped: int = 0, loss: MetricName = BINARY.loss) -> None:
        super().__init__(metric=loss, mode="min")
        random = np.random.default_rng(seed)
        drawn = [_drawn(space, random) for _ in range(trials - 1)]
        self._points = [dict(space.defaults), *drawn][skipped:]

    def suggest(self, trial_id: str) -> dict[str, Any]:
        return self._points.pop(0)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """A random point owes nothing to the results of others."""


def _drawn(space: Space, random: np.random.Generator) -> dict[str, Any]:
    _, variant = next(generate_variants({"config": tune_space(space)}, random_state=random))
    point: dict[str, Any] = variant["config"]
    return point


def optuna_points(space: Space, seed: int, past: Sequence[TrialRecord], loss: MetricName = BINARY.loss) -> Any:
    """Optuna's tree-structured Parzen estimator; it begins with what earlier runs have found.

    Raises:
        ConfigError: Optuna is not installed.
    """
    if find_spec("optuna") is None:
        raise ConfigError("search.algorithm: optuna is not installed; pip install optuna, or say random")
    from ray.tune.search.optuna import OptunaSearch

    optuna = library("optuna")
    optuna.logging.set_verbosity(optuna.logging.WARNING)

    unfinished = [trial.parameters for trial in past if not trial.ended]
    first = unfinished if past else [dict(space.defaults)]
    domains = OptunaSearch.convert_search_space(tune_space(space))
    # Its first points are random: with the seed of before they would be those of before.
    drawn = (seed + len(past)) % 2**32
    points = OptunaSearch(domains, metric=loss, mode="min", points_to_evaluate=first, seed=drawn)
    for trial in past:
        if trial.ended and trial.looks:
            points.add_evaluated_point(trial.parameters, best_look(trial.looks).loss)
    return points


def suggestions(
    space: Space,
    settings: SearchSettings,
    past: Mapping[int, TrialRecord],
    journal: Journal,
    clock: Callable[[], float],
    loss: MetricName = BINARY.loss,
) -> "Suggestions":
    """What is left of the search: trials that were begun go on first.

    Args:
        past: trials of earlier runs by number.
        clock: seconds.
        loss: what a trial reports and is judged by.

    Raises:
        ConfigError: the algorithm needs a library that is not installed.
    """
    points = (
        optuna_points(space, settings.seed, list(past.values()), loss)
        if settings.algorithm == "optuna"
        else RandomPoints(space, settings.seed, settings.trials, len(past), loss)
    )
    unfinished = [trial for trial in past.values() if not trial.ended]
    budget = settings.time_budget_s
    deadline = None if budget is None else clock() + budget
    return Suggestions(points, unfinished, len(past) + 1, settings.trials, journal, deadline, clock, loss)


class Suggestions(Searcher):  # type: ignore[misc]
    """Numbers the points of another searcher from 1; after the deadline no new trial is begun, but for the first."""

    def __init__(
        self,
        points: Any,
        unfinished: Sequence[TrialRecord],
        next_number: int,
        trials: int,
        journal: Journal,
        deadline: float | None,
        clock: Callable[[], float],
        loss: MetricName = BINARY.loss,
    ) -> None:
        super().__init__(metric=loss, mode="min")
        self._points = points
        self._unfinished = list(unfinished)
        self._next = next_number
        self._trials = trials
        self._journal = journal
        self._deadline = deadline
        self._clock = clock

    @property
    def left(self) -> int:
        """Trials that are still to run, if there is time for them."""
        return len(self._unfinished) + max(self._trials - self._next + 1, 0)

    def suggest(self, trial_id: str) -> Any:
        """A trial's config: its number, its parameters and the checkpoint that it goes on from, if any."""
        if self._unfinished:
            begun = self._unfinished.pop(0)
            if _knows_trials(self._points):
                self._points.suggest(trial_id)
            return {"trial": begun.number, "parameters": begun.parameters, "checkpoint": begun.checkpoint}
        late = self._deadline is not None and self._next > 1 and self._clock() >= self._deadline
        if late or self._next > self._trials:
            return Searcher.FINISHED
        number, parameters = self._next, self._points.suggest(trial_id)
        self._next += 1
        self._journal.started(number, parameters)
        return {"trial": number, "parameters": parameters, "checkpoint": None}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        self._points.on_trial_result(trial_id, result)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        self._points.on_trial_complete(trial_id, result=result, error=error)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: a search goes on from its journal."""

    def restore(self, checkpoint_path: str) -> None:
        """Likewise."""


def _knows_trials(points: Any) -> bool:
    """Whether a searcher has queued the trials that were begun, and must hear of each under its id."""
    return not isinstance(points, RandomPoints)
