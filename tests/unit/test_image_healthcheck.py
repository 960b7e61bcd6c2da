"""Who is asked whether a container is well."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cluster.image.healthcheck import NODE, asked, main

SERVING = ["/opt/venv/bin/python", "/opt/venv/bin/serve", "run", "serve.yaml"]
HEAD = ["/opt/venv/bin/python", "/opt/venv/bin/ray", "start", "--head", "--block"]


@pytest.mark.parametrize(
    ("running", "url"),
    [
        ([SERVING], "http://replica"),
        ([["/bin/bash", "-c", "--", "ulimit -n 65536; ray start --head"], HEAD], NODE),
        ([HEAD, SERVING], NODE),
        ([["python", "-m", "batch", "score.yaml"], ["ray::IDLE"], [""]], None),
        ([["serve", "status"], ["ray", "job", "submit"]], None),
    ],
)
def test_what_runs_decides_who_is_asked(running: list[list[str]], url: str | None) -> None:
    assert asked(running, "http://replica") == url


class Replica(http.server.BaseHTTPRequestHandler):
    status = 200

    def do_GET(self) -> None:
        self.send_response(self.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def replica(monkeypatch: pytest.MonkeyPatch) -> Iterator[http.server.HTTPServer]:
    with http.server.HTTPServer(("127.0.0.1", 0), Replica) as server:
        monkeypatch.setenv("TAXIWAY_HEALTH_URL", f"http://127.0.0.1:{server.server_port}/v2/health/ready")
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def proc(tmp_path: Path) -> Path:
    """A /proc with a `serve run` in it."""
    (tmp_path / "12").mkdir()
    (tmp_path / "12" / "cmdline").write_bytes("\0".join([*SERVING, ""]).encode())
    return tmp_path


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
@pytest.mark.usefixtures("replica")
def test_who_serves_is_well_when_a_replica_is_ready(
    proc: Path, status: int, exit_status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Replica, "status", status)
    assert main(proc) == exit_status


def test_where_nobody_listens_nobody_is_well(proc: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TAXIWAY_HEALTH_URL", "http://127.0.0.1:9/")
    assert main(proc) == 1


def test_a_container_that_serves_nothing_is_well(tmp_path: Path) -> None:
    assert main(tmp_path) == 0
