"""All trees at once, on a few rows: the same bits as scikit-learn's own loop."""

import pickle
from functools import cache
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier

from taxiway.boosted_trees import without_checks
from taxiway.few_rows import FewRows

COLUMNS = 6


def rows(number: int, seed: int, missing: float = 0.15) -> NDArray[np.float64]:
    random = np.random.default_rng(seed)
    found = random.normal(size=(number, COLUMNS)) * 10.0 ** random.integers(-2, 3, COLUMNS)
    found[random.random(found.shape) < missing] = np.nan
    return found


@cache
def fitted(classes: int, *categorical: int) -> Any:
    inputs = rows(600, 1)
    inputs[:, 2] = np.random.default_rng(2).integers(0, 5, len(inputs))
    signal = np.nan_to_num(inputs[:, 0]) + np.isnan(inputs[:, 1]) + (inputs[:, 2] == 3)
    target = np.digitize(signal, np.quantile(signal, np.linspace(0, 1, classes + 1)[1:-1]))
    return HistGradientBoostingClassifier(
        max_iter=8, categorical_features=categorical or None, early_stopping=False
    ).fit(inputs, target)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("number", [1, 2, 7, 40])
def test_few_rows_get_the_same_bits(classes: int, number: int) -> None:
    model = fitted(classes)
    faster = without_checks(model)
    assert isinstance(faster._predict_iterations, FewRows)
    for seed, missing in ((3, 0.0), (4, 0.3)):
        asked = rows(number, seed, missing)
        np.testing.assert_array_equal(faster.predict_proba(asked), model.predict_proba(asked))


def test_every_row_ends_in_the_leaf_that_following_the_nodes_leads_to() -> None:
    model = fitted(2)
    few = FewRows.of(model)
    assert few is not None
    asked = rows(5, 6)
    trees = [tree.nodes for iteration in model._predictors for tree in iteration]
    for row, reached in zip(asked, few.leaves(asked), strict=True):
        for nodes, leaf in zip(trees, few._numbers[reached], strict=True):
            at = 0
            while not nodes[at]["is_leaf"]:
                value = row[nodes[at]["feature_idx"]]
                goes_left = nodes[at]["missing_go_to_left"] if np.isnan(value) else value <= nodes[at]["num_threshold"]
                at = int(nodes[at]["left" if goes_left else "right"])
            assert leaf == nodes[at]["value"]


def test_a_value_on_the_threshold_and_an_infinite_one_go_where_scikit_learn_sends_them() -> None:
    model = fitted(2)
    faster = without_checks(model)
    root = model._predictors[0][0].nodes[0]
    asked = rows(3, 7, 0.0)
    asked[:, root["feature_idx"]] = [root["num_threshold"], np.inf, -np.inf]
    for row in asked:
        np.testing.assert_array_equal(faster.predict_proba(row[None]), model.predict_proba(row[None]))


def test_many_rows_and_categories_are_left_to_scikit_learn() -> None:
    model, categorical = fitted(2), fitted(2, 2)
    assert FewRows.of(categorical) is None
    many = rows(500, 8)
    np.testing.assert_array_equal(without_checks(model).predict_proba(many), model.predict_proba(many))


@pytest.mark.parametrize("classes", [2, 3])
def test_no_rows_have_no_answers(classes: int) -> None:
    assert without_checks(fitted(classes)).predict_proba(rows(0, 12)).shape == (0, classes)


def test_trees_of_a_single_leaf_are_no_exception() -> None:
    model = HistGradientBoostingClassifier(max_iter=3, early_stopping=False, min_samples_leaf=60)
    model.fit(rows(100, 9, 0.0), np.arange(100) % 2)
    faster = without_checks(model)
    np.testing.assert_array_equal(faster.predict_proba(rows(2, 10)), model.predict_proba(rows(2, 10)))


def test_it_travels_to_another_process() -> None:
    faster = without_checks(fitted(2))
    there = pickle.loads(pickle.dumps(faster))
    np.testing.assert_array_equal(there.predict_proba(rows(3, 11)), faster.predict_proba(rows(3, 11)))
