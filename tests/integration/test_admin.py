"""Administration as a person's HTTP client sees it, with a real registry behind it."""

import asyncio
import json
import shutil
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from mlflow.tracking import MlflowClient
from ray.util.metrics import Gauge

from serve.admin import AlarmCall, admin_app
from serve.administration import alarmed
from serve.endpoint import Endpoint
from serve.ingress import Ingress
from serve.settings import AdminSettings, EndpointSettings, ListenerSettings, ServeSettings
from serve.traffic import LiveTable
from taxiway.alarms import Alarm, RaisedAlarm, alarms
from taxiway.errors import ConfigError, NotFound
from taxiway.features import bind
from taxiway.registry import Registry
from taxiway.rollout.plan import RolloutSettings
from taxiway.rollout.progress import Command
from taxiway.rollout.state import RolloutState
from taxiway.settings import FeatureStoreSettings
from taxiway.traffic import TrafficSettings, TrafficState
from tests.feature_reader import register_reader
from tests.integration.test_features import AT_NOON, make
from tests.integration.test_features import NOON as FILLED
from tests.ports import free_port
from tests.tiny_model import registry_settings

TOKEN = "an-admin-token-of-the-tests"
TRAFFIC = "/admin/endpoints/parcel/traffic"
DECLARED = {"weights": {"champion": 90.0, "challenger": 10.0}, "shadows": {}}
ALARMS = "/admin/endpoints/parcel/alarms"
NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
HALF = {"weights": {"champion": 50.0, "challenger": 50.0}, "shadows": {"challenger": 20.0}}


CHAIN = {
    "nodes": {
        "size": {"model": "models:/size/3"},
        "late": {"model": "models:/late@champion"},
        "both": {"kind": "ensemble", "of": ["size", "late"]},
    },
    "output": "both",
}
SEVERAL_MODELS = EndpointSettings.model_validate(
    {
        "name": "parcel",
        "variants": [
            {"name": "champion", "model": "models:/parcel@champion"},
            {"name": "challenger", "model": "models:/parcel@challenger"},
            {"name": "chain", "graph": CHAIN},
        ],
    }
)


class OneEndpoint:
    """The smallest backend: one endpoint's table in the registry."""

    def __init__(self, table: LiveTable) -> None:
        self.table = table

    def status(self) -> dict[str, Any]:
        return {"endpoints": {self.table.endpoint: {"variants": list(self.table.variants)}}}

    async def traffic(self, endpoint: str) -> TrafficState:
        return await asyncio.to_thread(self._of(endpoint).read)

    async def set_traffic(self, endpoint: str, traffic: TrafficSettings, by: str) -> TrafficState:
        return await asyncio.to_thread(self._of(endpoint).write, traffic, by, NOW)

    async def reset_traffic(self, endpoint: str) -> TrafficState:
        return await asyncio.to_thread(self._of(endpoint).reset)

    async def raise_alarm(self, endpoint: str, call: AlarmCall, by: str) -> RaisedAlarm:
        self._of(endpoint)
        return await asyncio.to_thread(alarmed, Endpoint(SEVERAL_MODELS, 1.0), call, by, NOW)

    async def rollout(self, endpoint: str) -> RolloutState | None:
        return None

    async def rollouts(self, endpoint: str) -> list[RolloutState]:
        return []

    async def start_rollout(self, endpoint: str, plan: RolloutSettings | None, by: str) -> RolloutState:
        raise NotFound(f"{endpoint} has no rollout")

    async def command_rollout(self, endpoint: str, command: Command, by: str, reason: str) -> RolloutState:
        raise NotFound(f"{endpoint} has no rollout")

    def _of(self, endpoint: str) -> LiveTable:
        if endpoint != self.table.endpoint:
            raise NotFound(f"no such endpoint: {endpoint!r}")
        return self.table


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("registry")
    MlflowClient(registry_settings(folder).tracking_uri).create_registered_model("parcel")
    return folder / "mlflow.db"


@pytest.fixture
def table(prepared: Path, tmp_path: Path) -> LiveTable:
    shutil.copy(prepared, tmp_path)
    registry = Registry(registry_settings(tmp_path))
    declared = TrafficSettings.model_validate(DECLARED)
    return LiveTable(registry, "parcel", "default", "parcel", ("champion", "challenger"), declared)


