"""What a recorder makes of batches: which rows are counted and logged, side by side in their order."""

import time
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.batching import Waiting
from serve.recording import Recorder, stream_of
from taxiway.errors import ModelFailed, TaxiwayError
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.scoring import Scored
from taxiway.signature import Array

LIVE, COPY = Source("delay", "champion", "3"), Source("delay", "challenger", "4", "shadow")


def waiting(rows: int, prediction_id: str | None, live: dict[str, Array] | None = None) -> Waiting:
    found = Waiting({}, rows, 1e18, lambda _: None)
    found.prediction_id, found.live = prediction_id, live
    return found


def scored(values: Sequence[float], rows: Sequence[int] | None = None, **more: Array) -> Scored:
    given = np.array(values, dtype=float)
    return Scored(np.arange(len(given)) if rows is None else np.array(rows), {"y": given}, [], (), {"x": given, **more})


def counted(
    *batches: tuple[Source, Sequence[Waiting], Sequence[Scored | TaxiwayError]],
) -> tuple[Recorder, list[LoggedBatch]]:
    logged: list[LoggedBatch] = []
    recorder = Recorder(logged.append)
    for batch in batches:
        recorder.answers(*batch)
    recorder.count()
    return recorder, logged


def test_batches_of_one_source_are_logged_side_by_side() -> None:
    first = LIVE, [waiting(1, "a"), waiting(2, "b")], [scored([1, 2, 3])]
    second = LIVE, [waiting(1, "c")], [scored([4])]
    recorder, (logged,) = counted(first, second)
    assert (logged.ids, logged.rows) == (["a", "b", "c"], [1, 2, 1])
    assert logged.inputs["x"].tolist() == logged.outputs["y"].tolist() == [1, 2, 3, 4]
    assert recorder.counted()[stream_of(LIVE)]["rows"] == 4
    assert logged.arrived_s == pytest.approx([time.time()] * 3, abs=60)


def test_rows_of_a_request_that_nobody_waited_for_are_left_out() -> None:
    batch = [waiting(1, "a"), waiting(2, None), waiting(1, "c")]
    _, (logged,) = counted((LIVE, batch, [scored([1, 2, 3, 4])]))
    assert (logged.ids, logged.inputs["x"].tolist()) == (["a", "c"], [1, 4])


def test_rows_that_were_rejected_are_not_among_the_answers() -> None:
    batch = [waiting(2, None), waiting(1, "b")]
    _, (logged,) = counted((LIVE, batch, [scored([7, 9], rows=[0, 2])]))
    assert (logged.ids, logged.outputs["y"].tolist()) == (["b"], [9])


def test_a_batch_without_an_answer_is_not_logged() -> None:
    recorder, logged = counted(
        (LIVE, [waiting(1, None)], [scored([1])]), (LIVE, [waiting(1, None)], [ModelFailed("no")])
    )
    assert not logged
    assert not recorder.counted()


def test_requests_that_were_answered_one_by_one_stand_for_themselves() -> None:
    batch = [waiting(1, "a"), waiting(1, None), waiting(2, "c")]
    _, (logged,) = counted((LIVE, batch, [scored([1]), ModelFailed("no"), scored([5, 6])]))
    assert (logged.ids, logged.rows, logged.outputs["y"].tolist()) == (["a", "c"], [1, 2], [1, 5, 6])


def test_large_batches_and_small_ones_keep_their_order() -> None:
    large = [float(value) for value in range(10_000)]
    batches = [(LIVE, [waiting(len(values), "id")], [scored(values)]) for values in ([1], large, [2, 3])]
    _, (logged,) = counted(*batches)
    assert logged.rows == [1, 10_000, 2]
    assert logged.outputs["y"].tolist() == [1, *large, 2, 3]


def test_what_waits_is_bounded_whatever_the_layout(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("serve.recording.WAITING_BYTES", 20_000)
    small, large = scored([1]), scored([1], picture=np.zeros((1, 2_000)))
    batches = [(LIVE, [waiting(1, "id")], [one]) for _ in range(10) for one in (small, large)]
    _, (logged,) = counted(*batches)
    assert len(logged.ids) == 4
    assert "16 batches were not counted" in caplog.text


def test_only_columns_that_all_batches_have_are_logged() -> None:
    first = LIVE, [waiting(1, "a")], [scored([1], z=np.array([9.0]))]
    _, (logged,) = counted(first, (LIVE, [waiting(1, "b")], [scored([2])]))
    assert list(logged.inputs) == ["x"]
    assert logged.inputs["x"].tolist() == [1, 2]


def test_a_copy_is_compared_with_the_live_answer_to_the_same_rows() -> None:
    batch = [waiting(1, "a", {"y": np.array([1.5])}), waiting(2, "b", {"y": np.array([2.0, 3.0])})]
    recorder, (logged,) = counted((COPY, batch, [scored([1, 2, 4])]))
    numbers = recorder.counted()[stream_of(COPY)]
    assert [numbers["difference/y/n"], numbers["difference/y/sum"]] == pytest.approx([3, 1.5])
    assert logged.source is COPY


@given(st.lists(st.lists(st.tuples(st.integers(1, 3), st.booleans()), min_size=1, max_size=4), min_size=1, max_size=5))
def test_every_row_that_was_answered_is_logged_once_and_in_order(batches: list[list[tuple[int, bool]]]) -> None:
    given, expected, place = [], [], 0
    for sizes in batches:
        rows = sum(size for size, _ in sizes)
        given.append(
            (LIVE, [waiting(n, "id" if told else None) for n, told in sizes], [scored(range(place, place + rows))])
        )
        for size, told in sizes:
            expected += [*range(place, place + size)] if told else []
            place += size
    _, logged = counted(*given)
    assert [value for batch in logged for value in batch.outputs["y"].tolist()] == expected
