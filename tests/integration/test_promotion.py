"""Promotion, rollback, history and lineage in a real registry, by several processes and by ones that die."""

import json
import multiprocessing
import os
import re
import shutil
import signal
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow.tracking import MlflowClient

from taxiway.cli import main
from taxiway.errors import ConfigError, RegistryError
from taxiway.history import Record, history
from taxiway.lineage import ENVIRONMENT_TAG, LABELS_TAG, TRIGGER_TAG, WINDOW_TAG, lineage
from taxiway.promotion import REJECTED_TAG, STAGE_TAG, VERDICT_TAG, challenge, promote, reject, rollback
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.turn import TagTurn, turn
from tests.tiny_model import register, registry_settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
VERSIONS = 6


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A registry in which `parcel` has versions and no alias; MLflow needs seconds to make one."""
    folder = tmp_path_factory.mktemp("registry")
    client = MlflowClient(registry_settings(folder).tracking_uri)
    client.create_registered_model("parcel")
    for _ in range(VERSIONS):
        client.create_model_version("parcel", str(folder))
    return folder / "mlflow.db"


@pytest.fixture
def registry(prepared: Path, tmp_path: Path) -> Registry:
    shutil.copy(prepared, tmp_path)
    return Registry(registry_settings(tmp_path))


def version(number: int | str) -> ModelVersion:
    return ModelVersion("parcel", str(number), "")


def promoted(registry: Registry, *numbers: int) -> None:
    for number in numbers:
        promote(registry, version(number), "ada", "better", NOON)


def tag(registry: Registry, number: int | str, key: str = STAGE_TAG) -> str | None:
    found = registry.describe(version(number))
    assert found is not None
    return found.tags.get(key)


def stages(registry: Registry) -> dict[str, str | None]:
    return {str(number): tag(registry, number) for number in range(1, VERSIONS + 1) if tag(registry, number)}


def records(registry: Registry) -> list[Record]:
    return [entry.record for entry in history(registry, "parcel")]


def test_a_promotion_moves_the_alias_shows_the_stages_and_leaves_a_record(registry: Registry) -> None:
    promoted(registry, 1)
    challenge(registry, version(2), "retrain", "passed its gate", NOON)
    assert registry.live("parcel").aliases == {CHAMPION: "1", CHALLENGER: "2"}
    assert stages(registry) == {"1": "champion", "2": "challenger"}
    later = datetime(2026, 3, 1, 14, tzinfo=timezone(timedelta(hours=1)))
    written = promote(registry, version(2), "grace", "AUC + 0.02", later)
    assert registry.live("parcel").aliases == {CHAMPION: "2"}
    assert stages(registry) == {"1": "retired", "2": "champion"}
    assert [(it.action, it.alias, it.from_version, it.to_version, it.by, it.reason) for it in records(registry)] == [
        ("promote", "champion", None, "1", "ada", "better"),
        ("challenge", "challenger", None, "2", "retrain", "passed its gate"),
        ("promote", "champion", "1", "2", "grace", "AUC + 0.02"),
    ]
    assert written == records(registry)[-1]
    assert written.at == NOON + timedelta(hours=1)
    assert {it.state for it in records(registry)} == {"done"}


def test_the_same_promotion_again_does_nothing_twice(registry: Registry) -> None:
    promoted(registry, 1, 2)
    first = records(registry)[-1]
    assert promote(registry, version(2), "ada", "better", NOON + timedelta(hours=1)) == first
    assert len(records(registry)) == 2


def test_a_challenger_is_replaced_and_a_champion_can_be_none(registry: Registry) -> None:
    promoted(registry, 1)
    challenge(registry, version(2), "retrain", "passed", NOON)
    written = challenge(registry, version(3), "retrain", "passed", NOON)
    assert challenge(registry, version(3), "retrain", "passed", NOON) == written
    assert stages(registry) == {"1": "champion", "2": "retired", "3": "challenger"}
    with pytest.raises(RegistryError, match="models:/parcel/1 is the champion; it can't challenge itself"):
        challenge(registry, version(1), "retrain", "passed", NOON)


def test_what_a_gate_rejected_is_promoted_only_by_force(registry: Registry) -> None:
    promoted(registry, 1)
    challenge(registry, version(2), "retrain", "passed", NOON)
    verdict = {"verdict": "failed", "auc": {"difference": -0.01}}
    written = reject(registry, version(2), "gate", "AUC fell by 0.01", NOON, verdict)
    assert (written.action, written.version, written.to_version) == ("reject", "2", None)
    assert reject(registry, version(2), "gate", "AUC fell by 0.01", NOON, verdict) == written
    assert registry.live("parcel").aliases == {CHAMPION: "1"}
    assert stages(registry) == {"1": "champion", "2": "rejected"}
    assert json.loads(str(tag(registry, 2, VERDICT_TAG))) == verdict
    for move in (promote, challenge):
        with pytest.raises(RegistryError, match=r"models:/parcel/2 was rejected \(AUC fell by 0\.01\)"):
            move(registry, version(2), "ada", "better", NOON)
    assert registry.live("parcel").aliases == {CHAMPION: "1"}
    forced = promote(registry, version(2), "ada", "the gate's data was stale", NOON, force=True)
    assert forced.forced
    assert records(registry)[-1] == forced
    assert stages(registry) == {"1": "retired", "2": "champion"}
    promoted(registry, 3)
    assert stages(registry) == {"1": "retired", "2": "rejected", "3": "champion"}


def test_force_is_recorded_only_where_it_was_needed(registry: Registry) -> None:
    assert not promote(registry, version(1), "ada", "better", NOON, force=True).forced


def test_a_version_that_was_registered_as_rejected_is_not_promoted(registry: Registry) -> None:
    registry.write_version_tag(version(4), REJECTED_TAG, "too few rows")
    registry.write_version_tag(version(5), STAGE_TAG, "rejected")
    registry.write_version_tag(version(6), VERDICT_TAG, '{"passed": false, "reasons": ["AUC 0.4 < 0.5"]}')
    for number, why in ((4, "too few rows"), (5, "its stage says so"), (6, "AUC 0.4 < 0.5")):
        with pytest.raises(RegistryError, match=rf"models:/parcel/{number} was rejected \({why}\)"):
            promote(registry, version(number), "ada", "better", NOON)
    registry.write_version_tag(version(3), VERDICT_TAG, '{"passed": true}')
    registry.write_version_tag(version(2), VERDICT_TAG, "fine")
    assert records(registry) == []
    promoted(registry, 2, 3)


def test_the_champion_is_not_rejected_before_it_is_rolled_back(registry: Registry) -> None:
    promoted(registry, 1, 2)
    with pytest.raises(RegistryError, match="models:/parcel/2 is the champion; roll back first"):
        reject(registry, version(2), "ada", "answers nonsense", NOON)
    rollback(registry, "parcel", "ada", "answers nonsense", NOON)
    reject(registry, version(2), "ada", "answers nonsense", NOON)
    assert stages(registry) == {"1": "champion", "2": "rejected"}


def test_rollbacks_go_back_one_by_one(registry: Registry) -> None:
    promoted(registry, 1, 2, 3)
    first = rollback(registry, "parcel", "ada", "too slow", NOON)
    assert (first.from_version, first.to_version) == ("3", "2")
    assert rollback(registry, "parcel", "ada", "too slow", NOON).to_version == "1"
    assert stages(registry) == {"1": "champion", "2": "retired", "3": "retired"}
    with pytest.raises(RegistryError, match="had no champion before this one; promote one"):
        rollback(registry, "parcel", "ada", "too slow", NOON)
    assert rollback(registry, "parcel", "ada", "was not it", NOON, to="3").to_version == "3"
    assert registry.live("parcel").aliases == {CHAMPION: "3"}


def test_a_rollback_passes_over_what_is_gone_or_was_rejected_since(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, 1, 2, 3, 4)
    MlflowClient(registry_settings(tmp_path).tracking_uri).delete_model_version("parcel", "3")
    reject(registry, version(2), "ada", "leaks the label", NOON)
    with pytest.raises(RegistryError, match="version 3 of model 'parcel' is not in the registry any more"):
        rollback(registry, "parcel", "ada", "too slow", NOON, to="3")
    with pytest.raises(RegistryError, match=r"version 2 of model 'parcel' was rejected since \(leaks the label\)"):
        rollback(registry, "parcel", "ada", "too slow", NOON, to="2")
    assert rollback(registry, "parcel", "ada", "too slow", NOON).to_version == "1"


def test_a_version_that_was_forced_after_its_rejection_may_be_restored(registry: Registry) -> None:
    promoted(registry, 1)
    reject(registry, version(2), "gate", "AUC fell", NOON)
    promote(registry, version(2), "ada", "stale data", NOON, force=True)
    promoted(registry, 3)
    assert rollback(registry, "parcel", "ada", "too slow", NOON).to_version == "2"
    rollback(registry, "parcel", "ada", "too slow", NOON)
    reject(registry, version(2), "gate", "AUC fell", NOON)
    with pytest.raises(RegistryError, match="was rejected since"):
        rollback(registry, "parcel", "ada", "too slow", NOON, to="2")


@pytest.mark.parametrize(
    ("to", "complaint"),
    [("2", "is the champion already"), ("5", "never was champion; promote it instead"), ("99", "never was champion")],
)
def test_a_rollback_leads_only_to_a_former_champion(registry: Registry, to: str, complaint: str) -> None:
    promoted(registry, 1, 2)
    with pytest.raises(RegistryError, match=complaint):
        rollback(registry, "parcel", "ada", "too slow", NOON, to=to)
    assert registry.live("parcel").aliases == {CHAMPION: "2"}


def test_an_alias_that_was_moved_by_hand_is_where_the_next_record_begins(registry: Registry) -> None:
    registry.point(CHAMPION, version(1))
    promoted(registry, 2)
    registry.point(CHAMPION, version(5))
    promoted(registry, 3)
    assert [it.from_version for it in records(registry)] == ["1", "5"]
    assert rollback(registry, "parcel", "ada", "too slow", NOON).to_version == "5"
    assert rollback(registry, "parcel", "ada", "too slow", NOON).to_version == "2"


WRONG: list[tuple[Callable[[Registry], object], type[Exception], str]] = [
    (lambda it: promote(it, version(99), "ada", "better", NOON), RegistryError, "models:/parcel/99 is not in the"),
    (lambda it: promote(it, ModelVersion("nobody", "1", ""), "ada", "x", NOON), RegistryError, "'nobody'"),
    (lambda it: rollback(it, "nobody", "ada", "x", NOON), RegistryError, "'nobody'"),
    (lambda it: promote(it, version(1), "ada", " ", NOON), ConfigError, "say why changes model 'parcel'"),
    (lambda it: promote(it, version(1), "", "better", NOON), ConfigError, "say who changes model 'parcel'"),
    (lambda it: promote(it, version(1), "ada", "x", datetime(2026, 3, 1)), ConfigError, "has no time zone"),
    (lambda it: reject(it, version(1), "ada", "x", NOON, {"at": NOON}), ConfigError, "the verdict is no JSON"),
    (lambda it: reject(it, version(1), "ada", "x", NOON, {"a": "x" * 60_000}), ConfigError, "a tag takes 50,000"),
]


@pytest.mark.parametrize(("ask", "error", "complaint"), WRONG)
def test_what_is_wrong_is_said_and_changes_nothing(
    registry: Registry, ask: Callable[[Registry], object], error: type[Exception], complaint: str
) -> None:
    with pytest.raises(error, match=complaint):
        ask(registry)
    assert registry.live("parcel").aliases == {}
    assert registry.live("parcel").tags == {}


class Dying(Registry):
    """Dies in place of its write number `at`; without a number it counts them."""

    def __init__(self, folder: Path, at: int | None = None) -> None:
        super().__init__(registry_settings(folder))
        self._at = at
        self.writes = 0

    def _write(self) -> None:
        self.writes += 1
        if self.writes == self._at:
            raise KeyboardInterrupt

    def write_tag(self, name: str, key: str, value: str) -> None:
        self._write()
        super().write_tag(name, key, value)

    def write_version_tag(self, version: ModelVersion, key: str, value: str) -> None:
        self._write()
        super().write_version_tag(version, key, value)

    def point(self, alias: str, version: ModelVersion) -> None:
        self._write()
        super().point(alias, version)

    def remove_alias(self, name: str, alias: str) -> None:
        self._write()
        super().remove_alias(name, alias)


def seen(registry: Registry) -> object:
    """Everything but the records themselves."""
    return registry.live("parcel").aliases, stages(registry), [tag(registry, it, REJECTED_TAG) for it in range(1, 7)]


CHANGES: dict[str, Callable[[Registry], Record]] = {
    "promote": lambda registry: promote(registry, version(3), "grace", "faster", NOON),
    "rollback": lambda registry: rollback(registry, "parcel", "grace", "slower", NOON),
    "challenge": lambda registry: challenge(registry, version(4), "grace", "passed", NOON),
    "reject": lambda registry: reject(registry, version(3), "grace", "AUC fell", NOON),
}


@pytest.mark.parametrize("change", CHANGES)
def test_killed_at_any_write_the_next_change_leaves_the_old_state_or_the_new(
    registry: Registry, tmp_path: Path, change: str
) -> None:
    promoted(registry, 1, 2)
    challenge(registry, version(3), "retrain", "passed", NOON)
    shutil.copy(tmp_path / "mlflow.db", tmp_path / "before.db")
    old = seen(registry)
    whole = Dying(tmp_path)
    CHANGES[change](whole)
    new = seen(registry)
    assert new != old
    ends = []
    for at in range(1, whole.writes + 1):
        folder = tmp_path / f"{at}"
        folder.mkdir()
        shutil.copy(tmp_path / "before.db", folder / "mlflow.db")
        with pytest.raises(KeyboardInterrupt):
            CHANGES[change](Dying(folder, at))
        mended = Registry(registry_settings(folder))
        with pytest.raises(RegistryError, match="never was champion"):
            rollback(mended, "parcel", "ada", "to mend it", NOON, to="6")
        states = [it.state for it in records(mended)]
        assert "begun" not in states
        ends.append("new" if seen(mended) == new else "old" if seen(mended) == old else "neither")
        assert states.count("done") == (4 if ends[-1] == "new" else 3)
        if change != "rollback" or ends[-1] == "old":
            CHANGES[change](mended)
        assert seen(mended) == new
        assert [it.state for it in records(mended)].count("done") == 4
    assert ends == sorted(ends, reverse=True)
    assert set(ends) == {"old", "new"}


def test_a_rollback_that_died_half_way_is_completed_by_the_same_call(registry: Registry, tmp_path: Path) -> None:
    promoted(registry, 1, 2, 3)
    with pytest.raises(KeyboardInterrupt):
        rollback(Dying(tmp_path, 3), "parcel", "ada", "too slow", NOON)
    assert registry.live("parcel").aliases == {CHAMPION: "2"}
    assert rollback(registry, "parcel", "ada", "too slow", NOON).to_version == "2"
    assert registry.live("parcel").aliases == {CHAMPION: "2"}
    assert [it.state for it in records(registry)] == ["done"] * 4


WORK = ([1, 2, 3, 1, 2, 3, 1], [4, 5, 6, 4, 5, 6, 4])
COUNTS = 10


def change_in_turns(folder: str, numbers: list[int], together: Any) -> None:
    """Of a process of its own: promotes, then counts, which comes out right only when nobody else counts meanwhile."""
    registry = Registry(registry_settings(Path(folder)))
    registry.live("parcel")
    together.wait(200)
    for number in numbers:
        promote(registry, version(number), f"process {os.getpid()}", f"turn of {number}", datetime.now(UTC))
    together.wait(200)
    for _ in range(COUNTS):
        with TagTurn(registry, "parcel", "counter").held() as still_mine:
            count = int(registry.live("parcel").tags.get("count", "0"))
            still_mine()
            registry.write_tag("parcel", "count", str(count + 1))


@pytest.fixture(scope="module")
def shared(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    """A registry that several processes have changed at once."""
    folder = tmp_path_factory.mktemp("shared")
    shutil.copy(prepared, folder)
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(len(WORK))
    processes = [context.Process(target=change_in_turns, args=(str(folder), it, together)) for it in WORK]
    for process in processes:
        process.start()
    for process in processes:
        process.join(250)
    assert [process.exitcode for process in processes] == [0] * len(WORK)
    return Registry(registry_settings(folder))


def test_promotions_of_several_processes_lose_no_record(shared: Registry) -> None:
    found = records(shared)
    assert len(found) == 14
    assert {it.state for it in found} == {"done"}
    assert [it.from_version for it in found] == [None, *(it.to_version for it in found[:-1])]
    for numbers in WORK:
        own = [it.to_version for it in found if int(str(it.to_version)) in numbers]
        assert own == [str(number) for number in numbers]
    keys = [entry.key.split("-")[0] for entry in history(shared, "parcel")]
    assert keys == [f"taxiway.history.{number:08d}" for number in range(1, 15)]
    assert shared.live("parcel").aliases == {CHAMPION: found[-1].to_version}
    champions = [number for number, stage in stages(shared).items() if stage == "champion"]
    assert champions == [found[-1].to_version]


def test_turns_in_tags_keep_processes_apart(shared: Registry) -> None:
    tags = shared.live("parcel").tags
    assert tags["count"] == str(len(WORK) * COUNTS)
    assert not [key for key in tags if key.startswith("taxiway.turn.")]


def hold_for_ever(folder: str, holding: Any) -> None:
    with turn(Registry(registry_settings(Path(folder))), "parcel", "grace"):
        holding.set()
        signal.pause()


def test_the_lock_of_a_killed_process_is_free_at_once(registry: Registry, tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    holding = context.Event()
    process = context.Process(target=hold_for_ever, args=(str(tmp_path), holding))
    process.start()
    assert holding.wait(120)
    who = rf"\(grace, process {process.pid} on "
    with pytest.raises(RegistryError, match=who), turn(registry, "parcel", "ada", wait_s=0.2):
        pass
    process.kill()
    process.join(30)
    with turn(registry, "parcel", "ada", wait_s=5.0):
        pass


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A version with a package, one that plain MLflow logged, and no artifacts of a third."""
    folder = tmp_path_factory.mktemp("lineage")
    trained = register(folder)
    registry = Registry(registry_settings(folder))
    registry.write_version_tag(trained, WINDOW_TAG, "2026-01-01T00:00:00+00:00/2026-02-01T00:00:00+00:00")
    registry.write_version_tag(trained, TRIGGER_TAG, '{"kind": "schedule"}')
    registry.write_version_tag(trained, VERDICT_TAG, '{"verdict": "successful"}')
    registry.write_version_tag(trained, LABELS_TAG, '{"repo": "/data", "path": "l.parquet", "rev": "v1", "md5": "ab"}')
    registry.write_version_tag(trained, ENVIRONMENT_TAG, '{"python": "CPython 3.11.9", "image": "r/n@sha256:12"}')
    with mlflow.start_run(experiment_id=registry.experiment("parcel"), tags={"data_digest": "abc"}) as run:
        mlflow.log_params({"depth": 3})
        mlflow.log_metrics({"auc": 0.75})
        mlflow.log_dict({"verdict": "failed"}, "verdict.json")
        logged = mlflow.pyfunc.log_model(name="model", python_model=_identity, pip_requirements=[])
    registry.register("parcel", logged.model_uri, run.info.run_id, {})
    MlflowClient().create_model_version("parcel", str(folder / "nowhere"))
    return folder


