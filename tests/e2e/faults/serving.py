"""What runs while failures are caused: its serve file, and who asks it."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import mlflow
import psutil

from tests.load import Client, fresh, keep_alive, triton_grpc, triton_http
from tests.ports import free_port
from tests.serving_cluster import Cluster
from tests.tiny_model import registry_settings

TOKEN = "a-token-for-the-tests"
PARCELS, FAULTS, SCALED = "parcels", "faults", "scaled"
WAIT_S, BATCH_ROWS = 0.5, 32


@dataclass
class Serving:
    """Three applications on one Ray: `parcels` on two ingress replicas, `faults` with everything that fails, and
    `scaled`, whose replicas come and go with the load."""

    cluster: Cluster
    folder: Path
    grpc_port: int
    expected: dict[str, list[float]]

    @property
    def url(self) -> str:
        return self.cluster.url(PARCELS)

    def clients(self, http: int = 5, triton: int = 1, grpc: int = 2, without_keep_alive: int = 0) -> list[Client]:
        address = self.url.removeprefix("http://")
        return [
            *(keep_alive(self.url) for _ in range(http)),
            *(triton_http(address) for _ in range(triton)),
            *(triton_grpc(f"127.0.0.1:{self.grpc_port}") for _ in range(grpc)),
            *(fresh(self.url) for _ in range(without_keep_alive)),
        ]

    @property
    def ingress(self) -> dict[str, Any]:
        """What the file says of the deployment `ingress`."""
        found: dict[str, Any] = self.cluster.application(PARCELS)["deployments"][0]
        return found

    def replicas(self) -> list[psutil.Process]:
        return self.cluster.processes(f"{PARCELS}:ingress")

    def call(self, weights: dict[str, float]) -> float:
        """The admin call; when it returned."""
        headers = {"authorization": f"Bearer {TOKEN}"}
        answer = httpx.put(f"{self.url}/admin/endpoints/parcel/traffic", json={"weights": weights}, headers=headers)
        assert answer.status_code == 200, answer.text
        return time.monotonic()

    def point(self, alias: str, version: str) -> None:
        client = mlflow.MlflowClient(registry_settings(self.folder).tracking_uri)
        client.set_registered_model_alias("parcel", alias, version)

    def metric(self, name: str, **labels: str) -> float:
        """The sum of a counter over all replicas."""
        wanted = [f'{label}="{value}"' for label, value in labels.items()]
        lines = [line for line in self.cluster.metrics().splitlines() if line.startswith(f"ray_{name}{{")]
        return sum(float(line.rpartition(" ")[2]) for line in lines if all(it in line for it in wanted))


def config(folder: Path, grpc_port: int) -> dict[str, Any]:
    port, faults_port = free_port(), free_port()
    champion, challenger = ({"name": name, "model": f"models:/parcel@{name}"} for name in ("champion", "challenger"))
    parcels_arguments = {
        "endpoints": [{"name": "parcel", "variants": [champion, challenger]}],
        "listener": {"host": "127.0.0.1", "port": port, "grpc_port": grpc_port, "drain_s": 4},
        "ingress": {"replicas": 2, "cpus": 0.2},
        "admin": {"token": TOKEN},
    }
    remote = {"name": "alone", "model": "models:/faulty/1", "placement": "dedicated", "batch_wait_s": WAIT_S}
    guarded = {
        "nodes": {
            "remote": {"model": "models:/parcel/1", "placement": "dedicated"},
            "local": {"model": "models:/parcel/2"},
            "safe": {"kind": "fallback", "of": ["remote", "local"]},
        },
        "output": "safe",
    }
    faults_arguments = {
        "endpoints": [
            {"name": "slow", "model": "models:/slow/1"},
            {"name": "inline", "model": "models:/faulty/1", "batch_wait_s": WAIT_S},
            {"name": "remote", "variants": [remote | {"dedicated": {"cpus": 0.1}}]},
            {"name": "guarded", "variants": [{"name": "graph", "graph": guarded, "dedicated": {"cpus": 0.1}}]},
        ],
        "listener": {"host": "127.0.0.1", "port": faults_port},
        "ingress": {"cpus": 0.2},
        "limits": {"batch_rows": BATCH_ROWS, "queue_rows": 4 * BATCH_ROWS},
    }
    registry = {"registry": registry_settings(folder).model_dump(exclude_none=True)}
    # Serve looks after its replicas every ten seconds, unless it is told otherwise.
    often = {"health_check_period_s": 1}
    dedicated = [{"name": name} | often for name in ("remote-alone", "guarded-graph-remote")]
    applications = [
        {"name": PARCELS, "args": parcels_arguments | registry, "deployments": [{"name": "ingress"} | often]},
        {
            "name": FAULTS,
            "args": faults_arguments | registry,
            "deployments": [{"name": "ingress"} | often, *dedicated],
        },
    ]
    for application in applications:
        application |= {"import_path": "serve.app:build", "route_prefix": f"/{application['name']}"}
    return {"proxy_location": "Disabled", "applications": [*applications, scaled(folder, free_port())]}


def scaled(folder: Path, port: int) -> dict[str, Any]:
    to_zero = {"min_replicas": 0, "max_replicas": 1, "downscale_delay_s": 4}
    alone = {"name": "alone", "model": "models:/patient@champion", "placement": "dedicated"}
    arguments = {
        "endpoints": [
            {"name": "slow", "model": "models:/busy@champion", "run_in": "thread"},
            {"name": "remote", "variants": [alone | {"dedicated": {"cpus": 0.1, "autoscaling": to_zero}}]},
        ],
        "listener": {"host": "127.0.0.1", "port": port, "drain_s": 4},
        "ingress": {
            "cpus": 0.2,
            "autoscaling": {
                "min_replicas": 1,
                "max_replicas": 2,
                "target_ongoing_requests": 4,
                "upscale_delay_s": 2,
                "downscale_delay_s": 6,
            },
        },
        "registry": registry_settings(folder).model_dump(exclude_none=True),
    }
    return {
        "name": SCALED,
        "route_prefix": f"/{SCALED}",
        "import_path": "serve.app:build",
        "args": arguments,
        "deployments": [{"name": "ingress", "user_config": {"traffic": {"slow": {"weights": {"champion": 100}}}}}],
    }
