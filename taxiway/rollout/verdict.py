"""The assessment of a step: what was measured beside what is tolerated, and a verdict with its reasons."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Literal

from taxiway.rollout.sequential import Interval

Kind = Literal["guardrail", "success"]
Direction = Literal["lower", "higher"]
FindingState = Literal["passed", "failed", "waiting", "could_not_measure"]
VerdictState = Literal["successful", "failed", "inconclusive", "error"]

Measure = Callable[[float], Interval]
"""A metric's always-valid interval of a given alpha, such as `partial(proportion_difference, challenger, champion)`."""


@dataclass(frozen=True)
class Check:
    """A metric and where its border lies.

    Args:
        kind: a `guardrail` must not get worse; `success` is what the challenger is for.
        metric: key of its measure, usually challenger minus champion or a ratio.
        direction: which values are better.
        threshold: the border: the worst value that a guardrail tolerates, what success must do better than.
        min_rows: the check does not pass with fewer rows on the smaller side; it may fail.
        weight: its share of alpha, relative to the others'.
        unit: of the metric, for sentences.
        unmeasured: why it could not be measured, where somebody can do something about it.
    """

    name: str
    kind: Kind
    metric: str
    direction: Direction
    threshold: float
    min_rows: int = 0
    weight: float = 1.0
    unit: str = ""
    unmeasured: str = ""

    def __post_init__(self) -> None:
        if not (isfinite(self.threshold) and isfinite(self.weight) and self.weight > 0):
            raise ValueError(f"check {self.name!r}: the threshold must be finite, the weight finite and above 0")


@dataclass(frozen=True)
class Limits:
    """Of one step: alpha over all checks, and between which seconds it may end without harm being shown."""

    alpha: float = 0.05
    min_s: float = 0.0
    max_s: float = 86_400.0

    def __post_init__(self) -> None:
        if not 0 < self.alpha < 1:
            raise ValueError(f"alpha is {self.alpha:g}; it must lie between 0 and 1")
        if not 0 <= self.min_s <= self.max_s:
            raise ValueError(f"min_s {self.min_s:g} and max_s {self.max_s:g} must be in order and at least 0")


@dataclass(frozen=True)
class Finding:
    """What one check found. The interval has level `alpha`, the check's part; ends may be infinite.

    All three figures are None when the metric could not be measured.
    """

    check: Check
    alpha: float
    estimate: float | None
    low: float | None
    high: float | None
    n: int
    state: FindingState
    sentence: str


@dataclass(frozen=True)
class Verdict:
    """`inconclusive` before `max_s` means: not known yet; `settled` says that waiting longer changes nothing."""

    state: VerdictState
    settled: bool
    findings: tuple[Finding, ...]
    reasons: tuple[str, ...]


def assess(
    checks: Sequence[Check], measures: Mapping[str, Measure | None], limits: Limits, elapsed_s: float
) -> Verdict:
    """Judges a step by what is known now. May be called after every observation.

    Alpha is divided by Bonferroni, by the weights of the checks: with a probability of at least 1 - alpha all
    intervals hold their metrics all the time, so no failure and no pass that is ever reported is wrong. (Holm's
    procedure gains little here and leaves no intervals that people can read.)

    - failed: harm is shown, at once, however little time has passed; or, from `min_s` on, that success is missed.
    - successful: every check has passed and `min_s` is over. A guardrail passes by non-inferiority: its whole
      interval is on the good side of the threshold; not having found harm is not enough.
    - inconclusive: not known; settled at `max_s`.
    - error: some check can't be measured and `max_s` is over.

    Args:
        measures: metric -> its measure; None or no key: it could not be measured.

    Raises:
        ValueError: there are no checks, or two of one name.
    """
    names = [check.name for check in checks]
    if not names or len(set(names)) < len(names):
        raise ValueError("give at least one check, each with a name of its own")
    total = sum(check.weight for check in checks)
    findings = tuple(find(check, measures.get(check.metric), limits.alpha * check.weight / total) for check in checks)
    state, settled = _state(findings, limits, elapsed_s)
    return Verdict(state, settled, findings, _reasons(findings, state, settled, limits, elapsed_s))


