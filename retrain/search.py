"""Ray Tune: try hyperparameters, stop the hopeless early, remember every look at every trial."""

import os
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.basic_variant import BasicVariantGenerator
from sklearn.metrics import log_loss, roc_auc_score

from retrain.model import Parameters, classifier, one_thread
from retrain.settings import SearchSettings
from taxiway.errors import JobError

DEFAULTS = {
    "learning_rate": 0.1,
    "max_leaf_nodes": 31,
    "min_samples_leaf": 20,
    "l2_regularization": 1e-3,
    "max_features": 1.0,
}
"""The first trial, near scikit-learn's own defaults: a search never ends below them."""

_QUIET_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints tables even when silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own goes on after Ctrl-C with what it has
}

PATIENCE = 2
"""A trial whose log loss has not improved for so many looks is over."""


@dataclass(frozen=True)
class SearchData:
    """Two encoded windows: the one that trials learn from and the later one that judges them."""

    inputs: NDArray[np.float64]
    labels: NDArray[np.int64]
    validation_inputs: NDArray[np.float64]
    validation_labels: NDArray[np.int64]
    categorical: list[int]


@dataclass(frozen=True)
class Look:
    """What a trial had reached after some iterations."""

    trial: int
    parameters: Parameters
    iterations: int
    log_loss: float
    auc: float


def best_look(looks: Iterable[Look]) -> Look:
    """The lowest log loss; among equals the fewest iterations, then the earliest trial."""
    return min(looks, key=lambda look: (look.log_loss, look.iterations, look.trial))


def space() -> dict[str, Any]:
    return {
        "learning_rate": tune.loguniform(0.02, 0.2),
        "max_leaf_nodes": tune.lograndint(8, 96),
        "min_samples_leaf": tune.lograndint(20, 400),
        "l2_regularization": tune.loguniform(1e-3, 10.0),
        "max_features": tune.uniform(0.2, 1.0),
    }


class BoostingTrial(tune.Trainable):  # type: ignore[misc]
    """One trial: each step adds iterations to the same trees and judges them on the validation window."""

    def setup(self, config: dict[str, Any], data: SearchData, settings: SearchSettings) -> None:
        self._data = data
        self._settings = settings
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._classifier = classifier(new_config, self._data.categorical, self._settings.seed)
        self._iterations = 0
        self._looks_since_best = 0
        self._best = np.inf
        return True

    def step(self) -> dict[str, Any]:
        data = self._data
        self._iterations = min(self._iterations + self._settings.report_every, self._settings.max_iterations)
        with one_thread():
            self._classifier.set_params(max_iter=self._iterations).fit(data.inputs, data.labels)
            probabilities = self._classifier.predict_proba(data.validation_inputs)[:, 1]
        loss = float(log_loss(data.validation_labels, probabilities, labels=[0, 1]))
        self._looks_since_best = 0 if loss < self._best else self._looks_since_best + 1
        self._best = min(loss, self._best)
        return {
            "iterations": self._iterations,
            "log_loss": loss,
            "auc": float(roc_auc_score(data.validation_labels, probabilities)),
            "done": self._iterations >= self._settings.max_iterations or self._looks_since_best >= PATIENCE,
        }


@dataclass
class Looks(tune.Callback):  # type: ignore[misc]
    """Collects looks while the search runs and prints one line for each finished trial."""

    trials: int
    seen: list[Look] = field(default_factory=list)
    finished: int = 0

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        number = _number(trial)
        self.seen.append(Look(number, trial.config, result["iterations"], result["log_loss"], result["auc"]))

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.finished += 1
        own = [look for look in self.seen if look.trial == _number(trial)]
        best, best_of_all = best_look(own), best_look(self.seen)
        print(
            f"  trial {best.trial:>3} ({self.finished} of {self.trials} done): {own[-1].iterations:>4} iterations, "
            f"log loss {best.log_loss:.4f}, AUC {best.auc:.4f}; best so far: trial {best_of_all.trial}, "
            f"log loss {best_of_all.log_loss:.4f}, AUC {best_of_all.auc:.4f}",
            flush=True,
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.finished += 1
        print(f"  trial {_number(trial):>3} failed; the search goes on without it", flush=True)


def _cause(error: Any) -> str:
    """What a trial raised: Ray's own exception renders as a remote traceback."""
    raised = getattr(error, "cause", None) or error
    return f"{type(raised).__name__}: {(str(raised).strip().splitlines() or [''])[-1]}"


def _number(trial: Any) -> int:
    """Tune ends a trial's id with its number, from 0."""
    return int(str(trial.trial_id).rsplit("_", 1)[1]) + 1


def search(data: SearchData, settings: SearchSettings) -> list[Look]:
    """Every look at every trial, on the Ray cluster that this process is connected to.

    The seed fixes the suggestions. Which of them are stopped early depends on which finish first.

    Raises:
        JobError: no trial came to a result.
    """
    os.environ.update(_QUIET_TUNE)
    looks = Looks(settings.trials)
    with tempfile.TemporaryDirectory(prefix="taxiway-search-") as folder:
        results = tune.Tuner(
            tune.with_resources(tune.with_parameters(BoostingTrial, data=data, settings=settings), {"cpu": 1}),
            param_space=space(),
            tune_config=tune.TuneConfig(
                num_samples=settings.trials,
                search_alg=BasicVariantGenerator(
                    points_to_evaluate=[DEFAULTS],
                    max_concurrent=settings.parallel or _free_cpus(),
                    random_state=settings.seed,
                ),
                scheduler=_scheduler(settings),
                reuse_actors=True,
            ),
            run_config=tune.RunConfig(
                storage_path=folder,
                callbacks=[looks],
                verbose=0,
                failure_config=tune.FailureConfig(max_failures=1),
                checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False),
            ),
        ).fit()
    if not looks.seen:
        cause = _cause(results.errors[0]) if results.errors else "none was started"
        raise JobError(f"no trial of the search came to a result: {cause}")
    return looks.seen


def _scheduler(settings: SearchSettings) -> Any:
    """Only the best third of the trials goes on after two looks, and of these after six."""
    return ASHAScheduler(
        time_attr="iterations",
        metric="log_loss",
        mode="min",
        grace_period=min(2 * settings.report_every, settings.max_iterations),
        max_t=settings.max_iterations,
        reduction_factor=3,
    )


def _free_cpus() -> int:
    free = int(ray.available_resources().get("CPU", 0))
    if not free:
        print("  no CPU of the cluster is free: the search waits for one", flush=True)
    return max(free, 1)
