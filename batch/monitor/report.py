"""What a monitor job says: the report as JSON, its verdict, and lines for a terminal."""

from typing import Literal

from pydantic import AwareDatetime

from batch.monitor.quality import LOSSES, Interval, Quality
from batch.monitor.settings import MonitorSettings
from taxiway.drift.judgement import ColumnDrift
from taxiway.settings import Settings


class MonitorReport(Settings):
    """The result of a monitor job.

    Attributes:
        reference: `evaluation`, `training` or `profile`.
        answers: that were drawn, of `of_answers` in the window, for drift; quality is of all labelled answers.
        is_judged: whether there were enough rows to judge drift.
        quality: None where nothing is labelled, or the kind of answer is not judged.
        absent: columns that the log does not have.
        broken: a sentence for each limit that is.
    """

    kind: Literal["monitor"] = "monitor"
    at: AwareDatetime
    model: str
    endpoint: str
    variant: str | None
    began: AwareDatetime
    ended: AwareDatetime
    reference: str
    answers: int
    of_answers: int
    rows: int
    is_judged: bool
    columns: tuple[ColumnDrift, ...]
    quality: Quality | None
    absent: tuple[str, ...]
    broken: tuple[str, ...]

    @property
    def drifting(self) -> tuple[ColumnDrift, ...]:
        return tuple(it for it in self.columns if it.drifts)

    @property
    def metrics(self) -> dict[str, float]:
        told = {"rows": float(self.rows), "drifting_columns": float(len(self.drifting))}
        told |= {f"psi/{it.key}": it.psi for it in self.columns if it.psi is not None}
        if self.quality is not None:
            whole = self.quality.whole
            told |= {"labelled_rows": float(whole.rows), **_named("loss", whole.loss)}
            told |= _named("auc", whole.auc) if whole.auc else {}
        return told


def broken(
    settings: MonitorSettings, is_judged: bool, drifting: tuple[ColumnDrift, ...], quality: Quality | None
) -> tuple[str, ...]:
    """A sentence for each limit that is broken, by more than chance."""
    told, limits = [], settings.limits
    if is_judged and limits.drifting_columns is not None and len(drifting) > limits.drifting_columns:
        columns = ", ".join(it.sentence for it in drifting)
        told.append(f"drift of {len(drifting)} columns, allowed are {limits.drifting_columns}: {columns}")
    if quality is None or quality.whole.rows < settings.min_labels:
        return tuple(told)
    loss, name = quality.whole.loss, LOSSES[quality.task]
    found = f"{name} {loss.value:.4g} ({loss.low:.4g} to {loss.high:.4g})"
    if limits.loss is not None and loss.low > limits.loss:
        told.append(f"{found} is above {limits.loss:g}")
    before, increase = quality.reference, limits.loss_increase
    if before is not None and increase is not None and loss.low > before + increase:
        told.append(f"{found} is more than {increase:g} above the reference's {before:.4g}")
    return tuple(told)


def summary(report: MonitorReport) -> list[str]:
    """Lines for a terminal."""
    few = "" if report.is_judged else "; too few to judge drift"
    counted = f"{report.rows:,} rows of {report.answers:,} answers against the {report.reference}"
    lines = [f"{report.model} at {report.endpoint}: {counted}{few}"]
    lines += [f"  drifts: {it.sentence}" for it in report.drifting]
    if report.quality is not None:
        whole = report.quality.whole
        lines.append(f"  {LOSSES[report.quality.task]}: {told(whole.loss)} over {whole.rows:,} labelled rows")
    else:
        lines.append("  quality: nothing of the window can be judged yet")
    return [*lines, *(f"broken: {sentence}" for sentence in report.broken)]


def told(interval: Interval | None) -> str:
    """`0.31 (0.29 to 0.33)`."""
    return "–" if interval is None else f"{interval.value:.4g} ({interval.low:.4g} to {interval.high:.4g})"


def _named(name: str, interval: Interval) -> dict[str, float]:
    return {name: interval.value, f"{name}_low": interval.low, f"{name}_high": interval.high}
