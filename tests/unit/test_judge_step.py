"""The checks of a step on tallies made for them: what each one measures, and what it leaves out."""

from dataclasses import replace

import numpy as np
import pytest

from taxiway.rollout.judge_step import Losses, Seen, judge_step
from taxiway.rollout.observations import Moments
from taxiway.rollout.plan import (
    ChecksSettings,
    DisagreementSettings,
    ErrorsSettings,
    MissingSettings,
    OutputsSettings,
    QualitySettings,
    RolloutSettings,
    SlowSettings,
    StepSettings,
)
from taxiway.rollout.tally import LATENCY_BOUNDS_S, Tally, of_answers, of_differences
from taxiway.rollout.verdict import Finding, Verdict

NONE = ChecksSettings(errors=None, slow=None, missing=None, min_requests=100)
SHADOW, CANARY = StepSettings(shadow=100, min_s=60, max_s=600), StepSettings(weight=50, min_s=60, max_s=600)
RANDOM = np.random.default_rng(1)


def requests(number: int, faults: int = 0, slow: int = 0, code: str = "model_failed") -> Tally:
    """Answers take 1 ms, or a second when they are slow."""
    fast, late = (int(np.searchsorted(LATENCY_BOUNDS_S, seconds)) for seconds in (0.001, 1.0))
    told = {"requests": number, f"code/{code}": faults, "code/ok": number - faults}
    return Tally({name: float(it) for name, it in told.items()}) + Tally(
        {f"latency/{fast}": float(number - faults - slow), f"latency/{late}": float(slow)}
    )


def answers(**columns: np.ndarray) -> Tally:
    return Tally(of_answers({}, columns))


def judged(checks: ChecksSettings, seen: Seen, step: StepSettings = CANARY, elapsed_s: float = 100) -> Verdict:
    return judge_step(RolloutSettings(steps=(step,), checks=checks), 0, seen, elapsed_s)


def the(verdict: Verdict, name: str) -> Finding:
    (found,) = [finding for finding in verdict.findings if finding.check.name == name]
    return found


def only(**checks: object) -> ChecksSettings:
    return NONE.model_copy(update=checks)


ERRORS = only(errors=ErrorsSettings(max_increase=0.05))


def test_errors_of_copies_count_in_a_shadow_step_and_live_ones_in_a_canary() -> None:
    good, bad = requests(2_000, 10), requests(2_000, 600)
    in_shadow = judged(ERRORS, Seen(good, Tally(), bad), SHADOW)
    in_canary = judged(ERRORS, Seen(good, bad, Tally()))
    for verdict in (in_shadow, in_canary):
        assert verdict.state == "failed"
        assert the(verdict, "errors").estimate == pytest.approx(0.295)
    assert judged(ERRORS, Seen(good, good, bad)).state == "successful"
    assert judged(ERRORS, Seen(good, bad, good), SHADOW).state == "successful"


def test_a_code_that_is_the_callers_fault_blames_nobody() -> None:
    verdict = judged(ERRORS, Seen(requests(2_000), requests(2_000, 600, code="invalid_input"), Tally()))
    assert the(verdict, "errors").estimate == 0.0


def test_a_step_with_too_few_requests_does_not_pass() -> None:
    few = judged(ERRORS.model_copy(update={"min_requests": 5_000}), Seen(requests(2_000), requests(2_000), Tally()))
    assert few.state == "inconclusive"


def test_slow_answers_are_counted_over_the_limit_and_not_asked_of_copies() -> None:
    checks = only(slow=SlowSettings(over_ms=100, max_increase=0.05), errors=ErrorsSettings(max_increase=0.05))
    seen = Seen(requests(2_000, slow=20), requests(2_000, slow=400), requests(2_000, slow=400))
    found = the(judged(checks, seen), "slow")
    assert (found.state, found.estimate) == ("failed", pytest.approx(0.19))
    assert [it.check.name for it in judged(checks, seen, SHADOW).findings] == ["errors"]


def test_the_column_with_most_new_gaps_is_the_one_that_counts() -> None:
    def gaps(**columns: int) -> Tally:
        return Tally({"rows": 2_000.0, **{f"missing/{name}": float(it) for name, it in columns.items()}})

    checks = only(missing=MissingSettings(max_increase=0.05))
    verdict = judged(checks, Seen(requests(2_000) + gaps(a=100), requests(2_000) + gaps(a=100, b=400), Tally()))
    assert the(verdict, "missing").state == "failed"
    assert the(verdict, "missing").estimate == pytest.approx(0.2)
    fewer = judged(checks, Seen(requests(2_000) + gaps(a=400), requests(2_000) + gaps(a=20), Tally()))
    assert the(fewer, "missing").state == "passed"


def test_numbers_disagree_by_their_mean_distance() -> None:
    live = RANDOM.random(5_000)
    checks = only(disagreement=DisagreementSettings(max=0.1))
    for distance, state in ((0.02, "passed"), (0.3, "failed")):
        apart = Tally(of_differences({"p": live}, {"p": live + distance * RANDOM.uniform(0.5, 1.5, 5_000)}))
        found = the(judged(checks, Seen(requests(5_000), Tally(), requests(5_000) + apart), SHADOW), "disagreement")
        assert found.state == state
        assert found.estimate == pytest.approx(distance, rel=0.05)