def find(check: Check, measure: Measure | None, alpha: float) -> Finding:
    """One check at its own alpha."""
    if measure is None:
        told = ": ".join(it for it in (check.name, "could not be measured", check.unmeasured) if it)
        return Finding(check, alpha, None, None, None, 0, "could_not_measure", told)
    interval = measure(alpha)
    state = _finding_state(check, interval)
    sentence = _sentence(check, interval, alpha, state)
    return Finding(check, alpha, interval.estimate, interval.low, interval.high, interval.n, state, sentence)


def _finding_state(check: Check, interval: Interval) -> FindingState:
    lower_is_better = check.direction == "lower"
    worst, best = (interval.high, interval.low) if lower_is_better else (-interval.low, -interval.high)
    border = check.threshold if lower_is_better else -check.threshold
    if best > border:
        return "failed"
    return "passed" if worst < border and interval.n >= check.min_rows else "waiting"


def _state(findings: Sequence[Finding], limits: Limits, elapsed_s: float) -> tuple[VerdictState, bool]:
    states = {finding.state for finding in findings}
    harm = any(it.state == "failed" and it.check.kind == "guardrail" for it in findings)
    if harm or ("failed" in states and elapsed_s >= limits.min_s):
        return "failed", True
    if states == {"passed"} and elapsed_s >= limits.min_s:
        return "successful", True
    is_over = elapsed_s >= limits.max_s
    return "error" if is_over and "could_not_measure" in states else "inconclusive", is_over


def _reasons(
    findings: Sequence[Finding], state: VerdictState, settled: bool, limits: Limits, elapsed_s: float
) -> tuple[str, ...]:
    wanted: dict[VerdictState, tuple[FindingState, ...]] = {
        "failed": ("failed",),
        "successful": ("passed",),
        "inconclusive": ("failed", "waiting", "could_not_measure"),
        "error": ("could_not_measure",),
    }
    told = [finding.sentence for finding in findings if finding.state in wanted[state]]
    if state == "inconclusive" and elapsed_s < limits.min_s:
        told.append(f"{elapsed_s:.0f} s have passed of at least {limits.min_s:.0f}")
    if state in ("inconclusive", "error") and settled:
        told.append(f"{elapsed_s:.0f} s have passed of at most {limits.max_s:.0f}")
    return tuple(told)


def _sentence(check: Check, interval: Interval, alpha: float, state: FindingState) -> str:
    if interval.estimate is None:
        return f"{check.name}: nothing is known after {_rows(interval.n)}"
    unit = f" {check.unit}" if check.unit else ""
    range_ = f"{_figure(interval.low)} to {_figure(interval.high)} ({1 - alpha:.2%} interval, {_rows(interval.n)})"
    return f"{check.name}: {_figure(interval.estimate)}{unit}, {range_}: {_judgement(check, interval, state)}"


def _judgement(check: Check, interval: Interval, state: FindingState) -> str:
    border = f"{_figure(check.threshold)}{' ' + check.unit if check.unit else ''}"
    side, other = ("below", "above") if check.direction == "lower" else ("above", "below")
    if state == "passed":
        return f"wholly {side} {border}"
    if state == "failed":
        return f"wholly {other} {border}{', which is worse than tolerated' if check.kind == 'guardrail' else ''}"
    if interval.n < check.min_rows:
        return f"fewer than {_rows(check.min_rows)}"
    return f"not yet known to be {side} {border}"


def _rows(n: int) -> str:
    return f"{n:,} row{'' if n == 1 else 's'}"


def _figure(value: float) -> str:
    return f"{value:.4g}" if isfinite(value) else ("unbounded" if value > 0 else "-unbounded")