@asynccontextmanager
async def client(table: LiveTable, token: str | None = TOKEN) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(admin_app(OneEndpoint(table), TOKEN), raise_app_exceptions=False)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    async with httpx.AsyncClient(transport=transport, base_url="http://replica", headers=headers) as found:
        yield found


def ask(table: LiveTable, method: str, path: str, token: str | None = TOKEN, **rest: Any) -> httpx.Response:
    async def once() -> httpx.Response:
        async with client(table, token) as found:
            return await found.request(method, path, **rest)

    return asyncio.run(once())


def test_traffic_that_is_set_holds_until_it_is_reset(table: LiveTable) -> None:
    assert ask(table, "GET", TRAFFIC).json() == {"declared": DECLARED, "override": None, "effective": DECLARED}
    written = ask(table, "PUT", TRAFFIC, json=HALF, headers={"taxiway-by": "ada"})
    assert written.status_code == 200
    assert written.json()["effective"] == HALF
    assert written.json()["override"]["by"] == "ada"
    assert ask(table, "GET", TRAFFIC).json() == written.json()
    assert table.read().effective == TrafficSettings.model_validate(HALF)
    assert ask(table, "DELETE", TRAFFIC).json()["effective"] == DECLARED
    assert table.read().override is None


def test_who_sets_it_without_a_name_is_known_by_address(table: LiveTable) -> None:
    assert ask(table, "PUT", TRAFFIC, json=HALF).json()["override"]["by"] == "admin call from 127.0.0.1"


def test_status_is_what_the_replica_says(table: LiveTable) -> None:
    assert ask(table, "GET", "/admin/status").json() == {
        "endpoints": {"parcel": {"variants": ["champion", "challenger"]}}
    }


@pytest.mark.parametrize("path", ["/admin/status", TRAFFIC, ALARMS, "/admin/nothing"])
@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_nobody_gets_in_without_the_token(table: LiveTable, method: str, path: str) -> None:
    missing = ask(table, method, path, token=None, content=b"{")
    assert missing.status_code == 401
    assert missing.headers["www-authenticate"] == "Bearer"
    assert missing.json() == {"error": "admin calls need the header Authorization: Bearer TOKEN"}
    for wrong in ("", TOKEN[:-1], TOKEN + "x", "ü"):
        refused = ask(table, method, path, token=None, headers={"Authorization": f"Bearer {wrong}".encode()})
        assert refused.status_code == 403
        assert refused.json() == {"error": "this is not the admin token"}
    assert table.read().override is None


@pytest.mark.parametrize("header", [f"Basic {TOKEN}", TOKEN, "Bearer"])
def test_another_scheme_is_no_token(table: LiveTable, header: str) -> None:
    assert ask(table, "GET", TRAFFIC, token=None, headers={"Authorization": header}).status_code in (401, 403)


def test_two_tokens_are_none(table: LiveTable) -> None:
    headers = [("Authorization", "Bearer x"), ("Authorization", f"Bearer {TOKEN}")]

    async def once() -> httpx.Response:
        async with client(table, None) as found:
            return await found.get(TRAFFIC, headers=headers)

    assert asyncio.run(once()).status_code == 401


def test_the_body_is_not_read_without_the_token(table: LiveTable) -> None:
    read = []

    async def body() -> AsyncIterator[bytes]:
        read.append(True)
        yield b"{}"

    assert ask(table, "PUT", TRAFFIC, token="wrong", content=body()).status_code == 403
    assert not read


def test_the_scheme_may_be_written_in_any_case(table: LiveTable) -> None:
    assert ask(table, "GET", TRAFFIC, token=None, headers={"Authorization": f"bearer {TOKEN}"}).status_code == 200


