"""Log lines in the Elastic Common Schema, redaction, and the log of requests."""

import json
import logging
import logging.handlers
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from serve.request_log import RequestLine, RequestLog
from serve.settings import ServeSettings
from serve.tracing import Kept
from taxiway.errors import ConfigError
from taxiway.settings import parse
from taxiway.telemetry.logs import ECS_VERSION, OURS, REDACTED, SERVE, EcsFormatter, Redaction, switch_on
from taxiway.telemetry.settings import LogSettings
from taxiway.telemetry.tracing import new_context

LOGGERS = (*OURS, SERVE)


@pytest.fixture
def as_before() -> Iterator[None]:
    before = {name: (logging.getLogger(name), list(logging.getLogger(name).handlers)) for name in LOGGERS}
    kept = {name: (logger.level, logger.propagate) for name, (logger, _) in before.items()}
    yield
    for name, (logger, handlers) in before.items():
        logger.handlers = handlers
        logger.level, logger.propagate = kept[name]


class Lines(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def line(redact: tuple[str, ...] = (), error: Exception | None = None, **extra: Any) -> dict[str, Any]:
    record = logging.LogRecord("serve.http", logging.WARNING, "/app/serve/http.py", 7, "%d rows", (3,), None, "f")
    if error is not None:
        record.exc_info = type(error), error, error.__traceback__
    record.__dict__.update(extra)
    found: dict[str, Any] = json.loads(EcsFormatter({"service.name": "taxiway"}, Redaction(redact)).format(record))
    return found


def test_a_line_has_the_fields_of_the_schema_in_its_order() -> None:
    found = line()
    assert list(found)[:4] == ["@timestamp", "log.level", "message", "ecs.version"]
    assert found["@timestamp"].endswith("Z")
    assert [found[name] for name in ("log.level", "message", "ecs.version")] == ["warning", "3 rows", ECS_VERSION]
    assert [found[f"log.origin.{name}"] for name in ("file.name", "file.line", "function")] == ["http.py", 7, "f"]
    assert (found["log.logger"], found["service.name"]) == ("serve.http", "taxiway")


def test_an_exception_is_an_error_with_its_stack() -> None:
    try:
        raise ValueError("no such row")
    except ValueError as error:
        found = line(error=error)
    assert (found["error.type"], found["error.message"]) == ("ValueError", "no such row")
    assert "test_an_exception_is_an_error" in found["error.stack_trace"]


def test_what_a_record_brings_is_a_field_or_a_label() -> None:
    extra: dict[str, Any] = {"event.action": "loaded", "variant": "champion", "sizes": {"a": {"b": 1}}, "none": None}
    found = line(**extra)
    assert found["event.action"] == "loaded"
    assert (found["labels.variant"], found["labels.sizes.a.b"]) == ("champion", 1)
    assert "labels.none" not in found


def test_a_value_that_json_does_not_know_becomes_text() -> None:
    assert line(kind=ValueError, rows=np.int64(3))["labels.kind"] == "<class 'ValueError'>"
    assert line(rows=np.int64(3))["labels.rows"] == 3


def test_a_message_whose_arguments_do_not_fit_is_not_lost() -> None:
    record = logging.LogRecord("serve", logging.INFO, "a.py", 1, "%d of %d", ("x",), None)
    assert "%d of %d" in json.loads(EcsFormatter({}, Redaction()).format(record))["message"]


def test_a_declared_field_is_nowhere_in_the_line() -> None:
    secret = "4711-secret"
    found = line(("labels.customer*", "client.address"), customer_id=secret, customer={"name": secret}, rows=1)
    assert secret not in json.dumps(found)
    assert (found["labels.customer_id"], found["labels.customer.name"]) == (REDACTED, REDACTED)
    assert found["labels.rows"] == 1


@given(st.dictionaries(st.text(max_size=5), st.integers()), st.lists(st.text(alphabet="abc", max_size=3), max_size=3))
def test_exactly_the_declared_fields_are_redacted(fields: dict[str, int], declared: list[str]) -> None:
    found = Redaction(tuple(declared)).apply(fields)
    assert found == {name: REDACTED if name in declared else value for name, value in fields.items()}


@pytest.mark.usefixtures("as_before")
def test_text_changes_nothing() -> None:
    before = logging.getLogger("taxiway").handlers
    assert switch_on(LogSettings(), {}) == []
    assert logging.getLogger("taxiway").handlers is before


@pytest.mark.usefixtures("as_before")
def test_our_records_go_where_serve_writes_its_own_in_the_same_form() -> None:
    file = Lines()
    logging.getLogger(SERVE).handlers = [logging.handlers.MemoryHandler(1, target=file)]
    logging.getLogger(SERVE).setLevel(logging.INFO)
    switch_on(LogSettings(format="json", level="INFO"), {"service.name": "delays"})
    logging.getLogger("serve.live").info("loaded", extra={"variant": "champion"})
    logging.getLogger(SERVE).info("a line of Serve's")
    ours, theirs = (json.loads(found) for found in file.lines)
    assert (ours["log.logger"], ours["labels.variant"], ours["service.name"]) == ("serve.live", "champion", "delays")
    assert theirs["message"] == "a line of Serve's"


def request_line(code: str = "ok", kept: Kept | None = None) -> RequestLine:
    headers = {b"x-request-id": b"r-1", b"authorization": b"Bearer secret"}
    return RequestLine("delay", "champion", "7", code, "mlflow", 2, 0.25, "10.0.0.7", headers, "an-id", kept)


def test_a_request_s_line_says_what_became_of_it(caplog: pytest.LogCaptureFixture) -> None:
    kept = Kept(new_context(), None)
    log = RequestLog(LogSettings(format="json", requests=1, request_headers=("X-Request-Id", "x-absent")))
    log.note(request_line(kept=kept))
    log.note(request_line("model_failed"))
    with caplog.at_level(logging.INFO, "serve.requests"):
        log.stop()
    good, bad = (json.loads(EcsFormatter({}, Redaction()).format(record)) for record in caplog.records)
    assert (good["event.outcome"], good["event.duration"], good["trace.id"]) == ("success", 250_000_000, kept.trace_id)
    assert good["http.request.headers.x-request-id"] == "r-1"
    assert "secret" not in json.dumps(good)
    assert (bad["event.outcome"], bad["labels.code"], "trace.id" in bad) == ("failure", "model_failed", False)


def test_the_share_of_lines_is_what_the_settings_say() -> None:
    log = RequestLog(LogSettings(format="json", requests=0.1))
    assert 700 < sum(log.wants() for _ in range(10_000)) < 1_300  # ten standard deviations to each side


def test_an_unknown_key_of_the_log_is_an_error() -> None:
    data = {"endpoints": [{"name": "a", "model": "models:/a@b"}], "logs": {"formatt": "json"}}
    with pytest.raises(ConfigError, match=r"unknown key 'logs\.formatt'; known here: format"):
        parse(data, ServeSettings, "serve.yaml")


def test_a_log_of_requests_needs_fields() -> None:
    data = {"endpoints": [{"name": "a", "model": "models:/a@b"}], "logs": {"requests": 0.5}}
    with pytest.raises(ConfigError, match=r"logs\.requests needs logs\.format: json"):
        parse(data, ServeSettings, "serve.yaml")
