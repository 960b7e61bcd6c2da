"""A rollout that was recorded: requests from a seed, judged and written as a controller does it."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from serve.series import Series
from taxiway.rollout.judge_step import Losses, Seen, judge_step
from taxiway.rollout.observations import Moments, Values
from taxiway.rollout.plan import ChecksSettings, DisagreementSettings, QualitySettings, RolloutSettings, StepSettings
from taxiway.rollout.progress import Facts, decide, start
from taxiway.rollout.state import RolloutState
from taxiway.rollout.tally import Tally, of_answers, of_differences, of_requests
from taxiway.rollout_series import Measured
from taxiway.signature import Array

BEGAN = datetime(2026, 3, 1, 12, tzinfo=UTC)
ALIASES = {"champion": "3", "challenger": "4"}
CHECKS = ChecksSettings(
    disagreement=DisagreementSettings(max=0.3), quality=QualitySettings(max_loss_increase=0.1), min_requests=200
)
PLAN = RolloutSettings(
    steps=(
        StepSettings(shadow=100, min_s=300, max_s=3_600),
        StepSettings(weight=10, min_s=300, max_s=3_600),
        StepSettings(weight=50, min_s=300, max_s=3_600),
    ),
    checks=CHECKS,
)
FaultRate = Callable[[int], float]


def begun(plan: RolloutSettings = PLAN, identity: str = "0123456789ab") -> RolloutState:
    return start(identity, "flights", "delay", "flight-delay", ALIASES, plan, BEGAN, "ann")


def after(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def requests(random: np.random.Generator, number: int, fault_rate: float, median_s: float) -> Tally:
    codes = np.where(random.random(number) < fault_rate, "model_failed", "ok")
    inputs = {"wind": np.where(random.random(number) < 0.1, np.nan, 1.0)}
    numbers = random.beta(2, 5, number)
    answers = {"p": numbers, "late": labels(numbers)}
    return Tally(of_requests(codes, random.lognormal(np.log(median_s), 0.5, number))) + Tally(
        of_answers(inputs, answers)
    )


def labels(numbers: Values) -> Array:
    return np.where(numbers > 0.5, "yes", "no").astype(object)


def copies(random: np.random.Generator, number: int, fault_rate: float) -> Tally:
    live = random.beta(2, 5, number)
    shadow = np.clip(live + random.normal(0, 0.05, number), 0, 1)
    apart = of_differences({"p": live, "late": labels(live)}, {"p": shadow, "late": labels(shadow)})
    return requests(random, number, fault_rate, 0.01) + Tally(apart)


def losses(random: np.random.Generator, champion: int, challenger: int, pairs: int) -> Losses:
    def of(number: int, mean: float) -> Moments:
        return Moments.of(random.gamma(2.0, mean / 2.0, number))

    return Losses(of(champion, 0.42), of(challenger, 0.40), Moments.of(random.normal(-0.02, 0.2, pairs)))


def added(one: Losses, other: Losses) -> Losses:
    return Losses(
        one.champion.merge(other.champion), one.challenger.merge(other.challenger), one.pairs.merge(other.pairs)
    )


def recorded(folder: Path, fault_rate: FaultRate = lambda step: 0.001, every_s: int = 20) -> RolloutState:
    """Runs to its end, 20 requests a second; the series lies below `folder`.

    Args:
        fault_rate: of the challenger, by the step.
    """
    random, state, series = np.random.default_rng(7), begun(), Series(folder, "flights", "delay")
    measured, second = _nothing(), 0
    while not state.is_over:
        second += every_s
        now, weight = after(second), PLAN.steps[state.step].weight / 100
        measured = _grown(random, measured, 20 * every_s, weight, fault_rate(state.step))
        seen = Seen(measured.champion, measured.challenger, measured.copies, losses=measured.losses)
        is_measured = state.phase == "running"
        verdict = None
        if is_measured:
            verdict = judge_step(state.plan, state.step, seen, (now - state.step_began).total_seconds())
        following = decide(state, Facts(ALIASES, verdict, settled=not is_measured), now)
        if following is not None or series.is_due(state, now):
            told = Measured(measured.champion, measured.challenger, measured.copies, verdict, measured.losses)
            series.add(state, now, told if is_measured else None)
        if following is not None:
            measured = _nothing() if following.step != state.step else measured
            state = following
            series.add(state, now, None)
    return state


def _nothing() -> Measured:
    return Measured(Tally(), Tally(), Tally(), None, Losses())


def _grown(random: np.random.Generator, before: Measured, number: int, weight: float, fault_rate: float) -> Measured:
    challenger = int(random.binomial(number, weight)) if weight else 0
    shadows = 0 if weight else number
    assert before.losses is not None
    labelled = losses(random, (number - challenger) // 4, challenger // 4, shadows // 4)
    return Measured(
        before.champion + requests(random, number - challenger, 0.001, 0.012),
        before.challenger + (requests(random, challenger, fault_rate, 0.014) if challenger else Tally()),
        before.copies + (copies(random, shadows, fault_rate) if shadows else Tally()),
        None,
        added(before.losses, labelled),
    )
