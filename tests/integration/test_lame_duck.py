"""A replica that leaves: what a load balancer sees between "not ready" and a closed socket."""

import threading
import time
from collections.abc import Iterator

import httpx
import pytest

from serve.ingress import Ingress
from serve.settings import ListenerSettings, ServeSettings
from tests.integration.test_ingress import INFER, question, settings
from tests.ports import free_port
from tests.tiny_model import parcels, register

LAME_DUCK_S = 1.5


class Leaving:
    """An ingress that drains on a thread of its own, as Ray Serve lets it; `took_s` when it has."""

    def __init__(self, ingress: Ingress) -> None:
        self._ingress = ingress
        self._thread = threading.Thread(target=self._drain)
        self._thread.start()

    def _drain(self) -> None:
        began = time.monotonic()
        self._ingress.drain()
        self._took_s = time.monotonic() - began

    @property
    def took_s(self) -> float:
        self._thread.join()
        return self._took_s


@pytest.fixture(scope="module")
def serving(tmp_path_factory: pytest.TempPathFactory) -> ServeSettings:
    folder = tmp_path_factory.mktemp("registry")
    register(folder)
    listener = ListenerSettings(host="127.0.0.1", port=free_port(), lame_duck_s=LAME_DUCK_S, drain_s=2)
    return settings(folder, listener.port).model_copy(update={"listener": listener})


@pytest.fixture
def url(serving: ServeSettings) -> str:
    assert isinstance(serving.listener, ListenerSettings)
    return f"http://127.0.0.1:{serving.listener.port}"


@pytest.fixture
def replicas(serving: ServeSettings) -> Iterator[list[Ingress]]:
    """Two that share a port, as on one node."""
    started = [Ingress("tests", serving) for _ in range(2)]
    for ingress in started:
        ingress.listen()
    yield started
    for ingress in started:
        ingress.drain()


def on_new_connections(url: str) -> list[tuple[int, int, str]]:
    """Readiness, an answer and its `connection`, until the first connection is refused."""
    seen: list[tuple[int, int, str]] = []
    while True:
        try:
            ready = httpx.get(f"{url}/v2/health/ready").status_code
            answer = httpx.post(f"{url}{INFER}", json=question(parcels(1)))
        except httpx.ConnectError:
            return seen
        seen.append((ready, answer.status_code, answer.headers.get("connection", "")))
        time.sleep(0.02)


def test_the_last_replica_is_not_ready_but_answers_new_connections_until_the_lame_duck_period_is_over(
    replicas: list[Ingress], url: str
) -> None:
    replicas[0].drain()
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    leaving = Leaving(replicas[1])
    time.sleep(0.1)
    seen = on_new_connections(url)
    assert len(seen) >= 3
    assert set(seen) == {(503, 200, "close")}
    assert leaving.took_s >= LAME_DUCK_S


def test_a_replica_that_leaves_others_on_its_port_closes_it_at_once(replicas: list[Ingress], url: str) -> None:
    leaving = Leaving(replicas[0])
    assert leaving.took_s < LAME_DUCK_S
    for _ in range(8):
        assert httpx.get(f"{url}/v2/health/ready").status_code == 200


def test_of_two_replicas_that_leave_at_once_one_answers_on(replicas: list[Ingress], url: str) -> None:
    leaving = [Leaving(ingress) for ingress in replicas]
    seen = on_new_connections(url)
    assert {status for _, status, _ in seen} == {200}
    first, last = sorted(it.took_s for it in leaving)
    assert first < LAME_DUCK_S <= last


def test_a_replica_that_starts_meanwhile_ends_the_lame_duck_period(serving: ServeSettings, url: str) -> None:
    assert isinstance(serving.listener, ListenerSettings)
    patient = serving.listener.model_copy(update={"lame_duck_s": 60.0})
    first, second = (Ingress("tests", serving.model_copy(update={"listener": patient})) for _ in range(2))
    first.listen()
    leaving = Leaving(first)
    second.listen()
    assert leaving.took_s < 30
    assert httpx.get(f"{url}/v2/health/ready").status_code == 200
    another = Ingress("tests", serving)
    another.listen()
    second.drain()
    another.drain()
