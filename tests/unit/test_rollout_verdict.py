"""The assessment of a step: a table of intervals and what follows from them."""

from functools import partial
from math import inf

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.rollout.observations import Counts
from taxiway.rollout.sequential import Interval, proportion_difference
from taxiway.rollout.verdict import Check, Finding, Limits, Measure, Verdict, assess, find

ERRORS = Check("errors", "guardrail", "error_rate", "lower", 0.01, min_rows=100)
GAIN = Check("value", "success", "value", "higher", 0.0)
LIMITS = Limits(alpha=0.05, min_s=60, max_s=600)
GOOD, BAD, OPEN = Interval(0, -0.002, 0.002, 500), Interval(0.05, 0.02, 0.08, 500), Interval(0.01, -0.01, 0.03, 500)
BETTER = Interval(3.0, 1.0, 5.0, 500)


def of(interval: Interval) -> Measure:
    return lambda alpha: interval


def judged(errors: Interval | None, value: Interval | None, elapsed_s: float) -> Verdict:
    measures = {"error_rate": errors and of(errors), "value": value and of(value)}
    return assess([ERRORS, GAIN], measures, LIMITS, elapsed_s)


def the(verdict: Verdict, name: str) -> Finding:
    return next(finding for finding in verdict.findings if finding.check.name == name)


@pytest.mark.parametrize(
    ("errors", "value", "elapsed_s", "state", "settled"),
    [
        (GOOD, BETTER, 100, "successful", True),
        (GOOD, BETTER, 10, "inconclusive", False),
        (BAD, BETTER, 1, "failed", True),
        (GOOD, Interval(-3, -5, -1, 500), 1, "inconclusive", False),
        (GOOD, Interval(-3, -5, -1, 500), 60, "failed", True),
        (OPEN, BETTER, 100, "inconclusive", False),
        (OPEN, BETTER, 600, "inconclusive", True),
        (None, BETTER, 100, "inconclusive", False),
        (None, BETTER, 600, "error", True),
        (BAD, None, 600, "failed", True),
    ],
)
def test_a_verdict_follows_from_findings_and_time(
    errors: Interval | None, value: Interval | None, elapsed_s: float, state: str, settled: bool
) -> None:
    found = judged(errors, value, elapsed_s)
    assert (found.state, found.settled) == (state, settled)
    assert found.reasons


def test_a_guardrail_passes_only_when_the_whole_interval_is_inside_the_margin() -> None:
    for interval, state in (
        (Interval(0, -0.1, 0.0099, 500), "passed"),
        (Interval(0, -0.1, 0.0101, 500), "waiting"),
        (Interval(0.02, 0.0099, 0.1, 500), "waiting"),
        (Interval(0.02, 0.0101, 0.1, 500), "failed"),
        (Interval(None, -inf, inf, 0), "waiting"),
    ):
        assert find(ERRORS, of(interval), 0.05).state == state


def test_few_rows_keep_a_check_from_passing_but_not_from_failing() -> None:
    few = find(ERRORS, of(Interval(0, -0.002, 0.002, 99)), 0.05)
    assert (few.state, "fewer than 100 rows" in few.sentence) == ("waiting", True)
    assert find(ERRORS, of(Interval(0.5, 0.2, 0.8, 20)), 0.05).state == "failed"


def test_alpha_is_divided_by_weights() -> None:
    heavy = Check("errors", "guardrail", "error_rate", "lower", 0.01, weight=3)
    found = assess([heavy, GAIN], {"error_rate": of(GOOD), "value": of(BETTER)}, LIMITS, 100)
    assert [finding.alpha for finding in found.findings] == [pytest.approx(0.0375), pytest.approx(0.0125)]


def test_a_measure_is_asked_for_its_own_alpha() -> None:
    asked: list[float] = []

    def measure(alpha: float) -> Interval:
        asked.append(alpha)
        return GOOD

    assess([ERRORS, GAIN], {"error_rate": measure, "value": measure}, LIMITS, 0)
    assert asked == [0.025, 0.025]


def test_sentences_name_figure_interval_rows_and_border() -> None:
    found = judged(BAD, BETTER, 1)
    assert the(found, "errors").sentence == (
        "errors: 0.05, 0.02 to 0.08 (97.50% interval, 500 rows): wholly above 0.01, which is worse than tolerated"
    )
    assert found.reasons == (the(found, "errors").sentence,)
    assert the(found, "value").sentence.endswith("wholly above 0")
    assert "nothing is known after 0 rows" in find(ERRORS, of(Interval(None, -inf, inf, 0)), 0.05).sentence
    assert "at least 60" in judged(GOOD, BETTER, 10).reasons[-1]
    assert "at most 600" in judged(OPEN, BETTER, 700).reasons[-1]


def test_what_could_not_be_measured_has_no_figures() -> None:
    found = the(judged(None, BETTER, 0), "errors")
    assert (found.estimate, found.low, found.high, found.state) == (None, None, None, "could_not_measure")


@given(st.floats(-1, 1), st.floats(0, 1), st.floats(-1, 1))
def test_higher_is_the_mirror_of_lower(middle: float, width: float, border: float) -> None:
    lower = find(
        Check("a", "guardrail", "m", "lower", border), of(Interval(middle, middle - width, middle + width, 9)), 0.1
    )
    mirrored = Interval(-middle, -middle - width, -middle + width, 9)
    higher = find(Check("a", "guardrail", "m", "higher", -border), of(mirrored), 0.1)
    assert lower.state == higher.state


def test_equal_variants_rarely_fail_and_broken_ones_always_do() -> None:
    random, failed = np.random.default_rng(3), {0.01: 0, 0.2: 0}
    check = Check("errors", "guardrail", "error_rate", "lower", 0.0)
    for rate in failed:
        for _ in range(10):
            challenger, champion = (random.random(800) < rate).cumsum(), (random.random(7_200) < 0.01).cumsum()
            looks = (
                partial(
                    proportion_difference, Counts(n, int(challenger[n - 1])), Counts(9 * n, int(champion[9 * n - 1]))
                )
                for n in (100, 800)
            )
            failed[rate] += any(
                assess([check], {"error_rate": one}, Limits(alpha=0.1), 1).state == "failed" for one in looks
            )
    assert failed[0.01] <= 1
    assert failed[0.2] == 10


def test_checks_and_limits_that_make_no_sense_are_refused() -> None:
    with pytest.raises(ValueError, match="name of its own"):
        assess([], {}, LIMITS, 0)
    with pytest.raises(ValueError, match="name of its own"):
        assess([GAIN, GAIN], {}, LIMITS, 0)
    with pytest.raises(ValueError, match="threshold"):
        Check("a", "guardrail", "m", "lower", inf)
    with pytest.raises(ValueError, match="alpha"):
        Limits(alpha=0)
    with pytest.raises(ValueError, match="in order"):
        Limits(min_s=10, max_s=5)
