"""Which requests leave spans, what W3C's headers say, and the traces of jobs."""

import json
import pickle
import subprocess
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from batch.events import Started
from batch.observers.tracing import Tracing as BatchTracing
from serve.settings import ServeSettings
from serve.telemetry import Telemetry, open_telemetry
from serve.trace_notes import BatchWork
from serve.tracing import BatchNote, Kept, RequestNote, Tracing
from taxiway.errors import ConfigError
from taxiway.settings import parse
from taxiway.telemetry import job_trace
from taxiway.telemetry.job_trace import Below, JobTrace, stage, traced_job, traceparent_here
from taxiway.telemetry.logs import REDACTED, Redaction
from taxiway.telemetry.otlp import FinishedSpan
from taxiway.telemetry.settings import TracingSettings, wants_traces
from taxiway.telemetry.tracing import Spans, new_context, open_spans, parse_traceparent, resource, traceparent
from taxiway.telemetry.work import current
from tests.scoring_events import BEGAN_S, failed, pieces, planned, published

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
VALID = f"00-{TRACE}-{PARENT}-01"
SAMPLED, NOT_SAMPLED = {b"traceparent": VALID.encode()}, {b"traceparent": f"{VALID[:-1]}0".encode()}


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


def spans_to(exporter: InMemorySpanExporter, redaction: Redaction | None = None) -> Spans:
    return Spans(SimpleSpanProcessor(exporter), redaction)


def exported(exporter: InMemorySpanExporter) -> list[FinishedSpan]:
    found: Any = exporter.get_finished_spans()
    return list(found)


def tracing(exporter: InMemorySpanExporter, **settings: float) -> Tracing:
    return Tracing(TracingSettings.model_validate(settings), spans_to(exporter))


def note(kept: Kept) -> RequestNote:
    return RequestNote(kept, "delay", "champion", "7", "ok", False, "mlflow", 1, 10.0, None, 11.0, "an-id", None)


def by_name(found: Sequence[FinishedSpan]) -> dict[str, FinishedSpan]:
    return {span.name: span for span in found}


@given(st.integers(1, 2**128 - 1), st.integers(1, 2**64 - 1), st.booleans())
def test_a_header_that_was_written_is_read(trace_id: int, span_id: int, sampled: bool) -> None:
    value = f"00-{trace_id:032x}-{span_id:016x}-{sampled:02x}"
    found = parse_traceparent(value.encode())
    assert found is not None
    assert (found.trace_id, found.span_id, found.is_remote) == (trace_id, span_id, True)
    assert traceparent(found) == value


@pytest.mark.parametrize(
    "value",
    [
        "",
        "00",
        VALID.upper(),
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{VALID}-more",
        VALID[:-1],
        f"{VALID}, {VALID}",
    ],
)
def test_a_header_that_is_not_valid_begins_a_trace_of_its_own(value: str) -> None:
    assert parse_traceparent(value.encode()) is None


def test_a_later_version_of_the_header_may_have_more() -> None:
    found = parse_traceparent(f"cc-{TRACE}-{PARENT}-03-what-the-future-brings".encode())
    assert found is not None
    assert found.trace_flags.sampled


def test_a_caller_that_samples_is_followed(exporter: InMemorySpanExporter) -> None:
    kept = tracing(exporter, sample=0).keep(SAMPLED, False, 0.001)
    assert kept is not None
    assert kept.parent is not None
    assert (kept.trace_id, f"{kept.parent.span_id:016x}") == (TRACE, PARENT)
    assert kept.response_header == f"00-{TRACE}-{kept.context.span_id:016x}-01"


def test_a_caller_that_does_not_sample_is_followed_too(exporter: InMemorySpanExporter) -> None:
    assert tracing(exporter, sample=1).keep(NOT_SAMPLED, False, 0.001) is None


@pytest.mark.parametrize("headers", [SAMPLED, NOT_SAMPLED])
@pytest.mark.parametrize("sample", [0, 1])
def test_callers_decide_nothing_where_they_are_not_followed(
    exporter: InMemorySpanExporter, headers: dict[bytes, bytes], sample: int
) -> None:
    kept = tracing(exporter, sample=sample, follow_callers=False).keep(headers, False, 0.001)
    assert (kept is not None) == bool(sample)
    if kept is not None:
        assert kept.trace_id == TRACE


@pytest.mark.parametrize(("failed", "seconds", "is_kept"), [(True, 0.0, True), (False, 0.5, True), (False, 0.4, False)])
def test_failed_and_slow_requests_are_always_kept(
    exporter: InMemorySpanExporter, failed: bool, seconds: float, is_kept: bool
) -> None:
    for headers in ({}, NOT_SAMPLED, {b"traceparent": b"nonsense"}):
        assert (tracing(exporter, sample=0, slow_ms=500).keep(headers, failed, seconds) is not None) == is_kept


def test_the_share_of_requests_is_what_the_settings_say(exporter: InMemorySpanExporter) -> None:
    drawing = tracing(exporter, sample=0.2, requests_per_s=20_000)
    kept = sum(drawing.keep({}, False, 0.001) is not None for _ in range(20_000))
    assert 3_600 < kept < 4_400  # seven standard deviations to each side


