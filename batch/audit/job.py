"""A skew audit from its settings to its report. It needs no Ray."""

from datetime import UTC, date, datetime

import numpy as np

from batch.audit.replay import Offline, replay
from batch.audit.report import AuditReport, broken, page, summary
from batch.audit.settings import AuditSettings
from batch.findings import Findings, leave
from batch.inputs.storage import storage_error
from batch.looking_back import Clock, Span, Tell, Who, sample, span_of, utc_now
from taxiway.package import ModelPackage
from taxiway.registry import LoadedModel, Registry


def audit(settings: AuditSettings, day: date | None, dry_run: bool, tell: Tell, clock: Clock = utc_now) -> bool:
    """Replays a sample of the log; returns whether every limit holds.

    Args:
        day: what `{date}` is, and `now` of the window; None: the clock says it.
        dry_run: tells what was found, and leaves no report.
        tell: takes lines for people.

    Raises:
        ConfigError: the settings, the log or the store can't be used.
        JobError: there are no answers, or the features can't be joined.
        RegistryError: the registry does not answer, or has no such version.
    """
    folder, span = settings.folder(day), span_of(settings.window, day, clock)
    registry = Registry(settings.registry)
    model = registry.load(registry.resolve(settings.audit))
    report = _report(settings, span, model, clock)
    for line in summary(report):
        tell(line)
    if not dry_run:
        leave(_findings(report, clock()), folder, settings.mlflow, registry)
        tell(f"the report is in {folder}")
    return not report.broken


def _report(settings: AuditSettings, span: Span, model: LoadedModel, clock: Clock) -> AuditReport:
    at, who = clock(), Who(settings.endpoint, model.version.version, settings.variant)
    try:
        drawn = sample(settings, who, span, ["input.*", "output.*"])
    except OSError as error:
        raise storage_error("predictions", settings.predictions, error) from error
    as_of = np.datetime64(settings.as_of.astimezone(UTC).replace(tzinfo=None), "us") if settings.as_of else None
    skew = replay(drawn.table, model, offline_of(settings, model.package), settings.tolerance, as_of)
    return AuditReport(
        at=at,
        model=model.version.uri,
        endpoint=who.endpoint,
        variant=who.variant,
        began=span.start,
        ended=span.end,
        as_of=settings.as_of,
        seed=settings.seed,
        answers=drawn.answers,
        of_answers=drawn.of_answers,
        rows=skew.rows,
        unreadable=skew.unreadable,
        tolerance=settings.tolerance,
        features=skew.features,
        outputs=skew.outputs,
        refused=skew.refused,
        absent=skew.absent,
        broken=broken(skew, settings.limits),
    )


def offline_of(settings: AuditSettings, package: ModelPackage) -> Offline | None:
    """The model's offline features; None for one that reads none, or without a store."""
    if package.features is None or settings.feature_store is None:
        return None
    # Feast takes seconds to import: only a model with features pays for it.
    from batch.audit.staleness import Histories
    from taxiway.features import HistoricalFeatures, open_store

    store = open_store(settings.feature_store)
    return Offline(HistoricalFeatures(store), Histories(store))


def _findings(report: AuditReport, ended: datetime) -> Findings:
    return Findings(
        name=f"skew audit of {report.endpoint}",
        model=report.model,
        endpoint=report.endpoint,
        window=f"{report.began.isoformat()}/{report.ended.isoformat()}",
        is_broken=bool(report.broken),
        files={"report.html": page(report), "report.json": report.model_dump_json(indent=2)},
        metrics=report.metrics,
        began=report.at,
        ended=ended,
    )
