"""An experiment for people: lines of a shell."""

from collections.abc import Iterator
from datetime import datetime

from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.readout import ArmReadout, Readout
from taxiway.rollout_told import lasting

HEAD = ("variant", "version", "share", "requests", "errors", "p99", "rows", "mean", "difference", "best", "standing")


def experiment_lines(state: ExperimentState, readout: Readout | None, now: datetime) -> Iterator[str]:
    """Where it stands, and a table of its variants."""
    lasted = lasting(((state.ended or now) - state.began).total_seconds())
    plan = state.plan
    yield f"experiment {plan.name} on {state.endpoint} ({state.application}): {state.phase}, {lasted}"
    if state.is_over:
        yield f"  {state.reason}"
    yield f"  {plan.metric.unit}, {plan.metric.better} is better; {plan.allocation} split"
    if readout is None:
        yield "  nothing was measured yet"
        return
    yield f"  {readout.told}"
    if readout.mismatch:
        yield f"  {readout.mismatch}"
    rows = [HEAD, *(cells(arm) for arm in readout.arms)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEAD))]
    for row in rows:
        yield "  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
    yield f"  differences to {state.control} with intervals of {1 - readout.alpha:.2%} that hold at any time"
    for name, why in state.dropped.items():
        yield f"  {name} was taken out: {why}"


def cells(arm: ArmReadout) -> tuple[str, ...]:
    """A row below `HEAD`."""
    return (
        arm.variant,
        arm.version,
        f"{arm.weight:g}%",
        f"{arm.requests:,}",
        f"{arm.faults:,}",
        "-" if arm.p99_ms is None else f"{arm.p99_ms:.1f} ms",
        f"{arm.rows:,}",
        _figure(arm.mean),
        "-" if arm.standing == "control" else interval(arm),
        "-" if arm.best is None else f"{arm.best:.0%}",
        arm.standing,
    )


def interval(arm: ArmReadout) -> str:
    if arm.low is None or arm.high is None:
        return _figure(arm.estimate)
    return f"{_figure(arm.estimate)} ({arm.low:.4g} to {arm.high:.4g})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}"
