"""A line in the log for some of the requests: noted on the event loop, written on a thread."""

import logging
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from random import Random
from typing import Any

from serve.background import Background
from serve.tracing import Kept
from taxiway.telemetry.settings import LogSettings

_log = logging.getLogger("serve.requests")
_EVERY_S = 0.2
_WAITING = 10_000
"""Lines that may wait to be written; older ones are dropped then."""


@dataclass(slots=True)
class RequestLine:
    """What is told of one request.

    Args:
        headers: of the request; those that the settings name are written.
    """

    endpoint: str
    variant: str
    version: str
    code: str
    protocol: str
    rows: int
    seconds: float
    address: str
    headers: Mapping[bytes, bytes]
    prediction_id: str | None
    kept: Kept | None


class RequestLog:
    """Draws requests by themselves: whether one has a trace does not matter."""

    def __init__(self, settings: LogSettings) -> None:
        self._share = settings.requests
        self._headers = [(name.lower().encode("latin-1"), name.lower()) for name in settings.request_headers]
        self._lines: deque[RequestLine] = deque(maxlen=_WAITING)
        self._draw = Random().random  # noqa: S311 - one of our own: a model that seeds Python's changes nothing here
        self._thread = Background("request log", self.flush, _EVERY_S)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Writes what is left."""
        self._thread.stop()

    def wants(self) -> bool:
        """Whether the request that has just ended leaves a line."""
        return self._draw() < self._share

    def note(self, line: RequestLine) -> None:
        """On the event loop."""
        self._lines.append(line)

    def flush(self) -> None:
        """On the thread."""
        for _ in range(len(self._lines)):
            line = self._lines.popleft()
            _log.info("request", extra=self._fields(line))

    def _fields(self, line: RequestLine) -> dict[str, Any]:
        fields: dict[str, Any] = {
            "event.kind": "event",
            "event.category": ["web"],
            "event.action": "inference",
            "event.outcome": "success" if line.code == "ok" else "failure",
            "event.duration": int(line.seconds * 1e9),
            "client.address": line.address,
            "endpoint": line.endpoint,
            "variant": line.variant,
            "model_version": line.version,
            "code": line.code,
            "protocol": line.protocol,
            "rows": line.rows,
            "prediction_id": line.prediction_id,
        }
        if line.kept is not None:
            fields |= {"trace.id": line.kept.trace_id, "span.id": f"{line.kept.context.span_id:016x}"}
        for header, name in self._headers:
            if (value := line.headers.get(header)) is not None:
                fields[f"http.request.headers.{name}"] = value.decode("latin-1")
        return fields
