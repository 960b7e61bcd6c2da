"""The recorded series of a rollout: a line for each look of its controller, read again for reports."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from math import isfinite
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from taxiway.rollout.judge_step import Losses
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.state import Phase, RolloutState
from taxiway.rollout.tally import Tally, correlation
from taxiway.rollout.verdict import Finding, FindingState, Verdict, VerdictState
from taxiway.rollout_sketch import Sketch
from taxiway.settings import Settings


class Answers(Settings):
    """What one side has answered since the step began; `slow` is None where the plan has no such check."""

    requests: int
    faults: int
    slow: int | None = None
    p50_ms: float | None = None
    p99_ms: float | None = None


class CheckLook(Settings):
    """A finding. An end of None is without bound; without an estimate nothing was known."""

    check: str
    unit: str = ""
    threshold: float
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    n: int = 0
    alpha: float
    state: FindingState


class Apart(Settings):
    """How far copies lie from live answers, of one output: the mean over `n` rows, and Pearson's correlation."""

    n: int
    mean: float
    correlation: float | None = None


class MeanLosses(Settings):
    """Mean losses of the rows with ground truth, and how many those are; `pairs` is challenger minus champion."""

    champion: float | None = None
    challenger: float | None = None
    pairs: float | None = None
    champion_rows: int = 0
    challenger_rows: int = 0
    paired_rows: int = 0


class Look(Settings):
    """How a rollout stood at a moment. What was measured is since `step_began`, and None while nothing was.

    Attributes:
        event: what has happened since the look before; None for a look that the clock asked for.
        shadow: percent of the requests that were copied to the challenger.
        challenger: of live requests; `copies` is of the others.
        sketch: what the answers looked like; only some looks have it, and it may be of the step before.
    """

    at: AwareDatetime
    revision: int
    event: str | None = None
    phase: Phase
    step: int
    step_began: AwareDatetime
    weights: dict[str, float]
    shadow: float = 0.0
    verdict: VerdictState | None = None
    champion: Answers | None = None
    challenger: Answers | None = None
    copies: Answers | None = None
    apart: dict[str, Apart] = Field(default_factory=dict)
    checks: tuple[CheckLook, ...] = ()
    losses: MeanLosses | None = None
    sketch: Sketch | None = None


@dataclass(frozen=True)
class Measured:
    """What the controller knows of a step, as it judged it."""

    champion: Tally
    challenger: Tally
    copies: Tally
    verdict: Verdict | None = None
    losses: Losses | None = None


def look(state: RolloutState, now: datetime, measured: Measured | None, event: str | None = None) -> Look:
    """One line of the series."""
    traffic = state.traffic
    bare = Look(
        at=now,
        revision=state.revision,
        event=event,
        phase=state.phase,
        step=state.step,
        step_began=state.step_began,
        weights=traffic.weights,
        shadow=traffic.shadows.get(state.plan.challenger, 0.0),
    )
    if measured is None:
        return bare
    sides = {name: _answers(getattr(measured, name), state.plan) for name in ("champion", "challenger", "copies")}
    verdict = measured.verdict
    found = {
        "verdict": verdict and verdict.state,
        "checks": tuple(_check(finding) for finding in verdict.findings) if verdict else (),
        "apart": _apart(measured.copies),
        "losses": _losses(measured.losses),
    }
    return bare.model_copy(update=sides | found)


def series_path(folder: Path, application: str, endpoint: str, identity: str) -> Path:
    """Where the series of a rollout lies, below `${TAXIWAY_HOME}/rollouts`."""
    return folder / application / f"{endpoint}-{identity}.jsonl"


def read_series(path: Path) -> tuple[Look, ...]:
    """The looks in their order; nothing without a file. A line that was not written to its end is left out.

    Raises:
        OSError: the file is there and can't be read.
    """
    try:
        lines = path.read_bytes().splitlines()
    except FileNotFoundError:
        return ()
    found = (_parsed(line) for line in lines)
    return tuple(sorted((it for it in found if it is not None), key=lambda it: it.at))


def steps_of(series: Sequence[Look]) -> list[list[Look]]:
    """What was measured, apart for each beginning of a step: there everything counts anew."""
    groups: dict[tuple[int, datetime], list[Look]] = {}
    for one in series:
        if one.champion is not None:
            groups.setdefault((one.step, one.step_began), []).append(one)
    return list(groups.values())


def written(one: Look) -> bytes:
    """As a line of the file."""
    return one.model_dump_json(exclude_defaults=True).encode() + b"\n"


def _parsed(line: bytes) -> Look | None:
    try:
        return Look.model_validate_json(line)
    except ValidationError:
        return None


def _answers(tally: Tally, plan: RolloutSettings) -> Answers:
    slow = plan.checks.slow
    return Answers(
        requests=tally.requests,
        faults=tally.faults,
        slow=None if slow is None else tally.slower_than(slow.over_ms / 1_000),
        p50_ms=_ms(tally.quantile_s(0.5)),
        p99_ms=_ms(tally.quantile_s(0.99)),
    )


def _check(finding: Finding) -> CheckLook:
    return CheckLook(
        check=finding.check.name,
        unit=finding.check.unit,
        threshold=finding.check.threshold,
        estimate=_finite(finding.estimate),
        low=_finite(finding.low),
        high=_finite(finding.high),
        n=finding.n,
        alpha=finding.alpha,
        state=finding.state,
    )


def _apart(copies: Tally) -> dict[str, Apart]:
    found = {}
    for output in copies.names("difference"):
        n, total, _ = copies.moments(f"difference/{output}")
        if n:
            found[output] = Apart(n=n, mean=total / n, correlation=correlation(copies, output))
    return found


def _losses(losses: Losses | None) -> MeanLosses | None:
    if losses is None or not losses.champion.n + losses.challenger.n:
        return None
    return MeanLosses(
        champion=losses.champion.mean,
        challenger=losses.challenger.mean,
        pairs=losses.pairs.mean,
        champion_rows=losses.champion.n,
        challenger_rows=losses.challenger.n,
        paired_rows=losses.pairs.n,
    )


def _finite(value: float | None) -> float | None:
    return value if value is not None and isfinite(value) else None


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else 1_000 * seconds
