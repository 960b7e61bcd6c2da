"""What a replica tells beside its metrics: traces and the lines of its log, as the settings say."""

from dataclasses import dataclass

from serve.request_log import RequestLog
from serve.settings import ServeSettings
from serve.tracing import Tracing
from taxiway.telemetry.exemplars import open_exemplars
from taxiway.telemetry.logs import Redaction, instance, of_this_process, switch_on
from taxiway.telemetry.tracing import open_spans, resource

SERVICE = "taxiway"


@dataclass(frozen=True)
class Telemetry:
    """Between `start` and `stop`; None is what is off, and then a request pays one look for it."""

    tracing: Tracing | None
    request_log: RequestLog | None

    def start(self) -> None:
        for part in (self.tracing, self.request_log):
            if part is not None:
                part.start()

    def stop(self) -> None:
        """Exports and writes what was noted."""
        for part in (self.tracing, self.request_log):
            if part is not None:
                part.stop()


def open_telemetry(application: str, settings: ServeSettings) -> Telemetry:
    """Also gives this process's log its form.

    Raises:
        ConfigError: one of the standard variables has a value that is not known here.
    """
    switch_on(settings.logs, of_this_process(SERVICE) | {"labels.application": application})
    request_log = RequestLog(settings.logs) if settings.logs.requests > 0 else None
    return Telemetry(_tracing(settings), request_log)


def _tracing(settings: ServeSettings) -> Tracing | None:
    if settings.tracing is None:
        return None
    spans = open_spans(SERVICE, instance(), Redaction(settings.logs.redact))
    if spans is None:
        return None
    latencies = open_exemplars(resource(SERVICE, instance())) if settings.tracing.exemplars else None
    return Tracing(settings.tracing, spans, latencies)
