"""The two programs that the chart puts into pods."""

import http.server
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FILES = Path("cluster/chart/files")


def drain(folder: Path, seconds: int, ray: str) -> tuple[subprocess.Popen[bytes], Path]:
    """Starts drain.sh with a `ray` that does what is said; the folder that stands for /proc."""
    program = folder / "ray"
    program.write_text(f'#!/bin/sh\necho "$@" >> {folder}/asked\n{ray}\n')
    program.chmod(0o755)
    processes = folder / "proc" / "12"
    processes.mkdir(parents=True)
    (processes / "cmdline").write_text("ray::ServeReplica:flights:ingress")
    environment = {"PATH": f"{folder}:{os.environ['PATH']}", "PROC": str(folder / "proc")}
    return subprocess.Popen(["/bin/bash", FILES / "drain.sh", str(seconds)], env=environment), processes / "cmdline"


def test_a_pod_that_stops_tells_ray_and_waits_for_its_replicas(tmp_path: Path) -> None:
    running, replica = drain(tmp_path, 60, "exit 0")
    with pytest.raises(subprocess.TimeoutExpired):
        running.wait(0.5)
    replica.write_text("ray::IDLE")
    assert running.wait(10) == 0
    asked = (tmp_path / "asked").read_text()
    assert "drain-node --reason DRAIN_NODE_REASON_PREEMPTION" in asked
    assert "deadline" not in asked  # before one, Serve stops replicas that have no successor yet


def test_replicas_without_a_successor_are_told_to_go_before_the_time_is_over(tmp_path: Path) -> None:
    running, replica = drain(tmp_path, 32, "exit 0")
    asked = tmp_path / "asked"
    deadline = time.monotonic() + 20
    while not asked.exists() or "deadline" not in asked.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    first, second = asked.read_text().splitlines()
    assert "deadline" not in first
    assert second.split()[-2] == "--deadline-remaining-seconds"
    assert 25 < int(second.split()[-1]) <= 30
    replica.write_text("ray::IDLE")
    assert running.wait(10) == 0


def test_a_short_notice_is_told_at_once(tmp_path: Path) -> None:
    running, replica = drain(tmp_path, 15, "exit 0")
    replica.write_text("ray::IDLE")
    assert running.wait(10) == 0
    (asked,) = (tmp_path / "asked").read_text().splitlines()
    assert int(asked.split()[-1]) in (14, 15)


def test_a_pod_waits_no_longer_than_it_may(tmp_path: Path) -> None:
    running, _ = drain(tmp_path, 1, "exit 0")
    assert running.wait(10) == 0


def test_a_pod_stops_at_once_when_ray_does_not_answer(tmp_path: Path) -> None:
    began = time.monotonic()
    running, _ = drain(tmp_path, 60, "exit 1")
    assert running.wait(10) == 0
    assert time.monotonic() - began < 10


def test_ray_has_the_command_that_the_pod_calls() -> None:
    from ray.scripts.scripts import drain_node

    options = {name for parameter in drain_node.params for name in parameter.opts}
    assert {"--reason", "--reason-message", "--deadline-remaining-seconds"} <= options


class ApiServer(http.server.BaseHTTPRequestHandler):
    """Of RayJobs: keeps the one that is created, and tells the states in turn."""

    created: dict[str, Any]
    states: list[Any]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).created = body | {"path": self.path, "authorization": self.headers["Authorization"]}
        self.answer(201, {"metadata": {"name": body["metadata"]["generateName"] + "x7k2p"}})

    def do_GET(self) -> None:
        state = self.states.pop(0)
        self.answer(*((state, {}) if isinstance(state, int) else (200, {"status": state})))

    def answer(self, status: int, body: dict[str, Any]) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def api() -> Iterator[http.server.ThreadingHTTPServer]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), ApiServer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def run_ray_job(
    api: http.server.ThreadingHTTPServer, folder: Path, states: list[Any]
) -> subprocess.CompletedProcess[str]:
    ApiServer.states = states
    (folder / "token").write_text("of-this-pod")
    manifest = folder / "job.yaml"
    manifest.write_text("{kind: RayJob, metadata: {generateName: score-, namespace: models}, spec: {}}")
    environment = {
        **os.environ, "SERVICE_ACCOUNT": str(folder), "API_SERVER": f"http://127.0.0.1:{api.server_port}",
        "JOB_NAME": "score-123", "JOB_UID": "1-2-3", "WAIT_S": "0.01",
    }  # fmt: skip
    program = [sys.executable, str(FILES / "run_ray_job.py"), str(manifest)]
    return subprocess.run(program, env=environment, capture_output=True, text=True, timeout=60)


def test_a_ray_job_is_created_and_waited_for(api: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    states = [
        {},
        503,
        {"jobDeploymentStatus": "Running"},
        {"jobDeploymentStatus": "Complete", "jobStatus": "SUCCEEDED"},
    ]
    done = run_ray_job(api, tmp_path, states)
    assert done.returncode == 0, done.stderr
    assert "rayjob/score-x7k2p: Complete SUCCEEDED" in done.stdout
    assert ApiServer.created["path"] == "/apis/ray.io/v1/namespaces/models/rayjobs"
    assert ApiServer.created["authorization"] == "Bearer of-this-pod"
    (owner,) = ApiServer.created["metadata"]["ownerReferences"]
    assert owner == {"apiVersion": "batch/v1", "kind": "Job", "name": "score-123", "uid": "1-2-3"}


@pytest.mark.parametrize("deployment", ["Failed", "Complete"])
def test_a_failed_ray_job_fails(deployment: str, api: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    done = run_ray_job(api, tmp_path, [{"jobDeploymentStatus": deployment, "jobStatus": "FAILED"}])
    assert done.returncode == 1


def test_a_refusal_is_told(api: http.server.ThreadingHTTPServer, tmp_path: Path) -> None:
    done = run_ray_job(api, tmp_path, [403])
    assert done.returncode == 1
    assert "403" in done.stderr
