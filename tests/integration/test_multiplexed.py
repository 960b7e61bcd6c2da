"""Many registered models behind one entry of the serve file: what clients see."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import httpx
import mlflow
import pytest
import tritonclient.grpc

from serve.ingress import Ingress
from serve.settings import AdminSettings, ListenerSettings, MultiplexedSettings, ServeSettings
from taxiway.predictions.labels import read_labels
from taxiway.predictions.reader import read
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage
from taxiway.registry import ModelVersion, Registry
from tests.integration.test_ingress import DATATYPES, question
from tests.integration.test_variants import eventually
from tests.ports import free_port
from tests.tiny_model import parcels, register, registry_settings

STORES = ("store-1", "store-2")
KEPT = 1
TOKEN = "a-token-of-the-tests"
ROW = parcels(1, seed=4)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    for seed, name in enumerate(STORES):
        register(folder, name, seed)
    register_as(folder, "hurried-1", STORES[0])
    return folder


def register_as(folder: Path, name: str, other: str) -> None:
    """The next version of a model is the first of another one: nothing is trained."""
    registry = Registry(registry_settings(folder))
    source = mlflow.MlflowClient(registry.tracking_uri).get_model_version(other, "1")
    registry.point("champion", registry.register(name, str(source.source), str(source.run_id), {}))


@pytest.fixture(scope="module")
def expected(folder: Path) -> dict[str, float]:
    """By model its own answer to `ROW`."""
    registry = Registry(registry_settings(folder))
    loaded = {name: registry.load(ModelVersion(name, "1", "")) for name in STORES}
    found = {name: float(it.predictor.predict(ROW)["probability"][0]) for name, it in loaded.items()}
    assert len(set(found.values())) == len(STORES)
    return found


@pytest.fixture(scope="module")
def ports() -> tuple[int, int]:
    return free_port(), free_port()


@pytest.fixture(scope="module")
def location(tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(tmp_path_factory.mktemp("predictions"))


@pytest.fixture(scope="module")
def ingress(folder: Path, ports: tuple[int, int], location: str) -> Iterator[Ingress]:
    settings = ServeSettings(
        predictions=PredictionLogSettings(location=location, flush_s=0.1),
        status_page=True,
        admin=AdminSettings(token=TOKEN),
        multiplexed=(
            MultiplexedSettings(name="stores", models=("store-*",), kept=KEPT, follow_s=0.2),
            MultiplexedSettings(name="hurried", models=("hurried-1",), timeout_s=0.02),
        ),
        registry=registry_settings(folder),
        listener=ListenerSettings(host="127.0.0.1", port=ports[0], grpc_port=ports[1], drain_s=1),
    )
    ingress = Ingress("tests", settings)
    ingress.listen()
    yield ingress
    ingress.drain()


@pytest.fixture(scope="module")
def client(ingress: Ingress, ports: tuple[int, int]) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=f"http://127.0.0.1:{ports[0]}", timeout=20) as client:
        yield client


def ask(client: httpx.Client, model: str, **headers: str) -> httpx.Response:
    return client.post(f"/v2/models/{model}/infer", json=question(ROW), headers=headers)


def value(answer: httpx.Response) -> Any:
    assert answer.status_code == 200, answer.text
    return answer.json()["outputs"][0]["data"][0]


def test_each_model_answers_under_its_own_name_however_many_are_kept(
    client: httpx.Client, expected: dict[str, float]
) -> None:
    for _ in range(2):
        for name in STORES:
            answer = ask(client, name)
            assert value(answer) == expected[name]
            assert answer.json()["model_name"] == name
            assert answer.headers["taxiway-model-version"] == "1"


def test_the_protocols_are_those_of_an_endpoint(client: httpx.Client, expected: dict[str, float]) -> None:
    row = {name: values.tolist()[0] for name, values in ROW.items() if name != "weight"}
    answer = client.post("/v1/models/store-2:predict", json={"instances": [row]})
    assert answer.status_code == 200, answer.text
    metadata = client.get("/v2/models/store-2").json()
    assert [it["name"] for it in metadata["inputs"]] == list(DATATYPES)
    assert client.get("/v2/models/store-2/ready").json() == {"name": "store-2", "ready": True}
    assert client.get("/v2/models/store-2/infer").status_code == 405
    assert client.get("/v2/health/ready").status_code == 200


def test_serves_own_header_names_the_model_too(client: httpx.Client, expected: dict[str, float]) -> None:
    for name in STORES:
        assert value(ask(client, "stores", serve_multiplexed_model_id=name)) == expected[name]
    nameless = ask(client, "stores")
    assert nameless.status_code == 400
    assert "/v2/models/MODEL/infer" in nameless.json()["error"]


@pytest.mark.parametrize("name", ["store-99", "shop-1", "store-1/versions/7"])
def test_what_is_not_there_is_not_found(client: httpx.Client, name: str) -> None:
    answer = ask(client, name)
    assert (answer.status_code, answer.headers["taxiway-error"]) == (404, "not_found")
    assert ask(client, "stores", serve_multiplexed_model_id=name).status_code == 404


def facts(client: httpx.Client) -> Any:
    return client.get("/-/status").json()["multiplexed"]["stores"]


def test_whether_a_model_is_ready_is_told_without_loading_it(client: httpx.Client) -> None:
    value(ask(client, "store-1"))
    before = facts(client)
    for name in STORES:
        assert client.get(f"/v2/models/{name}/ready").json() == {"name": name, "ready": True}
        ready = client.get("/v2/models/stores/ready", headers={"serve_multiplexed_model_id": name})
        assert ready.json() == {"name": name, "ready": True}
    assert client.get("/v2/models/store-98/ready").status_code == 404
    assert client.post("/v2/models/store-1/ready").status_code == 405
    assert facts(client) == before
    assert list(before["loaded"]) == ["store-1"]


def test_the_status_tells_what_is_in_memory_and_how_often_it_was_asked_for(client: httpx.Client) -> None:
    value(ask(client, "store-1"))
    before = facts(client)
    for name in ("store-1", "store-2", "store-2", "store-97"):
        ask(client, name)
    after = facts(client)
    counts = {name: after["counts"][name] - before["counts"][name] for name in after["counts"]}
    current = counts.pop("current")
    assert counts == {"hits": 2, "misses": 2, "evictions": 1, "loaded": 1, "unknown": 1, "failed": 0}
    assert current <= 2, "an older look at the registry may have ended meanwhile"
    assert list(after["loaded"]) == ["store-2"]
    assert (after["patterns"], after["alias"], after["most"]) == (["store-*"], "champion", KEPT)
    assert "store-97" in after["errors"]
    admin = client.get("/admin/status", headers={"authorization": f"Bearer {TOKEN}"}).json()
    assert admin["multiplexed"]["stores"]["loaded"] == after["loaded"]
    (stores, _) = client.get("/status.json").json()["multiplexed"]
    assert stores["facts"]["loaded"] == after["loaded"]
    assert stores["counted"]["requests"] > 0
    page = client.get("/status").text
    assert "store-2" in page
    assert "1 of 1" in page


def test_the_index_has_every_model_and_says_which_are_in_memory(client: httpx.Client) -> None:
    value(ask(client, "store-1"))
    found = {it["name"]: it["state"] for it in client.post("/v2/repository/index").json()}
    assert found == {"store-1": "READY", "store-2": "UNAVAILABLE", "hurried-1": found["hurried-1"]}
    ready = client.post("/v2/repository/index", json={"ready": True}).json()
    assert "store-1" in {it["name"] for it in ready}
    assert {it["state"] for it in ready} == {"READY"}


def test_the_documents_are_about_the_models_in_memory(client: httpx.Client) -> None:
    value(ask(client, "store-2"))
    paths = client.get("/openapi.json").json()["paths"]
    assert "/v2/models/store-2/infer" in paths
    assert "/v2/models/store-1/infer" not in paths
    assert "store-2" in client.get("/docs").text


@pytest.mark.parametrize("path", ["store-1", "stores"])
def test_what_proved_true_is_taken_for_a_model_that_is_not_in_memory(
    client: httpx.Client, location: str, path: str
) -> None:
    asked = ask(client, "store-1").headers["taxiway-prediction-id"]
    value(ask(client, "store-2"))
    answer = client.post(f"/v2/models/{path}/feedback", json={"prediction_id": asked, "label": True})
    assert (answer.status_code, answer.json()) == (200, {"accepted": 1})
    assert list(facts(client)["loaded"]) == ["store-2"]
    began = datetime.now(UTC) - timedelta(minutes=5)
    labels = read_labels(Storage(location), began, datetime.now(UTC) + timedelta(minutes=5))
    assert UUID(asked).bytes in labels["prediction_id"].to_pylist()
    assert client.post("/v2/models/shop-1/feedback", json={"prediction_id": asked, "label": 1}).status_code == 404


def test_the_prediction_log_names_the_model_and_its_version(client: httpx.Client, location: str) -> None:
    answers = {name: ask(client, name) for name in STORES}
    began = datetime.now(UTC) - timedelta(minutes=5)

    def logged(name: str) -> dict[str, str]:
        rows = read(location, name, began, began + timedelta(hours=1), ["prediction_id", "version"]).to_pylist()
        return {str(row["prediction_id"]): row["version"] for row in rows}

    for name, answer in answers.items():
        asked, version = answer.headers["taxiway-prediction-id"], answer.headers["taxiway-model-version"]
        eventually(partial(lambda name, asked: asked in logged(name), name, asked))
        assert logged(name)[asked] == version


def test_over_grpc_a_model_is_loaded_when_it_is_asked_for(
    ingress: Ingress, ports: tuple[int, int], expected: dict[str, float]
) -> None:
    with tritonclient.grpc.InferenceServerClient(f"127.0.0.1:{ports[1]}") as client:
        tensors = []
        for name in ("color", "size", "count"):
            tensor = tritonclient.grpc.InferInput(name, [1], DATATYPES[name])
            tensor.set_data_from_numpy(ROW[name])
            tensors.append(tensor)
        for name in (*STORES, *STORES):
            assert client.is_model_ready(name)
            metadata = client.get_model_metadata(name)
            assert (metadata.name, list(metadata.versions)) == (name, ["1"])
            answer = client.infer(name, tensors)
            assert answer.get_response().model_name == name
        with pytest.raises(tritonclient.grpc.InferenceServerException, match="no such model"):
            client.infer("store-99", tensors)
        assert not client.is_model_ready("store-99")
        with pytest.raises(tritonclient.grpc.InferenceServerException, match="no such model"):
            client.get_model_metadata("shop-1")


def test_a_moved_alias_is_seen_and_the_old_version_answers_until_then(
    client: httpx.Client, folder: Path, expected: dict[str, float]
) -> None:
    assert value(ask(client, "store-2")) == expected["store-2"]
    register_as(folder, "store-2", "store-1")
    eventually(lambda: ask(client, "store-2").headers["taxiway-model-version"] == "2")
    assert value(ask(client, "store-2")) == expected["store-1"]


def test_the_time_for_a_request_holds_while_its_model_is_loaded(client: httpx.Client) -> None:
    assert ask(client, "hurried-1").headers["taxiway-error"] == "deadline_exceeded"
    eventually(lambda: ask(client, "hurried-1").status_code == 200)


def test_metrics_call_all_models_by_the_name_of_their_entry(ingress: Ingress, client: httpx.Client) -> None:
    ask(client, "store-1")
    labels = {name for name in ingress.service.workload.stats() if name.startswith("requests_per_s/")}
    assert labels <= {"requests_per_s/stores", "requests_per_s/hurried"}
    assert "requests_per_s/stores" in labels
