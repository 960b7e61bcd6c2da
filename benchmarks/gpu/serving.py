"""Requests of one row behind the listener: `serve run` with the model inline and dedicated."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import orjson
import yaml

from benchmarks import load
from benchmarks.gpu.in_process import Alone
from benchmarks.gpu.networks import NETWORKS
from benchmarks.pages import table
from benchmarks.processes import free_port, running
from taxiway.signature import Array

CONNECTIONS = (32, 128)
_LOAD_S = 3.0


@dataclass(frozen=True)
class Served:
    """Requests of one row, binary tensors."""

    network: str
    placement: str
    seen: load.Load


def served(folder: Path, device: str) -> list[Served]:
    """Both networks, in the ingress replica and in a replica of their own; one after the other is loaded."""
    found: list[Served] = []
    with _serving(folder, device) as ports:
        for (name, placement), port in ports.items():
            network = next(it for it in NETWORKS if it.name == name)
            requests = [_request(name, network.inputs(1) + number) for number in range(16)]
            seen = (load.run(port, requests, connections, _LOAD_S) for connections in CONNECTIONS)
            found += [Served(name, placement, it) for it in seen]
    return found


@contextmanager
def _serving(folder: Path, device: str) -> Iterator[dict[tuple[str, str], int]]:
    placements = [(network.name, it) for network in NETWORKS for it in ("inline", "dedicated")]
    ports = {it: free_port() for it in placements}
    applications = [_application(*it, port, device) for it, port in ports.items()]
    file = folder / "serve.yaml"
    file.write_text(yaml.safe_dump({"proxy_location": "Disabled", "applications": applications}))
    command = ["serve", "run", "--address", "local", str(file)]
    (first, *_), log = ports.values(), folder / "serve.log"
    with running(command, first, {}, log, lambda: all(map(_answers, ports.values())), 300):
        yield ports


def _application(network: str, placement: str, port: int, device: str) -> dict[str, Any]:
    gpus = 0.25 if device == "cuda" else 0
    variant = {"name": "champion", "model": f"models:/{network}@champion", "placement": placement, "device": device}
    held = {"cpus": 1, "gpus": gpus}
    args: dict[str, Any] = {"endpoints": [{"name": network, "variants": [variant]}]}
    args["listener"] = {"host": "127.0.0.1", "port": port}
    if placement == "dedicated":
        variant["dedicated"] = held  # type: ignore[assignment]
    else:
        args["ingress"] = held
    name = f"{network}-{placement}"
    return {"name": name, "route_prefix": f"/{name}", "import_path": "serve.app:build", "args": args}


def _answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/v2/health/ready", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False


def _request(name: str, inputs: Array) -> bytes:
    tensor = {"name": "x", "datatype": "FP32", "shape": inputs.shape, "parameters": {"binary_data_size": inputs.nbytes}}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"inference-header-content-length": str(len(head)), "content-type": "application/octet-stream"}
    return load.post(f"/v2/models/{name}/infer", head + inputs.tobytes(), headers)


def served_table(found: Sequence[Served], alone: Alone) -> str:
    rows = [
        (
            it.network,
            it.placement,
            str(it.seen.connections),
            f"{it.seen.requests_per_s:,.0f}",
            f"{it.seen.p50_ms:.1f}",
            f"{it.seen.p99_ms:.1f}",
            str(it.seen.errors),
            f"{it.seen.requests_per_s / alone[it.network, 'fp32', it.seen.connections]:.2f}",
            f"{it.seen.generator_busy:.0%}",
        )
        for it in found
    ]
    head = ("network", "placement", "connections", "requests/s", "p50 ms", "p99 ms", "errors", "of the limit", "client")
    return table("Behind the listener: requests of one row, fp32", head, rows)
