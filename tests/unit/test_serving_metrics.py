"""What a replica counts, and what Ray is told of it."""

import threading

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.telemetry.buckets import Buckets
from taxiway.telemetry.metrics import NOTES, ServingMetrics
from tests.heard import Heard, listening

BOUNDS = (0.001, 0.01, 0.1, 1.0)
FLUSHES_OF_FIVE_SECONDS = 50
CHAMPION = {"endpoint": "delay", "variant": "champion"}


def test_requests_are_counted_by_code_and_timed_by_protocol() -> None:
    metrics = ServingMetrics()
    heard = listening(metrics)
    metrics.request("delay", "champion", "ok", 0.003, "tf_serving")
    metrics.request("delay", "champion", "ok", 0.3, "grpc")
    metrics.request("delay", "champion", "overloaded", 0.0, "grpc")
    metrics.flush(now=True)
    requests, seconds = heard["taxiway_requests_total"], "taxiway_request_duration_seconds"
    assert requests.of(**CHAMPION, code="ok") == 2
    assert requests.of(**CHAMPION, code="overloaded") == 1
    assert heard[f"{seconds}_count"].last(**CHAMPION, protocol="grpc") == 2
    assert heard[f"{seconds}_sum"].last(**CHAMPION, protocol="tf_serving") == 0.003
    assert heard[f"{seconds}_bucket"].last(**CHAMPION, protocol="tf_serving", le="0.002") == 0
    assert heard[f"{seconds}_bucket"].last(**CHAMPION, protocol="tf_serving", le="0.005") == 1


def exported(buckets: Buckets) -> tuple[dict[str, float], float, float]:
    buckets.buckets, buckets.sums, buckets.counts = (Heard(()) for _ in range(3))
    buckets.export(("x",))
    levels = buckets.buckets.levels
    found = {dict(tags)["le"]: values[-1] for tags, values in levels.items()}
    return found, buckets.sums.last(k="x"), buckets.counts.last(k="x")


VALUES = st.lists(st.floats(0, 2) | st.sampled_from(BOUNDS), min_size=1, max_size=40)


@settings(max_examples=30)
@given(st.lists(VALUES, min_size=1, max_size=3))
def test_a_histogram_counts_as_that_of_prometheus_does(flushes: list[list[float]]) -> None:
    ours = Buckets("taxiway_x", "X.", BOUNDS, ("k",))
    theirs = prometheus_client.Histogram("x", "X.", ("k",), buckets=BOUNDS, registry=None)
    for values in flushes:
        ours.add(("x",), values)
        for value in values:
            theirs.labels("x").observe(value)
    samples = next(iter(theirs.collect())).samples
    wanted = {it.labels["le"]: it.value for it in samples if it.name == "x_bucket"}
    found, total, count = exported(ours)
    assert found == wanted
    assert count == sum(map(len, flushes))
    assert total == pytest.approx(sum(map(sum, flushes)))


def test_an_observation_that_is_no_number_does_not_spoil_the_sum() -> None:
    ours = Buckets("taxiway_x", "X.", BOUNDS, ("k",))
    ours.add(("x",), [float("nan"), 0.5, float("inf")])
    found, total, count = exported(ours)
    assert (found["1.0"], found["+Inf"], total, count) == (1, 3, 0.5, 3)


def test_levels_are_told_again_within_ten_flushes() -> None:
    metrics = ServingMetrics()
    heard = listening(metrics)
    metrics.queued("delay", "champion", "live", 7)
    metrics.feature_view("airports", None, True)
    for _ in range(20):
        metrics.flush()
    assert list(heard["taxiway_queue_rows"].levels.values()) == [[7, 7]]
    assert len(heard["taxiway_feature_view_stale"].levels[(("view", "airports"),)]) == 2
    assert heard["taxiway_feature_view_age_seconds"].levels == {}


def test_with_very_many_endpoints_a_flush_hands_over_little_and_five_seconds_are_enough_for_all() -> None:
    metrics = ServingMetrics()
    for number in range(300):
        for phase in ("queue", "score", "encode"):
            metrics.phase(f"store-{number}", "model", phase, 0.001)
    metrics.flush(now=True)
    told = listening(metrics)["taxiway_phase_duration_seconds_count"].levels
    most = 0
    for _ in range(2 * FLUSHES_OF_FIVE_SECONDS):
        before = sum(map(len, told.values()))
        metrics.flush()
        most = max(most, sum(map(len, told.values())) - before)
    assert len(told) == 900
    assert most <= 31


def test_of_a_version_that_was_replaced_one_last_zero_is_told() -> None:
    metrics = ServingMetrics()
    info = listening(metrics)["taxiway_model_info"]
    metrics.answers("delay", "champion", "1", 2.5)
    metrics.flush(now=True)
    for _ in range(3):
        metrics.answers("delay", "champion", "2", 3.5)
        metrics.flush(now=True)
    assert [info.levels[tags] for tags in sorted(info.levels)] == [[1.0, 0.0], [1.0, 1.0, 1.0]]


def test_nothing_is_lost_that_threads_note_while_it_is_handed_over() -> None:
    metrics = ServingMetrics()
    heard = listening(metrics)

    def note() -> None:
        for _ in range(2_000):
            metrics.batch("delay", "champion", 3, 0.1, 0.2)
            metrics.shadow("delay", "champion", "compared")

    threads = [threading.Thread(target=note) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        metrics.flush()
    metrics.flush(now=True)
    assert heard["taxiway_batch_rows_sum"].last(**CHAMPION) == 24_000
    assert heard["taxiway_shadow_requests_total"].of(**CHAMPION, outcome="compared") == 8_000


def test_what_nobody_hands_over_does_not_fill_the_memory() -> None:
    metrics = ServingMetrics()
    for _ in range(NOTES + 10):
        metrics.request("delay", "champion", "ok", 0.001)
    assert len(metrics._noted) == NOTES
