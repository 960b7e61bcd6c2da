"""The requests of the last hour, what is left of a promise, and whose the CPU time was."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.status_facts import budgets, counted
from taxiway.slo import SloSettings, budget_left
from taxiway.telemetry.process import shared, usage
from taxiway.telemetry.recent import FAILURES, KEPT, Recent, Seen, seen

KEY = "delay", "champion"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_requests_leave_a_window_and_stay_in_a_longer_one() -> None:
    clock = Clock()
    recent = Recent(clock)
    recent.add(KEY, "ok", [0.01, 0.02])
    clock.now += 200
    recent.add(KEY, "overloaded", [0.0])
    assert recent.last(60)[KEY].codes == {"overloaded": 1}
    assert recent.last(300)[KEY].codes == {"ok": 2, "overloaded": 1}
    assert recent.covered_s(60) == 60
    assert recent.covered_s(300) == 200


def test_an_hour_is_kept_and_no_more() -> None:
    clock = Clock()
    recent = Recent(clock)
    for _ in range(2 * KEPT):
        recent.add(KEY, "ok", [0.01])
        clock.now += 10
    assert recent.last(1e9)[KEY].requests == KEPT


@settings(max_examples=50)
@given(st.lists(st.floats(0.0002, 100), min_size=1, max_size=20), st.floats(0.01, 1))
def test_a_quantile_is_at_most_a_tenth_too_much(seconds: list[float], share: float) -> None:
    found = seen("ok", seconds).quantile_s(share)
    exact = float(np.quantile(seconds, share, method="inverted_cdf"))
    assert found is not None
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 1.1 * (1 + 1e-9)


def test_only_answers_have_a_latency() -> None:
    assert seen("overloaded", [5.0]).quantile_s(0.5) is None
    assert (seen("overloaded", [5.0]) + seen("ok", [0.01])).slower_than(1.0) == 0


def test_failures_are_those_that_no_other_request_would_have_helped() -> None:
    assert {"internal", "overloaded", "draining", "deadline_exceeded", "model_failed", "feature_store"} <= FAILURES
    assert not FAILURES & {"ok", "cancelled", "not_found", "malformed_request", "payload_too_large", "bad_request"}
    found = counted(Seen({"ok": 5, "internal": 2, "malformed_request": 3, "cancelled": 1}), 10.0)
    assert (found.requests, found.failures, found.refused, found.requests_per_s) == (11, 2, 3, 1.1)


@pytest.mark.parametrize(("bad", "of", "left"), [(0, 1_000, 1.0), (1, 2_000, 0.5), (1, 1_000, 0.0), (3, 1_000, -2.0)])
def test_an_error_budget_is_used_up_by_what_is_bad(bad: int, of: int, left: float) -> None:
    assert budget_left(bad, of, 0.999) == pytest.approx(left, abs=1e-9)


def test_of_nothing_there_is_no_budget() -> None:
    assert budget_left(0, 0, 0.999) is None


def test_each_promise_has_its_budget() -> None:
    found = seen("ok", [0.01] * 98 + [2.0] * 2) + Seen({"model_failed": 1})
    availability, latency = budgets(SloSettings(availability=0.99, latency_ms=50, latency_share=0.96), found)
    assert (availability.bad, availability.of, latency.bad, latency.of) == (1, 101, 2, 100)
    assert availability.left == pytest.approx(1 - 1 / 1.01)
    assert latency.left == pytest.approx(0.5)
    assert len(budgets(SloSettings(), found)) == 1


@settings(max_examples=30)
@given(st.floats(0, 1e6), st.dictionaries(st.sampled_from("abc"), st.floats(0, 1e6)))
def test_what_is_shared_out_is_all_of_it(total: float, by: dict[str, float]) -> None:
    found = shared(total, by, "nobody")
    assert sum(found.values()) == pytest.approx(total, rel=1e-9, abs=1e-12)
    assert set(found) <= {*by, "nobody"}


def test_shares_are_in_proportion_and_nobody_has_what_nobody_asked_for() -> None:
    assert shared(8.0, {"a": 1.0, "b": 3.0, "c": 0.0}, "-") == {"a": 2.0, "b": 6.0}
    assert shared(8.0, {"a": 0.0}, "-") == {"-": 8.0}


def test_a_process_knows_what_it_uses() -> None:
    before = usage()
    held = np.ones(20_000_000)
    after = usage()
    assert after.memory_bytes - before.memory_bytes > 0.9 * held.nbytes
    assert after.cpu_s > before.cpu_s > 0
    assert after.gpu_bytes == 0
