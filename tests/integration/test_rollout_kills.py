"""A controller that is killed before any of its writes: the next one brings the rollout to the same end."""

import shutil
import sqlite3
from math import inf
from pathlib import Path

import pytest

from taxiway.registry import CHAMPION, ModelVersion, Registry
from taxiway.rollout.state import RolloutState
from taxiway.rollout.verdict import VerdictState
from tests.integration.test_keeper import TAG, World, prepared
from tests.tiny_model import registry_settings

__all__ = ["prepared"]


class Killed(BaseException):
    """As a SIGKILL: nothing that catches errors catches it."""


class Mortal(Registry):
    """Dies instead of its next write when it has no lives left."""

    lives: float = inf

    def write_tag(self, name: str, key: str, value: str) -> None:
        self._spend()
        super().write_tag(name, key, value)

    def delete_tag(self, name: str, key: str) -> None:
        self._spend()
        super().delete_tag(name, key)

    def write_version_tag(self, version: ModelVersion, key: str, value: str) -> None:
        self._spend()
        super().write_version_tag(version, key, value)

    def point(self, alias: str, version: ModelVersion) -> None:
        self._spend()
        super().point(alias, version)

    def remove_alias(self, name: str, alias: str) -> None:
        self._spend()
        super().remove_alias(name, alias)

    def _spend(self) -> None:
        if not self.lives:
            raise Killed
        self.lives -= 1


@pytest.fixture(scope="module")
def canary(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a rollout whose last step has been measured for a moment."""
    folder = tmp_path_factory.mktemp("canary")
    shutil.copy(prepared, folder)
    world = World(folder)
    world.judge.state = "successful"
    for second in (0, 1, 70):
        world.tick(second)
    world.judge.state = "inconclusive"
    assert [world.tick(second).step for second in (71, 72)] == [1, 1]
    return folder


def found(canary: Path, folder: Path) -> World:
    """The same once more; what another one has left in the folder goes."""
    shutil.rmtree(folder / "rollouts", ignore_errors=True)
    shutil.copytree(canary / "rollouts", folder / "rollouts")
    # MLflow needs a second for a database that it has not seen.
    with sqlite3.connect(canary / "mlflow.db") as fresh, sqlite3.connect(folder / "mlflow.db") as used:
        fresh.backup(used)
    return World(folder)


def killed_after(world: World, writes: int, verdict: VerdictState, seconds: range) -> bool:
    """Whether a controller that finds this was killed; if not, it had fewer writes to do."""
    immortal = world.registry
    mortal = Mortal(registry_settings(world.folder))
    mortal.lives, world.registry, world.judge.state = writes, mortal, verdict
    try:
        world.keeper = world.another_keeper()
        for second in seconds:
            world.tick(second)
    except Killed:
        return True
    finally:
        world.registry = immortal
    return False


def ended_by_another(world: World, begin: int) -> RolloutState:
    world.keeper = world.another_keeper()
    for second in range(begin, begin + 400, 60):
        if (state := world.tick(second)).is_over:
            break
    world.tick(second + 1)  # and what is left of it goes
    return state


def test_killed_before_any_write_of_a_rollback_it_still_goes_back_and_is_never_promoted(
    canary: Path, tmp_path: Path
) -> None:
    writes, decided = 0, 0
    while killed_after(world := found(canary, tmp_path), writes, "failed", range(80, 86)):
        present = world.keeper.rollouts.read()
        assert present is not None
        if present.outcome == "rolled_back":  # the decision holds, whatever the next one measures
            decided += 1
            world.judge.state = "successful"
        state = ended_by_another(world, 90)
        assert (state.phase, state.outcome) == ("ended", "rolled_back"), writes
        assert [it.what for it in state.events] == ["started", "step", "failed", "rolled_back"]
        assert world.aliases() == {CHAMPION: "1"}
        assert TAG not in world.registry.live("parcel").tags
        version = world.registry.describe(ModelVersion("parcel", "2", ""))
        assert version is not None
        assert "taxiway.rejected" in version.tags
        writes += 1
    assert decided >= 5


def test_killed_before_any_write_of_a_promotion_it_promotes_once(canary: Path, tmp_path: Path) -> None:
    writes = 0
    while killed_after(world := found(canary, tmp_path), writes, "successful", range(140, 146)):
        state = ended_by_another(world, 150)
        assert (state.phase, state.outcome) == ("ended", "promoted"), writes
        assert [it.what for it in state.events] == ["started", "step", "promoting", "promoted"]
        assert world.aliases() == {CHAMPION: "2"}
        assert TAG not in world.registry.live("parcel").tags
        writes += 1
    assert writes >= 7


@pytest.mark.parametrize("lost", [True, False])
def test_a_failing_challenger_is_not_promoted_by_a_controller_that_finds_an_empty_folder(
    canary: Path, tmp_path: Path, lost: bool
) -> None:
    world = found(canary, tmp_path)
    assert killed_after(world, 1, "failed", range(80, 86))
    if lost:
        shutil.rmtree(world.folder / "rollouts")
    world.judge.state = "successful"
    assert ended_by_another(world, 90).outcome == "rolled_back"
    assert world.aliases() == {CHAMPION: "1"}
