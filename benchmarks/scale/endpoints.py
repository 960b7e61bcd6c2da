"""Many endpoints in one replica: what each costs, and whether they are slower than one."""

from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.scale.deployed import Deployed, deployed
from benchmarks.scale.material import Material, name_of
from benchmarks.serving.codecs import Codec, inference
from benchmarks.serving.model import OUTPUT

CONNECTIONS = 32
_REQUESTS = 4_000
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Rates:
    """Requests of one row, medians over rounds."""

    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


@dataclass(frozen=True)
class Endpoints:
    """So many endpoints, each with a registered model of its own.

    Attributes:
        idle: share of one core while nobody asks.
        one: asked about the first one alone; `every`, about all of them by turns of chance.
    """

    endpoints: int
    started_s: float
    replica_mb: float
    everything_mb: float
    idle: float
    one: Rates
    every: Rates


def codec(model: int) -> Codec:
    return inference(f"/v2/models/{name_of(model)}/infer", OUTPUT)


def measure(material: Material, endpoints: int, seconds: float, rounds: int) -> Endpoints:
    """Starts them, and asks the first one and all of them in turn."""
    with deployed(_arguments(material, endpoints)) as up:
        idle = up.idle()
        first: list[Rates] = []
        every: list[Rates] = []
        for number in range(rounds):
            order = (True, False) if number % 2 else (False, True)
            for all_of_them in order:
                found = _load(up, material, endpoints if all_of_them else 1, seconds)
                (every if all_of_them else first).append(found)
        memory = up.replica_mb, up.everything_mb
        return Endpoints(endpoints, up.started_s, *memory, idle, _medians(first), _medians(every))


def _arguments(material: Material, endpoints: int) -> dict[str, Any]:
    names = [name_of(number) for number in range(endpoints)]
    return {
        # What a model takes is measured when it is loaded, beside all that starts then: not well.
        "endpoints": [{"name": it, "model": f"models:/{it}@champion", "run_in": "loop"} for it in names],
        "registry": material.registry.model_dump(),
    }


def _load(up: Deployed, material: Material, endpoints: int, seconds: float) -> Rates:
    random = np.random.default_rng(0)
    models = random.integers(0, endpoints, _REQUESTS).tolist()
    rows = random.integers(0, len(material.rows), _REQUESTS).tolist()
    requests = [codec(model).encode(material.rows[row : row + 1]) for model, row in zip(models, rows, strict=True)]
    seen = load.run(up.port, requests, CONNECTIONS, seconds, up.replica.pid)
    wrong = sum(
        not np.allclose(
            codec(0).decode(it), material.answers(models[it.request])[rows[it.request]], rtol=0, atol=_TOLERANCE
        )
        for it in seen.samples
    )
    return Rates(seen.requests_per_s, seen.p50_ms, seen.p99_ms, seen.errors + wrong)


def _medians(rates: list[Rates]) -> Rates:
    return Rates(
        median(it.requests_per_s for it in rates),
        median(it.p50_ms for it in rates),
        median(it.p99_ms for it in rates),
        sum(it.errors for it in rates),
    )