def test_an_overload_is_traced_up_to_the_bound(
    exporter: InMemorySpanExporter, caplog: pytest.LogCaptureFixture
) -> None:
    bounded = tracing(exporter, requests_per_s=3)
    assert [bounded.keep({}, True, 0.0) is not None for _ in range(5)] == [True] * 3 + [False] * 2
    bounded._refilled -= 1.0
    bounded.flush()
    assert caplog.records[-1].__dict__["dropped"] == 2
    assert bounded.keep({}, True, 0.0) is not None


def test_what_is_declared_secret_does_not_leave_in_a_span(exporter: InMemorySpanExporter) -> None:
    hiding = Tracing(TracingSettings(sample=1), spans_to(exporter, Redaction(("taxiway.prediction_*",))))
    kept = hiding.keep({}, False, 0.001)
    assert kept is not None
    hiding.request(note(kept))
    hiding.flush()
    (span,) = exported(exporter)
    assert span.attributes["taxiway.prediction_id"] == REDACTED
    assert span.attributes["taxiway.endpoint"] == "delay"
    assert span.end_ns - span.start_ns == pytest.approx(1e9, abs=1_000)


def test_parts_of_a_batch_are_those_of_its_thread_since_the_last_one(exporter: InMemorySpanExporter) -> None:
    measured = tracing(exporter)
    double = measured.timed("features", lambda value: value * 2)
    assert double(3) == 6
    assert [part.name for part in measured.computed(0, 1, 1, 1).parts] == ["features"]
    assert measured.computed(1, 2, 1, 1).parts == []


def test_a_part_that_fails_is_measured_too(exporter: InMemorySpanExporter) -> None:
    measured = tracing(exporter)
    with pytest.raises(ZeroDivisionError):
        measured.timed("inference", lambda: 1 / 0)()
    assert [part.name for part in measured.computed(0, 1, 1, 1).parts] == ["inference"]


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4317"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_a_job_is_traced_where_a_variable_says_where_to(variables: dict[str, str], wanted: bool) -> None:
    assert wants_traces(variables) == wanted


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_TRACES_EXPORTER", "zipkin"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon")],
)
def test_a_variable_with_an_unknown_value_is_named(monkeypatch: pytest.MonkeyPatch, variable: str, value: str) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(ConfigError, match=f"{variable}: expected one of .*{value}"):
        open_spans("taxiway", "1")


def test_no_spans_are_made_where_the_sdk_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_spans("taxiway", "1") is None


def test_the_standard_variables_name_the_service(monkeypatch: pytest.MonkeyPatch) -> None:
    assert resource("taxiway", "1").attributes["service.name"] == "taxiway"
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.name=delays,service.version=9,team=air")
    found = resource("taxiway", "1").attributes
    assert [found[f"service.{key}"] for key in ("name", "version", "instance.id")] == ["delays", "9", "1"]
    assert found["team"] == "air"


