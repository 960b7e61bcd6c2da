"""Traces of a served endpoint, as a collector gets them by OTLP."""

import json
import logging
import os
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import httpx
import numpy as np
import pytest
import tritonclient.grpc as triton

from serve.dedicated import DedicatedModel, RemotePredictor
from serve.late import NodeThreads
from serve.request_log import RequestLog
from serve.settings import RunSettings
from serve.tracing import Tracing
from taxiway.package import ModelPackage
from taxiway.protocols import open_inference_pb2 as pb
from taxiway.registry import LoadedModel, ModelVersion, Registry
from taxiway.scoring import Predictor
from taxiway.signature import Array, Columns
from taxiway.telemetry.exemplars import NAME, open_exemplars
from taxiway.telemetry.logs import EcsFormatter, OfItsTrace, Redaction
from taxiway.telemetry.settings import LogSettings, TracingSettings
from taxiway.telemetry.tracing import open_spans, resource
from taxiway.telemetry.work import node
from tests.graphs import Function, build, settings, signature
from tests.otlp_receiver import Receiver, Seen, over_grpc, over_http
from tests.tiny_model import registry_settings
from tests.traced_server import SIGNATURE, Served, serving

CALLER = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331"
TRACE_ID = "0af7651916cd43dd8448eb211c80319c"


