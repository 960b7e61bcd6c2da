"""A real Prometheus, for as long as a test needs it; `promtool` beside it."""

import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from tests.ports import free_port

needs_promtool = pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool: apt install prometheus")
needs_prometheus = pytest.mark.skipif(shutil.which("prometheus") is None, reason="apt install prometheus")


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(["promtool", *arguments], capture_output=True, text=True, timeout=60)


class Prometheus:
    """What a running one knows."""

    def __init__(self, url: str) -> None:
        self._client = httpx.Client(base_url=url, timeout=10)

    def query(self, expression: str) -> list[Any]:
        """The series that an expression gives now. Raises on an error in it."""
        answer = self._client.get("/api/v1/query", params={"query": expression})
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def query_lately(self, expression: str, seconds: float = 600.0) -> list[Any]:
        """The series that it has given at a moment of the last seconds, as a panel with an axis of time asks for them.
        Raises on an error in it."""
        end = time.time()
        asked: dict[str, str | float] = {"query": expression, "start": end - seconds, "end": end, "step": 2}
        answer = self._client.get("/api/v1/query_range", params=asked)
        assert answer.status_code == 200, f"{expression}: {answer.text}"
        found: list[Any] = answer.json()["data"]["result"]
        return found

    def is_ready(self) -> bool:
        with suppress(httpx.HTTPError):
            return self._client.get("/-/ready").status_code == 200
        return False

    def rules(self) -> list[Any]:
        groups: list[Any] = self._client.get("/api/v1/rules").json()["data"]["groups"]
        return groups


@contextmanager
def prometheus(
    folder: Path, targets: Sequence[str], rules: Path | None = None, gateway: str | None = None
) -> Iterator[Prometheus]:
    """Scrapes the targets every two seconds: on a busy machine an answer takes more than one.

    Args:
        gateway: the address of a Pushgateway, whose labels are kept.
    """
    port = free_port()
    settings: dict[str, Any] = {
        "global": {"scrape_interval": "2s", "scrape_timeout": "2s", "evaluation_interval": "1s"},
        "rule_files": [str(rules)] if rules else [],
        "scrape_configs": [{"job_name": "ray", "static_configs": [{"targets": list(targets)}]}],
    }
    if gateway is not None:
        pushed = {"job_name": "pushgateway", "honor_labels": True, "static_configs": [{"targets": [gateway]}]}
        settings["scrape_configs"].append(pushed)
    (folder / "prometheus.yml").write_text(yaml.safe_dump(settings))
    command = [
        "prometheus",
        f"--config.file={folder / 'prometheus.yml'}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
    try:
        found, deadline = Prometheus(f"http://127.0.0.1:{port}"), time.monotonic() + 30
        while not found.is_ready():
            assert process.poll() is None, (folder / "prometheus.log").read_text()
            assert time.monotonic() < deadline, "Prometheus is not ready"
            time.sleep(0.1)
        yield found
    finally:
        process.kill()
        process.wait(10)
