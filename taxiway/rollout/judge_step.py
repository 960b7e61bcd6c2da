"""The checks of a plan, measured on the tallies of a step: which statistics answer which question."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from math import inf, sqrt

from taxiway.rollout.observations import Counts, Moments
from taxiway.rollout.plan import ChecksSettings, QualitySettings, RankCorrelationSettings, RolloutSettings
from taxiway.rollout.ranks import disorder, has_order, rank_correlation
from taxiway.rollout.ratio_mismatch import Assigned, ratio_mismatch
from taxiway.rollout.sequential import Interval, proportion, proportion_difference
from taxiway.rollout.sequential_means import mean, mean_difference
from taxiway.rollout.tally import Tally
from taxiway.rollout.verdict import Check, Limits, Measure, Verdict, assess

MISMATCH_ALPHA = 0.001
"""Of the test of shares, which guards the others and takes no part of their alpha."""


@dataclass(frozen=True)
class Losses:
    """What ground truth says of a step: the loss of each labelled row of live answers, and of pairs the difference.

    Args:
        champion: of rows that the champion answered; likewise `challenger`.
        pairs: challenger minus champion on the same rows, where copies were answered too.
    """

    champion: Moments = field(default_factory=Moments)
    challenger: Moments = field(default_factory=Moments)
    pairs: Moments = field(default_factory=Moments)


@dataclass(frozen=True)
class Seen:
    """What was measured of a step. `shadow` is of the challenger's answers to copies.

    Args:
        drawn: whether each request was drawn by itself: then their numbers must follow the weights.
        losses: None while no ground truth could be read.
    """

    champion: Tally
    challenger: Tally
    shadow: Tally
    drawn: bool = True
    losses: Losses | None = None


def judge_step(plan: RolloutSettings, step: int, seen: Seen, elapsed_s: float) -> Verdict:
    """The verdict on a step, as of now.

    The alpha of the plan is divided evenly over its steps, and within a step over its checks.
    """
    asked = plan.steps[step]
    found = list(_checks(plan.checks, seen, live=asked.weight > 0, copies=asked.shadow > 0))
    limits = Limits(plan.checks.alpha / len(plan.steps), asked.min_s, asked.max_s)
    if not found:
        nothing = Check("requests", "guardrail", "requests", "lower", 2.0, plan.checks.min_requests)
        found = [(nothing, partial(proportion, Counts(_side(seen, asked.weight > 0).requests, 0)))]
    verdict = assess([check for check, _ in found], {check.metric: it for check, it in found}, limits, elapsed_s)
    if asked.weight > 0 and seen.drawn and asked.weight < 100:
        return _unless_mismatched(verdict, plan, asked.weight, seen)
    return verdict


Measured = tuple[Check, Measure | None]


def _checks(checks: ChecksSettings, seen: Seen, live: bool, copies: bool) -> list[Measured]:
    """What can be asked of a step: of copies no latency, of live answers no difference to others."""
    side = _side(seen, live)
    found: list[Measured] = []
    if checks.errors is not None:
        one, other = Counts(side.requests, side.faults), Counts(seen.champion.requests, seen.champion.faults)
        check = _guardrail("errors", checks.errors.max_increase, checks.min_requests, "more of the requests")
        found.append((check, partial(proportion_difference, one, other)))
    if checks.slow is not None and live:
        one, other = (_slow(tally, checks.slow.over_ms) for tally in (side, seen.champion))
        unit = f"more of the answers over {checks.slow.over_ms:g} ms"
        check = _guardrail("slow", checks.slow.max_increase, checks.min_requests, unit)
        found.append((check, partial(proportion_difference, one, other)))
    if checks.missing is not None and (columns := _columns_with_gaps(side, seen.champion)):
        check = _guardrail("missing", checks.missing.max_increase, 0, "more of the rows")
        found.append((check, partial(_worst_gap, side, seen.champion, columns)))
    if checks.disagreement is not None and copies:
        check = _guardrail("disagreement", checks.disagreement.max, checks.min_requests, "apart")
        found.append((check, _apart(seen.shadow)))
    if checks.rank_correlation is not None and copies:
        found.append(_order(checks.rank_correlation, seen.shadow, checks.min_requests))
    if checks.outputs is not None:
        check = _guardrail("outputs", checks.outputs.max_shift, checks.min_requests, "standard deviations apart")
        found.append((check, _shift(side, seen.champion)))
    if checks.quality is not None:
        found += _quality(checks.quality, seen.losses, copies)
    return found


def _side(seen: Seen, live: bool) -> Tally:
    return seen.challenger if live else seen.shadow


def _guardrail(name: str, border: float, min_rows: int, unit: str) -> Check:
    return Check(name, "guardrail", name, "lower", border, min_rows, unit=unit)


def _slow(tally: Tally, over_ms: float) -> Counts:
    return Counts(int(tally.latencies.sum()), tally.slower_than(over_ms / 1_000))


def _columns_with_gaps(one: Tally, other: Tally) -> tuple[str, ...]:
    return tuple(sorted(one.below("missing/").keys() | other.below("missing/").keys()))


def _worst_gap(challenger: Tally, champion: Tally, columns: tuple[str, ...], alpha: float) -> Interval:
    """The column whose gaps have grown most; alpha is divided over the columns."""

    def counts(tally: Tally, column: str) -> Counts:
        return Counts(int(tally["rows"]), int(tally[f"missing/{column}"]))

    each = [
        proportion_difference(counts(challenger, column), counts(champion, column), alpha / len(columns))
        for column in columns
    ]
    known = [it.estimate for it in each if it.estimate is not None]
    return Interval(max(known, default=None), max(it.low for it in each), max(it.high for it in each), each[0].n)


def _apart(shadow: Tally) -> Measure | None:
    """How far copies lie from live answers, the output that differs most; alpha is divided over the outputs."""
    outputs = shadow.names("difference")
    if not outputs:
        return None

    def measure(alpha: float) -> Interval:
        each = [_one_apart(shadow, output, alpha / len(outputs)) for output in outputs]
        known = [it.estimate for it in each if it.estimate is not None]
        return Interval(max(known, default=None), max(it.low for it in each), max(it.high for it in each), each[0].n)

    return measure


def _one_apart(shadow: Tally, output: str, alpha: float) -> Interval:
    n, total, squares = shadow.moments(f"difference/{output}")
    if f"difference/{output}/pairs" in shadow.numbers:  # of numbers
        return mean(Moments(n, total, squares), alpha)
    return proportion(Counts(n, int(total)), alpha)


def _order(settings: RankCorrelationSettings, shadow: Tally, min_rows: int) -> Measured:
    """What copies lack of the order of live answers, the output that lacks most; alpha is divided over the outputs."""
    check = _guardrail("rank_correlation", 1 - settings.min, min_rows, "of the rank correlation lost")
    compared = shadow.names("difference") if settings.output is None else [settings.output]
    outputs = [name for name in compared if has_order(shadow, name)]
    if not outputs:
        names = ", ".join(shadow.names("difference"))
        told = f"{names}: labels and rows of several numbers have no order; use `disagreement`" if names else ""
        return replace(check, unmeasured=told), None

    def measure(alpha: float) -> Interval:
        found = [rank_correlation(shadow, output) for output in outputs]
        known = [disorder(it, alpha / len(outputs)) for it in found if it is not None]
        if len(known) < len(outputs):  # one of them has never varied yet
            return Interval(None, -inf, inf, min((it.n for it in known), default=0))
        worst = [it.estimate for it in known if it.estimate is not None]
        return Interval(max(worst), max(it.low for it in known), max(it.high for it in known), known[0].n)

    return check, measure


def _shift(challenger: Tally, champion: Tally) -> Measure | None:
    outputs = [name for name in challenger.names("output") if f"output/{name}/sumsq" in champion.numbers]
    if not outputs:
        return None

    def measure(alpha: float) -> Interval:
        each = [_one_shift(challenger, champion, output, alpha / len(outputs)) for output in outputs]
        known = [it.estimate for it in each if it.estimate is not None]
        return Interval(max(known, default=None), max(it.low for it in each), max(it.high for it in each), each[0].n)

    return measure


def _one_shift(challenger: Tally, champion: Tally, output: str, alpha: float) -> Interval:
    """The distance of the means in standard deviations of the champion's answers, whatever its sign."""
    one, other = (Moments(*tally.moments(f"output/{output}")) for tally in (challenger, champion))
    found, spread = mean_difference(one, other, alpha), sqrt(other.variance)
    if not spread or found.estimate is None:
        return replace(found, estimate=None, low=0.0)
    low, high = found.low / spread, found.high / spread
    nearest = 0.0 if low <= 0 <= high else min(abs(low), abs(high))
    return Interval(abs(found.estimate / spread), nearest, max(abs(low), abs(high)), found.n)


