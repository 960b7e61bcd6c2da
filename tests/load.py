"""Clients that ask without a pause worth speaking of and check every answer, each on a thread of its own."""

import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import tritonclient.grpc
import tritonclient.http

from tests.integration.test_ingress import DATATYPES, question
from tests.tiny_model import parcels

SEEDS = 20


@dataclass(frozen=True)
class Answer:
    """Who answered one question, and what; `at` is monotonic time."""

    at: float
    seed: int
    variant: str
    version: str
    value: float


Ask = Callable[[int], tuple[str, str, float]]
Client = Callable[[], tuple[Ask, Callable[[], None]]]
"""Connects; gives what asks the question of a seed and what closes the connection."""


class Load:
    """What came back so far."""

    def __init__(self, expected: Mapping[str, Sequence[float]], served: Collection[tuple[str, str]]) -> None:
        self._expected = expected
        self._served = served
        self.answers: list[Answer] = []
        self.failures: list[str] = []
        self.wrong: list[Answer] = []

    def take(self, answer: Answer) -> None:
        self.answers.append(answer)
        right = self._expected.get(answer.version, {answer.seed: None})[answer.seed] == answer.value
        if not right or (answer.variant, answer.version) not in self._served:
            self.wrong.append(answer)

    def last(self, version: str) -> float:
        """When a version answered for the last time."""
        return max((it.at for it in self.answers if it.version == version), default=0.0)

    @property
    def faults(self) -> list[Any]:
        return [*self.failures, *self.wrong]


@contextmanager
def loaded(
    clients: Sequence[Client],
    expected: Mapping[str, Sequence[float]],
    served: Collection[tuple[str, str]],
    pause_s: float = 0.005,
) -> Iterator[Load]:
    """Asks until the block ends; every client has had an answer before it begins."""
    load, stop = Load(expected, served), threading.Event()
    threads = [threading.Thread(target=_ask, args=(connect, load, stop, pause_s)) for connect in clients]
    for thread in threads:
        thread.start()
    try:
        deadline = time.monotonic() + 20
        while len(load.answers) + len(load.failures) < 5 * len(clients):
            assert time.monotonic() < deadline, load.failures
            time.sleep(0.02)
        yield load
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def _ask(connect: Client, load: Load, stop: threading.Event, pause_s: float) -> None:
    ask, close = connect()
    seed = 0
    while not stop.is_set():
        seed = (seed + 1) % SEEDS
        try:
            variant, version, value = ask(seed)
        except Exception as error:  # noqa: BLE001 - whatever a client sees is a failure
            load.failures.append(f"{time.monotonic():.3f} {error!r}")
        else:
            load.take(Answer(time.monotonic(), seed, variant, version, value))
        stop.wait(pause_s)
    close()


def keep_alive(url: str, headers: Mapping[str, str] | None = None) -> Client:
    """httpx on one connection."""

    def connect() -> tuple[Ask, Callable[[], None]]:
        client = httpx.Client(base_url=url, headers=headers, timeout=30)
        return lambda seed: _over_http(client, seed), client.close

    return connect


def fresh(url: str) -> Client:
    """httpx with a new connection for each request."""

    def connect() -> tuple[Ask, Callable[[], None]]:
        limits = httpx.Limits(max_keepalive_connections=0)
        client = httpx.Client(base_url=url, limits=limits, headers={"connection": "close"}, timeout=30)
        return lambda seed: _over_http(client, seed), client.close

    return connect


def triton_http(address: str) -> Client:
    def connect() -> tuple[Ask, Callable[[], None]]:
        client = tritonclient.http.InferenceServerClient(address, network_timeout=30)
        outputs = [tritonclient.http.InferRequestedOutput("probability", binary_data=True)]

        def ask(seed: int) -> tuple[str, str, float]:
            answer = client.infer("parcel", _TENSORS_HTTP[seed], outputs=outputs)
            said = answer.get_response()
            variant = said["parameters"]["variant"]
            return variant, said["model_version"], float(answer.as_numpy("probability")[0])

        return ask, client.close

    return connect


def triton_grpc(address: str) -> Client:
    def connect() -> tuple[Ask, Callable[[], None]]:
        # Otherwise clients in one process share a connection.
        own_connection = [("grpc.use_local_subchannel_pool", 1)]
        client = tritonclient.grpc.InferenceServerClient(address, channel_args=own_connection)

        def ask(seed: int) -> tuple[str, str, float]:
            answer = client.infer("parcel", _TENSORS_GRPC[seed], client_timeout=30)
            said = answer.get_response()
            variant = said.parameters["variant"].string_param
            return variant, said.model_version, float(answer.as_numpy("probability")[0])

        return ask, client.close

    return connect


def _over_http(client: httpx.Client, seed: int) -> tuple[str, str, float]:
    answer = client.post("/v2/models/parcel/infer", json=_BODIES[seed]).raise_for_status()
    variant, version = (answer.headers[f"taxiway-{it}"] for it in ("variant", "model-version"))
    return variant, version, answer.json()["outputs"][0]["data"][0]


def _tensors(client: Any, columns: Mapping[str, Any]) -> list[Any]:
    found = []
    for name, values in columns.items():
        tensor = client.InferInput(name, [len(values)], DATATYPES[name])
        tensor.set_data_from_numpy(values)
        found.append(tensor)
    return found


_COLUMNS = [{name: values for name, values in parcels(1, seed).items() if name != "comment"} for seed in range(SEEDS)]
_BODIES = [question(columns) for columns in _COLUMNS]
_TENSORS_HTTP = [_tensors(tritonclient.http, columns) for columns in _COLUMNS]
_TENSORS_GRPC = [_tensors(tritonclient.grpc, columns) for columns in _COLUMNS]