@pytest.fixture
def receiver(monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    with over_grpc() as found:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", found.endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield found


@contextmanager
def traced(
    full_batches_of: int = 0,
    sample: float = 0.0,
    slow_ms: float = 5_000.0,
    exemplars: bool = False,
    model: Predictor | None = None,
) -> Iterator[Served]:
    spans = open_spans("taxiway", "replica-1")
    assert spans is not None
    latencies = open_exemplars(resource("taxiway", "replica-1")) if exemplars else None
    tracing = Tracing(TracingSettings(sample=sample, slow_ms=slow_ms), spans, latencies)
    with serving(tracing, full_batches_of=full_batches_of, model=model) as served:
        yield served


def named(spans: Sequence[Seen], name: str) -> list[Seen]:
    return [span for span in spans if span.name == name]


def one(spans: Sequence[Seen], name: str) -> Seen:
    (found,) = named(spans, name)
    return found


def test_a_request_leaves_a_span_for_each_of_its_phases(receiver: Receiver) -> None:
    with traced() as served:
        answer = served.ask(3, traceparent=f"{CALLER}-01")
        spans = receiver.wait(lambda seen: {"shadow", "inference"} <= {span.name for span in seen})
    request, batch, shadow = (one(receiver.spans, name) for name in ("infer delay", "batch", "shadow"))
    (queue,) = [span for span in named(receiver.spans, "queue") if span.parent == request.span_id]
    assert {span.trace_id for span in spans} == {TRACE_ID}
    assert request.parent == CALLER[-16:]
    assert request.kind == "server"
    assert batch.parent == shadow.parent == request.span_id
    assert request.start_ns <= queue.start_ns <= queue.end_ns <= batch.start_ns <= batch.end_ns <= request.end_ns
    assert request.attributes["taxiway.prediction_id"] == answer.headers["taxiway-prediction-id"]
    assert request.attributes["taxiway.model.version"] == "7"
    assert request.resource["service.name"] == "taxiway"
    assert request.resource["service.instance.id"] == "replica-1"
    assert answer.headers["taxiway-trace-id"] == TRACE_ID
    assert answer.headers["traceresponse"] == f"00-{TRACE_ID}-{request.span_id}-01"


def test_the_model_s_time_lies_within_its_batch(receiver: Receiver) -> None:
    with traced(sample=1.0) as served:
        served.ask(20)
    live = one(receiver.spans, "batch")
    (inference,) = [span for span in named(receiver.spans, "inference") if span.parent == live.span_id]
    assert live.start_ns <= inference.start_ns <= inference.end_ns <= live.end_ns
    assert inference.end_ns - inference.start_ns >= 20e6


def test_a_shadow_s_span_holds_its_own_inference(receiver: Receiver) -> None:
    with traced() as served:
        served.ask(2, traceparent=f"{CALLER}-01")
        receiver.wait(lambda seen: bool(named(seen, "shadow")))
    shadow = one(receiver.spans, "shadow")
    assert shadow.attributes["taxiway.variant"] == "copy"
    assert shadow.attributes["taxiway.outcome"] == "ok"
    assert [span.name for span in receiver.spans if span.parent == shadow.span_id] == ["queue", "inference"]


def test_a_batch_is_linked_to_its_members_and_they_to_it(receiver: Receiver) -> None:
    with traced(full_batches_of=4, sample=1.0) as served, ThreadPoolExecutor(4) as clients:
        answers = list(clients.map(served.ask, [1, 2, 3, 4]))
    assert [answer.status_code for answer in answers] == [200] * 4
    batch, requests = one(receiver.spans, "batch"), named(receiver.spans, "infer delay")
    assert sorted(batch.links) == sorted(span.span_id for span in requests)
    assert len({span.trace_id for span in requests}) == 4
    assert batch.parent == batch.links[0]
    assert {span.links for span in requests} == {(batch.span_id,)}
    assert batch.attributes["taxiway.batch.requests"] == 4


def test_without_sampling_only_failed_and_slow_requests_leave_spans(receiver: Receiver) -> None:
    with traced(slow_ms=100) as served:
        assert "taxiway-trace-id" not in served.ask(1).headers
        assert served.ask(-1).status_code == 400
        failed, slow = served.ask(13), served.ask(120)
    assert failed.status_code == 500
    requests = {span.trace_id: span for span in named(receiver.spans, "infer delay")}
    assert set(requests) == {failed.headers["taxiway-trace-id"], slow.headers["taxiway-trace-id"]}
    assert requests[failed.headers["taxiway-trace-id"]].error == "model_failed"
    assert requests[slow.headers["taxiway-trace-id"]].error is None


def test_a_caller_that_does_not_sample_gets_no_spans_unless_it_fails(receiver: Receiver) -> None:
    with traced(sample=1.0) as served:
        served.ask(1, traceparent=f"{CALLER}-00")
        served.ask(13, traceparent=f"{CALLER}-00")
    assert one(receiver.spans, "infer delay").error == "model_failed"
    assert {span.trace_id for span in receiver.spans} == {TRACE_ID}


def test_a_request_over_grpc_goes_on_in_its_caller_s_trace(receiver: Receiver) -> None:
    with traced() as served, triton.InferenceServerClient(f"127.0.0.1:{served.grpc_port}") as client:
        values = triton.InferInput("x", [1], "FP64")
        values.set_data_from_numpy(np.array([2.0]))
        client.infer("delay", [values], headers={"traceparent": f"{CALLER}-01"})
    request = one(receiver.spans, "infer delay")
    assert (request.trace_id, request.parent) == (TRACE_ID, CALLER[-16:])


def test_a_refused_request_over_grpc_names_its_trace(receiver: Receiver) -> None:
    with traced() as served, grpc.insecure_channel(f"127.0.0.1:{served.grpc_port}") as channel:
        call = channel.unary_unary("/inference.GRPCInferenceService/ModelInfer", None, None)
        tensor = pb.ModelInferRequest.InferInputTensor(name="x", datatype="FP64", shape=[1])
        tensor.contents.fp64_contents.append(13.0)
        with pytest.raises(grpc.RpcError) as raised:
            call(pb.ModelInferRequest(model_name="delay", inputs=[tensor]).SerializeToString())
    metadata: Any = raised.value.trailing_metadata()
    trailing = dict(metadata)
    assert trailing["taxiway-trace-id"] == one(receiver.spans, "infer delay").trace_id


def test_latencies_name_a_trace_in_their_bucket(receiver: Receiver) -> None:
    with traced(exemplars=True) as served:
        served.ask(1)
        answer = served.ask(30, traceparent=f"{CALLER}-01")
        assert answer.status_code == 200
    (metric,) = receiver.metrics
    (point,) = metric.histogram.data_points
    assert (metric.name, metric.unit, point.count, sum(point.bucket_counts)) == (NAME, "s", 2, 2)
    (exemplar,) = point.exemplars
    assert exemplar.trace_id.hex() == TRACE_ID
    assert exemplar.span_id.hex() == one(receiver.spans, "infer delay").span_id
    assert 0.03 <= exemplar.as_double < 0.5


def test_spans_go_by_http_where_the_variable_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    with over_http() as receiver:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        monkeypatch.setenv("OTEL_SERVICE_NAME", "delays")
        with traced(sample=1.0) as served:
            served.ask(1)
        assert one(receiver.spans, "infer delay").resource["service.name"] == "delays"


def test_a_collector_that_is_away_fails_no_request(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    with traced(sample=1.0) as served:
        assert served.ask(1).status_code == 200


def test_nothing_is_told_of_a_trace_where_tracing_is_off() -> None:
    with serving(None) as served:
        answer: httpx.Response = served.ask(13, traceparent=f"{CALLER}-01")
    assert answer.status_code == 500
    assert not {"traceresponse", "taxiway-trace-id"} & set(answer.headers)


def test_the_prediction_log_names_the_trace_of_an_answer_and_of_its_copy(receiver: Receiver) -> None:
    with traced() as served:
        served.ask(1)
        served.ask(2, traceparent=f"{CALLER}-01")
        receiver.wait(lambda seen: bool(named(seen, "shadow")))
        served.recorder.count()
    found: dict[tuple[str, float], str | None] = {
        (batch.source.kind, float(batch.inputs["x"][place])): None
        if batch.trace_ids is None
        else batch.trace_ids[place]
        for batch in served.logged
        for place in range(len(batch.ids))
    }
    expected = {
        ("live", 1.0): None,
        ("live", 2.0): TRACE_ID,
        ("shadow", 2.0): TRACE_ID,
    }
    assert {key: found[key] for key in expected} == expected


def test_a_line_of_the_log_of_requests_names_the_trace(receiver: Receiver, caplog: pytest.LogCaptureFixture) -> None:
    spans = open_spans("taxiway", "replica-1")
    assert spans is not None
    requests = RequestLog(LogSettings(format="json", requests=1))
    with (
        caplog.at_level(logging.INFO, "serve.requests"),
        serving(Tracing(TracingSettings(), spans), requests) as served,
    ):
        served.ask(1, traceparent=f"{CALLER}-01")
        served.ask(-1)
    good, bad = (vars(record) for record in caplog.records if record.name == "serve.requests")
    assert (good["trace.id"], good["span.id"]) == (TRACE_ID, one(receiver.spans, "infer delay").span_id)
    assert (bad["event.outcome"], bad["code"], bad["protocol"]) == ("failure", "out_of_range", "open_inference")


class Elsewhere:
    """The handle of a dedicated deployment: one replica, in this process; what goes to it and back is pickled."""

    def __init__(self, home: Path) -> None:
        self._replica = DedicatedModel(registry_settings(home), RunSettings(), str(home), load=loaded)
        self._threads = ThreadPoolExecutor(2)
        self.predict = SimpleNamespace(remote=lambda *given: self._asked(self._replica.predict, given))

    def _asked(self, method: Callable[..., Any], given: tuple[Any, ...]) -> Any:
        sent = pickle.dumps(given)
        answer = self._threads.submit(lambda: pickle.dumps(method(*pickle.loads(sent))))
        return SimpleNamespace(result=lambda timeout_s: pickle.loads(answer.result(timeout_s)))


def loaded(_: Registry, version: ModelVersion, __: RunSettings) -> LoadedModel:
    return LoadedModel(version, ModelPackage(signature=SIGNATURE, output_kind="value"), Talking())


class Talking:
    """Logs a line where x is 7, in a replica of its own."""

    def predict(self, columns: Columns) -> dict[str, Array]:
        if 7.0 in columns["x"]:
            logging.getLogger("taxiway.test").warning("seven")
        return {"y": columns["x"] * 2}


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RemotePredictor:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    return RemotePredictor(Elsewhere(tmp_path), ModelVersion("delay", "7", ""), patience_s=None)


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    """What is logged, as a replica's structured log has it."""
    found: list[dict[str, Any]] = []
    handler = logging.Handler()
    handler.setFormatter(EcsFormatter({}, Redaction()))
    handler.addFilter(OfItsTrace())
    handler.emit = lambda record: found.append(json.loads(handler.format(record)))  # type: ignore[method-assign]
    loggers = [logging.getLogger(name) for name in ("taxiway", "serve")]
    for logger in loggers:
        logger.addHandler(handler)
    yield found
    for logger in loggers:
        logger.removeHandler(handler)


def test_what_a_dedicated_replica_does_stands_within_the_call(receiver: Receiver, elsewhere: RemotePredictor) -> None:
    with traced(model=elsewhere) as served:
        assert served.ask(1, traceparent=f"{CALLER}-01").status_code == 200
        served.ask(2, traceparent=f"{CALLER}-01")
        receiver.wait(lambda seen: len(named(seen, "replica")) == 4)  # with the copies'
    batches = {span.span_id: span for span in named(receiver.spans, "batch")}
    calls = {span.span_id: span for span in named(receiver.spans, "inference") if span.parent in batches}
    replicas = [span for span in named(receiver.spans, "replica") if span.parent in calls]
    assert len(calls) == len(replicas) == 2
    for replica in replicas:
        call = calls[replica.parent]
        assert replica.trace_id == TRACE_ID
        assert replica.attributes["taxiway.replica"].endswith(f"-{os.getpid()}")
        assert call.start_ns - 5e6 <= replica.start_ns <= replica.end_ns <= call.end_ns + 5e6
    assert one(receiver.spans, "load").parent in {span.span_id for span in named(receiver.spans, "replica")}


def test_a_line_of_a_dedicated_replica_names_the_trace_of_its_caller(
    receiver: Receiver, elsewhere: RemotePredictor, lines: list[dict[str, Any]]
) -> None:
    with traced(model=elsewhere) as served:
        served.ask(7, traceparent=f"{CALLER}-00")
        served.ask(7)
    kept = {span.trace_id for span in named(receiver.spans, "infer delay")}
    assert {line["trace.id"] for line in lines if line["message"] == "seven"} == kept
    assert TRACE_ID in kept
    assert len(kept) == 2


def test_a_line_that_is_logged_while_a_batch_is_scored_leads_to_its_trace(
    receiver: Receiver, lines: list[dict[str, Any]]
) -> None:
    with traced() as served:
        answer = served.ask(13)
    (line,) = [it for it in lines if it["message"] == "the model raised on one row" and "error.type" in it][:1]
    assert line["trace.id"] == answer.headers["taxiway-trace-id"] == one(receiver.spans, "infer delay").trace_id


def test_each_node_of_a_graph_has_its_span(receiver: Receiver) -> None:
    threads, y = NodeThreads(), signature(["x"], ["y"])
    graph = settings(
        "mean", a={"timeout_s": 5.0}, b={"placement": "dedicated"}, mean={"kind": "ensemble", "of": ["a", "b"]}
    )
    doubled = Function(lambda x: x * 2, "y")
    model, _ = build(
        graph,
        {"a": (y, doubled), "b": (y, doubled)},
        run_with_timeout=threads.run_with_timeout,
        map_parallel=threads.map_parallel,
        within=node,
    )
    with traced(model=model) as served:
        served.ask(1, traceparent=f"{CALLER}-01")
    (batch,) = named(receiver.spans, "batch")
    inference = next(span for span in named(receiver.spans, "inference") if span.parent == batch.span_id)
    mean = next(span for span in named(receiver.spans, "node mean") if span.parent == inference.span_id)
    assert sorted(span.name for span in receiver.spans if span.parent == mean.span_id) == ["node a", "node b"]
