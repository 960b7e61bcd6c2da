import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.linear_model import LogisticRegression

from taxiway.boosted_trees import CategoryTables, without_checks


@pytest.fixture(scope="module")
def classifier() -> HistGradientBoostingClassifier:
    """Two categorical columns of five, one of them with gaps in its categories and missing values."""
    random = np.random.default_rng(1)
    inputs = random.normal(size=(3_000, 5))
    inputs[:, 1] = random.choice([0.0, 2.0, 5.0, 7.0], 3_000)
    inputs[:, 3] = random.choice([0.0, 1.0, np.nan], 3_000)
    target = inputs[:, 0] + (inputs[:, 1] == 5) - (inputs[:, 3] == 1) + random.normal(size=3_000) > 0
    return HistGradientBoostingClassifier(max_iter=30, categorical_features=[1, 3]).fit(inputs, target)


def test_the_copy_answers_the_same_bits_for_known_unknown_and_missing_categories(
    classifier: HistGradientBoostingClassifier,
) -> None:
    random = np.random.default_rng(2)
    inputs = random.normal(size=(2_000, 5)) * 3
    inputs[:, 1] = random.choice([0.0, 1.0, 2.0, 5.0, 7.0, 9.0, -1.0, 2.5, np.nan], 2_000)
    inputs[:, 3] = random.choice([0.0, 1.0, 2.0, np.nan], 2_000)
    faster = without_checks(classifier)
    assert isinstance(faster._preprocessor, CategoryTables)
    np.testing.assert_array_equal(faster.predict_proba(inputs), classifier.predict_proba(inputs))


def test_the_original_stays_as_it_was(classifier: HistGradientBoostingClassifier) -> None:
    without_checks(classifier)
    assert not isinstance(classifier._preprocessor, CategoryTables)


def test_a_copy_that_answers_otherwise_is_not_used(
    classifier: HistGradientBoostingClassifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(CategoryTables, "transform", lambda self, inputs: np.zeros_like(inputs))
    assert without_checks(classifier) is classifier


def test_a_model_without_categories_answers_the_same_bits_without_the_checks() -> None:
    plain = HistGradientBoostingClassifier(max_iter=20).fit(np.arange(300.0).reshape(100, 3), np.arange(100) > 50)
    faster = without_checks(plain)
    inputs = np.random.default_rng(3).normal(100, 90, (500, 3))
    inputs[::7, 1] = np.nan
    assert faster is not plain
    np.testing.assert_array_equal(faster.predict_proba(inputs), plain.predict_proba(inputs))


def test_other_models_are_left_alone() -> None:
    line = LogisticRegression().fit(np.arange(100.0)[:, None], np.arange(100) > 50)
    assert without_checks(line) is line
