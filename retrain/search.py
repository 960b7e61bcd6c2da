"""Ray Tune: try hyperparameters, stop the hopeless early, remember every look at every trial."""

import hashlib
import os
import pickle
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler

from retrain.journal import Journal, Look, TrialRecord, best_look
from retrain.settings import SearchSettings
from retrain.suggest import Suggestions, suggestions
from retrain.tasks import BINARY, METRICS, MetricName, Task
from retrain.trainers.boosting import Boosting
from retrain.trainers.contract import SearchData, Trainer
from taxiway.errors import JobError
from taxiway.telemetry.job_trace import TRACEPARENT, Below, traceparent_here

__all__ = ["PATIENCE", "Look", "Looks", "SearchData", "Trial", "best_look", "search"]

_QUIET_TUNE = {
    "RAY_AIR_NEW_OUTPUT": "0",  # the new output prints tables even when silent
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",  # Tune's own goes on after Ctrl-C with what it has
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",  # each look saves a checkpoint
}

PATIENCE = 2
"""A trial whose loss has not improved for so many looks is over."""
CHECKPOINT_EVERY = 1
"""Looks between two checkpoints of a trial."""
_STATE = "trial.pickle"


class Trial(tune.Trainable):  # type: ignore[misc]
    """One trial: each step adds iterations to the same fit and judges it on the validation window."""

    def setup(
        self,
        config: dict[str, Any],
        data: SearchData,
        settings: SearchSettings,
        trainer: Trainer,
        traceparent: str | None = None,
    ) -> None:
        if traceparent is not None:  # what is instrumented in a trainer goes on in the retraining's trace
            os.environ[TRACEPARENT] = traceparent
        self._data = data
        self._settings = settings
        self._trainer = trainer
        self._task = data.layout.task
        trainer.threads = max(1, int(settings.cpus))
        self.reset_config(config)

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        self._steps = self._trainer.fit_steps(self._data, new_config["parameters"], self._settings.seed)
        self._iterations = 0
        self._looks_since_best = 0
        self._best = np.inf
        if (checkpoint := new_config.get("checkpoint")) and (Path(checkpoint) / _STATE).exists():
            self.load_checkpoint(checkpoint)
        return True

    def step(self) -> dict[str, Any]:
        up_to = min(self._iterations + self._settings.report_every, self._settings.max_iterations)
        report = self._steps.step(up_to)
        self._iterations = report.iterations
        self._looks_since_best = 0 if report.loss < self._best else self._looks_since_best + 1
        self._best = min(report.loss, self._best)
        return {
            "iterations": report.iterations,
            self._task.loss: report.loss,
            self._task.score: report.score,
            "done": report.iterations >= self._settings.max_iterations or self._looks_since_best >= PATIENCE,
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        state = (self._iterations, self._looks_since_best, self._best, self._steps.save())
        (Path(checkpoint_dir) / _STATE).write_bytes(pickle.dumps(state, protocol=5))

    def load_checkpoint(self, checkpoint: Any) -> None:
        state = pickle.loads((Path(checkpoint) / _STATE).read_bytes())
        self._iterations, self._looks_since_best, self._best, steps = state
        self._steps.restore(steps)


@dataclass
class Looks(tune.Callback):  # type: ignore[misc]
    """Writes the journal while the search runs and prints one line for each finished trial."""

    trials: int
    journal: Journal
    seen: list[Look] = field(default_factory=list)
    finished: int = 0
    task: Task = BINARY
    spans: Below = field(default_factory=lambda: Below("trial", "look"))

    def on_trial_result(self, iteration: int, trials: list[Any], trial: Any, result: dict[str, Any], **_: Any) -> None:
        number, parameters = trial.config["trial"], trial.config["parameters"]
        look = Look(number, parameters, result["iterations"], result[self.task.loss], result[self.task.score])
        self.seen.append(look)
        self.journal.looked(look)
        # Tune measures a step where it is made, and tells at once.
        self.spans.did(str(number), result.get("time_this_iter_s", 0.0), {"taxiway.iterations": look.iterations})

    def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self.spans.begin(str(trial.config["trial"]))

    def on_checkpoint(self, iteration: int, trials: list[Any], trial: Any, checkpoint: Any, **_: Any) -> None:
        self.journal.saved(trial.config["trial"], checkpoint.path)

    def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        number = trial.config["trial"]
        self._end(trial)
        own = [look for look in self.seen if look.trial == number]
        best, best_of_all = best_look(own), best_look(self.seen)
        print(
            f"  trial {best.trial:>3} ({self.finished} of {self.trials} done): {own[-1].iterations:>4} iterations, "
            f"{self._told(best)}; best so far: trial {best_of_all.trial}, {self._told(best_of_all)}",
            flush=True,
        )

    def on_trial_error(self, iteration: int, trials: list[Any], trial: Any, **_: Any) -> None:
        self._end(trial, "trial_failed")
        print(f"  trial {trial.config['trial']:>3} failed; the search goes on without it", flush=True)

    def _told(self, look: Look) -> str:
        loss, score = METRICS[self.task.loss].title, METRICS[self.task.score].title
        return f"{loss} {look.loss:.4f}, {score} {look.score:.4f}"

    def _end(self, trial: Any, error: str | None = None) -> None:
        number = trial.config["trial"]
        self.finished += 1
        self.journal.ended(number)
        tried = {f"taxiway.parameter.{name}": value for name, value in trial.config["parameters"].items()}
        self.spans.end(str(number), {"taxiway.trial": number, **tried}, error)


def search(
    data: SearchData,
    settings: SearchSettings,
    trainer: Trainer | None = None,
    storage: Path | None = None,
    checkpoint_every: int = CHECKPOINT_EVERY,
) -> list[Look]:
    """Every look at every trial, on the Ray cluster that this process is connected to.

    The seed fixes the suggestions (Optuna's: as far as trials finish in the same order). Which trials are
    stopped early depends on which finish first.

    Args:
        trainer: boosted trees unless given.
        storage: a folder that every node sees; a search that was killed goes on from it, with the looks of
            before. Its `time_budget_s` begins anew.
        checkpoint_every: looks between two checkpoints of a trial; 0: none.

    Raises:
        ConfigError: the search algorithm needs a library that is not installed.
        JobError: no trial came to a result, or the folder holds another search.
    """
    os.environ.update(_QUIET_TUNE)
    trainer = trainer or Boosting()
    with _folder(storage) as folder:
        journal = Journal(folder / "search.jsonl")
        past = journal.open(identity(data, settings, trainer))
        points = suggestions(trainer.space(), settings, past, journal, time.monotonic, data.layout.task.loss)
        kept = _kept(checkpoint_every)
        errors = _run(data, settings, trainer, folder, past, points, journal, kept) if points.left else []
        looks = [look for trial in journal.trials().values() for look in trial.looks]
    if not looks:
        raise JobError(
            f"no trial of the search came to a result: {_cause(errors[0]) if errors else 'none was started'}"
        )
    return looks


def _run(
    data: SearchData,
    settings: SearchSettings,
    trainer: Trainer,
    folder: Path,
    past: dict[int, TrialRecord],
    points: Suggestions,
    journal: Journal,
    kept: tune.CheckpointConfig,
) -> list[Any]:
    """The trials that are left; what those that failed have raised."""
    ended = [trial for trial in past.values() if trial.ended]
    seen = [look for trial in past.values() for look in trial.looks]
    given = {"data": data, "settings": settings, "trainer": trainer, "traceparent": traceparent_here()}
    trainable = tune.with_parameters(Trial, **given)
    results = tune.Tuner(
        tune.with_resources(trainable, {"cpu": settings.cpus, "gpu": settings.gpus}),
        tune_config=tune.TuneConfig(
            num_samples=points.left,
            search_alg=points,
            max_concurrent_trials=settings.parallel or _free_places(settings),
            scheduler=scheduler(settings, ended, data.layout.task.loss),
            reuse_actors=True,
        ),
        run_config=tune.RunConfig(
            storage_path=str(folder),
            callbacks=[Looks(settings.trials, journal, seen, len(ended), data.layout.task)],
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=1),
            checkpoint_config=kept,
        ),
    ).fit()
    return list(results.errors)


