import numpy as np
import pytest
from ray.tune.search.variant_generator import generate_variants
from sklearn.ensemble import HistGradientBoostingClassifier

from retrain.dataset import Dataset
from retrain.model import layout, refit
from retrain.search import DEFAULTS, PATIENCE, BoostingTrial, Look, SearchData, best_look, space
from retrain.settings import SearchSettings
from retrain.windows import Windows, search_data
from taxiway.errors import ConfigError
from taxiway.signature import Column

INPUTS = [
    Column(name="kind", dtype="string", categories=("a", "b", "c")),
    Column(name="key", dtype="string"),
    Column(name="x", dtype="float64"),
]


def examples(rows: int, seed: int) -> Dataset:
    random = np.random.default_rng(seed)
    kind, x, speed = random.choice(["a", "b", "c"], rows), random.normal(size=rows), random.normal(size=rows)
    labels = (random.random(rows) < 1 / (1 + np.exp(-x - (kind == "b")))).astype(np.int64)
    columns = {"kind": kind.astype(object), "key": kind.astype(object), "x": x, "speed": speed}
    return Dataset(np.arange(rows), np.arange(rows).astype("datetime64[us]"), labels, columns)


@pytest.fixture
def data() -> SearchData:
    learn, validate = examples(2_000, 1), examples(500, 2)
    return search_data(Windows(learn, learn, validate, validate), layout(INPUTS, ["speed"]))


def trial(data: SearchData, settings: SearchSettings) -> BoostingTrial:
    made = BoostingTrial.__new__(BoostingTrial)
    made.setup(DEFAULTS, data, settings)
    return made


def test_strings_without_categories_are_keys_and_not_in_the_matrix() -> None:
    found = layout(INPUTS, ["speed"])
    assert found.columns == ("kind", "x", "speed")
    assert found.categorical == [0]


def test_a_model_that_would_see_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match="sees no column"):
        layout([Column(name="key", dtype="string")], [])


def test_a_trial_stepped_to_its_end_equals_one_fit_of_as_many_iterations(data: SearchData) -> None:
    stepped = trial(data, SearchSettings(max_iterations=30, report_every=10, seed=4))
    results = [stepped.step() for _ in range(3)]
    at_once = trial(data, SearchSettings(max_iterations=30, report_every=30, seed=4)).step()
    assert [it["iterations"] for it in results] == [10, 20, 30]
    assert [it["done"] for it in results] == [False, False, True]
    assert results[-1]["log_loss"] == pytest.approx(at_once["log_loss"], rel=1e-9)


def test_the_last_fit_is_what_the_search_has_judged(data: SearchData) -> None:
    judged = trial(data, SearchSettings(max_iterations=20, report_every=20, seed=4)).step()
    learn, validate = examples(2_000, 1), examples(500, 2)
    pipeline = refit(learn, layout(INPUTS, ["speed"]), DEFAULTS, 20, seed=4)
    probabilities = pipeline.predict_proba(validate.columns)[:, 1]
    truth = np.where(validate.labels == 1, probabilities, 1 - probabilities)
    assert -np.log(truth).mean() == pytest.approx(judged["log_loss"], rel=1e-9)


def test_a_trial_that_gets_worse_gives_up(data: SearchData) -> None:
    overfitting = trial(data, SearchSettings(max_iterations=2_000, report_every=100))
    steps = next(step for step in range(1, 20) if overfitting.step()["done"])
    assert steps == 1 + PATIENCE


def test_a_reset_trial_begins_anew(data: SearchData) -> None:
    settings = SearchSettings(max_iterations=20, report_every=10)
    reused = trial(data, settings)
    first = reused.step()
    reused.step()
    assert reused.reset_config(DEFAULTS)
    assert reused.step() == first


def test_the_best_look_has_the_lowest_log_loss_and_then_the_fewest_iterations() -> None:
    looks = [
        Look(1, {}, 50, 0.5, 0.7),
        Look(1, {}, 100, 0.4, 0.6),
        Look(2, {}, 50, 0.4, 0.8),
        Look(2, {}, 100, 0.6, 0.9),
    ]
    assert best_look(looks) == looks[2]


def test_every_suggestion_can_be_a_classifier() -> None:
    for seed in range(20):
        _, suggestion = next(generate_variants({"config": space()}, random_state=seed))
        assert suggestion["config"].keys() == DEFAULTS.keys()
        HistGradientBoostingClassifier(**suggestion["config"])._validate_params()
