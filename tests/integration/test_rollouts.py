"""Rollouts on a real ingress, a real registry and real requests: the good one is promoted, the others go back."""

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from serve.ingress import Ingress
from serve.judge import Judgement
from serve.keeper import Keeper
from serve.reports import Report
from serve.settings import AdminSettings, EndpointSettings, ListenerSettings, ServeSettings, VariantSettings
from taxiway.cli import main
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.rollout.plan import (
    ChecksSettings,
    ErrorsSettings,
    QualitySettings,
    RolloutSettings,
    SlowSettings,
    StepSettings,
)
from taxiway.rollout.state import Event, RolloutState
from tests.integration.test_ingress import INFER, question
from tests.ports import free_port
from tests.spoiled_model import register_as, truth
from tests.tiny_model import parcels, registry_settings

TOKEN = "a-token-for-tests"
TICK_S = 0.25
QUALITY = QualitySettings(min_labels=50, max_loss_increase=0.3)
CHECKS = ChecksSettings(
    errors=ErrorsSettings(max_increase=0.05),
    slow=SlowSettings(over_ms=300, max_increase=0.2),
    missing=None,
    quality=QUALITY,
    min_requests=50,
)
STEPS = (StepSettings(shadow=100, min_s=1, max_s=120), StepSettings(weight=50, min_s=1, max_s=120))
PLAN = RolloutSettings(steps=STEPS, checks=CHECKS, start="automatic")


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, ModelVersion]]:
    """A weak champion and what may follow it."""
    folder = tmp_path_factory.mktemp("registry")
    settings = registry_settings(folder)
    found = {"weak": register_as(settings, CHAMPION, iterations=4)}
    for fault in ("none", "fails", "slow", "wrong"):
        found[fault] = register_as(settings, CHALLENGER, fault)
    return folder, found


