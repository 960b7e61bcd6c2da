"""A Ray of our own that serves, driven as a user drives it: `serve run FILE`, `serve deploy FILE`, signals."""

import copy
import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
import yaml

_START_TIMEOUT_S = 300.0
_STOP_TIMEOUT_S = 30.0
_SCAN_EVERY_S = 0.25
"""To look through all processes costs the replicas CPU that they start with."""


@dataclass(frozen=True)
class Replica:
    """An ingress replica, and a client whose connection is to it."""

    process: psutil.Process
    client: httpx.Client

    def status(self, endpoint: str) -> Any:
        return self.client.get("/-/status").raise_for_status().json()["endpoints"][endpoint]


class Cluster:
    """A `serve run` in a session of its own.

    Args:
        config: the content of the serve file.
    """

    def __init__(self, home: Path, config: dict[str, Any]) -> None:
        self._home = home
        self._log = home / "serve-run.log"
        self.config = config
        self._scanned = 0.0
        self._environment = os.environ | {
            "TAXIWAY_HOME": str(home),
            "RAY_AUTH_MODE": "token",
            "RAY_USAGE_STATS_ENABLED": "0",
            # Ray's agents show a gauge for twice as long, and those of a node are looked at every 2.5 s.
            "RAY_metrics_report_interval_ms": "2000",
            # On one machine the clients would starve replicas that are as nice as Ray makes them.
            "RAY_worker_niceness": "0",
        }
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                ["serve", "run", "--address", "local", self._file()],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def application(self, name: str) -> dict[str, Any]:
        found: dict[str, Any] = next(it for it in self.config["applications"] if it["name"] == name)
        return found

    def port(self, application: str) -> int:
        return int(self.application(application)["args"]["listener"]["port"])

    def url(self, application: str) -> str:
        return f"http://127.0.0.1:{self.port(application)}"

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        for application in self.config["applications"]:
            while not _answers(self.url(application["name"])):
                assert self._process.poll() is None, self.output[-5000:]
                assert "DEPLOY_FAILED" not in self.output, self.output[-5000:]
                assert time.monotonic() < deadline, self.output[-5000:]
                time.sleep(0.2)

    def deploy(self, check: bool = True) -> None:
        """`serve deploy` of the present `config`; returns when the command has."""
        done = self._serve("deploy", self._file())
        assert not check or done.returncode == 0, done.stdout + done.stderr

    def shut_down(self) -> None:
        """`serve shutdown`: all applications end, Ray stays."""
        done = self._serve("shutdown", "--yes")
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self) -> Any:
        """What `serve status` prints."""
        return yaml.safe_load(self._serve("status").stdout)

    def processes(self, deployment: str) -> list[psutil.Process]:
        """The replicas of `APPLICATION:DEPLOYMENT`, oldest first; who asks often waits for the answer."""
        time.sleep(max(self._scanned + _SCAN_EVERY_S - time.monotonic(), 0.0))
        self._scanned = time.monotonic()
        found = []
        for process in psutil.Process(self._process.pid).children(recursive=True):
            with suppress(psutil.Error):
                if f"ServeReplica:{deployment}" in " ".join(process.cmdline()):
                    found.append(process)
        return sorted(found, key=psutil.Process.create_time)

    def family(self) -> list[psutil.Process]:
        """The command and all that it has started."""
        with suppress(psutil.Error):
            parent = psutil.Process(self._process.pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def metrics(self) -> str:
        """What Prometheus would scrape."""
        return "".join(httpx.get(f"http://{it}/metrics").text for it in self.targets())

    def targets(self) -> list[str]:
        """The addresses at which Ray's agents export, as it writes them down for Prometheus."""
        groups = json.loads((self.session() / "prom_metrics_service_discovery.json").read_text())
        return [str(target) for group in groups for target in group["targets"]]

    def session(self) -> Path:
        """The folder in which this Ray keeps its logs."""
        return Path(self._of_raylet("session_dir"))

    def gcs_address(self) -> str:
        """What `RAY_ADDRESS` is for a job on this Ray."""
        return self._of_raylet("gcs-address")

    def _of_raylet(self, option: str) -> str:
        (raylet,) = (it for it in self.family() if it.name() == "raylet")
        return next(it.partition("=")[2] for it in raylet.cmdline() if it.startswith(f"--{option}="))

    def stop(self) -> None:
        """At once; what Ctrl-C does is the quickstart's to prove."""
        family = self.family()
        for process in family:
            with suppress(psutil.Error):
                process.kill()
        self._process.wait(_STOP_TIMEOUT_S)
        psutil.wait_procs(family, timeout=_STOP_TIMEOUT_S)

    def _file(self) -> str:
        path = self._home / "serve.yaml"
        path.write_text(yaml.safe_dump(self.config))
        return str(path)

    def _serve(self, *command: str) -> "subprocess.CompletedProcess[str]":
        dashboard = re.findall(r"http://127\.0\.0\.1:\d+", self.output)[0]
        return subprocess.run(
            ["serve", *command],
            env=self._environment | {"RAY_DASHBOARD_ADDRESS": dashboard},
            capture_output=True,
            text=True,
            timeout=120,
        )


@contextmanager
def serving(home: Path, config: dict[str, Any]) -> Iterator[Cluster]:
    cluster = Cluster(home, copy.deepcopy(config))
    try:
        cluster.wait_until_ready()
        yield cluster
    finally:
        cluster.stop()


@contextmanager
def connected(url: str, processes: list[psutil.Process]) -> Iterator[list[Replica]]:
    """A client for each of the replicas that share a port, each on a connection that is its replica's."""
    found: dict[int, Replica] = {}
    deadline = time.monotonic() + 20
    while len(found) < len(processes):
        assert time.monotonic() < deadline, "not every replica accepts connections"
        client = httpx.Client(base_url=url, timeout=10)
        port = client_port(client.get("/v2/health/live"))
        owner = next((it for it in processes if port in peers(it)), None)
        if owner is None or owner.pid in found:
            client.close()
        else:
            found[owner.pid] = Replica(owner, client)
    yield list(found.values())
    for replica in found.values():
        replica.client.close()


def client_port(response: httpx.Response) -> int:
    """Our side of the connection that brought a response."""
    return int(response.extensions["network_stream"].get_extra_info("client_addr")[1])


def peers(process: psutil.Process) -> set[int]:
    """The ports of the clients that a process is connected to."""
    connections = process.net_connections(kind="tcp")
    return {it.raddr.port for it in connections if it.raddr and it.status == psutil.CONN_ESTABLISHED}


def connections_to(process: psutil.Process, *ports: int) -> int:
    """How many connections on its listening ports a process holds."""
    held = [it for it in process.net_connections(kind="tcp") if it.raddr and it.laddr.port in ports]
    return len(held)


def listeners(port: int) -> int:
    """How many sockets listen on a port."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] == "0A" for line in lines)


def _answers(url: str) -> bool:
    with suppress(httpx.HTTPError):
        return httpx.get(f"{url}/v2/health/ready", timeout=2).status_code == 200
    return False
