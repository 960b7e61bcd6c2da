"""Log records as JSON lines in the Elastic Common Schema, without what the settings declare secret.

Reference: https://www.elastic.co/docs/reference/ecs and its logging libraries, whose order of fields is kept.
"""

import logging
import sys
import traceback
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Any

import orjson

from taxiway.telemetry.settings import LogSettings

ECS_VERSION = "8.11.0"
REDACTED = "[redacted]"
OURS = ("taxiway", "serve")
"""The loggers whose records are ours."""
SERVE = "ray.serve"
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_REMEMBERED = 1_000


class Redaction:
    """Replaces the values of declared fields.

    Args:
        patterns: names of fields; `*` stands for any characters, as in `labels.customer_*`.
    """

    def __init__(self, patterns: tuple[str, ...] = ()) -> None:
        self._patterns = patterns
        self._known: dict[str, bool] = {}

    def apply(self, fields: Mapping[str, Any]) -> dict[str, Any]:
        """The same fields; the values of those that are declared are gone."""
        if not self._patterns:
            return dict(fields)
        return {name: REDACTED if self._hides(name) else value for name, value in fields.items()}

    def _hides(self, name: str) -> bool:
        known = self._known.get(name)
        if known is None:
            known = any(fnmatchcase(name, pattern) for pattern in self._patterns)
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
        # Serve buffers in front of its file: what formats is the handler behind it.
        (getattr(handler, "target", None) or handler).setFormatter(formatter)
    for name in OURS:
        logger = logging.getLogger(name)
        logger.handlers, logger.propagate = list(handlers), False
        logger.setLevel(settings.level)
    return handlers


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