def _kept(every: int) -> tune.CheckpointConfig:
    return tune.CheckpointConfig(num_to_keep=2, checkpoint_frequency=every, checkpoint_at_end=False)


@contextmanager
def _folder(storage: Path | None) -> Iterator[Path]:
    if storage is not None:
        yield storage.resolve()
        return
    with tempfile.TemporaryDirectory(prefix="taxiway-search-") as folder:
        yield Path(folder)


def identity(data: SearchData, settings: SearchSettings, trainer: Trainer) -> str:
    """What must be the same for a search to go on: more trials or other resources may be given meanwhile."""
    kept = settings.model_dump_json(include={"seed", "algorithm", "max_iterations", "report_every"})
    fitted_by = f"{type(trainer).__module__}:{type(trainer).__qualname__} {trainer.space()}"
    task = "" if data.layout.task == BINARY else f"{data.layout.task}\0"
    sha = hashlib.sha256(f"{kept}\0{fitted_by}\0{data.layout.columns}\0{task}".encode())
    for part in (data.inputs, data.labels, data.validation_inputs, data.validation_labels):
        sha.update(np.ascontiguousarray(part).data)
    return sha.hexdigest()


def scheduler(settings: SearchSettings, ended: list[TrialRecord], loss: MetricName = BINARY.loss) -> Any:
    """Only the best third of the trials goes on after two looks, and of these after six.

    Trials of an earlier run count: those that are left are compared with them.
    """
    made = ASHAScheduler(
        time_attr="iterations",
        metric=loss,
        mode="min",
        grace_period=min(2 * settings.report_every, settings.max_iterations),
        max_t=settings.max_iterations,
        reduction_factor=3,
    )
    for trial in ended:
        known = SimpleNamespace(trial_id=f"earlier_{trial.number}")
        made.on_trial_add(None, known)
        for look in trial.looks:
            made.on_trial_result(None, known, {"iterations": look.iterations, loss: look.loss})
    return made


def places(free: Mapping[str, float], settings: SearchSettings) -> int:
    """How many trials have room at a time in what is free of Ray's resources; 0 when none has."""
    wanted = {"CPU": settings.cpus, "GPU": settings.gpus}
    # Fractions add up to a little less than the whole.
    return min(int(free.get(name, 0.0) / each + 1e-9) for name, each in wanted.items() if each)


def _free_places(settings: SearchSettings) -> int:
    found = places(ray.available_resources(), settings)
    if not found:
        print("  nothing of the cluster is free for a trial: the search waits", flush=True)
    return max(found, 1)


def _cause(error: Any) -> str:
    """What a trial raised: Ray's own exception renders as a remote traceback."""
    raised = getattr(error, "cause", None) or error
    return f"{type(raised).__name__}: {(str(raised).strip().splitlines() or [''])[-1]}"
