"""Prometheus: counts while the job runs, through Ray's agents, and what the last run was, through a Pushgateway.

Ray, MLflow and the client are imported when they are needed: a job starts while they come.
"""

import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

from batch.events import Event, Failed, PieceDone, Planned, Published, Started, Totals
from batch.exit_status import DONE
from batch.observers.shown import without_secrets

if TYPE_CHECKING:
    from taxiway.telemetry.metrics import JobMetrics

JOB = "taxiway_batch"
_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


class RayMetrics:
    """Counts pieces in the driver as they end, while there is a Ray that exposes it."""

    def __init__(self) -> None:
        self._planned: Planned | None = None
        self._metrics: JobMetrics | None = None

    def observe(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._planned = event
        elif isinstance(event, Started) and self._planned is not None:
            from taxiway.registry import parts_of
            from taxiway.telemetry.metrics import JobMetrics

            name, _, version = parts_of(self._planned.model)
            self._metrics = JobMetrics(name, str(version))
        elif isinstance(event, PieceDone) and self._metrics is not None and self._planned is not None:
            result = event.result
            self._metrics.piece(result.written, result.filtered, result.rejects, result.seconds)
            self._metrics.progress(done_share(self._planned, event.total))


class Pushgateway:
    """Pushes once, at the end. A failure adds to the group, so that the last success stays known.

    Args:
        output: as the settings have it, so that the runs of all logical dates are one group.
        began_s: since 1970.
    """

    def __init__(self, url: str, output: str, began_s: float) -> None:
        self._url, self._login = _without_login(url)
        self._group = {"output": without_secrets(output)}
        self._began_s = began_s
        self._is_planned = self._is_over = False

    def observe(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._is_planned = True
        elif isinstance(event, Published | Failed) and not self._is_over:
            self._is_over = True
            self._push(event)

    def _push(self, event: Published | Failed) -> None:
        from prometheus_client.exposition import (
            basic_auth_handler,
            default_handler,
            push_to_gateway,
            pushadd_to_gateway,
        )

        from taxiway.telemetry.metrics import LastRunMetrics

        metrics = LastRunMetrics()
        metrics.ended(event.time_s, event.exit_status if isinstance(event, Failed) else DONE)
        if self._is_planned:
            total = event.total
            metrics.counted(total.written, total.filtered, total.rejects, event.time_s - self._began_s)
        push = pushadd_to_gateway if isinstance(event, Failed) else push_to_gateway
        handler = partial(basic_auth_handler, **self._login) if self._login else default_handler
        try:
            push(self._url, JOB, metrics.registry, self._group, _TIMEOUT_S, handler)
        except (OSError, ValueError) as error:
            _log.warning("pushgateway: %s: %s", without_secrets(self._url), without_secrets(str(error)))


def done_share(planned: Planned, total: Totals) -> float:
    """Between 0 and 1, of rows or where nobody has counted them of bytes."""
    done, whole = (total.rows, planned.rows) if planned.rows is not None else (total.bytes_read, planned.bytes)
    return min(done / whole, 1.0) if whole else 1.0


def _without_login(url: str) -> tuple[str, dict[str, Any]]:
    """A URL without user and password, and these."""
    split = urlsplit(url)
    if split.username is None:
        return url, {}
    login = {"username": unquote(split.username), "password": unquote(split.password or "")}
    return urlunsplit(split._replace(netloc=split.netloc.rpartition("@")[2])), login
