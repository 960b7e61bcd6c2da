"""Log records as JSON lines in the Elastic Common Schema, without what the settings declare secret.

Reference: https://www.elastic.co/docs/reference/ecs and its logging libraries, whose order of fields is kept.
"""

import logging
import os
import socket
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import orjson

from taxiway import __version__
from taxiway.errors import ConfigError
from taxiway.telemetry.settings import LogSettings
from taxiway.telemetry.work import current

ECS_VERSION = "8.11.0"
REDACTED = "[redacted]"
TRACE_ID = "trace.id"
OURS = ("taxiway", "serve", "batch", "retrain")
"""The loggers whose records are ours."""
SERVE = "ray.serve"
FORMAT = "TAXIWAY_LOG_FORMAT"
"""The environment variable that says how a job logs: text or json."""
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_REMEMBERED = 1_000


class Redaction:
    """Replaces the values of declared fields.

    Args:
        patterns: names of fields; `*` stands for any characters, as in `labels.customer_*`.
    """

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self.patterns = patterns
        self._known: dict[str, bool] = {}

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The same fields; the values of those that are declared are gone."""
        if not self.patterns:
            return dict(fields)
        return {name: REDACTED if self._hides(name) else value for name, value in fields.items()}

    def _hides(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            known = any(fnmatchcase(name, pattern) for pattern in self.patterns)
            if len(self._known) < _REMEMBERED:
                self._known[name] = known
        return known


class EcsFormatter(logging.Formatter):
    """One JSON object a line.

    What a record brings as `extra` is a field of its own where its name has a dot (`event.action`), and a label
    where it has none; mappings are flattened. A value that JSON does not know becomes text.

    Args:
        fields: stand in every line, such as `service.name`.
    """

    def __init__(self, fields: Mapping[str, Any], redaction: Redaction) -> None:
        super().__init__()
        self._fields = fields
        self._redaction = redaction

    def format(self, record: logging.LogRecord) -> str:
        fields = {
            "@timestamp": _moment(record.created),
            "log.level": record.levelname.lower(),
            "message": _message(record),
            "ecs.version": ECS_VERSION,
            **self._fields,
            "log.logger": record.name,
            "log.origin.file.name": record.filename,
            "log.origin.file.line": record.lineno,
            "log.origin.function": record.funcName,
            "process.pid": record.process,
            "process.thread.name": record.threadName,
            **_error(record),
            **dict(_extra(record)),
        }
        return orjson.dumps(self._redaction.apply(fields), default=str, option=orjson.OPT_SERIALIZE_NUMPY).decode()


class OfItsTrace(logging.Filter):
    """Gives a record the id of the trace that it is written in; it does so where it is written, for a handler that
    buffers formats it on another thread."""

    def filter(self, record: logging.LogRecord) -> bool:
        work, fields = current(), vars(record)
        if work is not None and TRACE_ID not in fields and (trace_id := work.identity()) is not None:
            fields[TRACE_ID], work.logged = trace_id, True
        return True


def switch_on(settings: LogSettings, fields: Mapping[str, Any]) -> list[logging.Handler]:
    """Writes our records as the settings say; where Serve has set up a replica's log file, into that one, and
    Serve's own records in the same form. Returns the handlers that ours go to; none while they stay as they are.

    Args:
        fields: stand in every line, such as `service.name`.
    """
    if settings.format == "text":
        return []
    handlers = list(logging.getLogger(SERVE).handlers) or [logging.StreamHandler(sys.__stderr__)]
    formatter = EcsFormatter(fields, Redaction(settings.redact))
    for handler in handlers:
        if not any(isinstance(it, OfItsTrace) for it in handler.filters):
            handler.addFilter(OfItsTrace())
        # Serve buffers in front of its file: what formats is the handler behind it.
        (getattr(handler, "target", None) or handler).setFormatter(formatter)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = list(handlers), False
        logger.setLevel(settings.level)
    return handlers


def job_log(name: str) -> None:
    """Gives the log of a job its form.

    Raises:
        ConfigError: the variable has a value that is not known.
    """
    chosen = os.environ.get(FORMAT) or "text"
    if chosen not in ("text", "json"):
        raise ConfigError(f"{FORMAT}: expected text or json, found {chosen!r}")
    if chosen == "json":
        switch_on(LogSettings(format="json"), of_this_process(f"taxiway-{name}"))


def of_this_process(service: str) -> dict[str, str]:
    """What stands in each of its lines.

    Args:
        service: unless OTEL_SERVICE_NAME names another.
    """
    return {
        "service.name": os.environ.get("OTEL_SERVICE_NAME") or service,
        "service.version": __version__,
        "service.node.name": instance(),
    }


def instance() -> str:
    """Names this process."""
    return f"{socket.gethostname()}-{os.getpid()}"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except (TypeError, ValueError):
        return f"{record.msg} {record.args!r}"  # a bug in the call; the line must not be lost


def _error(record: logging.LogRecord) -> dict[str, str]:
    if not record.exc_info or record.exc_info[1] is None:
        return {}
    kind, error, _ = record.exc_info
    return {
        "error.type": kind.__qualname__ if kind is not None else "",
        "error.message": str(error),
        "error.stack_trace": "".join(traceback.format_exception(error)),
    }


def _extra(record: logging.LogRecord) -> Iterator[tuple[str, Any]]:
    for name, value in vars(record).items():
        if name in _STANDARD or name.startswith("_") or value is None:
            continue
        yield from _flat(name if "." in name else f"labels.{name}", value)


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(f"{name}.{key}", inner)
    else:
        yield name, value
