"""What a cluster of several nodes survives while clients ask: a head that dies and comes back, a node that drains.

TAXIWAY_CONNECTIONS and TAXIWAY_DRAINS: how many clients ask, and how many nodes drain one after the other.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import yaml

from taxiway.registry import Registry
from tests.integration.test_variants import eventually
from tests.load import SEEDS, Client, Load, fresh, keep_alive, loaded
from tests.ports import free_port
from tests.ray_nodes import HEAD, RayNodes, ray_nodes
from tests.serving_cluster import Replica, connected
from tests.tiny_model import parcels, register, registry_settings

CONNECTIONS = int(os.environ.get("TAXIWAY_CONNECTIONS", "4"))
DRAINS = int(os.environ.get("TAXIWAY_DRAINS", "1"))
pytestmark = pytest.mark.timeout(600 * DRAINS)

TOKEN = "a-token-for-the-tests"
WORKERS = ("worker-1", "worker-2")
SERVED = {("champion", "1"), ("challenger", "2")}
PAUSE_S = 0.05
"""What each client waits between two requests: the nodes that start need the CPU."""
DRAIN_S = int(yaml.safe_load(Path("cluster/chart/values.yaml").read_text())["workers"]["ondemand"]["drainSeconds"])
LONGEST_GAP_S = 3.0
"""Between two answers, on a machine whose cores a starting head shares."""


@dataclass
class Serving:
    """Two ingress replicas and a dedicated one on two workers; nothing of them is on the head."""

    nodes: RayNodes
    config: dict[str, Any]
    expected: dict[str, list[float]]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config['applications'][0]['args']['listener']['port']}"

    def clients(self) -> list[Client]:
        return [fresh(self.url) if number % 4 == 3 else keep_alive(self.url) for number in range(CONNECTIONS)]

    def replicas(self, deployment: str = "") -> list[psutil.Process]:
        return [it for worker in WORKERS for it in self.nodes.replicas(worker, f"parcels:{deployment}")]

    def call(self, weights: dict[str, float]) -> None:
        """The admin call: the weights go through the registry."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = httpx.put(f"{self.url}/admin/endpoints/parcel/traffic", json={"weights": weights}, headers=headers)
        assert answer.status_code == 200, answer.text

    def deploy(self, weights: dict[str, float]) -> None:
        """`serve deploy`: the weights go through Serve's controller, which runs on the head."""
        ingress = self.config["applications"][0]["deployments"][0]
        ingress["user_config"] = {"traffic": {"parcel": {"weights": weights}}}
        self.nodes.deploy(self.config)

    def is_running(self) -> bool:
        """Whether Serve's controller says so."""
        status = self.nodes.status() or {}
        return bool(status.get("applications", {}).get("parcels", {}).get("status") == "RUNNING")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Serving]:
    folder = tmp_path_factory.mktemp("home")
    registry = Registry(registry_settings(folder))
    versions = [register(folder, seed=seed) for seed in (0, 7)]
    registry.point("champion", versions[0])
    registry.point("challenger", versions[1])
    expected = {}
    for version in versions:
        predictor = registry.load(version).predictor
        expected[version.version] = [predictor.predict(parcels(1, seed))["probability"][0] for seed in range(SEEDS)]
    with ray_nodes(folder, len(WORKERS)) as nodes:
        serving = Serving(nodes, config(folder, free_port()), expected)
        serving.deploy({"champion": 50.0, "challenger": 50.0})
        eventually(serving.is_running, within_s=180)
        yield serving


def config(folder: Path, port: int) -> dict[str, Any]:
    champion, challenger = ({"name": name, "model": f"models:/parcel@{name}"} for name in ("champion", "challenger"))
    arguments = {
        "endpoints": [
            {
                "name": "parcel",
                "variants": [champion, challenger | {"placement": "dedicated", "dedicated": {"cpus": 0.1}}],
            }
        ],
        "listener": {"host": "127.0.0.1", "port": port, "drain_s": 4},
        "ingress": {"replicas": 2, "cpus": 0.2},
        "admin": {"token": TOKEN},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
    }
    application = {
        "name": "parcels",
        "import_path": "serve.app:build",
        "route_prefix": "/",
        "args": arguments,
        "deployments": [{"name": "ingress"}],
    }
    return {"proxy_location": "Disabled", "applications": [application]}