class Clients:
    """Ask without end, and report what proved true of every answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._stop = threading.Event()
        self.answers: list[tuple[int, str]] = []
        self.labels = 0
        self._threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(3)]
        for thread in self._threads:
            thread.start()

    def _ask(self, seed: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        round_ = 0
        while not self._stop.is_set():
            columns = parcels(50, seed=1_000 * seed + round_)
            labels = truth(columns)
            told = []
            for row in range(50):
                one = {name: values[row : row + 1] for name, values in columns.items()}
                response = self._post(connection, INFER, question(one))
                self.answers.append((response.status, response.headers.get("taxiway-model-version", "")))
                if response.status == 200:
                    told.append({"prediction_id": response.headers["taxiway-prediction-id"], "label": int(labels[row])})
            if told:
                response = self._post(connection, "/v2/models/parcel/feedback", {"labels": told})
                assert response.status == 200, response.status
                self.labels += len(told)
            round_ += 1
        connection.close()

    def _post(self, connection: http.client.HTTPConnection, path: str, body: Any) -> http.client.HTTPResponse:
        connection.request("POST", path, json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()


@dataclass
class World:
    """A registry with a champion, one replica, its clients, and the keeper, which is looked at by hand."""

    registry: Registry
    settings: ServeSettings
    folder: Path
    port: int
    events: list[Event] = field(default_factory=list)
    keeper: Keeper = field(init=False)
    clients: Clients = field(init=False)
    ingress: Ingress = field(init=False)

    def begin(self) -> None:
        self.restart_keeper()
        handle = SimpleNamespace(take=SimpleNamespace(remote=self._take))
        self.ingress = Ingress("tests", self.settings, controller=handle)
        self.ingress.listen()
        self.clients = Clients(self.port)

    def _take(self, report: Report) -> Any:
        self.keeper.take(report)
        return SimpleNamespace(result=lambda timeout_s: None)

    def restart_keeper(self) -> None:
        endpoint = self.settings.endpoints[0]
        judge = Judgement("parcel", self.settings.predictions, drawn=True)
        self.keeper = Keeper(self.registry, "tests", endpoint, judge, self._announce, self.folder / "rollouts")

    def _announce(self, state: RolloutState, event: Event) -> None:
        self.events.append(event)

    def until(self, fact: Callable[[RolloutState | None], bool], within_s: float = 120.0) -> RolloutState:
        deadline = time.monotonic() + within_s
        while True:
            state = self.keeper.tick(datetime.now(UTC)) or self.keeper.rollouts.read()
            if fact(state):
                assert state is not None
                return state
            assert time.monotonic() < deadline, (
                state,
                self.keeper.verdict,
                self.keeper.tallies(state) if state else None,
            )
            time.sleep(TICK_S)

    def aliases(self) -> dict[str, str]:
        return dict(self.registry.live("parcel").aliases)

    def end(self) -> None:
        self.clients.stop()
        self.ingress.drain()


@pytest.fixture
def world(
    versions: tuple[Path, dict[str, ModelVersion]], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[World]:
    folder, known = versions
    plan = getattr(request, "param", PLAN)
    registry = Registry(registry_settings(folder))
    for tag in list(registry.live("parcel").tags):
        registry.delete_tag("parcel", tag)
    registry.point(CHAMPION, known["weak"])
    registry.remove_alias("parcel", CHALLENGER)
    port = free_port()
    variants = (
        VariantSettings(name="champion", model="models:/parcel@champion"),
        VariantSettings(name="challenger", model="models:/parcel@challenger"),
    )
    settings = ServeSettings(
        endpoints=(EndpointSettings(name="parcel", variants=variants, rollout=plan),),
        registry=registry_settings(folder),
        listener=ListenerSettings(host="127.0.0.1", port=port, drain_s=1),
        predictions=PredictionLogSettings(location=str(tmp_path / "predictions"), flush_s=0.3),
        admin=AdminSettings(token=TOKEN),
        poll_s=0.2,
    )
    world = World(registry, settings, tmp_path, port)
    world.begin()
    yield world
    world.end()


def ended(state: RolloutState | None) -> bool:
    return state is not None and state.is_over


def test_a_better_challenger_is_promoted_by_itself_and_no_request_fails(
    world: World, versions: tuple[Path, dict[str, ModelVersion]]
) -> None:
    good = versions[1]["none"]
    assert world.keeper.tick(datetime.now(UTC)) is None
    world.registry.point(CHALLENGER, good)
    canary = world.until(lambda state: state is not None and state.step == 1)
    assert any("quality" in sentence for sentence in canary.findings)
    state = world.until(ended)
    assert (state.outcome, world.aliases()) == ("promoted", {CHAMPION: good.version}), state.events
    assert [event.what for event in state.events] == ["started", "step", "promoting", "promoted"]
    asked = len(world.clients.answers)
    world.until(lambda _: len(world.clients.answers) > asked + 100)
    assert {version for _, version in world.clients.answers[-20:]} == {good.version}
    assert {status for status, _ in world.clients.answers} == {200}
    assert world.registry.live("parcel").tags.get("taxiway.traffic/tests/parcel") is None
    assert world.clients.labels > 200


CANARY_ONLY = PLAN.model_copy(update={"steps": STEPS[1:]})


@pytest.mark.parametrize(
    ("world", "fault", "reason", "live"),
    [(CANARY_ONLY, "fails", "errors", True), (PLAN, "slow", "slow", True), (PLAN, "wrong", "quality", False)],
    indirect=["world"],
)
def test_a_worse_challenger_goes_back_for_the_right_reason(
    world: World, versions: tuple[Path, dict[str, ModelVersion]], fault: str, reason: str, live: bool
) -> None:
    bad = versions[1][fault]
    world.registry.point(CHALLENGER, bad)
    state = world.until(ended)
    assert state.outcome == "rolled_back"
    assert state.reason.startswith(reason)
    assert world.aliases() == {CHAMPION: versions[1]["weak"].version}
    described = world.registry.describe(bad)
    assert described is not None
    assert reason in described.tags["taxiway.rejected"]
    asked = len(world.clients.answers)
    world.until(lambda _: len(world.clients.answers) > asked + 50)
    assert {version for _, version in world.clients.answers[-20:]} == {versions[1]["weak"].version}
    seen = sum(version == bad.version for _, version in world.clients.answers)
    told = int(state.events[-1].told.split("; ")[-1].split(" ")[0].replace(",", ""))
    assert told >= seen - 3  # what was in flight when the replica told that its traffic has gone
    assert (seen > 0) == live


MANUAL = RolloutSettings(steps=(*STEPS[:1], STEPS[1].model_copy(update={"hold": True})), checks=CHECKS)


@pytest.mark.parametrize("world", [MANUAL], indirect=True)
def test_people_start_pause_and_let_go_on_and_a_keeper_that_dies_goes_on_where_it_was(
    world: World, versions: tuple[Path, dict[str, ModelVersion]], capsys: pytest.CaptureFixture[str]
) -> None:
    good, uri = versions[1]["none"], registry_settings(versions[0]).tracking_uri
    world.registry.point(CHALLENGER, good)
    assert world.keeper.tick(datetime.now(UTC)) is None

    def taxiway(*arguments: str) -> str:
        status = main(["rollout", *arguments[:1], "parcel", "--tracking-uri", uri, *arguments[1:]])
        told = capsys.readouterr()
        return f"{status} {told.out}{told.err}"

    assert "0 parcel: version" in taxiway("start", "--by", "ann")
    assert "1 " in taxiway("start") or "abort it first" in taxiway("start")
    assert "paused" in taxiway("pause", "--reason", "lunch")
    paused = world.keeper.tick(datetime.now(UTC))
    assert paused is not None
    assert paused.phase == "paused"
    assert "running" in taxiway("resume")

    world.until(lambda state: state is not None and state.step == 1)
    world.restart_keeper()
    held = world.until(lambda state: state is not None and state.phase == "holding")
    assert held.step == 1
    assert "a person" in taxiway("status")

    admin = httpx.Client(
        base_url=f"http://127.0.0.1:{world.port}/admin/endpoints/parcel", headers={"authorization": f"Bearer {TOKEN}"}
    )
    assert admin.get("/rollout").json()["phase"] == "holding"
    assert admin.post("/rollout/pause", json={}).status_code == 400
    assert admin.post("/rollout/resume", json={"reason": "fine"}).json()["phase"] == "promoting"
    state = world.until(ended)
    assert (state.outcome, world.aliases()) == ("promoted", {CHAMPION: good.version}), state.events
    assert [it["challenger_version"] for it in admin.get("/rollouts").json()][-1] == good.version
    assert "promoted" in taxiway("history")
    admin.close()
