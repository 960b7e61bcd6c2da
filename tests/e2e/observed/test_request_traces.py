"""One trace from an OpenTelemetry client through the ingress into the process of a dedicated replica."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import httpx
import pytest
from opentelemetry import propagate
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.integration.test_variants import eventually
from tests.observed_application import GRAPH, NAME, REMOTE, Observed
from tests.otlp_receiver import Seen
from tests.prometheus import needs_prometheus
from tests.talking_model import LINE, SAID

pytestmark = [pytest.mark.timeout(600), needs_prometheus]


@dataclass(frozen=True)
class Trace:
    """All spans of one, as the collector has got them."""

    spans: Sequence[Seen]
    id: str

    def below(self, parent: Seen, name: str) -> Seen:
        (found,) = [span for span in self.spans if span.parent == parent.span_id and span.name == name]
        return found

    def path(self, *names: str) -> list[Seen]:
        """From the client's own span downwards."""
        (found,) = [span for span in self.spans if not span.parent]
        line = [found]
        for name in names:
            line.append(self.below(line[-1], name))
        return line


@pytest.fixture(scope="module")
def client(observed: Observed) -> Iterator[TracerProvider]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(observed.collector.endpoint, insecure=True)))
    yield provider
    provider.shutdown()


def asked(observed: Observed, client: TracerProvider, endpoint: str, *names: str) -> Trace:
    """The trace of a request, when spans of these names have come: each process sends its own when it likes."""
    body = {"inputs": [{"name": "value", "datatype": "FP64", "shape": [1], "data": [SAID]}]}
    headers: dict[str, str] = {}
    with client.get_tracer("a client").start_as_current_span("ask") as span:
        propagate.inject(headers)
        answer = httpx.post(f"{observed.url}/v2/models/{endpoint}/infer", json=body, headers=headers, timeout=60)
        answer.raise_for_status()
    assert answer.json()["outputs"][0]["data"] == [2 * SAID]
    trace_id = f"{span.get_span_context().trace_id:032x}"
    assert answer.headers["taxiway-trace-id"] == trace_id

    def own(seen: Sequence[Seen]) -> list[Seen]:
        return [it for it in seen if it.trace_id == trace_id]

    wanted = {"ask", f"infer {endpoint}", "queue", "batch", "inference", "replica", *names}
    seen = observed.collector.wait(lambda seen: wanted <= {it.name for it in own(seen)})
    return Trace(own(seen), trace_id)


def check_process(observed: Observed, trace: Trace, deployment: str, request: Seen, call: Seen, replica: Seen) -> None:
    """The replica's part is of another process, lies within the call, and the lines of both have the trace's id."""
    (there,) = observed.cluster.processes(f"{NAME}:{deployment}")
    here = {str(process.pid) for process in observed.cluster.processes(f"{NAME}:ingress")}
    assert replica.attributes["taxiway.replica"].rpartition("-")[2] == str(there.pid)
    assert request.resource["service.instance.id"].rpartition("-")[2] in here
    assert call.start_ns - 5e6 <= replica.start_ns <= replica.end_ns <= call.end_ns + 5e6

    def of_the_trace(where: str) -> list[str]:
        return [line["message"] for line in observed.lines(where) if line.get("trace.id") == trace.id]

    eventually(lambda: LINE in of_the_trace(deployment), 30)
    eventually(lambda: bool(of_the_trace("ingress")), 30)


def test_a_request_and_its_dedicated_replica_are_one_trace(observed: Observed, client: TracerProvider) -> None:
    trace = asked(observed, client, REMOTE)
    ask, request, batch, call, replica = trace.path(f"infer {REMOTE}", "batch", "inference", "replica")
    queue = trace.below(request, "queue")
    assert len(trace.spans) == 6
    assert request.kind == "server"
    assert (batch.links, request.links) == ((request.span_id,), (batch.span_id,))
    assert ask.start_ns <= request.start_ns <= queue.start_ns <= queue.end_ns <= batch.start_ns
    assert batch.end_ns <= request.end_ns  # which is noted when the answer was sent: the client may have ended before
    check_process(observed, trace, f"{REMOTE}-alone", request, call, replica)


def test_a_dedicated_node_of_a_graph_stands_below_its_node(observed: Observed, client: TracerProvider) -> None:
    trace = asked(observed, client, GRAPH, "node mean", "node near", "node far")
    way = trace.path(f"infer {GRAPH}", "batch", "inference", "node mean", "node far", "replica")
    _, request, *_, mean, far, replica = way
    near = trace.below(mean, "node near")
    assert not [span for span in trace.spans if span.parent == near.span_id]
    check_process(observed, trace, f"{GRAPH}-graph-far", request, far, replica)
