"""Replicas that come and go with the load, on one Ray: the ingress under clients that stay, a variant at zero."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx
import pytest

from tests.e2e.faults.serving import SCALED, Serving
from tests.integration.test_variants import eventually
from tests.serving_cluster import Cluster, listeners

pytestmark = pytest.mark.timeout(600)

QUESTION = {"inputs": [{"name": "value", "shape": [1], "datatype": "FP64", "data": [2.0]}]}
SLOW, ALONE = "/v2/models/slow/infer", "/v2/models/remote/infer"
INGRESS, VARIANT = f"{SCALED}:ingress", f"{SCALED}:remote-alone"
WITHIN_S = 90.0


@pytest.fixture(scope="module")
def cluster(running: Serving) -> Cluster:
    return running.cluster


@dataclass
class Clients:
    """Each on a thread and a connection of its own, until it is stopped."""

    url: str
    answered: int = 0
    failed: list[str] = field(default_factory=list)

    @contextmanager
    def asking(self, clients: int) -> Iterator[None]:
        stop = threading.Event()
        threads = [threading.Thread(target=self._ask, args=(stop,)) for _ in range(clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            for thread in threads:
                thread.join()

    def _ask(self, stop: threading.Event) -> None:
        with httpx.Client(base_url=self.url, timeout=30) as client:
            while not stop.is_set():
                try:
                    answer = client.post(SLOW, json=QUESTION).raise_for_status().json()
                    assert answer["outputs"][0]["data"] == [6.0]
                    self.answered += 1
                except Exception as error:  # noqa: BLE001 - whatever a client sees is a failure
                    self.failed.append(f"{time.monotonic():.3f} {error!r}")


def replicas(cluster: Cluster, deployment: str) -> Callable[[int], Callable[[], bool]]:
    return lambda count: lambda: len(cluster.processes(deployment)) == count


def test_the_ingress_follows_the_load_and_loses_no_request(cluster: Cluster) -> None:
    running, port = replicas(cluster, INGRESS), cluster.port(SCALED)
    assert running(1)()
    clients = Clients(cluster.url(SCALED))
    with clients.asking(2):
        with clients.asking(12):
            eventually(running(2), WITHIN_S)
            eventually(lambda: listeners(port) == 2, WITHIN_S)
        eventually(running(1), WITHIN_S)
        answered = clients.answered
        time.sleep(5)
        assert running(1)()
        assert clients.answered > answered
    assert clients.failed == []


def test_a_variant_at_zero_starts_for_a_request_that_can_wait(cluster: Cluster) -> None:
    running = replicas(cluster, VARIANT)
    eventually(running(0), WITHIN_S)
    url = cluster.url(SCALED) + ALONE
    hurried = httpx.post(url, json=QUESTION, headers={"taxiway-timeout-ms": "500"}, timeout=30)
    patient = httpx.post(url, json=QUESTION, headers={"taxiway-timeout-ms": "25000"}, timeout=30)
    assert (hurried.status_code, hurried.headers["taxiway-error"]) == (504, "deadline_exceeded")
    assert patient.status_code == 200, patient.text
    assert patient.json()["outputs"][0]["data"] == [10.0]
    assert running(1)()


def test_requests_that_wait_for_the_start_are_all_answered(cluster: Cluster) -> None:
    eventually(replicas(cluster, VARIANT)(0), WITHIN_S)
    url = cluster.url(SCALED) + ALONE
    answers: list[httpx.Response] = []
    threads = [threading.Thread(target=lambda: answers.append(ask(url))) for _ in range(12)]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    for thread in threads:
        thread.join()
    assert [answer.status_code for answer in answers] == [200] * 12


def ask(url: str) -> httpx.Response:
    return httpx.post(url, json=QUESTION, timeout=60)
