"""`python -m benchmarks.features`: batched reads of the online store beside one Feast call for each request."""

import os
import platform
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from feast import Entity, FeatureService, FeatureStore, FeatureView, Field, FileSource, ValueType
from feast.types import Float64
from redis import Redis

from taxiway.feature_binding import FeatureViewBinding
from taxiway.features import OnlineFeatures, bind, open_store
from taxiway.settings import FeatureStoreSettings
from taxiway.signature import Array

RESULTS = Path(__file__).parent / "results" / "features.md"
ENTITIES = 10_000
HUB_ROUTES = 300
PER_SECOND, PACED_S = 200.0, 15.0
BATCHES = (1, 8, 32, 128)
ROUNDS, ROUND_S = 9, 0.3
VIEWS = {"weather": (["place"], 10), "vehicles": (["vehicle"], 3), "traffic": (["place"], 9)} | {
    "routes": (["carrier", "place", "dest"], 3)
}
"""Keys and number of features: the shape of the flights example's views."""

Rows = dict[str, list[str]]
Read = Callable[[Rows], object]
Draw = Callable[[int], Rows]


@dataclass(frozen=True)
class Measured:
    """Latencies in ms under paced load, then rows/s: of one call a request, and of ours by batch size."""

    ours_ms: Array
    feast_ms: Array
    feast_rows_per_s: float
    ours_rows_per_s: dict[int, float]


def main() -> int:
    """Measures SQLite and, where there is a redis-server, Redis."""
    warnings.simplefilter("ignore")
    report = ["# Reading features: measured by `python -m benchmarks.features`", "", _introduction()]
    for kind in ("sqlite", "redis"):
        if kind == "redis" and shutil.which("redis-server") is None:
            print("redis: no redis-server on this machine, not measured", flush=True)
            continue
        with tempfile.TemporaryDirectory() as scratch, _online_store(kind, Path(scratch)) as config:
            store = _make(Path(scratch), config)
            report += _section(kind, {name: _measure(store, draw) for name, draw in DRAWS.items()})
    RESULTS.write_text("\n".join(report) + "\n")
    print("\n".join(report))
    return 0


@contextmanager
def _online_store(kind: str, scratch: Path) -> Iterator[str]:
    """What stands under `online_store` in feature_store.yaml."""
    if kind == "sqlite":
        yield f"{{type: sqlite, path: {scratch}/online.db}}"
        return
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(scratch), "--loglevel", "warning"]
    server = subprocess.Popen(["redis-server", *options], stdout=subprocess.DEVNULL)
    try:
        while not _pings(port):
            time.sleep(0.05)
        yield f'{{type: redis, connection_string: "127.0.0.1:{port}"}}'
    finally:
        server.terminate()
        server.wait()


def _pings(port: int) -> bool:
    try:
        return bool(Redis(port=port).ping())
    except OSError:
        return False
    except Exception:  # noqa: BLE001 - redis has its own errors for a server that is about to listen
        return False


def _make(scratch: Path, online_store: str) -> FeatureStore:
    (scratch / "feature_store.yaml").write_text(
        f"project: bench\nprovider: local\nregistry: {scratch}/registry.db\nonline_store: {online_store}\n"
        "offline_store: {type: duckdb}\nentity_key_serialization_version: 3\n"
    )
    store = open_store(FeatureStoreSettings(repository=str(scratch)))
    keys = _routes(np.arange(ENTITIES)) | {"vehicle": [f"vehicle {number}" for number in range(ENTITIES)]}
    entities = {key: Entity(name=key, value_type=ValueType.STRING) for key in keys}
    values, views = np.random.default_rng(0), []
    for name, (view_keys, width) in VIEWS.items():
        columns = [f"{name}_{number}" for number in range(width)]
        source = FileSource(path=str(scratch / f"{name}.parquet"), timestamp_field="event_timestamp")
        table = pd.DataFrame({key: keys[key] for key in view_keys} | {c: values.random(ENTITIES) for c in columns})
        table = table.assign(event_timestamp=pd.Timestamp.now("UTC")).drop_duplicates(view_keys)
        table.to_parquet(scratch / f"{name}.parquet", index=False, coerce_timestamps="us")
        schema = [Field(name=column, dtype=Float64) for column in columns]
        owners = [entities[key] for key in view_keys]
        views.append(FeatureView(name=name, entities=owners, ttl=timedelta(days=1), schema=schema, source=source))
    store.apply([*entities.values(), *views, FeatureService(name="bench", features=views)])
    for name in VIEWS:
        store.write_to_online_store(name, pd.read_parquet(scratch / f"{name}.parquet"))
    return store


def _routes(numbers: Array) -> Rows:
    """Carrier, place and destination of routes; the first ones begin at one of three hubs."""
    places = np.where(numbers < HUB_ROUTES, numbers % 3, numbers)
    return {
        "carrier": [f"carrier {number % 16}" for number in numbers],
        "place": [f"place {place}" for place in places],
        "dest": [f"dest {number}" for number in numbers],
    }


