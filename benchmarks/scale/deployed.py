"""One application on a Ray of its own, with the processes that it has."""

import http.client
import shutil
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import yaml

from benchmarks.processes import free_port, running
from benchmarks.recording.deployed import metrics
from benchmarks.recording.measure import cpu_s
from benchmarks.serving.servers import OWN_PROGRAMS
from examples.flights.memory import proportional_set_size_mb
from taxiway.settings import home

_ROOT = Path(__file__).parents[2]
_START_TIMEOUT_S = 400.0
_EXPORTED_S = 15.0
"""Ray exports metrics every ten seconds."""
_IDLE_S = 5.0


@dataclass(frozen=True)
class Deployed:
    """Attributes:
    pid: of `serve run`.
    replica: the process that answers.
    started_s: from the replica's birth to its readiness.
    """

    pid: int
    port: int
    replica: psutil.Process
    started_s: float

    @property
    def replica_mb(self) -> float:
        """PSS of the replica."""
        return float(self.replica.memory_full_info().pss) / 2**20

    @property
    def everything_mb(self) -> float:
        """PSS of Ray, Serve and the replica."""
        return proportional_set_size_mb(self.pid)

    def idle(self) -> float:
        """The share of one core that the replica takes while nobody asks."""
        before = cpu_s([self.replica])
        time.sleep(_IDLE_S)
        return (cpu_s([self.replica]) - before) / _IDLE_S

    def counted(self, name: str, outcome: str) -> float:
        """A counter of the replica by its outcome, once it is exported."""
        time.sleep(_EXPORTED_S)
        lines = [line for line in metrics(self.pid).splitlines() if line.startswith(f"ray_{name}{{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines if f'outcome="{outcome}"' in line)


@contextmanager
def deployed(arguments: Mapping[str, Any]) -> Iterator[Deployed]:
    """An application with these `args`, from readiness on.

    Raises:
        StartFailed: not in time, or not at all.
    """
    folder = home() / "bench" / "servers" / "scale"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, config = free_port(), folder / "serve.yaml"
    listener = {"listener": {"host": "127.0.0.1", "port": port}, "ingress": {"cpus": 0}}
    application = {"name": "scale", "import_path": "serve.app:build", "args": {**arguments, **listener}}
    config.write_text(yaml.safe_dump({"proxy_location": "Disabled", "applications": [application]}))
    command = [str(OWN_PROGRAMS / "serve"), "run", "--address", "local", str(config)]
    environment = {"PYTHONPATH": str(_ROOT), "TAXIWAY_HOME": str(folder)}
    with running(command, port, environment, folder / "log.txt", lambda: _is_ready(port), _START_TIMEOUT_S) as up:
        ready = time.time()
        replica = next(it for it in psutil.Process(up.pid).children(recursive=True) if _is_ingress(it))
        yield Deployed(up.pid, port, replica, ready - replica.create_time())


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with suppress(OSError, http.client.HTTPException):
        connection.request("GET", "/v2/health/ready")
        return connection.getresponse().status == 200
    return False


def _is_ingress(process: psutil.Process) -> bool:
    with suppress(psutil.Error):
        return "ServeReplica:scale:ingress" in " ".join(process.cmdline())
    return False
