"""scikit-learn's histogram gradient boosting: the default, with nothing to install."""

import pickle
from typing import Any

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor

from retrain.dataset import Dataset
from retrain.model import Layout, Parameters, openmp_threads
from retrain.tasks import TASKS, Answers, Task
from retrain.trainers.contract import FitSteps, FittedModel, SearchData, Trainer, behind_encoder
from retrain.trainers.space import LogInt, LogUniform, Space, Uniform


class Boosting(Trainer):
    """Boosted trees; an iteration is a tree, of several classes one for each."""

    tasks = tuple(TASKS)

    def space(self) -> Space:
        """The defaults lie near scikit-learn's own."""
        return Space(
            {
                "learning_rate": LogUniform(0.02, 0.2),
                "max_leaf_nodes": LogInt(8, 96),
                "min_samples_leaf": LogInt(20, 400),
                "l2_regularization": LogUniform(1e-3, 10.0),
                "max_features": Uniform(0.2, 1.0),
            },
            {
                "learning_rate": 0.1,
                "max_leaf_nodes": 31,
                "min_samples_leaf": 20,
                "l2_regularization": 1e-3,
                "max_features": 1.0,
            },
        )

    def fit_steps(self, data: SearchData, parameters: Parameters, seed: int) -> FitSteps:
        unfitted = estimator(data.layout.task, parameters, data.layout.categorical, seed)
        return _Steps(data, unfitted, self.threads)

    def final(
        self, examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> FittedModel:
        last = estimator(layout.task, parameters, layout.categorical, seed)
        last.set_params(max_iter=iterations, warm_start=False)
        with openmp_threads(self.threads):
            last.fit(layout.encoder().transform(examples.columns), examples.labels)
        return behind_encoder(last, layout, {})


def estimator(task: Task, parameters: Parameters, categorical: list[int], seed: int) -> Any:
    """An unfitted estimator that adds iterations to what it has learned when it is fitted again."""
    kind = HistGradientBoostingClassifier if task.answers_probabilities else HistGradientBoostingRegressor
    return kind(
        **parameters,
        max_iter=1,
        categorical_features=categorical or None,
        early_stopping=False,
        warm_start=True,
        random_state=seed,
    )


class _Steps(FitSteps):
    def __init__(self, data: SearchData, unfitted: Any, threads: int) -> None:
        super().__init__(data)
        self._estimator = unfitted
        self._threads = threads

    def learn(self, iterations: int) -> None:
        with openmp_threads(self._threads):
            self._estimator.set_params(max_iter=iterations).fit(self.data.inputs, self.data.labels)

    def validate(self) -> Answers:
        task, inputs = self.data.layout.task, self.data.validation_inputs
        with openmp_threads(self._threads):
            if not task.answers_probabilities:
                return np.asarray(self._estimator.predict(inputs))
            probabilities = np.asarray(self._estimator.predict_proba(inputs))
            return probabilities[:, 1] if task.name == "binary" else probabilities

    def save(self) -> bytes:
        return pickle.dumps(self._estimator, protocol=5)

    def restore(self, state: bytes) -> None:
        self._estimator = pickle.loads(state)