@pytest.mark.parametrize("token", ["", "  \n"])
def test_an_empty_token_is_refused_at_the_start(table: LiveTable, token: str) -> None:
    with pytest.raises(ConfigError, match=r"admin\.token is empty"):
        admin_app(OneEndpoint(table), token)


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        (
            b'{"weights": {"champion": 60, "challenger": 30}}',
            "the weights sum to 90 (champion 60, challenger 30); they must sum to 100",
        ),
        (
            b'{"weights": {"nobody": 100}}',
            "'nobody' is no variant of this endpoint; its variants are champion, challenger",
        ),
        (b'{"weights": {"champion": "all"}}', "key 'weights.champion': input should be a valid number"),
        (b'{"weights": {"champion": 100}, "shadow": {}}', "unknown key 'shadow'"),
        (b"{}", "key 'weights': field required"),
        (b'{"weights"', "the body is not JSON: "),
        (b"[]", "nput should be a valid dictionary"),
        (b"", "ield required"),
    ],
)
def test_a_wrong_body_is_answered_with_one_sentence_and_changes_nothing(
    table: LiveTable, body: bytes, sentence: str
) -> None:
    answer = ask(table, "PUT", TRAFFIC, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert set(answer.json()) == {"error"}
    assert sentence in answer.json()["error"]
    assert table.read().override is None


def test_every_other_error_has_the_same_form(table: LiveTable) -> None:
    unknown = ask(table, "GET", "/admin/endpoints/letter/traffic")
    assert (unknown.status_code, unknown.json()) == (404, {"error": "no such endpoint: 'letter'"})
    path = ask(table, "GET", "/admin/nothing")
    assert (path.status_code, path.json()) == (404, {"error": "no such path: /admin/nothing"})
    method = ask(table, "POST", TRAFFIC)
    assert (method.status_code, method.json()) == (405, {"error": "POST is not possible here"})
    assert method.headers["allow"]


def test_a_registry_that_fails_is_a_503(table: LiveTable, tmp_path: Path) -> None:
    table.read()
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1_000)
    answer = ask(table, "PUT", TRAFFIC, json=HALF)
    assert answer.status_code == 503
    assert answer.json()["error"].startswith("tag 'taxiway.traffic/default/parcel' of model 'parcel': the registry")


def test_a_broken_override_is_named_and_mended_by_a_reset(table: LiveTable) -> None:
    table.registry.write_tag("parcel", table.tag, "50/50")
    broken = ask(table, "GET", TRAFFIC)
    assert broken.status_code == 500
    assert "the traffic override in the registry can't be read" in broken.json()["error"]
    assert ask(table, "DELETE", TRAFFIC).status_code == 200
    assert ask(table, "GET", TRAFFIC).json()["effective"] == DECLARED


