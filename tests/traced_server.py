"""One endpoint behind our own listeners, with tracing and a log of requests: no registry, no Ray cluster.

Its model answers y = 2 x; it takes x milliseconds, and fails where x is 13.
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import httpx
import numpy as np

from serve.batching import BatchRules
from serve.endpoint import Endpoint
from serve.grpc_listener import GrpcListener
from serve.http import HttpApplication
from serve.http_protocol import Bounds, Connections
from serve.listener import Listener
from serve.loading import Loaded
from serve.recording import Recorder
from serve.request_log import RequestLog
from serve.service import Service
from serve.settings import EndpointSettings, ListenerSettings, VariantSettings
from serve.shadowing import Shadowing
from serve.tracing import Tracing
from serve.variant import make_slot
from taxiway.predictions.record import LoggedBatch
from taxiway.scoring import Predictor
from taxiway.signature import Array, Column, Columns, Signature
from taxiway.telemetry.metrics import ServingMetrics
from taxiway.traffic import TrafficSettings
from tests.ports import free_port

MODEL = "models:/delay@champion"
SIGNATURE = Signature(
    inputs=(Column(name="x", dtype="float64", minimum=0.0),), outputs=(Column(name="y", dtype="float64"),)
)
_BODY_BYTES = 100_000


class Slow:
    def predict(self, columns: Columns) -> dict[str, Array]:
        time.sleep(float(np.max(columns["x"])) / 1_000)
        if 13.0 in columns["x"]:
            raise ValueError("13 is not for me")
        return {"y": columns["x"] * 2}


@dataclass(frozen=True)
class Served:
    port: int
    grpc_port: int
    recorder: Recorder
    logged: list[LoggedBatch]
    """What the prediction log has got; `recorder.count` hands it over."""

    def ask(self, x: float, **headers: str) -> httpx.Response:
        """One row; a header's name has `_` for `-`."""
        body = {"inputs": [{"name": "x", "datatype": "FP64", "shape": [1], "data": [x]}]}
        named: dict[str, Any] = {name.replace("_", "-"): value for name, value in headers.items()}
        return httpx.post(f"http://127.0.0.1:{self.port}/v2/models/delay/infer", json=body, headers=named, timeout=20)


@contextmanager
def serving(
    tracing: Tracing | None,
    request_log: RequestLog | None = None,
    full_batches_of: int = 0,
    model: Predictor | None = None,
) -> Iterator[Served]:
    """The endpoint `delay`: the variant `champion` answers, `copy` gets a copy of everything.

    Args:
        full_batches_of: a batch waits until so many rows are there; 0: it waits for nothing.
        model: instead of the one that takes x milliseconds.
    """
    logged: list[LoggedBatch] = []
    metrics, recorder = ServingMetrics(), Recorder(logged.append)
    shadowing = Shadowing(metrics, recorder, tracing)
    variants = (VariantSettings(name="champion", model=MODEL), VariantSettings(name="copy", model=MODEL))
    endpoint = Endpoint(EndpointSettings(name="delay", variants=variants), 30.0)
    rules = BatchRules(full_batches_of or 1_024, 1_000_000, 1_000, wait_s=20.0 if full_batches_of else 0.0)
    for name in ("champion", "copy"):
        loaded = Loaded({}, "7", "test", SIGNATURE, None, model or Slow(), 0, None)
        endpoint.variants[name].slot = make_slot(
            "delay",
            name,
            loaded,
            lambda *_: {},
            "refuse",
            rules,
            replace(rules, wait_s=0.0),
            1_000,
            lambda *_: None,
            shadowing.executor,
            recorder,
            tracing=tracing,
        )
    endpoint.apply(TrafficSettings(weights={"champion": 100}, shadows={"copy": 100}))
    service = Service([endpoint], metrics, shadowing, 512, recorder, tracing=tracing, request_log=request_log)
    served = Served(free_port(), free_port(), recorder, logged)
    http = HttpApplication("traced", service, _BODY_BYTES, {})
    connections = Connections(http, Bounds(_BODY_BYTES, 100, 60, 60, 600), http.refused)
    grpc = GrpcListener(service, "127.0.0.1", served.grpc_port, _BODY_BYTES, 0.2)
    settings = ListenerSettings(host="127.0.0.1", port=served.port, drain_s=0.2)
    listener = Listener(connections, settings, lambda: None, (grpc,))
    for part in (tracing, request_log):
        if part is not None:
            part.start()
    listener.start()
    try:
        yield served
    finally:
        listener.stop_accepting()
        connections.draining = service.draining = True
        listener.drain()
        for part in (tracing, request_log):
            if part is not None:
                part.stop()
