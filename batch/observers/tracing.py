"""The trace of a scoring job: planning, a span for each piece as its actor worked on it, closing."""

from batch.events import Event, Failed, PieceDone, Planned, Published, Started
from batch.observers.shown import without_secrets
from batch.pieces import PieceResult
from taxiway.telemetry.job_trace import JobTrace


class Tracing:
    """Makes spans of what it hears.

    Args:
        began_s: when the job began, since 1970; `job` has the same begin.
    """

    def __init__(self, job: JobTrace, began_s: float) -> None:
        self._job = job
        self._at_s = began_s
        self._planned: Planned | None = None

    def observe(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._planned = event
            self._stage("planning", event.time_s)
        elif isinstance(event, Started):
            self._at_s = event.time_s
        elif isinstance(event, PieceDone):
            self._piece(event.result)
            self._at_s = event.time_s
        else:
            self._over(event)

    def _stage(self, name: str, end_s: float) -> None:
        self._job.span(name, self._at_s, end_s)
        self._at_s = end_s

    def _piece(self, result: PieceResult) -> None:
        attributes: dict[str, str | int | float | bool] = {
            "taxiway.piece": result.piece,
            "taxiway.rows": result.rows,
            "taxiway.rows.rejected": result.rejected,
            "taxiway.actor": result.actor,
        }
        self._job.span("piece", result.started_s, result.started_s + result.seconds, attributes)

    def _over(self, event: Published | Failed) -> None:
        error = event.code if isinstance(event, Failed) else None
        if error is None:
            self._stage("closing", event.time_s)
        attributes: dict[str, str | int | float | bool] = {"taxiway.rows": event.total.rows}
        if self._planned is not None:
            attributes["taxiway.job.id"] = self._planned.job_id
            attributes["taxiway.model"] = self._planned.model
            attributes["taxiway.input"] = without_secrets(self._planned.input)
            attributes["taxiway.output"] = without_secrets(self._planned.output)
        self._job.end(attributes, error)
