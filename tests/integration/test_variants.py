"""Variants of an endpoint on a real ingress and a real registry: who answers, and what changes while it runs."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow.tracking import MlflowClient

from serve.ingress import Ingress
from serve.settings import (
    AdminSettings,
    EndpointSettings,
    ListenerSettings,
    LiveSettings,
    ServeSettings,
    SplitBy,
    VariantSettings,
)
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.registry import CHALLENGER, ModelVersion, Registry
from taxiway.traffic import TrafficSettings, tag_name
from tests.integration.test_ingress import INFER, question
from tests.ports import free_port
from tests.tiny_model import parcels, register, registry_settings

TOKEN = "a-token-for-tests"
VARIANTS = (
    VariantSettings(name="champion", model="models:/parcel@champion"),
    VariantSettings(name="challenger", model="models:/parcel@challenger"),
)


@dataclass
class Running:
    ingress: Ingress
    client: httpx.Client
    registry: Registry
    url: str

    def declare(self, challenger: float, shadow: float = 0.0) -> None:
        weights = {"champion": 100 - challenger, "challenger": challenger}
        shadows = {"challenger": shadow} if shadow else {}
        self.ingress.declare(LiveSettings(traffic={"parcel": TrafficSettings(weights=weights, shadows=shadows)}))

    def ask(self, headers: dict[str, str] | None = None, path: str = INFER, seed: int = 0) -> httpx.Response:
        return self.client.post(path, json=question(parcels(1, seed)), headers=headers)

    def variant(self, **headers: str) -> str:
        return str(self.ask(headers).headers["taxiway-variant"])


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    for seed in (0, 7, 14):
        register(folder, seed=seed)
    return folder


@pytest.fixture
def start(folder: Path) -> Iterator[Callable[..., Running]]:
    started: list[Running] = []

    def start(**settings: Any) -> Running:
        registry = Registry(registry_settings(folder))
        registry.point("champion", ModelVersion("parcel", "1", ""))
        registry.point(CHALLENGER, ModelVersion("parcel", "2", ""))
        registry.delete_tag("parcel", tag_name("tests", "parcel"))
        port = free_port()
        endpoint = EndpointSettings(name="parcel", **{"variants": VARIANTS, **settings})
        listener = ListenerSettings(host="127.0.0.1", port=port, drain_s=1)
        ingress = Ingress(
            "tests",
            ServeSettings(
                endpoints=(endpoint,),
                registry=registry_settings(folder),
                listener=listener,
                poll_s=0.2,
                admin=AdminSettings(token=TOKEN),
            ),
        )
        ingress.listen()
        url = f"http://127.0.0.1:{port}"
        started.append(Running(ingress, httpx.Client(base_url=url, timeout=10), registry, url))
        return started[-1]

    yield start
    for running in started:
        running.client.close()
        running.ingress.drain()


def eventually(fact: Callable[[], bool], within_s: float = 10.0) -> float:
    """The seconds until something is so."""
    begin = time.monotonic()
    while not fact():
        assert time.monotonic() - begin < within_s, "it did not happen"
        time.sleep(0.02)
    return time.monotonic() - begin


def test_the_baseline_has_everything_until_traffic_is_declared(start: Callable[..., Running]) -> None:
    running = start()
    assert Counter(running.variant() for _ in range(30)) == {"champion": 30}


def test_requests_are_split_by_weight_and_the_answer_names_variant_and_version(start: Callable[..., Running]) -> None:
    running = start()
    running.declare(30)
    eventually(lambda: running.variant() == "challenger")
    answers = [running.ask() for _ in range(400)]
    seen = Counter((it.headers["taxiway-variant"], it.headers["taxiway-model-version"]) for it in answers)
    assert set(seen) == {("champion", "1"), ("challenger", "2")}
    assert 80 <= seen["challenger", "2"] <= 160
    assert answers[0].json()["parameters"]["variant"] == answers[0].headers["taxiway-variant"]


@pytest.mark.parametrize("split_by", [SplitBy(header="X-User"), SplitBy(column="color"), SplitBy(caller=True)])
def test_requests_with_the_same_key_stay_together(start: Callable[..., Running], split_by: SplitBy) -> None:
    running = start(split_by=split_by)
    running.declare(50)
    eventually(lambda: running.ingress.service.endpoints["parcel"].traffic.weights.get("challenger") == 50)
    for key in range(10):
        headers = {"x-user": str(key), "authorization": f"Bearer {key}"}
        assert len({running.ask(headers, seed=3).headers["taxiway-variant"] for _ in range(5)}) == 1
    if split_by.column is None:
        assert len({running.variant(**{"x-user": str(key), "authorization": str(key)}) for key in range(40)}) == 2


def test_a_request_may_name_its_version_by_path_or_header(start: Callable[..., Running]) -> None:
    running = start()
    for version, variant in (("1", "champion"), ("2", "challenger")):
        path = f"/v2/models/parcel/versions/{version}/infer"
        assert running.ask(path=path).headers["taxiway-variant"] == variant
        assert running.ask({"taxiway-model-version": version}).headers["taxiway-variant"] == variant
    assert running.ask({"taxiway-model-version": "9"}).status_code == 404
    assert running.client.get("/v2/models/parcel").json()["versions"] == ["1", "2"]


def test_new_weights_and_a_moved_alias_arrive_within_two_seconds_without_a_failed_or_misrouted_request(
    start: Callable[..., Running],
) -> None:
    running = start()
    expected = {
        version: running.ask(path=f"/v2/models/parcel/versions/{version}/infer").json()["outputs"][0]["data"]
        for version in ("1", "2")
    }
    stop, wrong, seen = threading.Event(), [], Counter[str]()

    def load() -> None:
        with httpx.Client(base_url=running.url, timeout=30) as mine:
            while not stop.is_set():
                answer = mine.post(INFER, json=question(parcels(1)))
                version = answer.headers.get("taxiway-model-version", "")
                seen[version] += 1
                data = answer.json().get("outputs", [{}])[0].get("data")
                if answer.status_code != 200 or expected.setdefault(version, data) != data:
                    wrong.append(answer.text)

    threads = [threading.Thread(target=load) for _ in range(4)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    running.declare(100)
    eventually(lambda: seen["2"] > 0, within_s=2.0)
    running.registry.point(CHALLENGER, ModelVersion("parcel", "3", ""))
    eventually(lambda: seen["3"] > 0, within_s=10.0)
    before = seen.copy()
    time.sleep(0.5)
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert seen["3"] > before["3"] > 0
    assert seen["2"] - before["2"] == seen["1"] - before["1"] == 0
    assert expected["3"] not in (expected["1"], expected["2"])


def test_a_version_that_can_not_be_loaded_leaves_the_old_one_and_shows_in_the_status(
    start: Callable[..., Running], folder: Path
) -> None:
    running = start()
    broken = register(folder, seed=21)
    running.registry.point("champion", ModelVersion("parcel", "1", ""))
    location = running.registry._client.get_model_version(broken.name, broken.version).source
    model_id = location.rpartition("/")[2]
    (pickle,) = (folder / "artifacts" / "models" / model_id).rglob("model.pkl")
    pickle.write_bytes(b"this is no model")
    running.registry.point(CHALLENGER, broken)

    def status() -> Any:
        return running.client.get("/-/status").json()["endpoints"]["parcel"]["variants"]["challenger"]

    eventually(lambda: status()["error"] is not None)
    assert status()["version"] == "2"
    assert running.ask({"taxiway-model-version": "2"}).status_code == 200
    running.registry.point(CHALLENGER, ModelVersion("parcel", "3", ""))
    eventually(lambda: status()["version"] == "3")
    assert status()["error"] is None


def test_a_shadow_gets_copies_and_changes_no_answer(start: Callable[..., Running]) -> None:
    running = start()
    compared: list[str] = []
    running.ingress.metrics.shadow = lambda endpoint, variant, outcome: compared.append(outcome)  # type: ignore[method-assign]
    running.declare(0, shadow=100)
    eventually(lambda: bool(running.ingress.service.endpoints["parcel"].traffic.shadows))
    assert {running.variant() for _ in range(50)} == {"champion"}
    eventually(lambda: len(compared) == 50)
    assert set(compared) == {"compared"}


def test_a_shadow_that_is_slow_or_fails_is_dropped_and_nobody_notices(start: Callable[..., Running]) -> None:
    running = start()
    outcomes: list[str] = []
    running.ingress.metrics.shadow = lambda endpoint, variant, outcome: outcomes.append(outcome)  # type: ignore[method-assign]
    slot = running.ingress.service.endpoints["parcel"].variants["challenger"].slot
    assert slot is not None

    def hang(columns: Any) -> Any:
        time.sleep(0.5)
        raise TaxiwayError("a broken shadow")

    slot.shadow._score = hang
    slot.shadow._rules = type(slot.shadow._rules)(rows=4, size_bytes=10_000, queue_rows=8)
    running.declare(0, shadow=100)
    eventually(lambda: bool(running.ingress.service.endpoints["parcel"].traffic.shadows))
    begin = time.monotonic()
    assert {running.ask().status_code for _ in range(60)} == {200}
    assert time.monotonic() - begin < 5
    eventually(lambda: Counter(outcomes)["failed"] >= 4)
    assert Counter(outcomes)["dropped"] > 30


def test_traffic_for_a_variant_that_is_not_there_is_refused(start: Callable[..., Running]) -> None:
    running = start()
    with pytest.raises(ConfigError, match="'nobody' is no variant of this endpoint; its variants are champion"):
        running.ingress.declare(LiveSettings(traffic={"parcel": TrafficSettings(weights={"nobody": 100})}))


def test_what_is_served_goes_on_while_the_registry_is_away(start: Callable[..., Running], folder: Path) -> None:
    running = start()
    database = folder / "mlflow.db"
    away = folder / "away.db"
    database.rename(away)
    try:
        time.sleep(1.0)
        assert running.ask().status_code == 200
    finally:
        database.unlink(missing_ok=True)
        away.rename(database)
    running.declare(100)
    eventually(lambda: running.variant() == "challenger")


def test_an_admin_call_splits_the_traffic_until_another_is_declared(start: Callable[..., Running]) -> None:
    running = start()
    path, new = "/admin/endpoints/parcel/traffic", {"weights": {"challenger": 100}}
    assert running.client.put(path, json=new).status_code == 401
    authorized = {"authorization": f"Bearer {TOKEN}"}
    assert running.client.put(path, json={"weights": {"nobody": 100}}, headers=authorized).status_code == 400
    answer = running.client.put(path, json=new, headers=authorized)
    assert answer.json()["effective"]["weights"] == {"challenger": 100}
    eventually(lambda: running.variant() == "challenger", within_s=2.0)
    running.declare(0.5)
    eventually(lambda: running.variant() == "champion", within_s=2.0)


def test_the_pages_for_people_show_the_models_columns(start: Callable[..., Running]) -> None:
    running = start()
    page = running.client.get("/docs")
    assert (page.status_code, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<code>color</code>" in page.text
    document = running.client.get("/openapi.json").json()
    assert document["openapi"] == "3.1.0"
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            example = operation.get("requestBody", {}).get("content", {}).get("application/json", {}).get("example")
            response = running.client.request(method, path, json=example)
            assert response.status_code == 200, (path, response.text)


def test_weights_arrive_while_another_version_is_still_being_loaded(start: Callable[..., Running]) -> None:
    running = start()
    load, begun, go_on = running.ingress.live._load, threading.Event(), threading.Event()

    def load_slowly(*arguments: Any) -> Any:
        begun.set()
        go_on.wait(20)
        return load(*arguments)

    running.ingress.live._load = load_slowly
    running.registry.point("champion", ModelVersion("parcel", "3", ""))
    assert begun.wait(10)
    running.declare(100)
    eventually(lambda: running.variant() == "challenger", within_s=2.0)
    assert running.ask({"taxiway-model-version": "1"}).status_code == 200
    go_on.set()
    eventually(lambda: running.ask({"taxiway-model-version": "3"}).status_code == 200)


def test_a_model_that_leaves_the_registry_does_not_keep_the_others_from_following(
    start: Callable[..., Running], folder: Path
) -> None:
    register(folder, name="other", seed=28)
    other = VariantSettings(name="other", model="models:/other@champion")
    running = start(variants=(*VARIANTS, other))
    MlflowClient(registry_settings(folder).tracking_uri).delete_registered_model("other")
    running.registry.point("champion", ModelVersion("parcel", "3", ""))
    eventually(lambda: running.ask().headers["taxiway-model-version"] == "3")
    running.declare(100)
    eventually(lambda: running.variant() == "challenger", within_s=2.0)

    def status() -> Any:
        return running.client.get("/-/status").json()["endpoints"]["parcel"]["variants"]["other"]

    eventually(lambda: "other" in (status()["error"] or ""))
    assert status()["version"] == "1"
