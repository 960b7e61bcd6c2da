"""Models of every type that answer with what they were asked, behind our own listeners: no registry, no Ray."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import get_args

from serve.batching import BatchRules, Gatherer
from serve.endpoint import Endpoint
from serve.grpc_listener import GrpcListener
from serve.http import HttpApplication
from serve.http_protocol import Bounds, Connections
from serve.listener import Listener
from serve.people import people_routes
from serve.service import Service
from serve.settings import EndpointSettings, ListenerSettings
from serve.shadowing import Shadowing
from serve.variant import Slot
from taxiway.inference import ModelInterface
from taxiway.rollout.tally import Stream
from taxiway.scoring import Scored, score
from taxiway.signature import Array, Column, Columns, ColumnType, Signature
from taxiway.telemetry.metrics import ServingMetrics
from tests.ports import free_port

BODY_BYTES = 1_000_000
MAX_ROWS = 1_000


@dataclass(frozen=True)
class Model:
    """What it takes, what it answers, and how; without `outputs` it answers its inputs."""

    inputs: tuple[Column, ...]
    outputs: tuple[Column, ...] = ()
    answer: Callable[[Columns], dict[str, Array]] = dict

    def predict(self, columns: Columns) -> dict[str, Array]:
        return self.answer(columns)


TABLE = Model(
    (
        Column(name="color", dtype="string", categories=("red", "green", "blue")),
        Column(name="size", dtype="float64", minimum=0.0),
        Column(name="count", dtype="int64"),
        Column(name="floor", dtype="int16", nullable=True),
        Column(name="comment", dtype="string", nullable=True),
    )
)
SINGLE_VALUES = {dtype: Model((Column(name="x", dtype=dtype, finite=False),)) for dtype in get_args(ColumnType)}
"""A model of one column of each type, under that type's name."""
MODELS: Mapping[str, Model] = {
    "table": TABLE,
    "image": Model((Column(name="image", dtype="float32", shape=(2, 3), finite=False),)),
    "words": Model((Column(name="words", dtype="string", shape=(-1,)),)),
    "maybe": Model((Column(name="x", dtype="float64", nullable=True, finite=False),)),
    **SINGLE_VALUES,
}


@dataclass(frozen=True)
class Served:
    port: int
    grpc_port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"


@contextmanager
def serving(models: Mapping[str, Model] = MODELS) -> Iterator[Served]:
    metrics = ServingMetrics()
    endpoints = [_endpoint(name, model) for name, model in models.items()]
    service = Service(endpoints, metrics, Shadowing(metrics, None), 512, None)
    served = Served(free_port(), free_port())
    http = HttpApplication("echo", service, BODY_BYTES, people_routes(service, None))
    connections = Connections(http, Bounds(BODY_BYTES, 100, 60, 60, 600), http.refused)
    settings = ListenerSettings(host="127.0.0.1", port=served.port, drain_s=1)
    grpc = GrpcListener(service, "127.0.0.1", served.grpc_port, BODY_BYTES, 0.5)
    listener = Listener(connections, settings, lambda: None, (grpc,))
    listener.start()
    try:
        yield served
    finally:
        listener.stop_accepting()
        connections.draining = service.draining = True
        listener.drain()


def _endpoint(name: str, model: Model) -> Endpoint:
    outputs = model.outputs or model.inputs
    signature = Signature(inputs=model.inputs, outputs=outputs)

    def answer(inputs: Columns) -> Scored:
        return score(inputs, signature, None, lambda *_: {}, model)

    inputs = {column.name: column for column in model.inputs}
    rules = BatchRules(rows=1_024, size_bytes=1_000_000_000, queue_rows=20_000)
    live, shadow = (Gatherer(answer, inputs, rules, lambda *_: None) for _ in range(2))
    endpoint = Endpoint(EndpointSettings(name=name, model=f"models:/{name}@champion"), 30.0)
    interface = ModelInterface(name, "1", "echo", inputs, outputs, MAX_ROWS)
    endpoint.baseline_variant.slot = Slot(
        "champion",
        {},
        interface,
        live,
        shadow,
        Stream(name, "champion", "1", "live"),
        Stream(name, "champion", "1", "shadow"),
    )
    return endpoint