def follow(replicas: list[Replica], weights: dict[str, float]) -> float:
    """The seconds until every replica splits the traffic like this."""
    began = time.monotonic()
    for replica in replicas:
        eventually(lambda it=replica: it.status("parcel")["traffic"]["weights"] == weights)  # type: ignore[misc]
    return time.monotonic() - began


def more(load: Load, answers: int = 100) -> None:
    """Returns when so many more have been asked."""
    before = len(load.answers)
    eventually(lambda: len(load.answers) > before + answers, within_s=30)


def longest_gap_s(load: Load) -> float:
    """Between two answers, whoever got them."""
    times = sorted(it.at for it in load.answers)
    return max(later - earlier for earlier, later in pairwise(times))


@pytest.mark.parametrize(
    ("dies", "declared"),
    [("gcs", {"champion": 20.0, "challenger": 80.0}), ("all", {"champion": 70.0, "challenger": 30.0})],
)
def test_answers_and_weights_go_on_while_the_head_is_away_and_serve_resumes(
    running: Serving, dies: str, declared: dict[str, float]
) -> None:
    before, by_admin = set(running.replicas()), {"champion": 90.0, "challenger": 10.0}
    with (
        connected(running.url, running.replicas("ingress")) as replicas,
        loaded(running.clients(), running.expected, SERVED, pause_s=PAUSE_S) as load,
    ):
        running.nodes.kill_gcs() if dies == "gcs" else running.nodes.kill(HEAD)
        died = time.monotonic()
        running.call(by_admin)
        alone_s = follow(replicas, by_admin)
        running.nodes.start(HEAD)
        head_s = time.monotonic() - died
        eventually(running.is_running, within_s=120)
        serve_s = time.monotonic() - died
        running.deploy(declared)
        deployed_s = follow(replicas, declared)
        more(load)
    print(
        f"{dies}: head back after {head_s:.1f} s, Serve after {serve_s:.1f} s; weights in {alone_s:.1f} s without it,"
    )
    print(f"{deployed_s:.1f} s afterwards; {len(load.answers)} answers, longest gap {longest_gap_s(load):.2f} s")
    assert load.faults == []
    assert longest_gap_s(load) < LONGEST_GAP_S
    assert set(running.replicas()) == before


def test_a_node_that_drains_as_its_pod_stops_loses_no_request(running: Serving, tmp_path: Path) -> None:
    with loaded(running.clients(), running.expected, SERVED, pause_s=PAUSE_S) as load:
        for number in range(DRAINS):
            leaving, staying = WORKERS[number % 2], WORKERS[(number + 1) % 2]
            if number > 0:
                running.nodes.start(staying)
                running.nodes.wait_for_workers(len(WORKERS))
            took_s = _drained_s(running.nodes, leaving, tmp_path / str(number))
            assert running.nodes.replicas(leaving, "parcels:") == []
            assert len(running.nodes.replicas(staying, "parcels:ingress")) == 2
            running.nodes.kill(leaving)
            more(load)
            print(f"drained: {took_s:.1f} s, {len(load.answers)} answers, {load.faults[:3]}")
    print(f"longest gap {longest_gap_s(load):.2f} s")
    assert load.faults == []


def _drained_s(nodes: RayNodes, name: str, folder: Path) -> float:
    """The seconds that a node's pod took to lose its replicas."""
    replicas = nodes.replicas(name, "parcels:")
    assert any("parcels:ingress" in " ".join(it.cmdline()) for it in replicas)
    began = time.monotonic()
    script = ["/bin/bash", "cluster/chart/files/drain.sh", str(DRAIN_S)]
    environment = _pod(nodes, name, replicas, folder)
    assert subprocess.run(script, env=environment, timeout=DRAIN_S + 60).returncode == 0
    return time.monotonic() - began


def _pod(nodes: RayNodes, name: str, replicas: list[psutil.Process], folder: Path) -> dict[str, str]:
    """What a pod would be to drain.sh: its `ray` knows the node, and its /proc has only the node's processes."""
    (folder / "proc").mkdir(parents=True)
    for it in replicas:
        (folder / "proc" / str(it.pid)).symlink_to(f"/proc/{it.pid}")
    program = folder / "ray"
    program.write_text(
        f'#!/bin/sh\nexec {Path(sys.executable).with_name("ray")} "$@" --node-id {nodes.node_ids()[name]}\n'
    )
    program.chmod(0o755)
    return nodes.environment | {"PATH": f"{folder}:{nodes.environment['PATH']}", "PROC": str(folder / "proc")}