def test_an_unforeseen_error_tells_nothing(table: LiveTable, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken(OneEndpoint):
        def status(self) -> dict[str, Any]:
            raise RuntimeError("a password")

    monkeypatch.setitem(globals(), "OneEndpoint", Broken)
    answer = ask(table, "GET", "/admin/status")
    assert (answer.status_code, answer.json()) == (500, {"error": "internal error"})


def test_the_document_names_the_calls_and_their_token(table: LiveTable) -> None:
    document = ask(table, "GET", "/admin/openapi.json", token=None).json()
    calls = {"/admin/status", "/admin/endpoints/{name}/traffic", "/admin/endpoints/{name}/alarms"}
    assert calls <= set(document["paths"])
    assert "202" in document["paths"]["/admin/endpoints/{name}/alarms"]["post"]["responses"]
    assert document["components"]["schemas"]["AlarmCall"]["properties"]["reason"]["maxLength"] == 2_000
    assert document["components"]["securitySchemes"] == {"HTTPBearer": {"type": "http", "scheme": "bearer"}}
    assert ask(table, "GET", "/admin/docs", token=None).status_code == 200


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    return tmp_path


def test_an_alarm_waits_for_every_model_behind_the_endpoint(table: LiveTable, home: Path) -> None:
    call = {"reason": "wind drifts", "details": {"psi.wind": 0.31, "rows": 4_000, "again": True}}
    answer = ask(table, "POST", ALARMS, json=call, headers={"taxiway-by": "drift monitor"})
    assert answer.status_code == 202
    alarm = Alarm(at=NOW, endpoint="parcel", by="drift monitor", **call)
    assert RaisedAlarm.model_validate_json(answer.text) == RaisedAlarm(models=("late", "parcel", "size"), alarm=alarm)
    for model in ("late", "parcel", "size"):
        assert list(alarms(model).values()) == [alarm]


def test_an_alarm_can_be_about_one_of_the_models(table: LiveTable, home: Path) -> None:
    answer = ask(table, "POST", ALARMS, json={"reason": "too slow", "model": "size"})
    assert (answer.status_code, answer.json()["models"]) == (202, ["size"])
    (alarm,) = alarms("size").values()
    assert (alarm.by, alarm.details) == ("admin call from 127.0.0.1", {})
    assert alarms("parcel") == alarms("late") == {}


def test_an_alarm_of_an_unknown_endpoint_is_a_404(table: LiveTable, home: Path) -> None:
    answer = ask(table, "POST", "/admin/endpoints/letter/alarms", json={"reason": "lost"})
    assert (answer.status_code, answer.json()) == (404, {"error": "no such endpoint: 'letter'"})


@pytest.mark.parametrize(
    ("body", "sentence"),
    [
        ({}, "key 'reason': field required"),
        ({"reason": "  "}, "key 'reason': string should have at least 1 character"),
        ({"reason": "x" * 2_001}, "key 'reason': string should have at most 2000 characters"),
        ({"reason": "\0"}, "key 'reason': has control characters; leave them out"),
        ({"reason": "drift", "at": "2020-01-01T00:00:00Z"}, "unknown key 'at'"),
        ({"reason": "drift", "details": {str(number): 1 for number in range(101)}}, "key 'details': "),
        ({"reason": "drift", "details": {"psi": {"wind": 1}}}, "key 'details.psi"),
        (
            {"reason": "drift", "model": "../parcel"},
            "'../parcel' is no model of this endpoint; its models are late, parcel, size",
        ),
    ],
)
def test_a_wrong_alarm_is_answered_with_one_sentence_and_left_nowhere(
    table: LiveTable, home: Path, body: dict[str, Any], sentence: str
) -> None:
    answer = ask(table, "POST", ALARMS, content=json.dumps(body), headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(sentence)
    assert not (home / "retrain").exists()


def test_an_alarm_that_cannot_be_kept_is_no_success(table: LiveTable, home: Path) -> None:
    (home / "retrain").write_text("a file where folders should be")
    answer = ask(table, "POST", ALARMS, json={"reason": "drift"})
    assert answer.status_code == 500
    assert answer.json()["error"].startswith("the alarm can't be kept in ")


@pytest.fixture
def settings(table: LiveTable, home: Path) -> ServeSettings:
    """A model that reads the view `sales`, which lives for three hours; the replica's clock stands at noon."""
    register_reader(table.registry, "parcel", bind(make(home), "shops", {"sales": "null"}))
    return ServeSettings(
        endpoints=(EndpointSettings(name="parcel", model="models:/parcel@champion"),),
        registry=registry_settings(home),
        feature_store=FeatureStoreSettings(repository=str(home), online=AT_NOON),
        listener=ListenerSettings(host="127.0.0.1", port=free_port(), drain_s=1.0),
        admin=AdminSettings(token=TOKEN),
    )


@pytest.fixture
def gauges(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[float, dict[str, str]]]:
    """What Ray is handed, by the gauge's name."""
    found: dict[str, tuple[float, dict[str, str]]] = {}

    def handed(gauge: Any, value: float, tags: dict[str, str]) -> None:
        found[gauge.info["name"]] = value, tags

    monkeypatch.setattr(Gauge, "set", handed)
    return found


@pytest.fixture
def replica(settings: ServeSettings, gauges: dict[str, Any]) -> Iterator[httpx.Client]:
    ingress = Ingress("default", settings)
    ingress.listen()
    assert isinstance(settings.listener, ListenerSettings)
    url, headers = f"http://127.0.0.1:{settings.listener.port}", {"Authorization": f"Bearer {TOKEN}"}
    with httpx.Client(base_url=url, headers=headers, timeout=10) as asked:
        yield asked
    ingress.drain()
    eventually(lambda: "freshness" not in [thread.name for thread in threading.enumerate()])


AGES = {"taxiway_feature_view_age_seconds", "taxiway_feature_view_stale"}


def eventually(fact: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not fact():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_a_replica_keeps_alarms_and_tells_how_old_the_features_are_that_its_models_read(
    replica: httpx.Client, gauges: dict[str, tuple[float, dict[str, str]]]
) -> None:
    answer = replica.post(ALARMS, json={"reason": "features stand still"})
    assert (answer.status_code, answer.json()["models"]) == (202, ["parcel"])
    assert [alarm.reason for alarm in alarms("parcel").values()] == ["features stand still"]
    eventually(lambda: gauges.keys() >= AGES)
    told = {"until": FILLED.isoformat(), "stale": False, "error": None}
    for path in ("/-/status", "/admin/status"):
        assert replica.get(path).json()["feature_views"] == {"sales": told}
    assert {name: gauges[name] for name in AGES} == dict.fromkeys(AGES, (0.0, {"view": "sales"}))
