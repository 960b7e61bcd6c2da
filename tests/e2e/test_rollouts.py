"""Rollouts on a real Ray whose processes are killed: the controller, a replica, and in the end everything at once."""

import http.client
import json
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.rollout.state import RolloutState
from taxiway.rollout_series import Look, read_series, series_path, steps_of
from taxiway.rollouts import Rollouts
from tests.integration.test_ingress import question
from tests.integration.test_variants import eventually
from tests.ports import free_port
from tests.serving_cluster import Cluster, serving
from tests.spoiled_model import fitted, truth
from tests.tiny_model import parcels, register_fitted, registry_settings

pytestmark = pytest.mark.timeout(600)

PARCEL, CRATE = "parcel", "crate"
"""Endpoints of one application, each with a model of its own: the challenger of one is good, the other's fails."""
CHECKS = {"errors": {"max_increase": 0.05}, "slow": None, "missing": None, "min_requests": 50}
QUALITY = {"quality": {"min_labels": 200, "max_loss_increase": 0.3}}
STEPS = {
    PARCEL: [{"shadow": 100, "min_s": 2, "max_s": 600}, {"weight": 50, "min_s": 2, "max_s": 900}],
    CRATE: [{"weight": 50, "min_s": 2, "max_s": 600}],
}
PREDICTION_ID = "taxiway-prediction-id"


