"""Everybody who listens to a job, in the order in which they hear of its end."""

import time
from typing import TextIO

from batch.events import Observer, Observers, Planned
from batch.observers.kept import keep
from batch.observers.live import LiveProgress, display_for
from batch.observers.prometheus import Pushgateway, RayMetrics
from batch.observers.report import Report
from batch.observers.reporting import Reporting, Sink
from batch.observers.settings import MlflowSettings
from batch.observers.text import summary
from batch.observers.tracing import Tracing
from batch.settings import ScoreSettings
from taxiway.settings import RegistrySettings
from taxiway.telemetry.job_trace import begin_job


def observers(settings: ScoreSettings, stream: TextIO) -> Observers:
    """Progress and summary go to `stream`, warnings to the log."""
    display = display_for(stream)

    def say(_: Planned, report: Report) -> None:
        if report.failure is None:
            display.line(summary(report))

    sinks: list[tuple[str, Sink]] = [("report", keep), ("summary", say)]
    if settings.mlflow is not None:
        sinks.append(("mlflow", _runs(settings.mlflow, settings.registry)))
    listening: list[Observer] = [LiveProgress(display), RayMetrics(), Reporting(sinks)]
    if settings.pushgateway is not None:
        listening.append(Pushgateway(settings.pushgateway, settings.output, time.time()))
    began_s = time.time()
    if (job := begin_job("batch", began_s)) is not None:
        listening.append(Tracing(job, began_s))
    return Observers(listening)


def _runs(settings: MlflowSettings, registry: RegistrySettings) -> Sink:
    def log(_: Planned, report: Report) -> None:
        from batch.observers.tracking import log_run  # MLflow, which the start does not wait for

        log_run(report, settings, registry)

    return log
