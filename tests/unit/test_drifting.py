"""What a replica counts for drift: live rows, a sample of many, and never at a request's cost."""

import numpy as np
import pytest

from serve.batching import Waiting
from serve.drifting import DriftCounter
from serve.recording import Recorder, stream_of
from taxiway.drift.counts import of_numbers, of_profile
from taxiway.predictions.record import Source
from taxiway.profile import count, merge, profile
from taxiway.rollout.tally import Stream
from taxiway.scoring import Scored
from taxiway.signature import Array, Column, Signature

STREAM = Stream("delay", "champion", "3", "live")
SIGNATURE = Signature(
    inputs=(Column(name="wind", dtype="float64", nullable=True), Column(name="carrier", dtype="string")),
    outputs=(Column(name="late", dtype="float64"),),
)


def rows(number: int, seed: int = 0) -> tuple[dict[str, Array], dict[str, Array]]:
    random = np.random.default_rng(seed)
    wind = np.where(random.random(number) < 0.1, np.nan, random.gamma(2.0, 5.0, number))
    return {"wind": wind, "carrier": random.choice(np.array(["UA", "B6"], object), number)}, {
        "late": random.random(number)
    }


FIRST = rows(2_000)
REFERENCE = profile(FIRST[0], SIGNATURE, (), FIRST[1])


def counter(rows_per_s: int = 10_000) -> DriftCounter:
    found = DriftCounter()
    found.follow(STREAM, REFERENCE, rows_per_s)
    return found


def test_numbers_since_the_start_are_those_of_the_merged_profiles() -> None:
    counting = counter()
    counting.add(STREAM, *rows(300, 1))
    counting.counted()
    counting.add(STREAM, *rows(200, 2))
    counting.add(STREAM, *rows(100, 3))
    told = counting.counted()[STREAM]
    parts = [count(REFERENCE, *rows(number, seed)) for number, seed in ((300, 1), (200, 2), (100, 3))]
    assert of_numbers(told.reference, told.numbers) == of_profile(merge(merge(parts[0], parts[1]), parts[2]))
    assert told.reference == of_profile(REFERENCE)
    assert counting.counted()[STREAM] == told


def test_of_too_many_rows_in_a_second_a_sample_is_counted() -> None:
    counting = counter(rows_per_s=500)
    for seed in range(4):
        counting.add(STREAM, *rows(200, seed))
    assert counting.counted()[STREAM].numbers["rows"] == 500
    inputs, outputs = rows(4_000)
    inputs["carrier"] = np.repeat(np.array(["UA", "B6"], object), 2_000)
    counting.add(STREAM, inputs, outputs)
    (column,) = (it for it in of_numbers(*_told(counting)) if it.column == "carrier")
    assert column.rows == 1_000
    assert min(column.bins[:2]) > 380


def _told(counting: DriftCounter) -> tuple[object, ...]:
    told = counting.counted()[STREAM]
    return told.reference, told.numbers


def test_a_version_that_nobody_follows_is_not_counted() -> None:
    counting = counter()
    counting.add(STREAM._replace(version="4"), *rows(10))
    assert counting.counted()[STREAM].numbers == {}


def test_the_two_last_versions_of_a_variant_are_counted() -> None:
    counting = counter()
    for version in ("4", "5"):
        counting.follow(STREAM._replace(version=version), REFERENCE, 100)
    assert [it.version for it in counting.counted()] == ["4", "5"]


def test_values_of_another_type_end_the_counting_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    counting = counter()
    counting.add(STREAM, *rows(10))
    counting.counted()
    inputs, outputs = rows(10)
    counting.add(STREAM, inputs | {"wind": np.array(["much"] * 10, object)}, outputs)
    assert counting.counted()[STREAM].numbers["rows"] == 10
    counting.add(STREAM, *rows(10))
    assert counting.counted()[STREAM].numbers["rows"] == 10
    assert "wind" in caplog.text


def test_a_recorder_hands_over_live_rows_and_no_copies() -> None:
    counting = counter()
    recorder = Recorder(drift=counting)
    for number, kind in ((3, "live"), (5, "shadow")):
        source = Source(*STREAM[:3], kind=kind)
        inputs, outputs = rows(number)
        waiting = Waiting(inputs, number, 1e18, lambda _: None)
        waiting.prediction_id = "a"
        recorder.answers(source, [waiting], [Scored(np.arange(number), outputs, [], (), inputs)])
    recorder.count()
    assert stream_of(Source(*STREAM[:3])) == STREAM
    assert counting.counted()[STREAM].numbers["rows"] == 3