def test_labels_disagree_by_the_share_that_differs() -> None:
    live = np.array(["a", "b"] * 1_000, object)
    other = np.where(np.arange(2_000) % 4 == 0, "c", live).astype(object)
    checks = only(disagreement=DisagreementSettings(max=0.1))
    shadow = requests(2_000) + Tally(of_differences({"kind": live}, {"kind": other}))
    found = the(judged(checks, Seen(requests(2_000), Tally(), shadow), SHADOW), "disagreement")
    assert (found.state, found.estimate) == ("failed", 0.25)


@pytest.mark.parametrize("shift", [-0.5, 0.5])
def test_outputs_that_move_either_way_are_found(shift: float) -> None:
    checks = only(outputs=OutputsSettings(max_shift=0.2))
    one, other = RANDOM.normal(0, 2, 4_000), RANDOM.normal(2 * shift, 2, 4_000)
    moved = Seen(requests(4_000) + answers(y=one), requests(4_000) + answers(y=other), Tally())
    found = the(judged(checks, moved), "outputs")
    assert found.state == "failed"
    assert found.estimate == pytest.approx(0.5, abs=0.1)
    still = replace(moved, challenger=requests(4_000) + answers(y=RANDOM.normal(0, 2, 4_000)))
    assert the(judged(checks, still), "outputs").state == "passed"


def test_outputs_that_are_not_numbers_can_not_be_measured() -> None:
    tally = requests(200) + answers(kind=np.array(["a"] * 200, object))
    verdict = judged(only(outputs=OutputsSettings(max_shift=0.2)), Seen(tally, tally, Tally()), elapsed_s=600)
    assert (the(verdict, "outputs").state, verdict.state) == ("could_not_measure", "error")


def of_loss(mean: float, number: int = 1_000) -> Moments:
    return Moments.of(RANDOM.normal(mean, 0.1, number))


LOSSES = Losses(of_loss(0.5), of_loss(0.9), of_loss(-0.2))


def test_pairs_are_preferred_where_there_are_copies() -> None:
    checks = only(quality=QualitySettings(max_loss_increase=0.05))
    seen = Seen(requests(1_000), requests(1_000), requests(1_000), losses=LOSSES)
    paired, grouped = the(judged(checks, seen, SHADOW), "quality"), the(judged(checks, seen), "quality")
    assert (paired.state, paired.estimate) == ("passed", pytest.approx(-0.2, abs=0.02))
    assert (grouped.state, grouped.estimate) == ("failed", pytest.approx(0.4, abs=0.02))
    without = replace(seen, losses=replace(LOSSES, pairs=Moments()))
    assert the(judged(checks, without, SHADOW), "quality").state == "failed"


def test_a_gain_that_is_missed_fails_a_challenger_that_is_not_worse() -> None:
    checks = only(quality=QualitySettings(max_loss_increase=0.05, min_gain=0.5))
    verdict = judged(checks, Seen(requests(1_000), Tally(), requests(1_000), losses=LOSSES), SHADOW)
    assert (the(verdict, "quality").state, the(verdict, "gain").state) == ("passed", "failed")
    assert verdict.state == "failed"


def test_quality_waits_for_enough_labels_and_says_when_there_is_no_ground_truth() -> None:
    checks = only(quality=QualitySettings(max_loss_increase=0.05, min_labels=5_000))
    seen = Seen(requests(1_000), Tally(), requests(1_000), losses=LOSSES)
    assert the(judged(checks, seen, SHADOW), "quality").state == "waiting"
    assert the(judged(checks, replace(seen, losses=None), SHADOW), "quality").state == "could_not_measure"


def test_requests_that_do_not_follow_the_weights_fail_the_step_where_they_are_drawn_one_by_one() -> None:
    seen = Seen(requests(6_000), requests(4_000), Tally())
    verdict = judged(ERRORS, seen)
    assert (verdict.state, verdict.settled) == ("failed", True)
    assert "instead of 50.00%" in verdict.reasons[-1]
    assert judged(ERRORS, replace(seen, drawn=False)).state == "successful"


def test_alpha_is_divided_over_steps_and_checks() -> None:
    checks = only(errors=ErrorsSettings(), slow=SlowSettings(), alpha=0.04)
    seen = Seen(requests(500), requests(500), Tally())
    alone = judge_step(RolloutSettings(steps=(CANARY,), checks=checks), 0, seen, 100)
    assert [it.alpha for it in alone.findings] == pytest.approx([0.02, 0.02])
    four = judge_step(RolloutSettings(steps=(CANARY,) * 4, checks=checks), 0, seen, 100)
    assert [it.alpha for it in four.findings] == pytest.approx([0.005, 0.005])


def test_a_step_without_a_check_waits_for_requests_only() -> None:
    seen = Seen(requests(500), requests(500), Tally())
    assert judged(NONE, seen).state == "successful"
    assert judged(NONE, seen, elapsed_s=59).state == "inconclusive"
    assert judged(NONE, Seen(requests(50), requests(50), Tally())).state == "inconclusive"


def test_nothing_that_was_answered_decides_nothing() -> None:
    verdict = judged(ERRORS, Seen(Tally(), Tally(), Tally()))
    assert (verdict.state, the(verdict, "errors").state) == ("inconclusive", "waiting")
