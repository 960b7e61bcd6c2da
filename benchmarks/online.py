"""Requests/s and latency of the flights endpoint, with and without the feature lookup, beside FastAPI."""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.load import Load
from examples.flights import data
from examples.flights.memory import proportional_set_size_mb
from examples.flights.prepare import NOW, REQUEST_COLUMNS
from examples.flights.quickstart import SERVE_FILE, infer_request
from serve.settings import ServeSettings
from taxiway.features import HistoricalFeatures, bind, open_store
from taxiway.settings import parse, read_yaml

CONNECTIONS = (1, 8, 32)
SECONDS = 5.0
BODIES = 200
_PEER_PORT = 8011
# As a machine of its own would run it: Ray makes its workers nice and numpy's threads fight over two cores.
_ENVIRONMENT = os.environ | {"RAY_worker_niceness": "0", "OMP_NUM_THREADS": "1"}


def measure() -> list[dict[str, Any]]:
    """A row for each server, payload and number of connections."""
    rows: list[dict[str, Any]] = []
    settings = parse(read_yaml(SERVE_FILE)["applications"][0]["args"], ServeSettings, SERVE_FILE)
    infer_path = f"/v2/models/{settings.endpoints[0].name}/infer"
    with tempfile.TemporaryDirectory() as folder:
        flights, features = _questions(settings)
        payloads = {
            "taxiway": [_oip(flights, None), _oip(flights, features)],
            "fastapi": [_flat(flights, None), _flat(flights, features)],
        }
        files = {
            name: [_write(folder, f"{name}{i}", bodies) for i, bodies in enumerate(both)]
            for name, both in payloads.items()
        }
        servers = {
            "taxiway": ([Path(sys.executable).parent / "serve", "run", SERVE_FILE], settings.listener.port, infer_path),
            "fastapi": (
                [sys.executable, "-m", "benchmarks.fastapi_peer", SERVE_FILE, _PEER_PORT],
                _PEER_PORT,
                "/predict",
            ),
        }
        for server, (command, port, path) in servers.items():
            with running([str(part) for part in command], port) as pid:
                for lookup, bodies in zip(("lookup", "features sent"), files[server], strict=True):
                    for connections in CONNECTIONS:
                        load = _load(port, path, bodies, connections)
                        rows.append({"server": server, "payload": lookup, **vars(load)})
                        what = f"{server:8} {lookup:14} {connections:3} connections"
                        print(f"  {what}: {load.requests_per_s:8.0f} requests/s", flush=True)
                rows[-1]["memory_mb"] = proportional_set_size_mb(pid)
    return rows


def _questions(settings: ServeSettings) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Flights that are asked about from the store's moment on, and their features as of that moment."""
    flights = data.read_flights()
    asked = flights[(flights["asked_at"] >= NOW) & flights["tailnum"].notna()].head(BODIES).reset_index(drop=True)
    assert settings.feature_store is not None
    store = open_store(settings.feature_store)
    columns = {name: asked[name].to_numpy() for name in ("carrier", "origin", "dest", "tailnum")}
    views = bind(store, "flight_delay", {}).views
    read = HistoricalFeatures(store).read(views, columns, pd.Series([NOW] * len(asked)).to_numpy())
    return asked[REQUEST_COLUMNS], pd.DataFrame(read)


def _oip(flights: pd.DataFrame, features: pd.DataFrame | None) -> list[dict[str, Any]]:
    bodies = []
    for row in range(len(flights)):
        body = infer_request({name: [flights[name][row]] for name in REQUEST_COLUMNS})
        for name in [] if features is None else map(str, features):
            body["inputs"].append(
                {"name": name, "shape": [1], "datatype": "FP64", "data": [_number(features, name, row)]}
            )
        bodies.append(body)
    return bodies


def _flat(flights: pd.DataFrame, features: pd.DataFrame | None) -> list[dict[str, Any]]:
    bodies = json.loads(flights.to_json(orient="records"))
    for row, body in enumerate(bodies):
        if features is not None:
            body["features"] = {name: _number(features, name, row) for name in map(str, features)}
    return list(bodies)


def _number(features: Any, name: str, row: int) -> float | None:
    value = float(features[name][row])
    return None if value != value else value


def _write(folder: str, name: str, bodies: list[dict[str, Any]]) -> Path:
    path = Path(folder) / name
    path.write_text("\n".join(map(json.dumps, bodies)))
    return path


def _load(port: int, path: str, bodies: Path, connections: int) -> Load:
    command = [sys.executable, "-m", "benchmarks.load", "127.0.0.1", str(port), path, str(bodies)]
    done = subprocess.run([*command, str(connections), str(SECONDS)], capture_output=True, text=True, check=True)
    load = Load(**json.loads(done.stdout))
    if load.errors:
        raise RuntimeError(f"{load.errors} errors under load on port {port}; the figures would mean nothing")
    return load


@contextmanager
def running(command: list[str], port: int) -> Iterator[int]:
    """A server from its first to its last answer; yields its process id."""
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, env=_ENVIRONMENT, stdout=log, stderr=log, start_new_session=True)
        try:
            _wait(process, port)
            yield process.pid
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and process.poll() is None:
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"the server on port {port} did not start")
