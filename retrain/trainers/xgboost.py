"""XGBoost: histogram trees with native categories."""

from typing import Any

import numpy as np

from retrain.dataset import Dataset
from retrain.model import Layout, Parameters
from retrain.tasks import TASKS, Answers, Classes, Labels, Task, TaskName
from retrain.trainers.contract import FitSteps, FittedModel, Matrix, SearchData, Trainer, behind_encoder
from retrain.trainers.space import LogInt, LogUniform, Space, Uniform
from taxiway.flavors.library import library


class XGBoost(Trainer):
    """Boosted trees, grown leaf by leaf; an iteration is a tree, of several classes one for each."""

    tasks = tuple(TASKS)

    def space(self) -> Space:
        return Space(
            {
                "learning_rate": LogUniform(0.02, 0.2),
                "max_leaves": LogInt(8, 96),
                "min_child_weight": LogUniform(0.5, 100.0),
                "reg_lambda": LogUniform(1e-3, 10.0),
                "subsample": Uniform(0.5, 1.0),
                "colsample_bynode": Uniform(0.2, 1.0),
            },
            {
                "learning_rate": 0.1,
                "max_leaves": 31,
                "min_child_weight": 1.0,
                "reg_lambda": 1.0,
                "subsample": 1.0,
                "colsample_bynode": 1.0,
            },
        )

    def fit_steps(self, data: SearchData, parameters: Parameters, seed: int) -> FitSteps:
        task = data.layout.task
        several = {"num_class": len(task.classes)} if isinstance(task, Classes) else {}
        return _Steps(data, {**_fixed(task, seed), **several, **parameters, "nthread": self.threads})

    def final(
        self, examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> FittedModel:
        xgb = library("xgboost")
        kind = xgb.XGBClassifier if layout.task.answers_probabilities else xgb.XGBRegressor
        last = kind(
            **_fixed(layout.task, seed),
            **parameters,
            n_estimators=iterations,
            n_jobs=self.threads,
            enable_categorical=True,
            feature_types=_kinds(layout),
        )
        last.fit(layout.encoder().transform(examples.columns), examples.labels)
        return behind_encoder(last, layout, {"xgboost": xgb.__version__})


_OBJECTIVES: dict[TaskName, str] = {
    "binary": "binary:logistic",
    "classes": "multi:softprob",
    "regression": "reg:squarederror",
}


def _fixed(task: Task, seed: int) -> dict[str, Any]:
    """Seeded anew in each iteration: a fit that goes on in another process draws what it would have drawn."""
    return {
        "objective": _OBJECTIVES[task.name],
        "tree_method": "hist",
        "grow_policy": "lossguide",
        "max_depth": 0,
        "seed": seed,
        "seed_per_iteration": True,
        "verbosity": 0,
    }


def _kinds(layout: Layout) -> list[str]:
    return ["c" if name in layout.categories else "q" for name in layout.columns]


class _Steps(FitSteps):
    """Every step continues a model that was saved, so that a restored one goes on in the same way.

    XGBoost keeps the state of some random numbers to itself: where columns are sampled, other steps draw
    others, and so does the last fit.
    """

    def __init__(self, data: SearchData, settings: dict[str, Any]) -> None:
        super().__init__(data)
        self._xgb = library("xgboost")
        self._settings = settings
        self._train = self._matrix(data.inputs, data.labels)
        self._validation = self._matrix(data.validation_inputs, data.validation_labels, self._train)
        self._booster = self._new()

    def _matrix(self, inputs: Matrix, labels: Labels, reference: Any = None) -> Any:
        return self._xgb.QuantileDMatrix(
            inputs,
            labels,
            feature_types=_kinds(self.data.layout),
            enable_categorical=True,
            nthread=self._settings["nthread"],
            ref=reference,
        )

    def _new(self, state: bytes | None = None) -> Any:
        known = [self._train, self._validation]
        return self._xgb.Booster(self._settings, known, None if state is None else bytearray(state))

    def learn(self, iterations: int) -> None:
        done = self._booster.num_boosted_rounds()
        if 0 < done < iterations:
            self.restore(self.save())
        for iteration in range(done, iterations):
            self._booster.update(self._train, iteration)

    def validate(self) -> Answers:
        return np.asarray(self._booster.predict(self._validation), np.float64)

    def save(self) -> bytes:
        return bytes(self._booster.save_raw("ubj"))

    def restore(self, state: bytes) -> None:
        self._booster = self._new(state)
