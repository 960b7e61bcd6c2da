"""What an experiment says, at any moment: each variant beside the control, and how likely it is the best of all."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from math import isfinite
from typing import Literal

from taxiway.rollout.bandit import best_probabilities, mean_posterior, weights
from taxiway.rollout.experiment import ExperimentSettings
from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.observations import Counts, Moments
from taxiway.rollout.ratio_mismatch import Assigned, ratio_mismatch
from taxiway.rollout.sequential import Interval, proportion_difference
from taxiway.rollout.sequential_means import bounded_mean_difference, mean_difference
from taxiway.rollout.tally import Tally
from taxiway.rollout.verdict import Check, Finding, find
from taxiway.settings import Settings

MISMATCH_ALPHA = 0.001
Standing = Literal["control", "better", "worse", "open", "dropped"]
_SAME_POINTS = 1.0


@dataclass(frozen=True)
class Arm:
    """What was measured of one variant since the experiment began.

    Args:
        outcome: moments of the metric, over the rows of which it is known.
    """

    tally: Tally = field(default_factory=Tally)
    outcome: Moments = field(default_factory=Moments)


class ArmReadout(Settings):
    """One variant. `estimate`, `low` and `high` are of its mean minus the control's; None is unknown or unbounded.

    Attributes:
        best: how likely its mean is the best of those that take part still; a Bayesian figure, to look at.
        harm: the guardrails that it breaks.
    """

    variant: str
    version: str
    weight: float
    requests: int
    faults: int
    p50_ms: float | None = None
    p99_ms: float | None = None
    rows: int
    mean: float | None = None
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    best: float | None = None
    standing: Standing
    told: str = ""
    harm: tuple[str, ...] = ()


class Readout(Settings):
    """An experiment at one moment; `alpha` is of each interval."""

    id: str
    at: datetime
    alpha: float
    arms: tuple[ArmReadout, ...]
    mismatch: str | None = None
    told: str


def read_out(state: ExperimentState, arms: Mapping[str, Arm], now: datetime, drawn: bool) -> Readout:
    """Compares every variant with the control.

    Alpha is divided evenly over the comparisons and, in each, over the metric and the guardrails (Bonferroni), so
    that with a probability of at least 1 - alpha nothing that is ever said of the variants is wrong.

    Args:
        drawn: whether each request was drawn by itself, rather than by a key that it shares with others.
    """
    alpha = state.plan.alpha / (_checks(state.plan) * (len(state.versions) - 1))
    active = {name: arms[name].outcome for name in state.versions if name not in state.dropped}
    best = _best(state.plan, active)
    found = tuple(_arm(state, name, arms, alpha, best.get(name)) for name in state.versions)
    return Readout(
        id=state.id, at=now, alpha=alpha, arms=found, mismatch=_mismatch(state, arms, drawn), told=_told(state, found)
    )


def thompson(state: ExperimentState, arms: Mapping[str, Arm]) -> dict[str, float] | None:
    """The split by how likely each variant is the best; None while too little is known, or little would change.

    Thompson 1933. The share that probability matching gives is drawn request by request.
    """
    active = {name: arms[name].outcome for name in state.versions if name not in state.dropped}
    if len(active) < 2 or min(it.n for it in active.values()) < state.plan.min_rows:
        return None
    likely = _best(state.plan, active)
    found = weights(likely, dict.fromkeys(active, state.plan.floor)) | dict.fromkeys(state.dropped, 0.0)
    moved = max(abs(found[name] - state.weights[name]) for name in found)
    return found if moved >= _SAME_POINTS else None


def _checks(plan: ExperimentSettings) -> int:
    return 1 + (plan.errors is not None) + (plan.slow is not None)


def _best(plan: ExperimentSettings, outcomes: Mapping[str, Moments]) -> dict[str, float]:
    if min(it.n for it in outcomes.values()) < 2:
        return {}
    return best_probabilities({name: mean_posterior(it) for name, it in outcomes.items()}, plan.metric.better)


def _arm(state: ExperimentState, name: str, arms: Mapping[str, Arm], alpha: float, best: float | None) -> ArmReadout:
    own, control = arms[name], arms[state.control]
    finding = None if name == state.control else _compared(state, own.outcome, control.outcome, alpha)
    harm = () if name == state.control else tuple(_harm(state.plan, own.tally, control.tally, alpha))
    return ArmReadout(
        variant=name,
        version=state.versions[name],
        weight=state.weights[name],
        requests=own.tally.requests,
        faults=own.tally.faults,
        p50_ms=_ms(own.tally.quantile_s(0.5)),
        p99_ms=_ms(own.tally.quantile_s(0.99)),
        rows=own.outcome.n,
        mean=own.outcome.mean,
        estimate=finding and finding.estimate,
        low=finding and _finite(finding.low),
        high=finding and _finite(finding.high),
        best=best,
        standing=_standing(state, name, finding),
        told=finding.sentence if finding else "",
        harm=harm,
    )


def _standing(state: ExperimentState, name: str, finding: Finding | None) -> Standing:
    if finding is None:
        return "control"
    if name in state.dropped:
        return "dropped"
    found: dict[str, Standing] = {"passed": "better", "failed": "worse"}
    return found.get(finding.state, "open")


def _compared(state: ExperimentState, variant: Moments, control: Moments, alpha: float) -> Finding:
    """Around 0: `passed` is better than the control, `failed` is worse."""
    plan = state.plan
    check = Check("metric", "success", "metric", plan.metric.better, 0.0, plan.min_rows, unit=f"of {plan.metric.unit}")
    return find(check, _difference(plan, variant, control), alpha)


def _difference(plan: ExperimentSettings, variant: Moments, control: Moments) -> Callable[[float], Interval]:
    """A split that follows the results keeps only the promise of sequences that are exact for each side."""
    if plan.allocation == "thompson" and plan.metric.bounds is not None:
        low, high = plan.metric.bounds
        return lambda alpha: bounded_mean_difference(variant, control, low, high, alpha)
    return partial(mean_difference, variant, control)


def _harm(plan: ExperimentSettings, variant: Tally, control: Tally, alpha: float) -> list[str]:
    guardrails: list[tuple[Check, Counts, Counts]] = []
    if plan.errors is not None:
        check = Check("errors", "guardrail", "errors", "lower", plan.errors.max_increase, unit="more of the requests")
        one, other = (Counts(it.requests, it.faults) for it in (variant, control))
        guardrails.append((check, one, other))
    if plan.slow is not None:
        over_ms = plan.slow.over_ms
        unit = f"more of the answers over {over_ms:g} ms"
        check = Check("slow", "guardrail", "slow", "lower", plan.slow.max_increase, unit=unit)
        one, other = (Counts(int(it.latencies.sum()), it.slower_than(over_ms / 1_000)) for it in (variant, control))
        guardrails.append((check, one, other))
    found = [find(check, partial(proportion_difference, one, other), alpha) for check, one, other in guardrails]
    return [it.sentence for it in found if it.state == "failed"]


def _mismatch(state: ExperimentState, arms: Mapping[str, Arm], drawn: bool) -> str | None:
    if not drawn or not state.is_as_begun:
        return None
    counts = {name: arms[name].tally.requests for name in state.versions}
    found = ratio_mismatch([Assigned(counts, state.weights)], MISMATCH_ALPHA)
    return found.sentence if found.mismatched else None


def _told(state: ExperimentState, arms: tuple[ArmReadout, ...]) -> str:
    better = [it for it in arms if it.standing == "better"]
    worse = [it.variant for it in arms if it.standing in ("worse", "dropped")]
    if better:
        first = max(better, key=lambda it: it.best or 0.0)
        others = "" if len(better) == 1 else f", as {' and '.join(it.variant for it in better if it is not first)} is"
        return f"{first.variant} is better than {state.control}{others}"
    if len(worse) == len(arms) - 1:
        return f"{state.control} is better than every other variant"
    rest = f"; {', '.join(worse)} can be left out" if worse else ""
    return f"not known yet whether a variant is better than {state.control}{rest}"


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1_000 * seconds


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None
