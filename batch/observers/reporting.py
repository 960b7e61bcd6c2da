"""Gathers what has happened until the job ends, and hands the report to everybody who keeps or shows one."""

import logging
from collections.abc import Callable, Sequence

from batch.events import Event, Failed, PieceDone, Planned, Published, Started
from batch.observers.report import Report, failed_report, published_report
from batch.observers.shown import without_secrets
from batch.pieces import PieceResult

_log = logging.getLogger(__name__)
Sink = Callable[[Planned, Report], None]
"""Takes the plan, whose places may hold passwords, and the report, which holds none."""


class Reporting:
    """A sink that fails is told of in a warning: the job itself has ended as it has."""

    def __init__(self, sinks: Sequence[tuple[str, Sink]]) -> None:
        self._sinks = sinks
        self._planned: Planned | None = None
        self._actors = 0
        self._pieces: list[PieceResult] = []

    def observe(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._planned = event
        elif isinstance(event, Started):
            self._actors = event.actors
        elif isinstance(event, PieceDone):
            self._pieces.append(event.result.model_copy(update={"scores": {}, "parts": (), "rejects": {}}))
        elif self._planned is not None:
            planned, self._planned = self._planned, None
            self._tell(planned, self._report(planned, event))

    def _report(self, planned: Planned, event: Published | Failed) -> Report:
        if isinstance(event, Published):
            return published_report(planned, self._actors, self._pieces, event)
        return failed_report(planned, self._actors, self._pieces, event)

    def _tell(self, planned: Planned, report: Report) -> None:
        for name, sink in self._sinks:
            try:
                sink(planned, report)
            except Exception as error:  # noqa: BLE001 - whatever a server or a storage does
                _log.warning("%s: %s: %s", name, type(error).__name__, without_secrets(str(error)))
