"""The current window: what was asked and answered, and what is known of it by now."""

from dataclasses import dataclass
from datetime import datetime

import numpy as np

from batch.looking_back import Sample, Span, Who, logged, moments_of, sample
from batch.monitor.quality import Judged, Quality, Task, by_day, judged, of_rows, row_losses, task_of
from batch.monitor.reference import Reference
from batch.monitor.settings import MonitorSettings
from taxiway.drift.counts import paired
from taxiway.drift.judgement import WindowDrift, judge
from taxiway.package import ModelPackage
from taxiway.predictions.join import label_window
from taxiway.profile import count
from taxiway.signature import Columns, row_count, take

_LABELLED = ("time", "variant", "version", "kind", "status")


@dataclass(frozen=True)
class Current:
    """The drawn answers of the window as the model's columns; `absent` are those that the log does not have."""

    drawn: Sample
    columns: Columns
    outputs: Columns
    absent: tuple[str, ...]

    @property
    def rows(self) -> int:
        return row_count(self.outputs)


@dataclass(frozen=True)
class Truth:
    """The labelled rows of the whole window, and what they say; of nothing that is labelled there is no quality."""

    rows: Judged
    quality: Quality | None


def current_of(settings: MonitorSettings, who: Who, span: Span, package: ModelPackage) -> Current:
    """Raises as `batch.looking_back.sample` and `logged`."""
    drawn = sample(settings, who, span, ["input.*", "output.*"])
    inputs = logged(drawn.table, package.model_columns, "input")
    outputs = logged(drawn.table, package.signature.outputs, "output")
    good = np.flatnonzero(~(inputs.unreadable | outputs.unreadable))
    absent = (*inputs.absent, *outputs.absent)
    return Current(drawn, take(inputs.columns, good), take(outputs.columns, good), absent)


def drift_of(settings: MonitorSettings, reference: Reference, current: Current, span: Span) -> WindowDrift:
    """Every column of the window against the reference, in the reference's bins."""
    pairs = paired(reference.profile, count(reference.profile, current.columns, current.outputs))
    before, after = tuple(one for one, _ in pairs), tuple(another for _, another in pairs)
    return judge(settings.drift(current.absent), before, after, span.start, span.end)


def truth_of(
    settings: MonitorSettings, who: Who, span: Span, package: ModelPackage, reference: Reference, now: datetime
) -> Truth | None:
    """What is known by `now` of all answers of the window; None where the model's kind of answer is not judged."""
    names = [column.name for column in package.signature.outputs]
    task = task_of(package.output_kind, names)
    if task is None:
        return None
    columns = (*_LABELLED, f"output.{names[0]}")
    found = label_window(settings.predictions, who.endpoint, span.start, span.end, now, columns)
    table = who.of(found.table) if found.table.num_rows else found.table
    if not table.num_rows:
        return None
    rows = judged(table, names[0], task, moments_of(table))
    if not len(rows.losses):
        return Truth(rows, None)
    quality = Quality(
        task=task,
        whole=of_rows(rows, None, settings.seed),
        days=by_day(rows, span.zone, settings.seed),
        corrections=found.corrections,
        unmatched=found.unmatched,
        reference=_reference_loss(reference, task, names[0]),
    )
    return Truth(rows, quality)


def _reference_loss(reference: Reference, task: Task, output: str) -> float | None:
    # Labels of classes are positions in a data set and names in the log.
    if reference.labels is None or task == "label":
        return None
    losses = row_losses(task, reference.labels, reference.outputs[output])
    return float(np.nanmean(losses)) if np.isfinite(losses).any() else None
