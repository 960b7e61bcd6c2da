"""Rollouts on a real Ray whose processes are killed: the controller, a replica, and in the end everything at once."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from taxiway.registry import CHALLENGER, CHAMPION, Registry
from taxiway.rollout.state import RolloutState
from taxiway.rollout_series import Look, read_series, series_path, steps_of
from taxiway.rollouts import Rollouts
from tests.e2e.observed.conftest import World
from tests.e2e.observed.killed import CRATE, NAME, PARCEL, Clients, Versions, kill, kill_a_replica, kill_controller
from tests.integration.test_variants import eventually
from tests.serving_cluster import serving
from tests.tiny_model import registry_settings

pytestmark = pytest.mark.timeout(600)


@dataclass
class Story:
    """What there was when everything was killed, and at the end.

    Attributes:
        broken: connections of the clients of `parcel` that broke while one replica was killed.
        killed: of each endpoint the rollout as the dead have left it; `ended` as it is at the end.
        answers: of `crate`, after its rollout had ended.
    """

    registry: Registry
    versions: Versions
    statuses: set[int]
    broken: list[str]
    clients: int
    killed: dict[str, RolloutState]
    killed_at: float
    ended: dict[str, RolloutState]
    answers: list[tuple[int, str]]
    looks: tuple[Look, ...]


@pytest.fixture(scope="module")
def story(world: World) -> Story:
    world.observing.close()
    cluster, versions, folder = world.cluster, world.versions, world.folder
    registry, port = Registry(registry_settings(folder)), cluster.port(NAME)
    rollouts = {name: Rollouts(registry, NAME, name, name) for name in versions}

    def present() -> dict[str, RolloutState]:
        return {name: state for name, it in rollouts.items() if (state := it.read()) is not None}

    def became(name: str, fact: Callable[[RolloutState], bool]) -> Callable[[], bool]:
        return lambda: name in (found := present()) and fact(found[name])

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
    with serving(folder, {"proxy_location": "Disabled", "applications": [cluster.application(NAME)]}):
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
    looks = read_series(series_path(folder / "rollouts", NAME, PARCEL, ended[PARCEL].id))
    threads = len(asking[PARCEL].threads)
    return Story(registry, versions, statuses, broken, threads, killed, killed_at, ended, asked.answers, looks)


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
