"""Those who ask, against a server that only counts: each label belongs to its answer, and none comes too early."""

import http.server
import json
import threading
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from examples.flights.replay_clients import Clients
from examples.flights.replay_stream import NEVER, Stream


class _Server(http.server.ThreadingHTTPServer):
    """Answers as an endpoint does; fails on each tenth request, and keeps the labels."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.lock = threading.Lock()
        self.origins: list[str] = []
        self.labels: dict[str, float] = {}


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        with self.server.lock:
            status, identity = self._take(body)
        self.send_response(status)
        self.send_header("content-length", "0")
        if identity:
            self.send_header("taxiway-prediction-id", identity)
            self.send_header("taxiway-model-version", "2")
        self.end_headers()

    def _take(self, body: Any) -> tuple[int, str]:
        if self.path.endswith("/feedback"):
            self.server.labels |= {it["prediction_id"]: it["label"] for it in body["labels"]}
            return 200, ""
        number = int(body["inputs"][0]["data"][0])
        return (500, "") if number % 10 == 0 else (200, f"id-{number}")

    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def server() -> Iterator[_Server]:
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def test_every_flight_that_was_answered_and_has_landed_gets_its_own_label(server: _Server) -> None:
    numbers = np.arange(60)
    labels = np.where(numbers % 7 == 0, np.nan, (numbers % 2).astype(float))
    lands = np.where(np.isnan(labels), NEVER, np.minimum(numbers + 1 + 20 * (numbers % 3), 60))
    clients = Clients(Stream({"distance": numbers}, labels, lands), "127.0.0.1", server.server_port, "m", 400.0)
    clients.start()
    wanted = {f"id-{it}": labels[it] for it in numbers if it % 10 and it % 7}
    deadline = time.monotonic() + 20
    while len(server.labels) < len(wanted):
        assert time.monotonic() < deadline, server.labels
        time.sleep(0.02)
    clients.stop()
    assert clients.has_ended
    assert server.labels == wanted
    assert clients.labels == len(wanted)
    failed = sorted(it.position for it in clients.asked if it.status == 500)
    assert failed == [0, 10, 20, 30, 40, 50]
    assert max(it.at_s for it in clients.asked) >= 59 / 400


def test_a_label_does_not_come_before_its_flight_has_landed(server: _Server) -> None:
    numbers = np.arange(1, 10)
    lands = np.where(numbers == 1, 9, NEVER).astype(np.int64)
    clients = Clients(
        Stream({"distance": numbers}, numbers.astype(np.float64), lands), "127.0.0.1", server.server_port, "m", 10.0
    )
    clients.start()
    time.sleep(0.5)
    assert server.labels == {}
    assert len(clients.asked) >= 2
    clients.stop()
    assert not clients.has_ended
