"""How much of a challenger is chance."""

from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.dataset import Dataset
from retrain.model import layout
from retrain.seeds import by_seeds
from retrain.settings import SearchSettings
from retrain.stability import further_seeds, stability
from retrain.trainers.boosting import Boosting
from retrain.trainers.contract import FittedModel
from retrain.unfinished import Retraining, RunState
from taxiway.signature import Column

LABELS = np.array([0, 0, 1, 1])


def test_known_values() -> None:
    right, one_wrong = np.array([0.1, 0.2, 0.8, 0.9]), np.array([0.1, 0.8, 0.2, 0.9])
    found = stability(LABELS, (3, 4, 5), (right, right, one_wrong))
    assert found.values["auc"] == (1.0, 1.0, 0.75)
    assert found.range_of("auc") == 0.25
    # Deviations from the mean 11/12: 1/12, 1/12 and -2/12.
    assert found.deviation_of("auc") == pytest.approx(np.sqrt(6 / 144 / 2))
    good, bad = -np.log([0.9, 0.8, 0.8, 0.9]).mean(), -np.log([0.9, 0.2, 0.2, 0.9]).mean()
    assert found.values["log_loss"] == pytest.approx((good, good, bad))
    assert found.range_of("log_loss") == pytest.approx(bad - good)
    # Two rows differ by 0.6 in two of three pairs.
    assert found.answer_difference == pytest.approx(0.3 * 2 / 3)
    assert found.metrics["seeds"] == 3
    assert found.metrics["seeds_auc_range"] == 0.25


def test_equal_fits_have_no_spread() -> None:
    answers = np.array([0.3, 0.4, 0.5, 0.2])
    found = stability(LABELS, (0, 1), (answers, answers))
    assert {value for name, value in found.metrics.items() if name != "seeds"} == {0.0}


@pytest.mark.parametrize(("seeds", "answers"), [((1,), 1), ((1, 2), 1), ((), 0)])
def test_one_fit_has_no_spread(seeds: tuple[int, ...], answers: int) -> None:
    with pytest.raises(ValueError, match="expected one of each of two or more"):
        stability(LABELS, seeds, [LABELS / 2] * answers)


@given(st.integers(0, 2**32 - 1), st.integers(1, 50))
def test_further_seeds_are_others_and_can_be_used(seed: int, seeds: int) -> None:
    found = further_seeds(seed, seeds)
    assert len({seed, *found}) == seeds
    assert all(0 <= it < 2**32 for it in found)


class Killed(Exception):
    pass


@pytest.fixture
def examples() -> Dataset:
    random, rows = np.random.default_rng(0), 400
    columns = {name: random.normal(size=rows) for name in ("x", "y")}
    labels = (random.random(rows) < 1 / (1 + np.exp(-columns["x"]))).astype(np.int64)
    return Dataset(np.arange(rows), np.datetime64("2024-01-01", "us") + np.arange(rows), labels, columns)


def test_a_killed_stage_goes_on_with_the_seeds_that_are_done(examples: Dataset, tmp_path: Path) -> None:
    state = RunState(run_id="r", began=datetime(2026, 3, 1, tzinfo=UTC), trigger="a test", pinned="")
    run, search, fitted = Retraining(state, tmp_path, resumed=False), SearchSettings(seed=7, seeds=3), []
    matrix = layout([Column(name=name, dtype="float64") for name in ("x", "y")], ())

    def fit(seed: int) -> FittedModel:
        fitted.append(seed)
        if fitted == [7, 8, 9]:
            raise Killed
        parameters = {"learning_rate": 0.1, "max_features": 0.5}
        return Boosting().final(examples, matrix, parameters, 5, seed)

    challenger = fit(7)
    with suppress(Killed):
        by_seeds(run, search, challenger, fit, examples)
    found = by_seeds(run, search, challenger, fit, examples)
    assert fitted == [7, 8, 9, 9]
    assert found.seeds == (7, 8, 9)
    assert len(set(found.values["auc"])) == 3
    assert 0 < found.answer_difference < 0.2
    assert found.range_of("auc") < 0.1
