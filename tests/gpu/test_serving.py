"""`serve run` with models on a GPU: in replicas of their own that share it, and in the ingress replica."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import numpy as np
import orjson
import pytest

from cluster.observability.declared import used
from cluster.observability.model_boards import cluster as cluster_board
from tests.ports import free_port
from tests.serving_cluster import Cluster, serving

models = pytest.importorskip("tests.gpu.models")

pytestmark = pytest.mark.timeout(400)
T = TypeVar("T")
NEAR = {"apart": 1e-5, "within": 3e-2}
"""In fp32 and in bf16, as in tests/gpu/test_flavor.py."""


def application(name: str, **keys: Any) -> dict[str, Any]:
    """An endpoint of the same name as its application."""
    endpoint = {"name": name, **keys.pop("endpoint")}
    args = {"endpoints": [endpoint], "listener": {"host": "127.0.0.1", "port": free_port()}, **keys}
    return {"name": name, "route_prefix": f"/{name}", "import_path": "serve.app:build", "args": args}


@pytest.fixture(scope="module")
def cluster(home: Path) -> Iterator[Cluster]:
    model = "models:/digits@champion"
    dedicated = {"replicas": 2, "cpus": 0.25, "gpus": 0.25}
    variant = {"name": "champion", "model": model, "placement": "dedicated", "device": "cuda", "dedicated": dedicated}
    apart = application("apart", endpoint={"variants": [variant]}, cost={"gpu_second": 2.0}, ingress={"cpus": 0.25})
    within = application("within", endpoint={"model": model, "precision": "bf16"}, ingress={"cpus": 0.25, "gpus": 0.5})
    with serving(home, {"proxy_location": "Disabled", "applications": [apart, within]}) as running:
        yield running


def ask(client: httpx.Client, endpoint: str, inputs: Any) -> dict[str, Any]:
    """Binary tensors of the Open Inference Protocol, there and back."""
    tensor = {"name": "image", "datatype": "FP32", "shape": inputs.shape}
    tensor["parameters"] = {"binary_data_size": inputs.nbytes}
    head = orjson.dumps({"inputs": [tensor], "parameters": {"binary_data_output": True}})
    headers = {"Inference-Header-Content-Length": str(len(head)), "Content-Type": "application/octet-stream"}
    answer = client.post(f"/v2/models/{endpoint}/infer", content=head + inputs.tobytes(), headers=headers)
    assert answer.status_code == 200, answer.text
    at, found = int(answer.headers["inference-header-content-length"]), {}
    for output in orjson.loads(answer.content[:at])["outputs"]:
        size, kind = output["parameters"]["binary_data_size"], {"FP32": np.float32, "INT64": np.int64}
        values = np.frombuffer(answer.content[at : at + size], kind[output["datatype"]])
        found[output["name"]] = values.reshape(output["shape"])
        at += size
    return found


@pytest.mark.parametrize("name", list(NEAR))
def test_clients_get_answers_of_the_gpu_whatever_their_batch(cluster: Cluster, name: str) -> None:
    module = models.Digits()
    batches = [models.images(rows, seed) for seed in range(10) for rows in (1, 2, 7, 32, 500)]
    with httpx.Client(base_url=cluster.url(name), timeout=30) as client, ThreadPoolExecutor(16) as threads:
        answers = list(threads.map(partial(ask, client, name), batches))
    for batch, answer in zip(batches, answers, strict=True):
        assert answer["on_gpu"].all()
        assert models.distance(answer["logits"], models.exact(module, batch)) < NEAR[name]


def test_two_replicas_share_the_gpu(cluster: Cluster) -> None:
    pids = {it.pid for it in cluster.processes("apart:apart-champion")}
    assert len(pids) == 2

    def held() -> list[float]:
        return [it for _, it in series(exposition(cluster), "taxiway_replica_gpu_memory_bytes") if it > 0]

    found = poll(held, lambda it: len(it) >= 3)
    assert len(found) == 3  # two of `apart`, one of `within`; the ingress replica of `apart` holds nothing
    assert max(found) < 2e9


def test_gpu_seconds_are_those_of_the_shares_that_are_held(cluster: Cluster) -> None:
    def seconds(text: str) -> dict[str, float]:
        found: dict[str, float] = {}
        for labels, value in series(text, "taxiway_gpu_seconds_total"):
            endpoint = labels.split('endpoint="')[1].split('"')[0]
            found[endpoint] = found.get(endpoint, 0.0) + value
        return found

    found = poll(lambda: seconds(exposition(cluster)), lambda it: it.get("apart", 0) > 2)
    costs = poll(lambda: series(exposition(cluster), "taxiway_cost_total"), bool)
    assert sum(value for labels, value in costs if '"apart"' in labels) >= 2 * found["apart"] * 0.9


def test_dashboards_find_what_they_show_of_gpus(cluster: Cluster, home: Path) -> None:
    """Whoever runs this finds what Prometheus would read in a file."""
    expressions = [query.expression for panel in cluster_board().panels() for query in panel.queries]
    names = frozenset.union(*(used(expression) for expression in expressions if "gpu" in expression))
    assert {"ray_node_gpus_utilization", "ray_node_gpus_available"} <= names
    # Ray has taken its first look at the GPU some seconds after its start.
    text = poll(
        partial(exposition, cluster), lambda it: "\nray_node_gram_used{" in it and "\nray_node_gpus_utilization{" in it
    )
    (home / "exposition.txt").write_text(text)
    missing = {name for name in names if f"\n{name}{{" not in text}
    assert missing <= {name for name in names if "requests" in name}, missing
    (available,) = series(text, "node_gpus_available")
    assert available[1] == 1
    assert all(0 <= value <= 100 for _, value in series(text, "node_gpus_utilization"))
    assert series(text, "node_gram_used")[0][1] > 0


def exposition(cluster: Cluster) -> str:
    """What Prometheus would read; as it does, without a process of Ray's that does not answer."""
    texts = []
    for target in cluster.targets():
        with suppress(httpx.HTTPError):
            texts.append(httpx.get(f"http://{target}/metrics").text)
    return "\n".join(texts)


def series(text: str, name: str) -> list[tuple[str, float]]:
    """Labels and value of each series of a metric, which Ray names after itself."""
    lines = [line for line in text.splitlines() if line.startswith(f"ray_{name}{{")]
    return [(line.partition("{")[2].rpartition("}")[0], float(line.rpartition(" ")[2])) for line in lines]


def poll(look: Callable[[], T], enough: Callable[[T], Any], seconds: float = 40.0) -> T:
    """What is found when it is enough, or at last."""
    deadline = time.monotonic() + seconds
    while not enough(found := look()) and time.monotonic() < deadline:
        time.sleep(1.0)
    return found
