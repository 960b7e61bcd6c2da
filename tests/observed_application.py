"""An application with everything that can be observed, on a Ray with a Prometheus, an OTLP collector, a Pushgateway."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

from taxiway.profile import Profile
from tests.integration.test_features import NOON
from tests.integration.test_ingress import question
from tests.observed_models import BOX, DELIVERY, SHOPS, TALKING
from tests.otlp_receiver import Receiver
from tests.prometheus import Prometheus
from tests.pushgateway import Pushed
from tests.serving_cluster import Cluster
from tests.spoiled_model import truth
from tests.tiny_model import parcels, registry_settings

NAME = "observed"
CONTEST, REMOTE, GRAPH = "contest", "remote", "graph"
TOKEN = "a-token-for-the-tests"
FAR = {"model": f"models:/{TALKING}/1", "placement": "dedicated"}
DRIFT = {"window": {"rows": 500, "max_s": None, "min_rows": 500}}
"""Of all other keys the defaults: an alarm after two windows with drift."""
_AT_ONCE = 4


@dataclass(frozen=True)
class Observed:
    """What runs, and whoever looks at it.

    Attributes:
        reference: the reference profile of `box`.
    """

    folder: Path
    cluster: Cluster
    prometheus: Prometheus
    collector: Receiver
    gateway: Pushed
    reference: Profile

    @property
    def url(self) -> str:
        return self.cluster.url(NAME)

    def admin(self, path: str) -> Any:
        answer = httpx.get(f"{self.url}/admin/{path}", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=30)
        return answer.raise_for_status().json()

    def lines(self, deployment: str) -> list[dict[str, Any]]:
        """What the replicas of a deployment have logged until now."""
        files = (self.cluster.session() / "logs" / "serve").glob(f"replica_{NAME}_{deployment}_*.log")
        whole = [line for file in files for line in file.read_text().splitlines(keepends=True) if line.endswith("\n")]
        return [json.loads(line) for line in whole if line.startswith("{")]


def application(folder: Path, port: int, collector: str) -> dict[str, Any]:
    """
    Args:
        collector: the endpoint of OTLP.
    """
    arguments = {
        "endpoints": list(_endpoints()),
        "listener": {"host": "127.0.0.1", "port": port, "drain_s": 1},
        "ingress": {"cpus": 0.1, "replicas": 2},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
        "feature_store": {
            "repository": str(folder / SHOPS),
            "online": {"as_of": NOON.isoformat(), "timeout_s": 30},
        },
        "predictions": {"flush_s": 0.5},
        "admin": {"token": TOKEN},
        "tracing": {"sample": 0, "slow_ms": 60_000},
        "logs": {"format": "json", "requests": 1.0},
        "cost": {"cpu_second": 0.00001},
        "status_page": True,
    }
    variables = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    return {
        "name": NAME,
        "route_prefix": f"/{NAME}",
        "import_path": "serve.app:build",
        "args": arguments,
        "runtime_env": {"env_vars": variables},
    }


def _endpoints() -> Iterator[dict[str, Any]]:
    roles = [{"name": it, "model": f"models:/{DELIVERY}@{it}"} for it in ("champion", "challenger")]
    rollout = {"start": "automatic", "steps": [{"shadow": 100, "min_s": 3_600}]}
    yield {"name": DELIVERY, "variants": roles, "rollout": rollout}
    versions = [{"name": name, "model": f"models:/{DELIVERY}/{at}"} for name, at in (("weak", 1), ("good", 2))]
    yield {"name": CONTEST, "variants": versions, "experiment": {"name": "first", "min_rows": 100}}
    yield {"name": BOX, "model": f"models:/{BOX}@champion", "drift": DRIFT}
    yield {"name": SHOPS, "model": f"models:/{SHOPS}@champion"}
    alone = {"name": "alone", **FAR, "dedicated": {"cpus": 0.1}}
    yield {"name": REMOTE, "variants": [alone]}
    nodes = {"near": {"model": FAR["model"]}, "far": FAR, "mean": {"kind": "ensemble", "of": ["near", "far"]}}
    yield {
        "name": GRAPH,
        "variants": [{"name": "graph", "graph": {"nodes": nodes, "output": "mean"}, "dedicated": {"cpus": 0.1}}],
    }


@contextmanager
def asked(url: str) -> Iterator[None]:
    """Somebody asks the endpoints whose rows nobody counts exactly, a few times a second."""
    stop = threading.Event()
    asking = threading.Thread(target=_ask, args=(url, stop))
    asking.start()
    try:
        yield
    finally:
        stop.set()
        asking.join()


def _ask(url: str, stop: threading.Event) -> None:
    """Requests, some of them wrong, and ground truth."""
    with httpx.Client(base_url=f"{url}/v2/models", timeout=30) as client:
        seed = 0
        while not stop.wait(0.1):
            seed += 1
            for endpoint in (DELIVERY, CONTEST):
                _ask_and_tell(client, endpoint, seed)
            if seed % 10 == 0:
                client.post(f"/{DELIVERY}/infer", json={"inputs": []})
                shop = {"name": "shop", "datatype": "BYTES", "shape": [2], "data": ["north", "nowhere"]}
                client.post(f"/{SHOPS}/infer", json={"inputs": [shop]}).raise_for_status()


def _ask_and_tell(client: httpx.Client, endpoint: str, seed: int) -> None:
    """Some requests of one row, and what proved true of all of them: that is durable when it is acknowledged."""
    told = []
    columns = parcels(_AT_ONCE, seed)
    for row, label in enumerate(truth(columns)):
        one = {name: values[row : row + 1] for name, values in columns.items()}
        answer = client.post(f"/{endpoint}/infer", json=question(one)).raise_for_status()
        told.append({"prediction_id": answer.headers["taxiway-prediction-id"], "label": int(label)})
    client.post(f"/{endpoint}/feedback", json={"labels": told}).raise_for_status()
