"""Every trainer fits several classes and numbers, goes on after a kill, and gives a package that answers."""

from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_wine

from retrain.dataset import Dataset
from retrain.model import Layout, layout
from retrain.tasks import Classes, Regression, Task
from retrain.trainers.choice import TrainerSettings, open_trainer
from retrain.trainers.contract import SearchData, Trainer
from retrain.windows import Windows, search_data
from taxiway.package import ModelPackage, load_package, log_package
from taxiway.scoring import score
from taxiway.signature import Column, Signature
from tests.plain_models import use_registry

NAMES = ["boosting", "xgboost", "lightgbm", "torch"]
TASKS: dict[str, Task] = {"classes": Classes(("barolo", "grignolino", "barbera")), "regression": Regression()}


@pytest.fixture(params=NAMES)
def trainer(request: pytest.FixtureRequest) -> Trainer:
    name = request.param
    if name != "boosting":
        pytest.importorskip(name)
    options = {"device": "cpu", "batch_rows": 32} if name == "torch" else {}
    return open_trainer(TrainerSettings(name=name, options=options))


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("registry")


@pytest.fixture(params=list(TASKS))
def task(request: pytest.FixtureRequest) -> Task:
    return TASKS[request.param]


def table(task: Task, with_text: bool) -> tuple[Dataset, Layout]:
    """Shuffled rows of wine or of diabetes; with a category that is one of the numbers, cut in two."""
    inputs, labels = (load_wine if isinstance(task, Classes) else load_diabetes)(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(labels))
    columns: dict[str, Any] = {f"x{place}": inputs[order, place] for place in range(inputs.shape[1])}
    names = [Column(name=name, dtype="float64") for name in columns]
    if with_text:
        columns["half"] = np.where(columns["x2"] > np.median(columns["x2"]), "high", "low").astype(object)
        names.append(Column(name="half", dtype="string", categories=("high", "low")))
    moments = np.arange(len(labels)).astype("datetime64[us]")
    rows = Dataset(np.arange(len(labels)), moments, labels[order].astype(task.label_dtype), columns)
    return rows, layout(names, (), task)


def windows(rows: Dataset) -> Windows:
    cut = len(rows) * 2 // 3
    learn, validate = rows.take(slice(0, cut)), rows.take(slice(cut, None))
    return Windows(learn, learn, validate, validate)


def data_of(task: Task) -> SearchData:
    rows, matrix = table(task, with_text=True)
    return search_data(windows(rows), matrix)


def steps_of(trainer: Trainer, data: SearchData) -> Any:
    defaults = {**trainer.space().defaults} | (
        {"min_child_samples": 5} if "min_child_samples" in trainer.space().defaults else {}
    )
    return trainer.fit_steps(data, defaults, seed=3)


def test_a_trainer_learns_more_than_the_base_and_goes_on_after_a_kill(trainer: Trainer, task: Task) -> None:
    data = data_of(task)
    steps = steps_of(trainer, data)
    first = steps.step(15)
    saved = steps.save()
    whole = steps.step(30)
    assert np.isfinite([first.loss, whole.loss]).all()
    assert whole.score > (0.85 if isinstance(task, Classes) else 0.2)
    resumed = steps_of(trainer, data)
    resumed.restore(saved)
    again = resumed.step(30)
    assert (again.loss, again.score) == pytest.approx((whole.loss, whole.score), rel=1e-4)


@pytest.mark.parametrize("with_text", [True, False])
def test_a_package_answers_as_the_fitted_model_through_the_scoring_path(
    trainer: Trainer, task: Task, with_text: bool, registry: Path
) -> None:
    if not with_text and type(trainer).__name__ != "Torch":
        pytest.skip("only a network is another model without texts")
    rows, matrix = table(task, with_text)
    fitted = trainer.final(rows, matrix, trainer.space().defaults, 10, seed=1)
    expected = fitted.predict(rows.columns)
    assert expected.shape == ((len(rows), 3) if isinstance(task, Classes) else (len(rows),))
    signature = Signature(inputs=matrix.inputs, outputs=(task.output("answer"),))
    package = ModelPackage(
        flavor=fitted.flavor, signature=signature, output_kind=task.output_kind, predict_method=fitted.method
    )
    use_registry(registry)
    with mlflow.start_run():
        uri = log_package(fitted.model, package, fitted.requirements)
    loaded, predictor = load_package(Path(mlflow.artifacts.download_artifacts(uri)), device="cpu")
    scored = score(rows.columns, loaded.signature, None, lambda views, keys: {}, predictor)
    assert scored.rejects == []
    np.testing.assert_allclose(scored.outputs["answer"], expected, rtol=1e-6)
    assert loaded.signature.outputs[0].description == task.output("answer").description