def _identity(model_input: list[str]) -> list[str]:
    return model_input


def test_the_lineage_of_a_package(home: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(home, tmp_path / "copy")
    registry = Registry(registry_settings(folder))
    found = lineage(registry, "models:/parcel@champion")
    assert (found.model, found.version, found.aliases) == ("parcel", "1", ("champion",))
    assert (found.data_digest, found.data_rows, found.code_revision) == ("0" * 64, 2_000, "test")
    assert found.data_window == "2026-01-01T00:00:00+00:00/2026-02-01T00:00:00+00:00"
    assert (found.trigger, found.verdict) == ({"kind": "schedule"}, {"verdict": "successful"})
    assert found.labels == {"repo": "/data", "path": "l.parquet", "rev": "v1", "md5": "ab"}
    assert found.environment == {"python": "CPython 3.11.9", "image": "r/n@sha256:12"}
    assert (found.feature_service, found.feature_views) == (None, ())
    assert (found.parameters, found.metrics) == ({}, {})
    assert found.unreadable is None
    assert found.run_id == registry.resolve("models:/parcel/1").run_id
    assert found.unknown == ("stage", "promoted")
    registry.point(CHAMPION, version(2))
    promote(registry, version(1), "ada", "better", NOON)
    known = lineage(registry, "models:/parcel/1")
    assert known.unknown == ()
    assert known.promoted == records(registry)[-1]
    assert known.stage == "champion"


def test_the_lineage_of_a_plain_model_says_what_its_run_says(home: Path) -> None:
    found = lineage(Registry(registry_settings(home)), "models:/parcel/2")
    assert (found.data_digest, found.parameters, found.metrics) == ("abc", {"depth": "3"}, {"auc": 0.75})
    assert found.verdict == {"verdict": "failed"}
    assert (found.aliases, found.promoted) == ((), None)
    unknown = {"stage", "data_rows", "data_window", "feature_service", "feature_service_version", "feature_views"}
    assert set(found.unknown) - {"code_revision"} == unknown | {"trigger", "labels", "environment"}


def test_the_lineage_of_a_version_without_anything_is_unknown_and_not_invented(home: Path) -> None:
    found = lineage(Registry(registry_settings(home)), "models:/parcel/3")
    assert {"run_id", "trained", "data_digest", "parameters", "metrics", "verdict"} <= set(found.unknown)
    assert (found.run_id, found.data_digest, found.parameters) == (None, None, None)
    assert "its artifacts can't be read" in str(found.unreadable)
    with pytest.raises(RegistryError, match="models:/parcel/9 is not in the registry"):
        lineage(Registry(registry_settings(home)), "models:/parcel/9")


def run(folder: Path, *arguments: str) -> int:
    return main([*arguments, "--tracking-uri", registry_settings(folder).tracking_uri])


def test_the_commands_promote_roll_back_and_tell(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "history", "parcel") == 0
    assert capsys.readouterr().out == "nothing is recorded of parcel\n"
    for number in (1, 2):
        arguments = ["promote", f"models:/parcel/{number}", "--by", "ada", "--reason", f"AUC of\n{number}"]
        assert run(tmp_path, *arguments) == 0
    assert capsys.readouterr().out == (
        "models:/parcel@champion is version 1; promote by ada\n"
        "models:/parcel@champion is version 2, before: 1; promote by ada\n"
    )
    assert run(tmp_path, "rollback", "parcel", "--by", "grace", "--reason", "too slow") == 0
    assert capsys.readouterr().out == "models:/parcel@champion is version 1, before: 2; rollback by grace\n"
    assert run(tmp_path, "history", "parcel") == 0
    lines = [line[21:] for line in capsys.readouterr().out.splitlines()]
    assert lines == [
        "action    version  before  by     reason",
        "promote   1        -       ada    AUC of 1",
        "promote   2        1       ada    AUC of 2",
        "rollback  1        2       grace  too slow",
    ]
    assert run(tmp_path, "history", "parcel", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert [Record.model_validate(it) for it in told] == records(registry)


def test_a_rejected_version_is_forced_by_command(
    registry: Registry, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reject(registry, version(2), "gate", "AUC fell", NOON)
    assert run(tmp_path, "promote", "models:/parcel/2", "--reason", "better") == 1
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err == ("taxiway: models:/parcel/2 was rejected (AUC fell); force it, or promote another one\n")
    assert run(tmp_path, "promote", "models:/parcel/2", "--reason", "stale data", "--force") == 0
    assert run(tmp_path, "history", "parcel") == 0
    assert capsys.readouterr().out.splitlines()[-1].endswith("stale data (forced)")


def test_the_lineage_as_text_says_unknown(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(home, "lineage", "models:/parcel/1") == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == "models:/parcel/1"
    facts = dict(re.split(r"\s{2,}", line.strip(), maxsplit=1) for line in told[1:])
    assert facts["training data"] == "0" * 64
    assert facts["aliases"] == "champion"
    assert facts["trigger"] == "kind  schedule"
    assert facts["environment"] == "python  CPython 3.11.9"
    assert facts["labels"] == "repo  /data"
    assert "md5   ab" in [line.strip() for line in told]
    assert (facts["promoted"], facts["feature service"], facts["rejected"]) == ("unknown", "none", "none")
    assert run(home, "lineage", "models:/parcel/2", "--json") == 0
    assert json.loads(capsys.readouterr().out)["metrics"] == {"auc": 0.75}


@pytest.mark.parametrize(
    ("arguments", "status", "complaint"),
    [
        (["lineage", "parcel"], 2, "taxiway: 'parcel' is no model: expected models:/NAME@ALIAS"),
        (["promote", "models:/parcel/1", "--reason", " "], 2, "taxiway: say why changes model 'parcel'"),
        (["promote", "models:/parcel/99", "--reason", "better"], 1, "taxiway: models:/parcel/99 is not in the"),
        (["rollback", "parcel", "--reason", "too slow"], 1, "taxiway: model 'parcel' had no champion before"),
        (["history", "nobody"], 1, "taxiway: model 'nobody'"),
    ],
)
def test_what_a_command_can_not_do_is_one_line_and_a_status(
    registry: Registry,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    status: int,
    complaint: str,
) -> None:
    assert run(tmp_path, *arguments) == status
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith(complaint)
    assert len(told.err.splitlines()) == 1
    assert registry.live("parcel").aliases == {}


def test_a_registry_that_is_not_there_is_not_made(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(tmp_path, "history", "parcel") == 2
    assert "mlflow.db does not exist; give --tracking-uri" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
