"""All cells in one Ray: started together, with the processes that each of them has."""

import http.client
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import yaml

from benchmarks.processes import free_port, running
from benchmarks.recording.cells import CELLS, Cell, deployment
from benchmarks.serving import codecs
from benchmarks.serving.codecs import Codec
from benchmarks.serving.measure import ask
from benchmarks.serving.model import OUTPUT, Material
from benchmarks.serving.servers import OWN_PROGRAMS
from taxiway.settings import home

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 400.0


@dataclass(frozen=True)
class Deployed:
    """Attributes:
    pid: of `serve run`.
    ingress: by cell the replica that listens on the cell's port.
    beside: by cell the replicas that its requests do not wait for: a dedicated variant, the rollouts' controller.
    predictions: where all cells log.
    """

    pid: int
    ports: Mapping[str, int]
    ingress: Mapping[str, psutil.Process]
    beside: Mapping[str, Sequence[psutil.Process]]
    predictions: Path


def codec(cell: Cell) -> Codec:
    """How the cell's endpoint is asked: the Open Inference Protocol, JSON."""
    return codecs.inference(f"/v2/models/{cell.key}/infer", OUTPUT)


@contextmanager
def deployed(material: Material, collector: int) -> Iterator[Deployed]:
    """All cells, once every one of them answers and has the variants that it needs.

    Args:
        collector: the port to which spans go.

    Raises:
        StartFailed: not in time, or not at all.
    """
    folder = home() / "bench" / "servers" / "recording"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    ports = {cell.key: free_port() for cell in CELLS}
    config, predictions = folder / "serve.yaml", folder / "predictions"
    config.write_text(yaml.safe_dump(deployment(material, ports, predictions)))
    command = [str(OWN_PROGRAMS / "serve"), "run", "--address", "local", str(config)]
    environment = {
        "PYTHONPATH": str(_ROOT),
        "TAXIWAY_HOME": str(folder),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{collector}",
    }

    def answers() -> bool:
        return all(_answers(cell, ports[cell.key], material) for cell in CELLS)

    first = ports[CELLS[0].key]
    with running(command, first, environment, folder / "log.txt", answers, _START_TIMEOUT_S) as up:
        ingress = {cell.key: _replicas(up.pid, f"{cell.key}:ingress")[0] for cell in CELLS}
        beside = {
            cell.key: [it for it in _replicas(up.pid, f"{cell.key}:") if it != ingress[cell.key]] for cell in CELLS
        }
        yield Deployed(up.pid, ports, ingress, beside, predictions)


def metrics(pid: int) -> str:
    """What Prometheus would scrape of the Ray that `pid` has started."""
    (raylet,) = (it for it in psutil.Process(pid).children(recursive=True) if it.name() == "raylet")
    session = next(it.partition("=")[2] for it in raylet.cmdline() if it.startswith("--session_dir="))
    targets = json.loads((Path(session) / "prom_metrics_service_discovery.json").read_text())
    addresses = [it.rpartition(":") for group in targets for it in group["targets"]]
    return "".join(_get(host, port, "/metrics") for host, _, port in addresses)


def _answers(cell: Cell, port: int, material: Material) -> bool:
    try:
        ask(port, codec(cell).encode(material.rows[:1]))
        variants = json.loads(_get("127.0.0.1", port, "/-/status"))["endpoints"][cell.key]["variants"]
    except (OSError, http.client.HTTPException, RuntimeError):
        return False
    return all(variants[name]["version"] is not None for name in cell.variants)


def _get(host: str, port: str | int, path: str) -> str:
    connection = http.client.HTTPConnection(host, int(port), timeout=10)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _replicas(pid: int, deployment: str) -> list[psutil.Process]:
    """Those of `APPLICATION:DEPLOYMENT`, or of all deployments of `APPLICATION:`."""
    found = []
    for process in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.Error):
            if f"ServeReplica:{deployment}" in " ".join(process.cmdline()):
                found.append(process)
    return found
