"""The keeper of rollouts beside a real registry: others' hands, broken versions, lost files, a second keeper."""

import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from serve.keeper import Keeper
from serve.reports import EndpointReport, Report
from serve.settings import EndpointSettings, VariantSettings
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.rollout.judge_step import Losses
from taxiway.rollout.plan import RolloutSettings, StepSettings
from taxiway.rollout.state import Event, RolloutState
from taxiway.rollout.tally import Stream, Tally
from taxiway.rollout.verdict import Verdict, VerdictState
from taxiway.traffic import Override, TrafficSettings, digest, only, tag_name
from tests.tiny_model import registry_settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
STEPS = (StepSettings(shadow=100, min_s=60, max_s=6_000), StepSettings(weight=10, min_s=60, max_s=6_000))
VARIANTS = tuple(VariantSettings(name=it, model=f"models:/parcel@{it}") for it in (CHAMPION, CHALLENGER))
TAG = tag_name("app", "parcel")


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which `parcel` has three versions; MLflow needs seconds to make one."""
    folder = tmp_path_factory.mktemp("registry")
    client = MlflowClient(registry_settings(folder).tracking_uri)
    client.create_registered_model("parcel")
    for _ in range(3):
        client.create_model_version("parcel", str(folder))
    client.set_registered_model_alias("parcel", CHAMPION, "1")
    client.set_registered_model_alias("parcel", CHALLENGER, "2")
    return folder / "mlflow.db"


class Says:
    """A judge whose verdict a test chooses; remembers what it was shown."""

    losses: Losses | None = None

    def __init__(self) -> None:
        self.state: VerdictState = "inconclusive"
        self.requests: list[int] = []

    def __call__(
        self, state: RolloutState, champion: Tally, challenger: Tally, shadow: Tally, elapsed_s: float
    ) -> Verdict:
        self.requests.append(challenger.requests)
        return Verdict(self.state, True, (), (f"the judge says {self.state}",))


class World:
    """One replica that follows the registry as real ones do, and keepers over the same registry and folder."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.registry, self.judge = folder, Registry(registry_settings(folder)), Says()
        self.events: list[Event] = []
        self.answered = 0
        self.errors: dict[str, str] = {}
        self._number = 0
        self.keeper = self.another_keeper()

    def another_keeper(self, folder: str = "rollouts") -> Keeper:
        plan = RolloutSettings(start="automatic", steps=STEPS)
        settings = EndpointSettings(name="parcel", variants=VARIANTS, rollout=plan)
        return Keeper(self.registry, "app", settings, self.judge, self._note, self.folder / folder)

    def _note(self, state: RolloutState, event: Event) -> None:
        self.events.append(event)

    def report(self, *keepers: Keeper) -> None:
        """The replica looks at the registry, and tells."""
        live = self.registry.live("parcel")
        override = Override.model_validate_json(live.tags[TAG]) if TAG in live.tags else None
        versions = {it: None if it in self.errors else live.aliases.get(it) for it in (CHAMPION, CHALLENGER)}
        declared = only(CHAMPION)
        endpoint = EndpointReport(override.traffic if override else declared, declared, versions, self.errors)
        self._number += 1
        stream = Stream("parcel", CHALLENGER, "2", "live")
        streams = {stream: {"requests": float(self.answered)}}
        for keeper in keepers or (self.keeper,):
            keeper.take(Report("replica", NOW.timestamp() - 1, self._number, streams, {"parcel": endpoint}))

    def tick(self, seconds: float, keeper: Keeper | None = None) -> RolloutState:
        keeper = keeper or self.keeper
        self.report(keeper)
        state = keeper.tick(NOW + timedelta(seconds=seconds)) or keeper.rollouts.read()
        assert state is not None
        return state

    def aliases(self) -> dict[str, str]:
        return dict(self.registry.live("parcel").aliases)


@pytest.fixture
def world(prepared: Path, tmp_path: Path) -> World:
    shutil.copy(prepared, tmp_path)
    return World(tmp_path)


def point(world: World, alias: str, version: str) -> None:
    world.registry.point(alias, ModelVersion("parcel", version, ""))


def test_it_counts_from_where_every_replica_splits_as_asked(world: World) -> None:
    world.answered = 1_000
    world.tick(0)
    assert world.judge.requests == []
    world.tick(1)
    world.answered = 1_007
    world.tick(2)
    assert world.judge.requests[-1] == 7