def _quality(settings: QualitySettings, losses: Losses | None, copies: bool) -> list[Measured]:
    """Pairs where there are copies: on the same rows far fewer of them say as much."""
    measure: Callable[[float], Interval] | None = None
    if losses is not None:
        if copies and losses.pairs.n:
            measure = partial(mean, losses.pairs)
        else:
            measure = partial(mean_difference, losses.challenger, losses.champion)
    unit = {"binary": "of log loss", "classes": "of wrong classes", "regression": "of squared error"}[settings.task]
    worse = Check(
        "quality", "guardrail", "quality", "lower", settings.max_loss_increase, settings.min_labels, unit=unit
    )
    found: list[Measured] = [(worse, measure)]
    if settings.min_gain is not None:
        gain = Check("gain", "success", "gain", "lower", 0.0 - settings.min_gain, settings.min_labels, unit=unit)
        found.append((gain, measure))
    return found


def _unless_mismatched(verdict: Verdict, plan: RolloutSettings, weight: float, seen: Seen) -> Verdict:
    counts = {plan.champion: seen.champion.requests, plan.challenger: seen.challenger.requests}
    weights: Mapping[str, float] = {plan.champion: 100.0 - weight, plan.challenger: weight}
    found = ratio_mismatch([Assigned(counts, weights)], MISMATCH_ALPHA)
    if not found.mismatched:
        return verdict
    return Verdict("failed", True, verdict.findings, (*verdict.reasons, found.sentence))
