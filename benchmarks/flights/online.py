"""Requests/s and latency of the flights endpoint, with and without the feature lookup, beside FastAPI."""

import json
import sys
import urllib.error
import urllib.request
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from benchmarks.load import Load, post, run
from benchmarks.processes import running
from examples.flights import data
from examples.flights.memory import proportional_set_size_mb
from examples.flights.prepare import NOW, REQUEST_COLUMNS
from examples.flights.quickstart import SERVE_FILE, infer_request
from serve.settings import ListenerSettings, ServeSettings
from taxiway.features import HistoricalFeatures, bind, open_store
from taxiway.settings import home, parse, read_yaml

CONNECTIONS = (1, 8, 32)
SECONDS = 5.0
BODIES = 200
_PEER_PORT = 8011
_START_TIMEOUT_S = 180.0


def measure() -> list[dict[str, Any]]:
    """A row for each server, payload and number of connections."""
    rows: list[dict[str, Any]] = []
    settings = parse(read_yaml(SERVE_FILE)["applications"][0]["args"], ServeSettings, SERVE_FILE)
    assert isinstance(settings.listener, ListenerSettings)
    infer_path = f"/v2/models/{settings.endpoints[0].name}/infer"
    flights, features = _questions(settings)
    payloads = {
        "taxiway": {"lookup": _oip(flights, None), "features sent": _oip(flights, features)},
        "fastapi": {"lookup": _flat(flights, None), "features sent": _flat(flights, features)},
    }
    peer = [sys.executable, "-m", "benchmarks.flights.fastapi_peer", SERVE_FILE, str(_PEER_PORT)]
    own = [str(Path(sys.executable).parent / "serve"), "run", "--address", "local", SERVE_FILE]
    servers = {"taxiway": (own, settings.listener.port, infer_path), "fastapi": (peer, _PEER_PORT, "/predict")}
    for server, (command, port, path) in servers.items():
        log = home() / f"bench-{server}.log"
        with running(command, port, {}, log, partial(_listens, port), _START_TIMEOUT_S) as up:
            for payload, bodies in payloads[server].items():
                for connections in CONNECTIONS:
                    seen = _load(port, path, bodies, connections)
                    rows.append({"server": server, "payload": payload, **vars(seen)})
                    what = f"{server:8} {payload:14} {connections:3} connections"
                    print(f"  {what}: {seen.requests_per_s:8.0f} requests/s", flush=True)
            rows[-1]["memory_mb"] = proportional_set_size_mb(up.pid)
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


def _load(port: int, path: str, bodies: list[dict[str, Any]], connections: int) -> Load:
    requests = [post(path, json.dumps(body).encode()) for body in bodies]
    seen = run(port, requests, connections, SECONDS)
    if seen.errors:
        raise RuntimeError(f"{seen.errors} errors under load on port {port}; the figures would mean nothing")
    return seen


def _listens(port: int) -> bool:
    try:
        urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=1)
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True
