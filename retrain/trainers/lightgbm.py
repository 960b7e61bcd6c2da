"""LightGBM: leaf-wise trees with native categories."""

from typing import Any

import numpy as np

from retrain.dataset import Dataset
from retrain.model import Layout, Parameters
from retrain.tasks import TASKS, Answers, Classes, Task, TaskName
from retrain.trainers.contract import FitSteps, FittedModel, SearchData, Trainer, behind_encoder
from retrain.trainers.space import LogInt, LogUniform, Space, Uniform
from taxiway.flavors.library import library

_SEEDS = 2**31
"""LightGBM's seeds are signed and have 32 bits."""


class LightGBM(Trainer):
    """Boosted trees, grown leaf by leaf; an iteration is a tree, of several classes one for each."""

    tasks = tuple(TASKS)

    def space(self) -> Space:
        return Space(
            {
                "learning_rate": LogUniform(0.02, 0.2),
                "num_leaves": LogInt(8, 96),
                "min_child_samples": LogInt(20, 400),
                "reg_lambda": LogUniform(1e-3, 10.0),
                "subsample": Uniform(0.5, 1.0),
                "colsample_bytree": Uniform(0.2, 1.0),
            },
            {
                "learning_rate": 0.1,
                "num_leaves": 31,
                "min_child_samples": 20,
                "reg_lambda": 1e-3,
                "subsample": 1.0,
                "colsample_bytree": 1.0,
            },
        )

    def fit_steps(self, data: SearchData, parameters: Parameters, seed: int) -> FitSteps:
        task = data.layout.task
        several = {"num_class": len(task.classes)} if isinstance(task, Classes) else {}
        return _Steps(data, {**_fixed(task), **several, **parameters, "num_threads": self.threads}, seed)

    def final(
        self, examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> FittedModel:
        lgb = library("lightgbm")
        kind = lgb.LGBMClassifier if layout.task.answers_probabilities else lgb.LGBMRegressor
        last = kind(
            **_fixed(layout.task), **parameters, **_seeds(seed, 0), n_estimators=iterations, n_jobs=self.threads
        )
        inputs = layout.encoder().transform(examples.columns)
        last.fit(inputs, examples.labels, categorical_feature=layout.categorical)
        return behind_encoder(last, layout, {"lightgbm": lgb.__version__})


_OBJECTIVES: dict[TaskName, str] = {"binary": "binary", "classes": "multiclass", "regression": "regression"}


def _fixed(task: Task) -> dict[str, Any]:
    return {
        "objective": _OBJECTIVES[task.name],
        "subsample_freq": 1,
        "deterministic": True,
        "force_row_wise": True,
        "feature_pre_filter": False,
        "verbosity": -1,
    }


def _seeds(seed: int, iterations: int) -> dict[str, int]:
    """Other draws after each step, the same bins: those are made once."""
    drawn = (seed + iterations) % _SEEDS
    return {"data_random_seed": seed % _SEEDS, "bagging_seed": drawn, "feature_fraction_seed": drawn}


class _Steps(FitSteps):
    """Every step continues a finished model (`init_model`), so that a restored one goes on in the same way.

    LightGBM keeps the state of its random numbers to itself: where rows or columns are sampled, other steps
    draw others, and so does the last fit.
    """

    def __init__(self, data: SearchData, settings: dict[str, Any], seed: int) -> None:
        super().__init__(data)
        self._lgb = library("lightgbm")
        self._settings = settings
        self._seed = seed
        self._train = self._lgb.Dataset(
            data.inputs,
            data.labels,
            categorical_feature=data.layout.categorical,
            params={**settings, **_seeds(seed, 0)},
            free_raw_data=False,
        )
        self._booster: Any = None

    def learn(self, iterations: int) -> None:
        done = self._booster.current_iteration() if self._booster is not None else 0
        if iterations > done:
            self._booster = self._lgb.train(
                {**self._settings, **_seeds(self._seed, done)},
                self._train,
                num_boost_round=iterations - done,
                init_model=self._booster,
            )

    def validate(self) -> Answers:
        threads = self._settings["num_threads"]
        return np.asarray(self._booster.predict(self.data.validation_inputs, num_threads=threads), np.float64)

    def save(self) -> bytes:
        return str(self._booster.model_to_string()).encode()

    def restore(self, state: bytes) -> None:
        self._booster = self._lgb.Booster(model_str=state.decode())
