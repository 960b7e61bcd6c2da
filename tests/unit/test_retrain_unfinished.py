"""Which run goes on and which begins anew; and that two of a model never run side by side."""

import os
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from retrain.settings import RetrainSettings
from retrain.source import LabelsFile, labels_file
from retrain.unfinished import Retraining, began_of, can_go_on, retraining
from taxiway.errors import TryLater
from tests.unit.test_retrain_settings import settings

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


class Killed(Exception):
    """Stands for the end of the process: the folder stays."""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RetrainSettings:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    (tmp_path / "labels.parquet").write_bytes(b"labels")
    return settings(labels=str(tmp_path / "labels.parquet"), resume_h=6)


def begun(config: RetrainSettings, **changes: Any) -> Retraining:
    """A run whose first stage is done, and which is killed then."""
    labels = {"labels": lambda: labels_file(config)}
    arguments = {"source": "the file", "code": "abc", "now": NOW, "trigger": "a test"} | labels | changes
    with suppress(Killed), retraining(config, **arguments) as run:
        run.keep("labels", lambda: {"made at": arguments["now"]})
        raise Killed
    return run


def again(config: RetrainSettings, now: datetime = NOW) -> AbstractContextManager[Retraining]:
    return retraining(config, "the file", "abc", lambda: labels_file(config), now, "another")


def test_a_killed_run_goes_on_with_what_was_done(config: RetrainSettings) -> None:
    first = begun(config)
    with again(config, NOW + timedelta(hours=5)) as second:
        assert second.resumed
        assert second.state == first.state
        assert second.state.trigger == "a test"
        assert second.stages_done() == ["labels"]
        assert second.keep("labels", lambda: pytest.fail("made again")) == {"made at": NOW}
    assert not second.folder.exists()


@pytest.mark.parametrize(
    "changes",
    [
        {"source": "another file"},
        {"code": "def"},
        {"now": NOW + timedelta(hours=7)},
        {"restart": True},
    ],
)
def test_a_run_of_other_settings_code_or_day_begins_anew(config: RetrainSettings, changes: dict[str, Any]) -> None:
    first = begun(config)
    second = begun(config, **changes)
    assert not second.resumed
    assert second.state.run_id != first.state.run_id


def test_other_labels_begin_anew(config: RetrainSettings) -> None:
    begun(config)
    Path(str(config.labels.path)).write_bytes(b"other labels")
    assert not begun(config).resumed


def test_labels_from_another_place_begin_anew(config: RetrainSettings) -> None:
    one, same, other = (LabelsFile("copy.parquet", identity) for identity in ("repo 1", "repo 1", "repo 2"))
    begun(config, labels=lambda: one)
    assert begun(config, labels=lambda: same).resumed
    assert not begun(config, labels=lambda: other).resumed


def test_the_labels_are_not_asked_for_while_no_run_was_killed(config: RetrainSettings) -> None:
    def labels() -> LabelsFile:
        return pytest.fail("asked for")

    assert not can_go_on(config, "the file", "abc", labels, NOW)
    begun(config)
    assert can_go_on(config, "the file", "abc", lambda: labels_file(config), NOW)


def test_a_run_id_tells_when_the_run_began(config: RetrainSettings) -> None:
    there = NOW.astimezone(timezone(timedelta(hours=9)))
    assert began_of(begun(config, now=there).state.run_id) == NOW
    assert began_of("somebody-elses") is None


def test_a_torn_state_begins_anew(config: RetrainSettings) -> None:
    (begun(config).folder / "run.json").write_text("{")
    assert not begun(config).resumed


def test_a_stage_that_was_not_written_whole_is_made_again(config: RetrainSettings) -> None:
    folder = begun(config).folder
    (folder / "looks.unfinished").write_bytes(b"half of it")
    with again(config) as run:
        assert run.keep("looks", lambda: [1]) == [1]


def test_a_second_run_of_the_model_is_refused_and_one_of_another_model_is_not(config: RetrainSettings) -> None:
    with again(config):
        with pytest.raises(TryLater, match=f"a retraining of 'm' is under way: process {os.getpid()}"), again(config):
            pass
        with again(config.model_copy(update={"model": "other"})) as run:
            assert not run.resumed
