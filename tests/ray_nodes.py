"""Several Ray nodes on one host, each a `ray start --block` as in its own pod, and the Redis that remembers them."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import psutil
import ray
import yaml

from tests.ports import free_port

HEAD = "head"
_TOKEN = "a-token-for-the-nodes-of-a-test-only"
_START_TIMEOUT_S = 180.0
_STOP_TIMEOUT_S = 30.0
_HOST = "127.0.0.1"
_ADDRESS = ray.util.get_node_ip_address()
"""Of the nodes: they have the machine's own, whatever they are told."""


class RayNodes:
    """A head that takes no replicas, and workers. All have the same address; each has ports of its own.

    Args:
        folder: with a short path: sockets lie below it.
        home: the `TAXIWAY_HOME` of all nodes.
    """

    def __init__(self, folder: Path, home: Path) -> None:
        self._folder = folder
        self._gcs, self._dashboard, redis = free_port(), free_port(), free_port()
        self.environment = os.environ | {
            "TAXIWAY_HOME": str(home),
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN": _TOKEN,
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_ADDRESS": f"{_ADDRESS}:{self._gcs}",
            "RAY_DASHBOARD_ADDRESS": f"http://{_HOST}:{self._dashboard}",
            "RAY_worker_niceness": "0",
            "RAY_raylet_start_wait_time_s": "120",
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            # What KubeRay sets with `gcsFaultToleranceOptions`.
            "RAY_REDIS_ADDRESS": f"{_HOST}:{redis}",
            "RAY_external_storage_namespace": "taxiway",
            "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
        }
        self._redis = self._start("redis", "redis-server", "--port", str(redis), "--save", "", "--dir", str(folder))
        self._nodes: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str) -> None:
        """A node that was not there, or is no more; returns when the head answers, but does not wait for a worker."""
        role = ["--address", f"{_ADDRESS}:{self._gcs}", "--num-cpus", "1"]
        if name == HEAD:
            role = ["--head", "--port", str(self._gcs), "--dashboard-port", str(self._dashboard), "--num-cpus", "0"]
            role += ["--ray-client-server-port", str(free_port())]
        ports = ["--dashboard-agent-listen-port", str(free_port()), "--min-worker-port", "0", "--max-worker-port", "0"]
        # A pod that is started again finds nothing of what it was.
        empty = tempfile.mkdtemp(prefix="", dir=self._folder)
        own = ["--node-name", name, "--temp-dir", empty, "--object-store-memory", "80000000"]
        less = ["--no-monitor", "--include-log-monitor", "false"]
        self._nodes[name] = self._start(name, "ray", "start", "--block", *role, *ports, *own, *less)
        if name == HEAD:
            self._wait_for(name, self._head_answers)

    def wait_for_workers(self, count: int) -> None:
        self._wait_for(HEAD, lambda: len(self.node_ids()) == count + 1)

    def node_ids(self) -> dict[str, str]:
        """Name -> id of the nodes that are alive, as the head knows them."""
        answer = self._ask("/api/v0/nodes?detail=1")
        nodes = answer.json()["data"]["result"]["result"]
        return {it["node_name"]: it["node_id"] for it in nodes if it["state"] == "ALIVE"}

    def kill(self, name: str) -> None:
        """Everything that the node runs, at once, as when its machine goes."""
        end(self._family(name))
        self._nodes.pop(name).wait(_STOP_TIMEOUT_S)

    def kill_gcs(self) -> None:
        """The GCS alone; `ray start --block` then ends the head, as the container of a pod does."""
        (gcs,) = (it for it in self._family(HEAD) if it.name() == "gcs_server")
        gcs.kill()
        self._nodes.pop(HEAD).wait(_STOP_TIMEOUT_S)

    def replicas(self, name: str, deployment: str) -> list[psutil.Process]:
        """Those of `APPLICATION:DEPLOYMENT` on a node."""
        found = []
        for process in self._family(name):
            with suppress(psutil.Error):
                if f"ServeReplica:{deployment}" in " ".join(process.cmdline()):
                    found.append(process)
        return found

    def deploy(self, config: Mapping[str, Any]) -> None:
        """`serve deploy` of a file."""
        file = self._folder / "serve.yaml"
        file.write_text(yaml.safe_dump(dict(config)))
        done = self._run("serve", "deploy", str(file))
        assert done.returncode == 0, done.stdout + done.stderr

    def status(self) -> Any:
        """What the head's dashboard says of Serve; None while it does not answer."""
        with suppress(httpx.HTTPError):
            answer = self._ask("/api/serve/applications/")
            return answer.json() if answer.status_code == 200 else None
        return None

    def log(self, name: str) -> str:
        return (self._folder / f"{name}.log").read_text(errors="replace")

    def stop(self) -> None:
        for name in list(self._nodes):
            end(self._family(name))
        self._redis.kill()
        for process in (*self._nodes.values(), self._redis):
            process.wait(_STOP_TIMEOUT_S)

    def _ask(self, path: str) -> httpx.Response:
        headers = {"authorization": f"Bearer {_TOKEN}"}
        return httpx.get(f"http://{_HOST}:{self._dashboard}{path}", headers=headers, timeout=20)

    def _head_answers(self) -> bool:
        with suppress(httpx.HTTPError, KeyError, TypeError):
            return HEAD in self.node_ids()
        return False

    def _wait_for(self, name: str, is_there: Any) -> None:
        deadline = time.monotonic() + _START_TIMEOUT_S
        while not is_there():
            assert self._nodes[name].poll() is None, self.log(name)[-3000:]
            assert time.monotonic() < deadline, self.log(name)[-3000:]
            time.sleep(0.2)

    def _family(self, name: str) -> list[psutil.Process]:
        with suppress(psutil.Error, KeyError):
            parent = psutil.Process(self._nodes[name].pid)
            return [parent, *parent.children(recursive=True)]
        return []

    def _start(self, name: str, *command: str) -> "subprocess.Popen[bytes]":
        with (self._folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                command, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )

    def _run(self, *command: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(command, env=self.environment, capture_output=True, text=True, timeout=120)


def end(processes: list[psutil.Process], kind: signal.Signals = signal.SIGKILL) -> None:
    """Sends all of them a signal, and waits until they are gone."""
    for process in processes:
        with suppress(psutil.Error):
            process.send_signal(kind)
    psutil.wait_procs(processes, timeout=_STOP_TIMEOUT_S)


@contextmanager
def ray_nodes(home: Path, workers: int) -> Iterator[RayNodes]:
    """A head and so many workers, `worker-1` and on."""
    folder = Path(tempfile.mkdtemp(prefix="nodes-"))
    nodes = RayNodes(folder, home)
    try:
        nodes.start(HEAD)
        for number in range(workers):
            nodes.start(f"worker-{number + 1}")
        nodes.wait_for_workers(workers)
        yield nodes
    finally:
        nodes.stop()
        shutil.rmtree(folder, ignore_errors=True)