_random = np.random.default_rng(1)


def _draw(routes: int, rows: int) -> Rows:
    vehicles = [f"vehicle {number}" for number in _random.integers(0, ENTITIES, rows)]
    return _routes(_random.integers(0, routes, rows)) | {"vehicle": vehicles}


DRAWS: dict[str, Draw] = {"hubs": partial(_draw, HUB_ROUTES), "spread": partial(_draw, ENTITIES)}


def _measure(store: FeatureStore, draw: Draw) -> Measured:
    views = bind(store, "bench", {}).views
    features = OnlineFeatures(store)
    references = [reference for view in views for reference in view.references]

    def ours(rows: Rows) -> object:
        return features.read(views, {key: np.array(values, dtype=object) for key, values in rows.items()})

    def feast(rows: Rows) -> object:
        return store.get_online_features(features=references, entity_rows=rows).to_dict()

    _check_same(views, ours, feast, draw(64))
    contenders = [(feast, 1), *((ours, batch) for batch in BATCHES)]
    # In turns, so that what else the machine does meets all of them.
    rounds = [[_rows_per_s(read, partial(draw, batch), batch) for read, batch in contenders] for _ in range(ROUNDS)]
    feast_rate, *our_rates = (statistics.median(rates) for rates in zip(*rounds, strict=True))
    return Measured(
        _paced(ours, draw, 1_000), _paced(feast, draw, 1), feast_rate, dict(zip(BATCHES, our_rates, strict=True))
    )


def _check_same(views: tuple[FeatureViewBinding, ...], ours: Read, feast: Read, rows: Rows) -> None:
    left, right = ours(rows), feast(rows)
    assert isinstance(left, dict)
    assert isinstance(right, dict)
    for view in views:
        for column in view.columns:
            np.testing.assert_array_equal(left[column], np.array(right[column], dtype=np.float64))


def _rows_per_s(read: Read, draw: Callable[[], Rows], batch: int) -> float:
    questions = [draw() for _ in range(64)]
    calls, start = 0, time.perf_counter()
    while (now := time.perf_counter()) - start < ROUND_S:
        read(questions[calls % len(questions)])
        calls += 1
    return calls * batch / (now - start)


def _paced(read: Read, draw: Draw, batch_rows: int) -> Array:
    """Milliseconds from each request's arrival (Poisson, whatever the reader does) to its features."""
    count = int(PER_SECOND * PACED_S)
    due = np.cumsum(_random.exponential(1 / PER_SECOND, count)) + 0.1
    rows, done = draw(count), np.zeros(count)
    start, first = time.perf_counter(), 0
    while first < count:
        if (wait := due[first] - (time.perf_counter() - start)) > 0:
            time.sleep(wait)
        arrived = int(np.searchsorted(due, time.perf_counter() - start, side="right"))
        last = min(max(arrived, first + 1), first + batch_rows)
        read({key: values[first:last] for key, values in rows.items()})
        done[first:last] = time.perf_counter() - start
        first = last
    return np.percentile((done - due) * 1e3, [50, 99])


def _introduction() -> str:
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), Python {platform.python_version()}; a local server, all in "
        f"one run. Compare the rows with each other, not with other machines. {len(VIEWS)} views, "
        f"{sum(width for _, width in VIEWS.values())} features, {ENTITIES:,} entities each, times to live of a day. "
        f"*hubs*: as flights, {HUB_ROUTES} routes from three places, any of {ENTITIES:,} vehicles. *spread*: any of "
        f"{ENTITIES:,} routes, hardly two rows of a batch share a key. The peer calls "
        "`get_online_features(...).to_dict()` once for each request. "
        f"Throughput is the median of {ROUNDS} rounds in turns. Load average before the run: {os.getloadavg()[0]:.1f}."
    )


def _section(kind: str, measured: dict[str, Measured]) -> list[str]:
    lines = ["", f"## {kind}", "", f"{PER_SECOND:g} requests/s of one row, Poisson arrivals, for {PACED_S:g} s."]
    lines += ["", "| keys | reader | p50 ms | p99 ms |", "|---|---|---|---|"]
    for name, found in measured.items():
        for reader, (p50, p99) in (("taxiway", found.ours_ms), ("Feast, one call a request", found.feast_ms)):
            lines.append(f"| {name} | {reader} | {p50:.1f} | {p99:.1f} |")
    lines += ["", "| keys | reader | rows/s | against one call a request |", "|---|---|---|---|"]
    for name, found in measured.items():
        lines.append(f"| {name} | Feast, one call a request | {found.feast_rows_per_s:,.0f} | 1.0 |")
        for batch, rate in found.ours_rows_per_s.items():
            lines.append(
                f"| {name} | taxiway, batches of {batch} | {rate:,.0f} | {rate / found.feast_rows_per_s:.1f} |"
            )
    return lines


if __name__ == "__main__":
    sys.exit(main())