def test_traffic_that_somebody_has_set_pauses_it_and_resume_takes_it_back(world: World) -> None:
    for second in range(3):
        state = world.tick(second)
    assert state.phase == "running"
    theirs = TrafficSettings(weights={CHAMPION: 50, CHALLENGER: 50})
    set_at = (NOW + timedelta(seconds=3)).isoformat()
    override = Override(traffic=theirs, over=digest(only(CHAMPION)), set_at=set_at, by="bob")
    world.registry.write_tag("parcel", TAG, override.model_dump_json())
    paused = world.tick(4)
    assert paused.phase == "paused"
    assert "bob" in paused.events[-1].told
    world.tick(5)
    assert Override.model_validate_json(world.registry.live("parcel").tags[TAG]).by == "bob"
    world.keeper.rollouts.command("resume", NOW + timedelta(seconds=6), "ann", "")
    world.tick(7)
    assert [event.what for event in world.events] == ["started", "paused", "resumed"]
    mine = Override.model_validate_json(world.registry.live("parcel").tags[TAG])
    assert (mine.by, mine.traffic.shadows) == (paused.by, {CHALLENGER: 100.0})


def test_a_version_that_can_not_be_loaded_fails_after_half_a_minute(world: World) -> None:
    world.errors = {CHALLENGER: "no such file"}
    world.tick(0)
    assert world.tick(29).phase == "running"
    assert world.tick(31).outcome == "rolled_back"
    for second in (32, 33, 34):
        state = world.tick(second)
    assert (state.phase, state.reason) == ("ended", "version 2 can't be loaded: no such file")
    assert world.aliases() == {CHAMPION: "1"}


@pytest.mark.parametrize(
    ("move", "outcome"),
    [
        (lambda world: point(world, CHAMPION, "3"), "aborted"),
        (lambda world: world.registry.remove_alias("parcel", CHALLENGER), "aborted"),
    ],
)
def test_an_alias_that_others_move_ends_it_and_rejects_nothing(
    world: World, move: Callable[[World], None], outcome: str
) -> None:
    for second in range(3):
        world.tick(second)
    move(world)
    for second in range(3, 7):
        state = world.tick(second)
    assert (state.phase, state.outcome) == ("ended", outcome)
    described = world.registry.describe(ModelVersion("parcel", "2", ""))
    assert described is not None
    assert "taxiway.rejected" not in described.tags


def test_a_newer_challenger_takes_the_place(world: World) -> None:
    for second in range(3):
        world.tick(second)
    point(world, CHALLENGER, "3")
    for second in range(3, 8):
        state = world.tick(second)
    assert (state.challenger_version, state.phase) == ("3", "running")
    assert [it.outcome for it in world.keeper.rollouts.history()] == ["superseded", None]


def test_two_keepers_at_once_decide_once_and_a_failed_version_stays_rejected(world: World) -> None:
    other = world.another_keeper()
    for second in range(3):
        world.tick(second)
        world.tick(second, other)
    world.judge.state = "failed"
    for second in range(3, 8):
        world.tick(second)
        state = world.tick(second, other)
    assert [it.what for it in state.events] == ["started", "failed", "rolled_back"]
    assert state.revision == 2
    world.judge.state = "successful"
    assert world.tick(500).outcome == "rolled_back"
    assert world.aliases() == {CHAMPION: "1"}


def test_a_keeper_that_dies_at_any_tick_leads_to_the_same_end(world: World) -> None:
    world.judge.state = "successful"
    for second in range(0, 400, 20):
        world.keeper = world.another_keeper()  # knows nothing but registry and folder
        world.report()
        state = world.tick(second)
    assert (state.phase, state.outcome) == ("ended", "promoted")
    assert [it.what for it in state.events] == ["started", "step", "promoting", "promoted"]
    assert world.aliases() == {CHAMPION: "2"}
    assert TAG not in world.registry.live("parcel").tags


def test_a_keeper_without_the_folder_measures_the_step_anew(world: World) -> None:
    for second in range(3):
        world.tick(second)
    world.answered = 50
    world.tick(3)
    assert world.judge.requests[-1] == 50
    world.keeper = world.another_keeper("elsewhere")
    world.tick(4)
    world.answered = 53
    world.tick(5)
    assert world.judge.requests[-1] == 3


def test_without_a_replica_nothing_is_judged_and_nothing_goes_on(world: World) -> None:
    world.judge.state = "successful"
    state = world.keeper.tick(NOW)
    for second in (100, 200):
        state = world.keeper.tick(NOW + timedelta(seconds=second))
    assert state is not None
    assert (state.phase, state.step, world.judge.requests) == ("running", 0, [])
