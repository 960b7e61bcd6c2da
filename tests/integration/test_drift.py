"""Drift end to end, without Ray: requests to a socket, counts, an alarm for the retraining, the admin call."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import mlflow
import numpy as np
import pytest
import sklearn

from serve.drift_watch import DriftWatch
from serve.ingress import Ingress
from serve.reports import Report
from serve.settings import AdminSettings, EndpointSettings, ListenerSettings, ServeSettings
from taxiway.alarms import alarms
from taxiway.package import ModelPackage, log_package
from taxiway.profile import profile
from taxiway.registry import CHAMPION, Registry
from taxiway.settings import RegistrySettings
from taxiway.signature import Array
from tests.integration.test_ingress import INFER, question
from tests.ports import free_port
from tests.tiny_model import SIGNATURE, parcels, registry_settings, train

TOKEN = "a-token-that-is-long-enough"
HEADERS = {"Authorization": f"Bearer {TOKEN}"}
ENDPOINT = EndpointSettings.model_validate(
    {
        "name": "parcel",
        "model": "models:/parcel@champion",
        "drift": {"window": {"rows": 400, "max_s": None, "min_rows": 100}, "raise_after": 1},
    }
)


class World:
    """A replica that answers, and the watch that it reports to."""

    def __init__(self, folder: Path, port: int) -> None:
        self.watch = DriftWatch("tests", ENDPOINT, {"champion": "parcel"}, lambda *_: None, folder / "rollouts")
        handle = SimpleNamespace(
            take=SimpleNamespace(remote=self._take),
            drift=SimpleNamespace(remote=lambda _: _done(self.watch.found())),
        )
        settings = ServeSettings(
            endpoints=(ENDPOINT,),
            registry=registry_settings(folder),
            listener=ListenerSettings(host="127.0.0.1", port=port, drain_s=1),
            admin=AdminSettings(token=TOKEN),
        )
        self.ingress = Ingress("tests", settings, controller=handle)
        self.ingress.listen()
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30)

    def _take(self, report: Report) -> Any:
        self.watch.take(report, datetime.now(UTC))
        return _done(None)

    def ask(self, columns: dict[str, Array]) -> None:
        assert self.client.post(INFER, json=question(columns)).status_code == 200

    def until_rows(self, rows: int, within_s: float = 20.0) -> None:
        deadline = time.monotonic() + within_s
        while [it.rows for it in self.watch.found()] != [rows]:
            assert time.monotonic() < deadline, self.watch.found()
            time.sleep(0.1)

    def told(self) -> Any:
        return self.client.get("/admin/endpoints/parcel/drift", headers=HEADERS).json()


def _done(value: Any) -> Any:
    return SimpleNamespace(result=lambda timeout_s: value)


def register(settings: RegistrySettings) -> None:
    registry, fitted, rows = Registry(settings), train(), parcels(4_000, seed=7)
    reference = profile(rows, SIGNATURE, (), {"probability": fitted.predict_proba(rows)[:, 1]})
    with mlflow.start_run(experiment_id=registry.experiment("parcel")) as run:
        package = ModelPackage(signature=SIGNATURE, reference_profile=reference)
        uri = log_package(fitted, package, {"scikit-learn": sklearn.__version__})
    registry.point(CHAMPION, registry.register("parcel", uri, run.info.run_id, {}))


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    register(registry_settings(tmp_path))
    found = World(tmp_path, free_port())
    yield found
    found.ingress.drain()


def test_drift_of_what_clients_ask_raises_an_alarm_and_is_told_to_an_administrator(world: World) -> None:
    world.until_rows(0)
    world.ask(parcels(500, seed=8))
    world.until_rows(500)
    world.watch.tick(datetime.now(UTC))
    assert not alarms("parcel")
    far = parcels(500, seed=9)
    world.ask(far | {"size": far["size"] / 4, "weight": np.full(500, np.nan)})
    world.until_rows(500)
    world.watch.tick(datetime.now(UTC))
    (alarm,) = alarms("parcel").values()
    assert "inputs/size" in alarm.reason
    (variant,) = world.told()
    assert (variant["variant"], variant["rows"]) == ("champion", 0)
    quiet, loud = (
        {it["column"] for it in window["columns"] if it["because"]} for window in variant["state"]["windows"]
    )
    assert quiet == set()
    assert loud >= {"size", "weight", "probability"}
    assert loud.isdisjoint({"color", "count", "comment"})
    assert "inputs/size" in variant["state"]["alarms"]
