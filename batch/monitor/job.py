"""A monitor job from its settings to its report and, when a limit is broken, its alarm. It needs no Ray."""

import logging
from dataclasses import dataclass
from datetime import date, datetime

from batch.findings import Findings, leave
from batch.inputs.storage import storage_error
from batch.looking_back import Clock, Span, Tell, Who, span_of, utc_now
from batch.monitor.evidently_report import check_installed, drift_files, performance_files
from batch.monitor.page import page
from batch.monitor.reference import Reference, reference_of
from batch.monitor.report import MonitorReport, broken, summary
from batch.monitor.settings import MonitorSettings
from batch.monitor.window import Current, Truth, current_of, drift_of, truth_of
from taxiway.alarms import Alarm, raise_alarm
from taxiway.registry import LoadedModel, Registry

_log = logging.getLogger(__name__)
_LONGEST_REASON = 2_000
_LONGEST_TEXT = 1_000
_MOST_DETAILS = 90
_BY = "batch.monitor"


@dataclass(frozen=True)
class _Seen:
    """What a run has read."""

    model: LoadedModel
    reference: Reference
    current: Current
    truth: Truth | None


def monitor(settings: MonitorSettings, day: date | None, dry_run: bool, tell: Tell, clock: Clock = utc_now) -> bool:
    """Compares a window with the reference; returns whether every limit holds.

    Args:
        day: what `{date}` is, and `now` of the window; None: the clock says it.
        dry_run: tells what was found; leaves no report and raises no alarm.
        tell: takes lines for people.

    Raises:
        ConfigError: the settings, the log or the reference can't be used, or Evidently is missing.
        JobError: there are no answers, or the report or the alarm can't be kept.
        RegistryError: the registry does not answer, or has no such version.
    """
    if settings.evidently:
        check_installed()
    at, folder, span = clock(), settings.folder(day), span_of(settings.window, day, clock)
    registry = Registry(settings.registry)
    seen = _seen(settings, registry, span, at)
    report = _report(settings, seen, span, at)
    for line in summary(report):
        tell(line)
    if not dry_run:
        # The alarm first: it is what somebody waits for, and the report may fail.
        if report.broken and settings.alarm:
            raise_alarm(seen.model.version.name, alarm_of(report, folder))
        leave(_findings(report, _files(report, settings, seen, tell), clock()), folder, settings.mlflow, registry)
        tell(f"the report is in {folder}")
    return not report.broken


def _seen(settings: MonitorSettings, registry: Registry, span: Span, now: datetime) -> _Seen:
    model = registry.load(registry.resolve(settings.monitor))
    reference = reference_of(registry, model, settings)
    who = Who(settings.endpoint, model.version.version, settings.variant)
    try:
        current = current_of(settings, who, span, model.package)
        truth = truth_of(settings, who, span, model.package, reference, now)
    except OSError as error:
        raise storage_error("predictions", settings.predictions, error) from error
    return _Seen(model, reference, current, truth)


def _report(settings: MonitorSettings, seen: _Seen, span: Span, at: datetime) -> MonitorReport:
    drift = drift_of(settings, seen.reference, seen.current, span)
    is_judged = seen.current.rows >= settings.min_rows
    quality = seen.truth.quality if seen.truth else None
    return MonitorReport(
        at=at,
        model=seen.model.version.uri,
        endpoint=settings.endpoint,
        variant=settings.variant,
        began=span.start,
        ended=span.end,
        reference=seen.reference.source,
        answers=seen.current.drawn.answers,
        of_answers=seen.current.drawn.of_answers,
        rows=seen.current.rows,
        is_judged=is_judged,
        columns=drift.columns,
        quality=quality,
        absent=seen.current.absent,
        broken=broken(settings, is_judged, drift.drifting, quality),
    )


def _files(report: MonitorReport, settings: MonitorSettings, seen: _Seen, tell: Tell) -> dict[str, str]:
    files = {"report.html": page(report), "report.json": report.model_dump_json(indent=2)}
    if settings.evidently:
        try:
            files |= _of_evidently(seen)
        except Exception as error:  # noqa: BLE001 - it refuses some windows, of one class for example
            _log.warning("Evidently could not report", exc_info=error)
            tell(f"Evidently could not report this window ({type(error).__name__}); our own report has all of it")
    return files


def _of_evidently(seen: _Seen) -> dict[str, str]:
    package = seen.model.package
    files = drift_files((*package.model_columns, *package.signature.outputs), seen.current, seen.reference)
    if seen.truth is not None and seen.truth.quality is not None:
        files |= performance_files(seen.truth.rows, seen.reference, package.signature.outputs[0].name)
    return files


def _findings(report: MonitorReport, files: dict[str, str], ended: datetime) -> Findings:
    return Findings(
        name=f"monitoring of {report.endpoint}",
        model=report.model,
        endpoint=report.endpoint,
        window=f"{report.began.isoformat()}/{report.ended.isoformat()}",
        is_broken=bool(report.broken),
        files=files,
        metrics=report.metrics,
        began=report.at,
        ended=ended,
    )


def alarm_of(report: MonitorReport, folder: str) -> Alarm:
    """The alarm that a broken report raises."""
    details: dict[str, float | str] = {"report": folder[:_LONGEST_TEXT]}
    if report.quality is not None:
        details["loss"] = report.quality.whole.loss.value
    details |= {f"psi.{it.column}"[:100]: it.psi for it in report.drifting[:_MOST_DETAILS] if it.psi is not None}
    reason = "; ".join(report.broken)
    return Alarm(
        at=report.at,
        endpoint=report.endpoint,
        reason=reason if len(reason) <= _LONGEST_REASON else f"{reason[: _LONGEST_REASON - 1]}…",
        by=_BY,
        details=details,
    )
