"""Columns that a model looks at, and one that it does not."""

import numpy as np
import pytest

from retrain.importance import importance
from taxiway.signature import Array, Columns


def predict(columns: Columns) -> Array:
    return 1 / (1 + np.exp(-3 * columns["much"] - columns["little"]))


def test_the_column_that_decides_comes_first_and_one_that_is_not_read_loses_nothing() -> None:
    random = np.random.default_rng(0)
    columns = {name: random.normal(size=20_000) for name in ("unread", "little", "much")}
    labels = (random.random(20_000) < predict(columns)).astype(np.int64)
    found = importance(predict, columns, labels, ["unread", "little", "much"], rows=4_000)
    assert [it.column for it in found] == ["much", "little", "unread"]
    assert found[2].lost == 0.0
    assert found[0].low <= found[0].lost <= found[0].high
    # Without the first column only the second is left, whose own AUC is known.
    assert found[0].lost > 5 * found[1].lost > 0


def test_the_same_seed_gives_the_same_figures() -> None:
    random = np.random.default_rng(1)
    columns = {name: random.normal(size=500) for name in ("much", "little")}
    labels = (random.random(500) < predict(columns)).astype(np.int64)
    first, second, other = (importance(predict, columns, labels, ["much"], seed=seed) for seed in (1, 1, 2))
    assert first == second
    assert first[0].lost != pytest.approx(other[0].lost, abs=1e-12)
