"""Experiments on a real ingress: three variants, real requests, ground truth, a bandit, a variant that fails."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from serve.experimenter import Experimenter
from serve.ingress import Ingress
from serve.reports import Report
from serve.settings import AdminSettings, EndpointSettings, ListenerSettings, ServeSettings, VariantSettings
from taxiway.cli import main
from taxiway.predictions.outcomes import read_outcomes
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.rollout.experiment import ExperimentSettings, LossMetric
from taxiway.rollout.experiment_state import ExperimentState
from taxiway.rollout.observations import Moments
from taxiway.rollout.plan import ErrorsSettings
from taxiway.rollout.readout import Readout
from taxiway.rollout.state import Event
from tests.integration.test_rollouts import Clients
from tests.ports import free_port
from tests.spoiled_model import register_as
from tests.tiny_model import registry_settings

TOKEN = "a-token-for-tests"
METRIC = LossMetric(largest_loss=3.0)
PLAN = ExperimentSettings(name="first", metric=METRIC, min_rows=100, errors=ErrorsSettings(max_increase=0.05))
BANDIT = PLAN.model_copy(update={"allocation": "thompson", "floor": 10.0, "reallocate_s": 1.0})


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, ModelVersion]]:
    folder = tmp_path_factory.mktemp("registry")
    settings = registry_settings(folder)
    found = {"weak": register_as(settings, CHAMPION, iterations=4)}
    for fault in ("none", "wrong", "fails"):
        found[fault] = register_as(settings, CHALLENGER, fault)
    return folder, found


@dataclass
class World:
    """An ingress with three variants, its clients, and the experimenter, which is looked at by hand."""

    registry: Registry
    settings: ServeSettings
    folder: Path
    port: int
    events: list[Event] = field(default_factory=list)
    experimenter: Experimenter = field(init=False)

    def begin(self) -> None:
        self.restart()
        handle = SimpleNamespace(take=SimpleNamespace(remote=self._take))
        self.ingress = Ingress("tests", self.settings, controller=handle)
        self.ingress.listen()
        self.clients = Clients(self.port)

    def _take(self, report: Report) -> Any:
        self.experimenter.take(report)
        return SimpleNamespace(result=lambda timeout_s: None)

    def restart(self, plan: ExperimentSettings | None = None) -> None:
        endpoint = self.settings.endpoints[0]
        if plan is not None:
            endpoint = endpoint.model_copy(update={"experiment": plan})
        self.experimenter = Experimenter(
            self.registry, "tests", endpoint, self._outcomes, self._announce, self.folder / "rollouts"
        )

    def _outcomes(self, state: ExperimentState, now: datetime) -> dict[str, Moments]:
        location = self.folder / "predictions"
        return read_outcomes(str(location), "parcel", state.began, now, state.plan.metric, state.versions)

    def _announce(self, state: ExperimentState, event: Event) -> None:
        self.events.append(event)

    def until(
        self, fact: Callable[[ExperimentState, Readout | None], bool], within_s: float = 120.0
    ) -> ExperimentState:
        deadline = time.monotonic() + within_s
        while True:
            state = self.experimenter.tick(datetime.now(UTC))
            if state is not None and fact(state, self.experimenter.readout):
                return state
            assert time.monotonic() < deadline, (state, self.experimenter.readout)
            time.sleep(0.25)

    def override(self) -> str | None:
        return self.registry.live("parcel").tags.get("taxiway.traffic/tests/parcel")


@pytest.fixture
def world(
    versions: tuple[Path, dict[str, ModelVersion]], tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[World]:
    folder, known = versions
    plan, names = request.param
    registry = Registry(registry_settings(folder))
    for tag in list(registry.live("parcel").tags):
        registry.delete_tag("parcel", tag)
    variants = tuple(VariantSettings(name=name, model=f"models:/parcel/{known[name].version}") for name in names)
    port = free_port()
    settings = ServeSettings(
        endpoints=(EndpointSettings(name="parcel", variants=variants, experiment=plan),),
        registry=registry_settings(folder),
        listener=ListenerSettings(host="127.0.0.1", port=port, drain_s=1),
        predictions=PredictionLogSettings(location=str(tmp_path / "predictions"), flush_s=0.3),
        admin=AdminSettings(token=TOKEN),
        poll_s=0.2,
    )
    world = World(registry, settings, tmp_path, port)
    world.begin()
    yield world
    world.clients.stop()
    world.ingress.drain()


def standing(readout: Readout | None, variant: str) -> str:
    return next((it.standing for it in readout.arms if it.variant == variant), "") if readout else ""


@pytest.mark.parametrize("world", [(PLAN, ("weak", "none", "wrong"))], indirect=True)
def test_the_better_variant_is_told_and_a_controller_that_dies_goes_on(
    world: World, versions: tuple[Path, dict[str, ModelVersion]], capsys: pytest.CaptureFixture[str]
) -> None:
    world.until(lambda _, readout: readout is not None and min(arm.rows for arm in readout.arms) > 50)
    before = world.experimenter.readout
    assert before is not None
    world.restart()
    world.until(lambda _, readout: standing(readout, "none") == "better" and standing(readout, "wrong") == "worse")
    after = world.experimenter.readout
    assert after is not None
    assert all(new.requests >= old.requests for new, old in zip(after.arms, before.arms, strict=True))
    assert after.mismatch is None
    assert {version for _, version in world.clients.answers} == {
        versions[1][name].version for name in ("weak", "none", "wrong")
    }
    assert {status for status, _ in world.clients.answers} == {200}

    uri = registry_settings(versions[0]).tracking_uri
    assert main(["experiment", "status", "parcel", "--tracking-uri", uri]) == 0
    assert "none is better than weak" in capsys.readouterr().out
    call = partial(httpx.request, headers={"Authorization": f"Bearer {TOKEN}"})
    base = f"http://127.0.0.1:{world.port}/admin/endpoints/parcel/experiment"
    assert call("GET", base).json()["readout"]["told"].startswith("none is better")
    assert "Difference to the control" in call("GET", f"{base}/report").text

    assert world.override() is not None
    stopped = call("POST", f"{base}/stop", json={"reason": "seen enough"})
    assert stopped.json()["reason"] == "seen enough"
    assert call("POST", f"{base}/stop", json={}).status_code == 400
    world.until(lambda state, _: state.is_over and world.override() is None)
    world.restart(PLAN.model_copy(update={"name": "second"}))
    second = world.until(lambda state, _: not state.is_over)
    assert second.plan.name == "second"
    assert [state.plan.name for state, _ in world.experimenter.experiments.past()] == ["first"]
    assert [event.what for event in world.events] == ["started", "ended", "started"]


@pytest.mark.parametrize("world", [(BANDIT, ("weak", "none", "wrong"))], indirect=True)
def test_a_bandit_moves_the_requests_to_the_better_variant(
    world: World, versions: tuple[Path, dict[str, ModelVersion]]
) -> None:
    world.until(lambda state, _: state.weights["none"] == 80.0)
    asked = len(world.clients.answers)
    world.until(lambda *_: len(world.clients.answers) > asked + 400)
    latest = [version for _, version in world.clients.answers[-200:]]
    assert latest.count(versions[1]["none"].version) > 120
    somebodys = {"traffic": {"weights": {"weak": 100}}, "over": "x", "set_at": "2999-01-01T00:00:00Z", "by": "ann"}
    world.registry.write_tag("parcel", "taxiway.traffic/tests/parcel", json.dumps(somebodys))
    state = world.until(lambda state, _: state.is_over)
    assert state.reason == "ann has set other traffic"
    assert "ann" in str(world.override())


@pytest.mark.parametrize("world", [(PLAN, ("weak", "none", "fails"))], indirect=True)
def test_a_variant_that_fails_is_taken_out(world: World) -> None:
    state = world.until(lambda state, _: bool(state.dropped))
    assert state.dropped["fails"].startswith("errors")
    assert state.weights == {"weak": pytest.approx(66.7), "none": 33.3, "fails": 0.0}
    world.until(lambda *_: all(status == 200 for status, _ in world.clients.answers[-100:]))
    assert [event.what for event in world.events] == ["started", "dropped"]
