import asyncio
import time
from collections.abc import Callable
from concurrent.futures import Executor, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

from serve.batching import BatchRules, Gatherer, Outputs
from taxiway.errors import (
    DeadlineExceeded,
    FeatureStoreFailed,
    InvalidInput,
    ModelFailed,
    Overloaded,
    TaxiwayError,
    VariantUnavailable,
)
from taxiway.inference import JsonColumn, RequestColumns
from taxiway.scoring import Scored
from taxiway.signature import Column, Columns, Reject, RejectCode, row_count


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


INPUTS = {name: Column(name=name, dtype="float64") for name in ("x", "z")}


def gatherer(
    score: Callable[[Columns], Scored],
    batch_rows: int = 1000,
    queue_rows: int = 10_000,
    executor: Executor | None = None,
    wait_s: float = 0.0,
    observe: Callable[[int, float, float, float], None] = lambda *_: None,
    in_flight: int = 1,
) -> Gatherer:
    rules = BatchRules(batch_rows, 1_000_000, queue_rows, wait_s)
    return Gatherer(score, INPUTS, rules, observe, executor, in_flight)


def ask(
    gathering: Gatherer, columns: RequestColumns, rows: int, within_s: float = 60.0
) -> "asyncio.Future[Outputs | TaxiwayError]":
    answer: asyncio.Future[Outputs | TaxiwayError] = asyncio.get_running_loop().create_future()
    try:
        gathering.submit(columns, rows, time.monotonic() + within_s, answer.set_result)
    except TaxiwayError as error:
        answer.set_result(error)
    return answer


def gather(
    score: Callable[[Columns], Scored], *requests: list[float], batch_rows: int = 1000, queue_rows: int = 10_000
) -> list[Outputs | TaxiwayError]:
    async def run() -> list[Outputs | TaxiwayError]:
        gathering = gatherer(score, batch_rows, queue_rows)
        return await asyncio.gather(*(ask(gathering, {"x": np.array(x, float)}, len(x)) for x in requests))

    return asyncio.run(run())


def answers(results: "list[Outputs | TaxiwayError]") -> list[list[float] | type]:
    return [result["y"].tolist() if isinstance(result, dict) else type(result) for result in results]


def test_what_arrives_together_is_one_batch_and_everyone_gets_its_own_rows() -> None:
    model = Doubling()
    assert answers(gather(model, [1, 2], [3], [4, 5, 6])) == [[2, 4], [6], [8, 10, 12]]
    assert model.batches == [6]


def test_a_bad_request_in_a_batch_fails_alone_with_its_own_value_and_row() -> None:
    results = gather(Doubling(), [1], [2, -7], [3], [-9])
    assert answers(results) == [[2], InvalidInput, [6], InvalidInput]
    assert [str(results[1]), str(results[3])] == ["x: got -7.0 (row 1)", "x: got -9.0"]


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
        gathering = gatherer(score)
        one, two = {"x": np.ones(1)}, {"x": np.ones(1), "z": np.ones(1)}
        await asyncio.gather(ask(gathering, one, 1), ask(gathering, two, 1), ask(gathering, one, 1))

    asyncio.run(run())
    assert sorted(seen) == [("x",), ("x", "z")]


def test_a_request_whose_caller_has_gone_is_not_computed() -> None:
    model = Doubling()

    async def run() -> None:
        gathering = gatherer(model)
        gone = gathering.submit({"x": np.ones(5)}, 5, time.monotonic() + 9, pytest.fail)
        stays = ask(gathering, {"x": np.ones(2)}, 2)
        gone.cancel()
        await stays

    asyncio.run(run())
    assert model.batches == [2]


def test_a_failing_observer_and_a_failing_receiver_keep_nobody_waiting() -> None:
    def fail(*_: object) -> None:
        raise RuntimeError

    async def run() -> list[Outputs | TaxiwayError]:
        gathering = gatherer(Doubling(), observe=fail)
        gathering.submit({"x": np.ones(1)}, 1, time.monotonic() + 9, fail)
        return [await asyncio.wait_for(ask(gathering, {"x": np.ones(1)}, 1), 5)]

    assert answers(asyncio.run(run())) == [[2.0]]


def test_values_of_json_become_one_array_and_a_wrong_one_is_blamed_on_its_own_request() -> None:
    model = Doubling()

    async def run() -> list[Outputs | TaxiwayError]:
        gathering = gatherer(model)
        requests: list[list[Any]] = [[1, 2.5], [3], ["four"], [5]]
        return await asyncio.gather(*(ask(gathering, {"x": JsonColumn(x, "FP64")}, len(x)) for x in requests))

    results = asyncio.run(run())
    assert answers(results) == [[2.0, 5.0], [6.0], InvalidInput, [10.0]]
    assert "got a string 'four'" in str(results[2])


