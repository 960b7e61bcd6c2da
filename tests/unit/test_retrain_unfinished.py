"""Which run goes on and which begins anew; and that two of a model never run side by side."""

import os
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from retrain.settings import RetrainSettings
from retrain.unfinished import Retraining, retraining
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
    arguments = {"source": "the file", "code": "abc", "now": NOW, "trigger": "a test"} | changes
    with suppress(Killed), retraining(config, **arguments) as run:
        run.keep("labels", lambda: {"made at": arguments["now"]})
        raise Killed
    return run


def test_a_killed_run_goes_on_with_what_was_done(config: RetrainSettings) -> None:
    first = begun(config)
    with retraining(config, "the file", "abc", NOW + timedelta(hours=5), "another") as second:
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
    Path(config.labels).write_bytes(b"other labels")
    assert not begun(config).resumed


def test_a_torn_state_begins_anew(config: RetrainSettings) -> None:
    (begun(config).folder / "run.json").write_text("{")
    assert not begun(config).resumed


def test_a_stage_that_was_not_written_whole_is_made_again(config: RetrainSettings) -> None:
    folder = begun(config).folder
    (folder / "looks.unfinished").write_bytes(b"half of it")
    with retraining(config, "the file", "abc", NOW, "a test") as run:
        assert run.keep("looks", lambda: [1]) == [1]


def test_a_second_run_of_the_model_is_refused_and_one_of_another_model_is_not(config: RetrainSettings) -> None:
    with retraining(config, "the file", "abc", NOW, "a test"):
        with (
            pytest.raises(TryLater, match=f"a retraining of 'm' is under way: process {os.getpid()}"),
            retraining(config, "the file", "abc", NOW, "a test"),
        ):
            pass
        with retraining(config.model_copy(update={"model": "other"}), "the file", "abc", NOW, "a test") as run:
            assert not run.resumed