def test_stages_stand_below_their_job_and_the_job_below_its_caller(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobTrace("retrain", spans_to(exporter), BEGAN_S, parse_traceparent(VALID.encode()))
    monkeypatch.setattr(job_trace, "begin_job", lambda name, began_s: job)
    with pytest.raises(ZeroDivisionError), traced_job("retrain"):  # noqa: PT012 - the first stage must not fail
        with stage("labels"):
            pass
        with stage("search"):
            raise ZeroDivisionError
    found = by_name(exported(exporter))
    assert list(found) == ["labels", "search", "retrain"]
    assert found["labels"].error is None
    assert [found[name].error for name in ("search", "retrain")] == ["ZeroDivisionError"] * 2
    assert found["labels"].parent == found["search"].parent == found["retrain"].context == job.context
    assert found["retrain"].parent is not None
    assert f"{found['retrain'].parent.span_id:016x}" == PARENT


def test_a_job_that_is_not_traced_runs_as_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    done = []
    with traced_job("retrain"), stage("labels"):
        done.append(1)
    assert done == [1]


def test_a_scoring_job_s_pieces_are_spans_with_their_actors_times(exporter: InMemorySpanExporter) -> None:
    results = pieces(2)
    observer = BatchTracing(JobTrace("batch", spans_to(exporter), BEGAN_S), BEGAN_S)
    for event in published("/scores", results):
        observer.observe(event)
    found = exported(exporter)
    assert [span.name for span in found] == ["planning", "piece", "piece", "closing", "batch"]
    assert [span.start_ns for span in found[1:3]] == [int(it.started_s * 1e9) for it in results]
    assert all(span.parent == found[-1].context for span in found[:-1])
    assert found[-1].attributes["taxiway.job.id"] == planned(results, "/scores").job_id


def test_a_scoring_job_that_fails_has_its_code(exporter: InMemorySpanExporter) -> None:
    observer = BatchTracing(JobTrace("batch", spans_to(exporter), BEGAN_S), BEGAN_S)
    for event in [Started(1, BEGAN_S), *failed("/scores")]:
        observer.observe(event)
    assert by_name(exported(exporter))["batch"].error == "too_many_rejects"


def test_ids_do_not_repeat_when_a_model_seeds_python() -> None:
    import random

    random.seed(0)
    first = new_context()
    random.seed(0)
    assert new_context() != first


def serve_settings(**more: object) -> ServeSettings:
    return parse({"endpoints": [{"name": "a", "model": "models:/a@b"}], **more}, ServeSettings, "serve.yaml")


def test_by_default_a_replica_opens_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    assert open_telemetry("app", serve_settings()) == Telemetry(None, None)


def test_the_key_opens_a_replica_s_traces_unless_the_sdk_is_disabled(monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_telemetry("app", serve_settings(tracing={"exemplars": True}))
    opened.start()
    assert opened.tracing is not None
    assert opened.tracing.latencies is not None
    opened.stop()
    monkeypatch.setenv("OTEL_SDK_DISABLED", "true")
    assert open_telemetry("app", serve_settings(tracing={})).tracing is None


class Member:
    def __init__(self, headers: Mapping[bytes, bytes]) -> None:
        self.headers = headers
        self.trace_id: str | None = None


def scored(tracing: Tracing, headers: dict[bytes, bytes], logged: bool) -> tuple[BatchNote, str]:
    """A batch of one member, and the trace that somebody has asked for while it was scored."""
    tracing.began([Member(headers)])
    work = current()
    assert isinstance(work, BatchWork)
    trace_id, work.logged = work.identity(), logged
    return tracing.computed(0, 1, 1, 1), trace_id


@pytest.mark.parametrize(("headers", "other"), [({}, SAMPLED), (NOT_SAMPLED, {})])
def test_a_member_whose_trace_stands_in_the_log_is_kept_once_and_the_others_as_ever(
    exporter: InMemorySpanExporter, headers: dict[bytes, bytes], other: dict[bytes, bytes]
) -> None:
    drawing = tracing(exporter, sample=0)
    batch, trace_id = scored(drawing, headers, logged=True)
    stranger = drawing.keep(other, True, 0.001, batch)
    assert stranger is not None
    assert stranger.trace_id != trace_id or other == SAMPLED
    kept = drawing.keep(headers, False, 0.001, batch)
    assert kept is not None
    assert kept.trace_id == trace_id
    assert drawing.keep(headers, False, 0.001, batch) is None


def test_a_trace_that_was_only_passed_on_is_used_by_whoever_is_kept(exporter: InMemorySpanExporter) -> None:
    drawing = tracing(exporter, sample=0)
    batch, trace_id = scored(drawing, {}, logged=False)
    failed = drawing.keep({}, True, 0.001, batch)
    assert failed is not None
    assert failed.trace_id == trace_id
    other, _ = scored(drawing, {}, logged=False)
    assert drawing.keep({}, False, 0.001, other) is None


def test_what_others_do_for_a_stage_stands_below_it(
    exporter: InMemorySpanExporter, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = JobTrace("retrain", spans_to(exporter), BEGAN_S)
    monkeypatch.setattr(job_trace, "begin_job", lambda name, began_s: job)
    assert traceparent_here() is None
    with traced_job("retrain"), stage("search"):
        given = traceparent_here()
        trials = Below("trial", "look")
        trials.begin("1")
        trials = pickle.loads(pickle.dumps(trials))  # as Tune does
        trials.did("1", 0.5, {"taxiway.iterations": 50})
        trials.did("2", 0.5)
        trials.end("1", {"taxiway.trial": 1}, "trial_failed")
    found = by_name(exported(exporter))
    assert list(found) == ["look", "trial", "search", "retrain"]
    assert found["look"].parent == found["trial"].context
    assert found["trial"].parent == found["search"].context
    assert found["search"].parent == found["retrain"].context == job.context
    assert given == traceparent(found["search"].context)
    assert found["look"].end_ns - found["look"].start_ns == pytest.approx(0.5e9, abs=1e3)
    assert (found["trial"].error, found["trial"].attributes) == ("trial_failed", {"taxiway.trial": 1})


def test_without_a_trace_nothing_is_told_of_what_others_do() -> None:
    trials = Below("trial", "look")
    trials.begin("1")
    trials.did("1", 1.0)
    trials.end("1")


def test_a_job_logs_json_with_its_trace_where_the_variable_says_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("TAXIWAY_LOG_FORMAT", "json")
    monkeypatch.setenv("TRACEPARENT", VALID)
    program = (
        "import logging; from taxiway.telemetry.job_trace import traced_job\n"
        "with traced_job('retrain'): logging.getLogger('retrain.search').warning('slow')"
    )
    told = subprocess.run([sys.executable, "-c", program], capture_output=True, check=True, text=True).stderr
    line = json.loads(told.splitlines()[0])
    assert (line["message"], line["trace.id"], line["service.name"]) == ("slow", TRACE, "taxiway-retrain")


def test_a_form_of_a_job_s_log_that_is_not_known_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_LOG_FORMAT", "xml")
    with pytest.raises(ConfigError, match="TAXIWAY_LOG_FORMAT: expected text or json, found 'xml'"), traced_job("a"):
        pass
