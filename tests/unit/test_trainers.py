"""Every trainer learns, can be killed between two steps, repeats itself, and gives a model that can be served."""

import pickle
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline

from retrain.dataset import Dataset
from retrain.model import Layout, Parameters, layout
from retrain.trainers.choice import TrainerSettings, open_trainer
from retrain.trainers.contract import FitSteps, FittedModel, SearchData, Trainer
from retrain.trainers.space import Choice, LogInt, LogUniform, Space, Uniform
from taxiway.encoder import ColumnEncoder
from taxiway.errors import ConfigError
from taxiway.package import ModelPackage, load_package, log_package
from taxiway.settings import FileSettings, parse
from taxiway.signature import Column, Signature
from tests.plain_models import use_registry
from tests.toy_examples import NUMBERS, examples, toy_data, toy_layout

TRAINERS = ["boosting", "xgboost", "lightgbm", "torch"]
SAMPLED: dict[str, dict[str, Any]] = {
    "boosting": {"max_features": 0.5},
    "xgboost": {"subsample": 0.7, "colsample_bynode": 0.5},
    "lightgbm": {"subsample": 0.7, "colsample_bytree": 0.5},
    "torch": {"dropout": 0.3, "width": 32},
}
"""Parameters with which a fit draws random numbers in every iteration."""


class OwnFile(FileSettings):
    """The part of a retraining's config file that names the trainer."""

    trainer: TrainerSettings


@pytest.fixture(params=TRAINERS)
def name(request: pytest.FixtureRequest) -> str:
    found: str = request.param
    if found != "boosting":
        pytest.importorskip(found)
    return found


@pytest.fixture(scope="module")
def data() -> SearchData:
    return toy_data()


def made(name: str, **options: Any) -> Trainer:
    given_options = {"device": "cpu", "batch_rows": 128, **options} if name == "torch" else options
    return open_trainer(parse({"trainer": {"name": name, "options": given_options}}, OwnFile, "test").trainer)


def sampled(name: str, trainer: Trainer) -> dict[str, Any]:
    return {**trainer.space().defaults, **SAMPLED[name]}


def test_a_trainer_learns_and_says_so(name: str, data: SearchData) -> None:
    trainer = made(name)
    steps = trainer.fit_steps(data, trainer.space().defaults, seed=1)
    reports = [steps.step(iterations) for iterations in (1, 40)]
    base_rate = data.validation_labels.mean()
    blind = -(base_rate * np.log(base_rate) + (1 - base_rate) * np.log(1 - base_rate))
    assert [report.iterations for report in reports] == [1, 40]
    assert reports[1].loss < min(reports[0].loss, blind - 0.1)
    assert reports[1].score > 0.8


def test_a_report_is_of_the_validation_window(name: str, data: SearchData) -> None:
    trainer = made(name)
    steps = trainer.fit_steps(data, trainer.space().defaults, seed=1)
    report = steps.step(10)
    probabilities = steps.validate()
    assert report.loss == pytest.approx(log_loss(data.validation_labels, probabilities))
    assert report.score == pytest.approx(roc_auc_score(data.validation_labels, probabilities))


def test_a_fit_that_was_killed_goes_on_as_if_nothing_had_happened(name: str, data: SearchData) -> None:
    trainer = made(name)
    whole = trainer.fit_steps(data, sampled(name, trainer), seed=3)
    for iterations in (10, 20, 30):
        expected = whole.step(iterations)
    killed = trainer.fit_steps(data, sampled(name, trainer), seed=3)
    killed.step(10)
    killed.step(20)
    resumed = made(name).fit_steps(data, sampled(name, trainer), seed=3)
    resumed.restore(killed.save())
    found = resumed.step(30)
    assert found.iterations == 30
    assert found.loss == pytest.approx(expected.loss, rel=1e-6)
    assert found.score == pytest.approx(expected.score, rel=1e-4)


def test_a_restored_fit_has_learned_already(name: str, data: SearchData) -> None:
    trainer = made(name)
    first = trainer.fit_steps(data, trainer.space().defaults, seed=3)
    expected = first.step(10)
    resumed = trainer.fit_steps(data, trainer.space().defaults, seed=3)
    resumed.restore(first.save())
    assert resumed.step(10).loss == pytest.approx(expected.loss, rel=1e-6)


def test_the_seed_decides(name: str, data: SearchData) -> None:
    trainer = made(name)
    same, again, other = (trainer.fit_steps(data, sampled(name, trainer), seed).step(10) for seed in (3, 3, 4))
    assert same == again
    assert other.loss != same.loss


