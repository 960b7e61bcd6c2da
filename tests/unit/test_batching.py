import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from serve.batching import Gatherer, Outputs
from taxiway.errors import FeatureStoreFailed, InvalidInput, ModelFailed, Overloaded
from taxiway.scoring import Scored
from taxiway.signature import Columns, Reject, RejectCode, row_count


class Doubling:
    """Doubles x; refuses rows where x is negative, fails where it is 13."""

    def __init__(self) -> None:
        self.batches: list[int] = []

    def __call__(self, columns: Columns) -> Scored:
        x = columns["x"]
        self.batches.append(len(x))
        bad = np.flatnonzero(x < 0)
        failed = np.flatnonzero(x == 13)
        good = np.flatnonzero((x >= 0) & (x != 13))
        rejects = []
        if len(bad):
            rejects.append(Reject(bad, RejectCode.OUT_OF_RANGE, "x", [f"got {value}" for value in x[bad]]))
        if len(failed):
            rejects.append(Reject(failed, RejectCode.MODEL_FAILED, "", ["the model raised"] * len(failed)))
        return Scored(good, {"y": x[good] * 2}, rejects)


def gather(
    score: Callable[[Columns], Scored], *requests: list[float], batch_rows: int = 1000, queue_rows: int = 10_000
) -> list[Outputs | BaseException]:
    async def run() -> list[Outputs | BaseException]:
        gatherer = Gatherer(score, batch_rows, queue_rows, lambda rows: None)
        submitted = (gatherer.submit({"x": np.array(request)}, len(request)) for request in requests)
        return await asyncio.gather(*submitted, return_exceptions=True)

    return asyncio.run(run())


def answers(results: list[Outputs | BaseException]) -> list[list[float] | type]:
    return [result["y"].tolist() if isinstance(result, dict) else type(result) for result in results]


def test_what_arrives_together_is_one_batch_and_everyone_gets_its_own_rows() -> None:
    model = Doubling()
    assert answers(gather(model, [1, 2], [3], [4, 5, 6])) == [[2, 4], [6], [8, 10, 12]]
    assert model.batches == [6]


def test_a_bad_request_in_a_batch_fails_alone_with_its_own_value_and_row() -> None:
    results = gather(Doubling(), [1], [2, -7], [3], [-9])
    assert answers(results) == [[2], InvalidInput, [6], InvalidInput]
    assert [str(results[1]), str(results[3])] == ["x: got -7 (row 1)", "x: got -9"]


def test_a_request_on_which_the_model_raises_fails_alone() -> None:
    assert answers(gather(Doubling(), [1], [13], [3])) == [[2], ModelFailed, [6]]


def test_batches_end_at_their_limit_and_a_larger_request_stands_alone() -> None:
    model = Doubling()
    results = gather(model, [1, 2], [3, 4], [5, 6], [1, 2, 3, 4, 5, 6], [7], batch_rows=4)
    assert model.batches == [4, 2, 6, 1]
    assert [len(result["y"]) for result in results if isinstance(result, dict)] == [2, 2, 2, 6, 1]


def test_over_the_queue_limit_a_request_is_refused_at_once() -> None:
    assert answers(gather(Doubling(), [1, 2], [3, 4], [5], queue_rows=3)) == [[2, 4], Overloaded, [10]]


def test_a_single_request_larger_than_the_queue_is_answered() -> None:
    assert answers(gather(Doubling(), [1, 2, 3], queue_rows=2)) == [[2, 4, 6]]


def test_an_error_of_the_feature_store_reaches_every_request_of_the_batch() -> None:
    def fail(columns: Columns) -> Scored:
        raise FeatureStoreFailed("the store is away")

    assert answers(gather(fail, [1], [2])) == [FeatureStoreFailed, FeatureStoreFailed]


def test_an_unexpected_error_becomes_a_failure_without_its_text() -> None:
    def fail(columns: Columns) -> Scored:
        raise RuntimeError("secret path")

    results = gather(fail, [1])
    assert isinstance(results[0], ModelFailed)
    assert "secret" not in str(results[0])


def test_requests_with_different_columns_never_share_a_batch() -> None:
    seen: list[tuple[str, ...]] = []

    def score(columns: Columns) -> Scored:
        seen.append(tuple(columns))
        rows = np.arange(row_count(columns))
        return Scored(rows, {"y": rows}, [])

    async def run() -> None:
        gatherer = Gatherer(score, 100, 100, lambda rows: None)
        one, two = {"x": np.ones(1)}, {"x": np.ones(1), "z": np.ones(1)}
        await asyncio.gather(gatherer.submit(one, 1), gatherer.submit(two, 1), gatherer.submit(one, 1))

    asyncio.run(run())
    assert sorted(seen) == [("x",), ("x", "z")]


def test_a_request_whose_caller_has_gone_is_not_computed() -> None:
    model = Doubling()

    async def run() -> None:
        gatherer = Gatherer(model, 100, 100, lambda rows: None)
        gone = asyncio.create_task(gatherer.submit({"x": np.ones(5)}, 5))
        stays = asyncio.create_task(gatherer.submit({"x": np.ones(2)}, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await stays
        with pytest.raises(asyncio.CancelledError):
            await gone

    asyncio.run(run())
    assert model.batches == [2]


def test_a_failing_observer_fails_the_batch_and_nobody_waits_for_ever() -> None:
    def fail(rows: int) -> None:
        raise RuntimeError

    async def run() -> list[Outputs | BaseException]:
        gatherer = Gatherer(Doubling(), 100, 100, fail)
        one = {"x": np.ones(1)}
        asked = asyncio.gather(gatherer.submit(one, 1), gatherer.submit(one, 1), return_exceptions=True)
        return await asyncio.wait_for(asked, 5)

    assert answers(asyncio.run(run())) == [ModelFailed, ModelFailed]
