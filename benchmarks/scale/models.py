"""A thousand models behind one multiplexed endpoint: loading, asking, and how often a popular one is there."""

import http.client
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np

from benchmarks.load import Sample
from benchmarks.scale.deployed import Deployed, deployed
from benchmarks.scale.endpoints import codec
from benchmarks.scale.material import MODELS, Material, name_of
from benchmarks.scale.zipf import hit_rate, zipf

KEPT = 100
LOADS = 2
EXPONENT = 1.0
CLIENTS = 8
_COLD = 150
_LOADS = "taxiway_multiplexed_loads_total", "loaded"
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Latencies:
    """Milliseconds of so many requests."""

    requests: int
    p50_ms: float
    p99_ms: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> "Latencies":
        p50, p99 = np.percentile(np.array(seconds) * 1e3, [50, 99])
        return cls(len(seconds), float(p50), float(p99))


@dataclass(frozen=True)
class Models:
    """Attributes:
    cold: models that were not there, one after the other; `warm`: again, those that are.
    at_once: models loaded in a second while `CLIENTS` clients ask for ever other ones.
    popular: the most popular model under the Zipf load, while others are loaded; `zipf`: all of it.
    hits: share of the requests of the Zipf load that found their model; `expected`: Che's approximation.
    empty_mb, full_mb: PSS of the replica before the first model and after the last request.
    """

    cold: Latencies
    warm: Latencies
    at_once: float
    zipf: Latencies
    popular: Latencies
    requests_per_s: float
    hits: float
    expected: float
    empty_mb: float
    full_mb: float
    errors: int


class Client:
    """Asks one model after the other on one connection, and checks every answer."""

    def __init__(self, port: int, material: Material, seed: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._material, self._random = material, np.random.default_rng(seed)
        self.errors = 0

    def ask(self, model: int) -> float:
        """The seconds to the answer."""
        row = int(self._random.integers(len(self._material.rows)))
        body = codec(model).encode(self._material.rows[row : row + 1]).partition(b"\r\n\r\n")[2]
        began = time.perf_counter()
        self._connection.request("POST", f"/v2/models/{name_of(model)}/infer", body)
        answer = self._connection.getresponse()
        found = answer.read()
        seconds = time.perf_counter() - began
        expected = self._material.answers(model)[row]
        right = answer.status == 200 and np.allclose(
            codec(model).decode(Sample(0, {}, found)), expected, rtol=0, atol=_TOLERANCE
        )
        self.errors += not right
        return seconds


def measure(material: Material, seconds: float) -> Models:
    with deployed(_arguments(material)) as up:
        empty_mb, client = up.replica_mb, Client(up.port, material, 0)
        rare = list(range(MODELS - _COLD, MODELS))
        cold = [client.ask(model) for model in rare]
        warm = [client.ask(model) for _ in range(10) for model in rare[-KEPT:]]
        at_once, several = _at_once(up, material, list(range(MODELS - 2 * _COLD, MODELS - _COLD)))
        asked, took_s, hits, clients = _zipf(up, material, seconds)
        popular = [it for model, it in asked if model == 0]
        return Models(
            Latencies.of(cold),
            Latencies.of(warm),
            at_once,
            Latencies.of([it for _, it in asked]),
            Latencies.of(popular),
            len(asked) / took_s,
            hits,
            hit_rate(zipf(MODELS, EXPONENT), KEPT),
            empty_mb,
            up.replica_mb,
            sum(it.errors for it in (client, *several, *clients)),
        )


def _arguments(material: Material) -> dict[str, Any]:
    many = {"name": "stores", "models": ["store-*"], "kept": KEPT, "loads": LOADS, "run_in": "loop"}
    return {"multiplexed": [many], "registry": material.registry.model_dump()}


def _at_once(up: Deployed, material: Material, models: Sequence[int]) -> tuple[float, list[Client]]:
    """Models a second, when as many clients as there are each ask for other ones."""
    clients = [Client(up.port, material, number) for number in range(CLIENTS)]
    began = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        shares = [(client, models[number::CLIENTS]) for number, client in enumerate(clients)]
        list(pool.map(lambda share: [share[0].ask(model) for model in share[1]], shares))
    return len(models) / (time.perf_counter() - began), clients


def _zipf(
    up: Deployed, material: Material, seconds: float
) -> tuple[list[tuple[int, float]], float, float, list[Client]]:
    """Model and seconds of each request, the seconds of all, the share of hits, the clients."""
    clients = [Client(up.port, material, number) for number in range(CLIENTS)]
    _ask_all(clients, seconds / 2, 100)  # until the list holds what it will hold
    before = up.counted(*_LOADS)
    began = time.perf_counter()
    asked = _ask_all(clients, seconds, 200)
    took_s = time.perf_counter() - began
    loaded = up.counted(*_LOADS) - before
    return asked, took_s, 1 - loaded / len(asked), clients


def _ask_all(clients: Sequence[Client], seconds: float, seed: int) -> list[tuple[int, float]]:
    stop = threading.Event()

    def ask(number: int) -> list[tuple[int, float]]:
        return [(model, clients[number].ask(model)) for model in _drawn(seed + number, stop)]

    with ThreadPoolExecutor(len(clients)) as pool:
        asking = [pool.submit(ask, number) for number in range(len(clients))]
        time.sleep(seconds)
        stop.set()
        return [it for one in asking for it in one.result()]


def _drawn(seed: int, stop: threading.Event) -> Iterator[int]:
    random, shares = np.random.default_rng(seed), zipf(MODELS, EXPONENT)
    while not stop.is_set():
        several: Iterable[int] = random.choice(MODELS, 1_000, p=shares).tolist()
        for model in several:
            if stop.is_set():
                return
            yield model