def test_the_last_fit_is_what_the_search_has_judged(name: str, data: SearchData) -> None:
    trainer = made(name)
    judged = trainer.fit_steps(data, trainer.space().defaults, seed=4).step(20)
    fitted = trainer.final(examples(2_000, 1), toy_layout(), trainer.space().defaults, 20, seed=4)
    validate = examples(500, 2)
    assert log_loss(validate.labels, fitted.predict(validate.columns)) == pytest.approx(judged.loss, rel=1e-5)


def test_the_last_fit_repeats_itself_and_can_be_kept(name: str) -> None:
    trainer, rows = made(name), examples(600, 5)
    fits = [trainer.final(rows, toy_layout(), sampled(name, trainer), 10, seed=2) for _ in range(2)]
    first, second, read_back = (fit.predict(rows.columns) for fit in (*fits, pickle.loads(pickle.dumps(fits[0]))))
    np.testing.assert_array_equal(first, second)
    np.testing.assert_array_equal(first, read_back)


def test_missing_and_unknown_values_have_an_answer(name: str) -> None:
    trainer = made(name)
    fitted = trainer.final(examples(600, 5), toy_layout(), trainer.space().defaults, 10, seed=2)
    odd = {"kind": np.array(["z", None], object), "x": np.array([np.nan, 1e30]), "speed": np.array([np.nan, -1e30])}
    answers = fitted.predict(odd | {"key": np.array(["", None], object)})
    assert ((answers > 0) & (answers < 1)).all()


def logged(fitted: FittedModel, inputs: list[Column], features: tuple[Column, ...], folder: Path) -> Any:
    use_registry(folder)
    package = ModelPackage(
        flavor=fitted.flavor,
        signature=Signature(inputs=(*inputs, *features), outputs=(Column(name="p", dtype="float64"),)),
    )
    with mlflow.start_run():
        uri = log_package(fitted.model, package, fitted.requirements)
    return load_package(Path(mlflow.artifacts.download_artifacts(uri)), device="cpu")[1]


def test_a_registered_model_gives_the_answers_of_the_fitted_one(name: str, tmp_path: Path) -> None:
    trainer = made(name)
    fitted = trainer.final(examples(600, 5), toy_layout(), trainer.space().defaults, 10, seed=2)
    assert fitted.flavor == "sklearn"
    rows = examples(300, 6).columns
    expected = fitted.predict(rows)
    predictor = logged(fitted, list(fitted.inputs), (), tmp_path)
    np.testing.assert_array_equal(predictor.predict(rows)["p"], expected)
    assert len(np.unique(expected)) > 10