class Clients:
    """Ask an endpoint without end; a connection that breaks is noted and made anew.

    Args:
        labels: also report what proved true of every answer; may be changed.
    """

    def __init__(self, port: int, endpoint: str, threads: int, labels: bool) -> None:
        self._port, self._path, self.labels = port, f"/v2/models/{endpoint}", labels
        self._stop = threading.Event()
        self.answers: list[tuple[int, str]] = []
        self.broken: list[str] = []
        self.threads = [threading.Thread(target=self._ask, args=(seed,)) for seed in range(threads)]
        for thread in self.threads:
            thread.start()

    def _ask(self, seed: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
        round_ = 0
        while not self._stop.is_set():
            round_ += 1
            try:
                self._round(connection, parcels(20, seed=1_000 * seed + round_))
            except (OSError, http.client.HTTPException) as error:
                self.broken.append(type(error).__name__)
                connection.close()
        connection.close()

    def _round(self, connection: http.client.HTTPConnection, columns: dict[str, Any]) -> None:
        told = []
        for row, label in enumerate(truth(columns)):
            one = {name: values[row : row + 1] for name, values in columns.items()}
            response = self._post(connection, "infer", question(one))
            self.answers.append((response.status, response.headers.get("taxiway-model-version", "")))
            if response.status == 200:
                told.append({"prediction_id": response.headers[PREDICTION_ID], "label": int(label)})
        if self.labels:
            assert self._post(connection, "feedback", {"labels": told}).status == 200

    def _post(self, connection: http.client.HTTPConnection, what: str, body: Any) -> http.client.HTTPResponse:
        connection.request("POST", f"{self._path}/{what}", json.dumps(body), {"content-type": "application/json"})
        response = connection.getresponse()
        response.read()
        return response

    def stop(self) -> None:
        self._stop.set()
        for thread in self.threads:
            thread.join()


@dataclass
class Story:
    """What there was when everything was killed, and at the end.

    Attributes:
        broken: connections of the clients of `parcel` that broke while one replica was killed.
        killed: of each endpoint the rollout as the dead have left it; `ended` as it is at the end.
        answers: of `crate`, after its rollout had ended.
    """

    registry: Registry
    versions: dict[str, tuple[ModelVersion, ModelVersion]]
    statuses: set[int]
    broken: list[str]
    clients: int
    killed: dict[str, RolloutState]
    killed_at: float
    ended: dict[str, RolloutState]
    answers: list[tuple[int, str]]
    looks: tuple[Look, ...]


def config(folder: Path, port: int) -> dict[str, Any]:
    def endpoint(name: str) -> dict[str, Any]:
        checks = CHECKS | (QUALITY if name == PARCEL else {})
        variants = [{"name": it, "model": f"models:/{name}@{it}"} for it in (CHAMPION, CHALLENGER)]
        rollout = {"start": "automatic", "steps": STEPS[name], "checks": checks}
        return {"name": name, "variants": variants, "rollout": rollout}

    arguments = {
        "endpoints": [endpoint(PARCEL), endpoint(CRATE)],
        "listener": {"host": "127.0.0.1", "port": port, "drain_s": 1},
        "ingress": {"cpus": 0.2, "replicas": 2},
        "registry": registry_settings(folder).model_dump(exclude_none=True),
        "predictions": {"flush_s": 0.5},
    }
    application = {"name": "parcels", "import_path": "serve.app:build", "args": arguments}
    application["deployments"] = [{"name": name, "health_check_period_s": 1} for name in ("rollouts", "ingress")]
    return {"proxy_location": "Disabled", "applications": [application]}


def registered(folder: Path) -> dict[str, tuple[ModelVersion, ModelVersion]]:
    """Of each model a champion, and what is to challenge it; no alias names that yet."""
    settings, weak = registry_settings(folder), fitted(iterations=4)
    challengers = {PARCEL: fitted(), CRATE: fitted("fails")}
    return {
        name: (
            register_fitted(settings, weak, CHAMPION, name),
            register_fitted(settings, challenger, "candidate", name),
        )
        for name, challenger in challengers.items()
    }


def kill(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(processes, timeout=30)


@pytest.fixture(scope="module")
def story(tmp_path_factory: pytest.TempPathFactory) -> Story:
    folder, port = tmp_path_factory.mktemp("home"), free_port()
    versions, registry = registered(folder), Registry(registry_settings(folder))
    rollouts = {name: Rollouts(registry, "parcels", name, name) for name in versions}

    def present() -> dict[str, RolloutState]:
        return {name: state for name, it in rollouts.items() if (state := it.read()) is not None}

    def became(name: str, fact: Callable[[RolloutState], bool]) -> Callable[[], bool]:
        return lambda: name in (found := present()) and fact(found[name])

    serve_file = config(folder, port)
    with serving(folder, serve_file) as cluster:
        asking = {PARCEL: Clients(port, PARCEL, 3, labels=True), CRATE: Clients(port, CRATE, 1, labels=False)}
        try:
            registry.point(CHALLENGER, versions[PARCEL][1])
            eventually(lambda: PARCEL in present(), 120)
            kill_controller(cluster)
            eventually(became(PARCEL, lambda state: state.step == 1), 180)
            asking[PARCEL].labels = False  # so that this step does not end before everything is killed
            broken = kill_a_replica(cluster, asking[PARCEL])
            kill_controller(cluster)
            registry.point(CHALLENGER, versions[CRATE][1])
            eventually(lambda: CRATE in present(), 60)
            everything = cluster.family()
            eventually(became(CRATE, lambda state: state.phase == "rolling_back"), 120)
            killed_at = time.time()
            kill(everything)
        finally:
            for it in asking.values():
                it.stop()
    killed = present()
    with serving(folder, serve_file):
        asking_again = Clients(port, PARCEL, 3, labels=True)
        try:
            eventually(lambda: all(state.is_over for state in present().values()), 180)
            asked = Clients(port, CRATE, 1, labels=False)
            eventually(lambda: len(asked.answers) > 50, 60)
            asked.stop()
        finally:
            asking_again.stop()
    statuses = {status for it in (asking[PARCEL], asking_again) for status, _ in it.answers}
    ended = present()
    looks = read_series(series_path(folder / "rollouts", "parcels", PARCEL, ended[PARCEL].id))
    threads = len(asking[PARCEL].threads)
    return Story(registry, versions, statuses, broken, threads, killed, killed_at, ended, asked.answers, looks)


def kill_controller(cluster: Cluster) -> None:
    eventually(lambda: bool(cluster.processes("parcels:rollouts")), 120)
    kill(cluster.processes("parcels:rollouts"))


def kill_a_replica(cluster: Cluster, clients: Clients) -> list[str]:
    """The connections that broke of it, when another replica has taken its place."""
    before = cluster.processes("parcels:ingress")
    assert len(before) == 2
    assert clients.broken == []
    kill(before[:1])
    eventually(lambda: len({*cluster.processes("parcels:ingress")} - {*before}) == 1, 120)
    answered = len(clients.answers)
    eventually(lambda: len(clients.answers) > answered + 100, 60)
    return list(clients.broken)


def test_a_rollout_whose_processes_are_killed_promotes_once(story: Story) -> None:
    state, (weak, good) = story.ended[PARCEL], story.versions[PARCEL]
    assert state.outcome == "promoted", state.events
    assert (state.champion_version, state.challenger_version) == (weak.version, good.version)
    assert story.registry.live(PARCEL).aliases[CHAMPION] == good.version
    assert [event.what for event in state.events] == ["started", "step", "promoting", "promoted"]


def test_clients_of_a_killed_replica_lose_what_was_in_flight_and_nothing_else(story: Story) -> None:
    assert story.statuses == {200}
    assert len(story.broken) <= story.clients
    assert "ConnectionRefusedError" not in story.broken


def test_when_everything_was_killed_the_step_goes_on_with_what_it_had_measured(story: Story) -> None:
    assert (story.killed[PARCEL].phase, story.killed[PARCEL].step) == ("running", 1)
    (canary,) = [group for group in steps_of(story.looks) if group[-1].step == 1]
    counts = [(one.at.timestamp(), one.challenger.requests) for one in canary if one.challenger is not None]
    before = [count for at, count in counts if at <= story.killed_at]
    later = [count for at, count in counts if at > story.killed_at]
    assert before[-1] > 100
    assert later[0] >= 0.8 * before[-1]  # a controller may die after a look and before it has kept its ledger
    assert later[-1] > before[-1]


def test_a_challenger_that_was_going_back_when_everything_was_killed_is_never_promoted(story: Story) -> None:
    weak, failing = story.versions[CRATE]
    assert story.killed[CRATE].phase == "rolling_back"
    state = story.ended[CRATE]
    assert state.outcome == "rolled_back"
    assert [event.what for event in state.events] == ["started", "failed", "rolled_back"]
    aliases = story.registry.live(CRATE).aliases
    assert (aliases[CHAMPION], CHALLENGER in aliases) == (weak.version, False)
    assert set(story.answers) == {(200, weak.version)}
    described = story.registry.describe(failing)
    assert described is not None
    assert "taxiway.rejected" in described.tags
