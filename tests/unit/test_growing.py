"""Columns that grow hold what was appended, in order, and nothing of another layout."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.growing import GrowingColumns
from taxiway.signature import Columns


def batch(rows: int, first: int = 0) -> tuple[Columns, Columns]:
    numbers = np.arange(first, first + rows)
    text = np.array([f"t{number}" for number in numbers], np.object_)
    inputs = {"a": numbers.astype(float), "text": text, "b": -numbers.astype(float)}
    return inputs, {"picture": np.stack([numbers, numbers + 1], axis=1).reshape(rows, 2, 1), "n": numbers}


@given(st.lists(st.integers(1, 900), min_size=1, max_size=8))
def test_all_rows_are_there_in_the_order_in_which_they_came(sizes: list[int]) -> None:
    growing, first = GrowingColumns(batch(1)), 0
    for size in sizes:
        assert growing.append(batch(size, first), size)
        first += size
    for found, expected in zip(growing.tables(), batch(first), strict=True):
        assert list(found) == list(expected)
        for name, values in expected.items():
            assert found[name].dtype == values.dtype
            np.testing.assert_array_equal(found[name], values)


def test_what_was_appended_can_be_changed_afterwards() -> None:
    inputs, outputs = batch(3)
    growing = GrowingColumns((inputs, outputs))
    growing.append((inputs, outputs), 3)
    inputs["a"][:] = 9
    assert growing.tables()[0]["a"].tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    "changed",
    [
        {"a": np.array([1, 2])},
        {"a": np.array([1, 2], np.float32)},
        {"a": np.array([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])},
        {"a": np.array([[1.0], [2.0]]), "b": np.array([[1.0], [2.0]])},
        {"text": np.array(["a", "b"])},
        {"one more": np.array([1.0, 2.0])},
    ],
)
def test_another_layout_is_refused_and_leaves_nothing(changed: dict[str, Any]) -> None:
    inputs, outputs = batch(2)
    growing = GrowingColumns((inputs, outputs))
    growing.append((inputs, outputs), 2)
    assert not growing.append(({**inputs, **changed}, outputs), 2)
    assert not growing.append(({"a": inputs["a"]}, outputs), 2)
    assert growing.rows == len(growing.tables()[0]["text"]) == 2