def test_a_network_of_numbers_only_is_a_bare_module(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    trainer = made("torch")
    rows, numbers = examples(600, 5), layout(NUMBERS, ["speed"])
    fitted = trainer.final(rows, numbers, trainer.space().defaults, 40, seed=2)
    assert fitted.flavor == "torch"
    assert isinstance(fitted.model, torch.nn.Module)
    expected = fitted.predict(rows.columns)
    predictor = logged(fitted, NUMBERS, numbers.inputs[2:], tmp_path)
    np.testing.assert_array_equal(predictor.predict(rows.columns)["p"], expected)
    assert roc_auc_score(rows.labels, expected) > 0.75


def test_the_default_trainer_gives_the_bits_of_the_plain_classifier() -> None:
    rows = examples(2_000, 1)
    parameters = {
        "learning_rate": 0.07,
        "max_leaf_nodes": 20,
        "min_samples_leaf": 30,
        "l2_regularization": 0.2,
        "max_features": 0.6,
    }
    classifier = HistGradientBoostingClassifier(
        **parameters, max_iter=25, categorical_features=[0], early_stopping=False, random_state=9
    )
    encoder = ColumnEncoder(("kind", "x", "speed"), {"kind": ("a", "b", "c")})
    plain = Pipeline([("encode", encoder), ("classify", classifier)]).fit(rows.columns, rows.labels)
    fitted = made("boosting").final(rows, toy_layout(), parameters, 25, seed=9)
    np.testing.assert_array_equal(fitted.predict(rows.columns), plain.predict_proba(rows.columns)[:, 1])


def test_a_network_does_not_see_in_which_unit_a_number_comes() -> None:
    pytest.importorskip("torch")
    trainer, rows = made("torch"), examples(600, 5)
    scaled = Dataset(rows.row_ids, rows.moments, rows.labels, rows.columns | {"x": rows.columns["x"] * 1_024.0})
    fits = [trainer.final(it, toy_layout(), trainer.space().defaults, 10, seed=2) for it in (rows, scaled)]
    first, second = (fit.predict(it.columns) for fit, it in zip(fits, (rows, scaled), strict=True))
    np.testing.assert_allclose(first, second, rtol=1e-4)


def test_training_leaves_random_numbers_and_threads_as_they_were(data: SearchData) -> None:
    torch = pytest.importorskip("torch")
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    trainer = made("torch")
    trainer.threads = threads + 1
    trainer.fit_steps(data, trainer.space().defaults, seed=1).step(2)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.get_num_threads() == threads


class Constant(Trainer):
    """A trainer of a user's own: the base rate, plus an option."""

    def __init__(self, shift: float = 0.0) -> None:
        self.shift = float(shift)

    def space(self) -> Space:
        return Space({"weight": Uniform(0.0, 1.0)}, {"weight": 0.5})

    def fit_steps(self, data: SearchData, parameters: Parameters, seed: int) -> FitSteps:
        raise NotImplementedError

    def final(
        self, examples: Dataset, layout: Layout, parameters: Parameters, iterations: int, seed: int
    ) -> FittedModel:
        raise NotImplementedError


class Unfinished(Trainer):
    """Lacks everything."""


def opened(**trainer: Any) -> Trainer:
    return open_trainer(parse({"trainer": trainer}, OwnFile, "retrain.yaml").trainer)


def test_a_class_of_ones_own_is_a_trainer() -> None:
    found = opened(**{"class": f"{__name__}:Constant", "options": {"shift": 0.25}})
    assert isinstance(found, Constant)
    assert found.shift == 0.25


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ({"name": "xgbost"}, "trainer.name.*'boosting', 'xgboost', 'lightgbm' or 'torch'"),
        ({}, "give either a name .* or a class"),
        ({"name": "boosting", "class": "a:B"}, "give either a name .* or a class"),
        ({"class": "no colon"}, "trainer.class"),
        ({"class": "no.such.module:Class"}, "no.such.module:Class can't be imported"),
        ({"class": f"{__name__}:NoSuch"}, "can't be imported.*NoSuch"),
        ({"class": "decimal:Decimal"}, "must be a class that extends retrain.trainers.contract.Trainer"),
        ({"class": f"{__name__}:Unfinished"}, "Unfinished can't be made.*abstract"),
        ({"class": f"{__name__}:Constant", "options": {"shfit": 1}}, "shfit.*Constant takes shift"),
        ({"class": f"{__name__}:Constant", "options": {"shift": "far"}}, "Constant can't be made"),
        ({"name": "boosting", "options": {"depth": 3}}, "depth.*Boosting takes no options"),
        ({"name": "torch", "options": {"batch_rows": 0}}, "trainer.options.*batch_rows.*greater"),
        ({"name": "torch", "options": {"workers": 2, "device": "cuda"}}, "several workers.*gpus: 1"),
        ({"name": "torch", "options": {"device": "cpu", "gpus": 1}}, "leave gpus out, or say device: auto"),
    ],
)
def test_a_trainer_that_cannot_be_is_refused_in_a_sentence(trainer: dict[str, Any], message: str) -> None:
    if trainer.get("name") == "torch":
        pytest.importorskip("torch")
    with pytest.raises(ConfigError, match=message):
        opened(**trainer)


def test_every_given_trainer_begins_inside_its_own_space(name: str) -> None:
    space = made(name).space()
    assert all(dimension.holds(space.defaults[key]) for key, dimension in space.dimensions.items())


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(-2.0, 2.0))
def test_a_default_outside_its_dimension_is_refused(one: float, other: float, default: float) -> None:
    low, high = min(one, other), max(one, other)
    if low <= default <= high:
        assert Space({"x": Uniform(low, high)}, {"x": default}).defaults == {"x": default}
    else:
        with pytest.raises(ValueError, match=r"x=.*outside"):
            Space({"x": Uniform(low, high)}, {"x": default})


def test_the_upper_bound_of_a_whole_number_is_none_of_them() -> None:
    assert LogInt(8, 96).holds(95)
    assert not LogInt(8, 96).holds(96)
    assert not LogInt(8, 96).holds(8.5)
    assert Choice(("relu", "tanh")).holds("tanh")
    assert LogUniform(0.1, 1.0).holds(1.0)


def test_a_dimension_without_a_default_is_refused() -> None:
    with pytest.raises(ValueError, match="rate must be both"):
        Space({"rate": Uniform(0.0, 1.0)}, {})
