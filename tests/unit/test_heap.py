"""What the garbage collector does while requests are answered."""

import gc
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from serve.heap import settle

PYTHON = 700, 10, 10
"""Python's own thresholds."""


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    thresholds = gc.get_threshold()
    yield
    gc.set_threshold(*thresholds)
    gc.unfreeze()


def collections(work: Callable[[], object]) -> int:
    begun = []

    def seen(phase: str, _: dict[str, Any]) -> None:
        begun.append(phase == "start")

    gc.callbacks.append(seen)
    try:
        work()
    finally:
        gc.callbacks.remove(seen)
    return sum(begun)


def waves() -> None:
    """Batches of 128 requests, each with forty objects of its own until its answer."""
    for _ in range(20):
        batch: list[list[list[int]]] = [[[] for _ in range(40)] for _ in range(128)]
        batch.clear()


def cycles() -> None:
    for _ in range(100_000):
        mine: list[Any] = []
        mine.append(mine)


def test_requests_on_their_way_start_no_collection() -> None:
    gc.set_threshold(*PYTHON)
    assert collections(waves) > 20
    settle()
    assert collections(waves) == 0


def test_cycles_are_collected_before_they_are_many() -> None:
    settle()
    assert collections(cycles) >= 4


def test_what_is_loaded_is_not_looked_at_again() -> None:
    model: list[list[int]] = [[] for _ in range(50_000)]
    settle()
    assert gc.get_freeze_count() >= len(model)
