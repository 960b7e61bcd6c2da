"""The chart's pods as containers on a network of their own: a head and a worker that retrain, serve, score and fail."""

import secrets
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.dataset as ds
import pytest
import yaml

from tests.helm import Manifest, one, template
from tests.image.kubelet import AGENT_PORT, Around, Node, head, worker
from tests.podman import Container, container, open_to_everybody, podman, private_network

pytestmark = pytest.mark.timeout(3600)

HEAD = "taxiway-head-svc"  # as the operator names its Service
INFER = "/v2/models/tiny/infer"
ROWS = 3_000


@dataclass
class Cluster:
    """Two nodes that run; the second can be lost and started again."""

    pods: list[Manifest]
    around: Around
    head: Container
    stack: ExitStack
    workers: list[Container] = field(default_factory=list)

    def start_worker(self) -> Container:
        name = f"worker-{len(self.workers)}-{secrets.token_hex(3)}"
        started = _started(self.stack, name, worker(self.pods, self.around, f"{HEAD}:6379"))
        self.workers.append(started)
        started.wait_for(lambda: _status(f"http://{started.address}:{AGENT_PORT}/api/healthz") == 200, 180)
        return started

    def deploy(self) -> None:
        """As the operator does: the serve file to the head's dashboard."""
        config = yaml.safe_load(one(self.pods, "RayService")["spec"]["serveConfigV2"])
        url = f"http://{self.head.address}:8265/api/serve/applications/"
        said = httpx.put(url, json=config, headers={"Authorization": f"Bearer {self.around.token}"}, timeout=60)
        assert said.status_code == 200, said.text

    def submit(self, job: str) -> str:
        """What the chart's CronJob of this name runs, to its end."""
        cron = one(self.pods, "CronJob", f"taxiway-{job}")["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        (submitter,) = cron["containers"]
        return self.head.exec(*submitter["command"], *submitter["args"], timeout_s=900)

    def ready(self, node: Container) -> bool:
        """As the chart's probe of a worker asks."""
        (group,) = one(self.pods, "RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
        probe = group["template"]["spec"]["containers"][0]["readinessProbe"]["httpGet"]
        assert probe["port"] == "serve"
        return _status(f"http://{node.address}:8000{probe['path']}") == 200


def _status(url: str) -> int:
    with suppress(httpx.HTTPError):
        return httpx.get(url, timeout=2).status_code
    return 0


def _started(stack: ExitStack, name: str, node: Node) -> Container:
    return stack.enter_context(container(node.image, *node.command, options=node.options, name=name))


def _labels(folder: Path) -> None:
    random = np.random.default_rng(0)
    kind, x = random.choice(["a", "b", "c"], ROWS), random.normal(size=ROWS)
    late = (random.random(ROWS) < 1 / (1 + np.exp(1 - x - (kind == "b")))).astype(float)
    moments = pd.date_range("2024-01-01", "2024-01-31T23:59", periods=ROWS, tz="UTC")
    columns = {"row_id": np.arange(ROWS), "event_timestamp": moments, "kind": kind, "x": x, "late": late}
    pd.DataFrame(columns).to_parquet(folder / "labels.parquet")


@pytest.fixture(scope="module")
def rendered(image: str) -> list[Manifest]:
    repository, _, tag = image.rpartition(":")
    where = f"image.repository={repository},image.tag={tag}"
    done = template("-f", "tests/image/values.yaml", "--set-string", where)
    assert done.returncode == 0, done.stderr
    return [it for it in yaml.safe_load_all(done.stdout) if it]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("home")
    _labels(folder)
    open_to_everybody(folder)
    return folder


@pytest.fixture(scope="module")
def cluster(rendered: list[Manifest], home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    with private_network() as network, ExitStack() as stack:
        configs = tmp_path_factory.mktemp("configs")
        around = Around(network, secrets.token_hex(16), {"home": home}, configs)
        node = head(rendered, around)
        named = replace(node, options=(*node.options, f"--network-alias={HEAD}"))
        first = _started(stack, f"head-{secrets.token_hex(3)}", named)
        first.wait_for(lambda: _status(f"http://{first.address}:8265/api/gcs_healthz") == 200, 180)
        running = Cluster(rendered, around, first, stack)
        running.start_worker()
        yield running


def test_a_cluster_retrains_serves_scores_and_survives_a_lost_worker(cluster: Cluster, home: Path) -> None:
    """One test, since each step needs the one before."""
    assert "succeeded" in cluster.submit("retrain")
    cluster.deploy()
    (first,) = cluster.workers
    print(f"ready {first.wait_for(lambda: cluster.ready(first), 300):.0f} s after its worker's start")
    before = _asked(first)
    assert 0 < before < 1
    assert not cluster.ready(cluster.head)  # no replica on the head

    assert "succeeded" in cluster.submit("score")
    assert ds.dataset(home / "scores", format="parquet").count_rows() == ROWS

    podman("kill", "--signal", "KILL", first.name)
    second = cluster.start_worker()
    print(f"ready {second.wait_for(lambda: cluster.ready(second), 300):.0f} s after the start of a new worker")
    assert _asked(second) == before
    assert cluster.head.status_of("python", "-I", "/usr/local/lib/taxiway/healthcheck.py") == 0
    assert second.status_of("python", "-I", "/usr/local/lib/taxiway/healthcheck.py") == 0


def _asked(node: Container) -> float:
    """The model's answer for one row."""
    inputs: list[dict[str, Any]] = [
        {"name": "kind", "datatype": "BYTES", "shape": [1], "data": ["b"]},
        {"name": "x", "datatype": "FP64", "shape": [1], "data": [0.5]},
    ]
    answer = httpx.post(f"http://{node.address}:8000{INFER}", json={"inputs": inputs}, timeout=30)
    assert answer.status_code == 200, answer.text
    return float(answer.json()["outputs"][0]["data"][0])