def test_expired_work_is_not_executed() -> None:
    model = Doubling()

    async def run() -> list[Outputs | TaxiwayError]:
        gathering = gatherer(model)
        late, in_time = ask(gathering, {"x": np.ones(3)}, 3, -0.1), ask(gathering, {"x": np.ones(2)}, 2)
        return await asyncio.gather(late, in_time)

    assert answers(asyncio.run(run())) == [DeadlineExceeded, [2.0, 2.0]]
    assert model.batches == [2]


class Slow(Doubling):
    """Takes a while, as models do that don't run on the loop."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self.seconds = seconds

    def __call__(self, columns: Columns) -> Scored:
        time.sleep(self.seconds)
        return super().__call__(columns)


def test_a_slow_model_gathers_the_next_batch_while_it_computes_and_the_loop_turns() -> None:
    model = Slow(0.2)

    async def run() -> tuple[list[Outputs | TaxiwayError], int]:
        turns = 0
        with ThreadPoolExecutor(1) as executor:
            gathering = gatherer(model, executor=executor)
            first = ask(gathering, {"x": np.ones(1)}, 1)
            await asyncio.sleep(0.05)
            rest = [ask(gathering, {"x": np.array([float(x)])}, 1) for x in range(2, 6)]
            while not all(answer.done() for answer in rest):
                turns += 1
                await asyncio.sleep(0.01)
            return [await first, *[await answer for answer in rest]], turns

    results, turns = asyncio.run(run())
    assert answers(results) == [[2.0], [4.0], [6.0], [8.0], [10.0]]
    assert model.batches == [1, 4]
    assert turns > 5


def test_a_caller_of_a_slow_model_hears_in_time_that_its_time_is_over() -> None:
    model = Slow(0.5)

    async def run() -> float:
        with ThreadPoolExecutor(1) as executor:
            gathering = gatherer(model, executor=executor)
            begin = time.monotonic()
            answer = await ask(gathering, {"x": np.ones(1)}, 1, 0.1)
            assert isinstance(answer, DeadlineExceeded)
            return time.monotonic() - begin

    assert asyncio.run(run()) < 0.4


def test_work_that_can_not_be_done_in_time_is_not_begun_once_the_model_is_known() -> None:
    model = Slow(0.1)

    async def run() -> list[Outputs | TaxiwayError]:
        with ThreadPoolExecutor(1) as executor:
            gathering = gatherer(model, executor=executor)
            for _ in range(8):
                await ask(gathering, {"x": np.ones(1)}, 1)
            return [await ask(gathering, {"x": np.ones(1)}, 1, 0.04)]

    assert answers(asyncio.run(run())) == [DeadlineExceeded]
    assert len(model.batches) == 8


def test_a_batch_that_lost_its_replica_is_asked_again_request_by_request() -> None:
    calls: list[list[float]] = []

    def score(columns: Columns) -> Scored:
        x = columns["x"].tolist()
        calls.append(x)
        if 66.0 in x:
            raise VariantUnavailable("the replica died")
        return Doubling()(columns)

    assert answers(gather(score, [1], [66], [3])) == [[2], VariantUnavailable, [6]]
    assert calls == [[1, 66, 3], [1], [66], [3]]


def test_waiting_for_a_full_batch_ends_when_it_is_full_or_the_time_is_over() -> None:
    model = Doubling()

    async def run() -> tuple[float, float]:
        gathering = gatherer(model, batch_rows=4, wait_s=0.3)
        begin = time.monotonic()
        await asyncio.gather(*(ask(gathering, {"x": np.ones(2)}, 2) for _ in range(2)))
        full = time.monotonic() - begin
        await ask(gathering, {"x": np.ones(1)}, 1)
        return full, time.monotonic() - begin - full

    full, alone = asyncio.run(run())
    assert model.batches == [4, 1]
    assert full < 0.2
    assert alone > 0.25


def test_how_long_a_batch_was_held_open_for_more_rows_is_told_apart() -> None:
    told: list[tuple[float, float]] = []

    async def run() -> None:
        gathering = gatherer(
            Doubling(),
            batch_rows=2,
            wait_s=0.2,
            observe=lambda rows, waited_s, took_s, held_s: told.append((waited_s, held_s)),
        )
        one = {"x": np.ones(1)}
        await ask(gathering, one, 1)
        await asyncio.gather(ask(gathering, one, 1), ask(gathering, one, 1))

    asyncio.run(run())
    (alone, held_alone), (_, held_until_full) = told
    assert 0.19 <= held_alone <= alone
    assert held_until_full < 0.1
