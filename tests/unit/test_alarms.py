"""Alarms in their files: whole or not there, from as many processes as like to raise one."""

import errno
import json
import multiprocessing
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from taxiway.alarms import Alarm, alarms, answer_alarms, raise_alarm
from taxiway.errors import JobError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
TEXTS = st.text(st.characters(exclude_categories=("Cc", "Cs")), max_size=20)
FACTS = st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | TEXTS


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    return tmp_path


def ago(minutes: int) -> datetime:
    return NOW - timedelta(minutes=minutes)


def test_alarms_wait_in_their_order_until_a_retraining_answers_them() -> None:
    assert alarms("m") == {}
    for minutes in (5, 30, 1):
        raise_alarm("m", Alarm(at=ago(minutes), reason=f"{minutes} minutes ago"))
    raise_alarm("other", Alarm(at=NOW, reason="about another model"))
    assert [it.reason for it in alarms("m").values()] == ["30 minutes ago", "5 minutes ago", "1 minutes ago"]
    answer_alarms("m", ago(5))
    assert [it.reason for it in alarms("m").values()] == ["1 minutes ago"]
    assert len(alarms("other")) == 1


@settings(max_examples=30)
@given(details=st.dictionaries(TEXTS.filter(bool), st.none() | FACTS, max_size=5))
def test_an_alarm_is_read_as_it_was_raised(details: dict[str, Any]) -> None:
    alarm = Alarm(at=NOW, endpoint="flights", reason="wind drifts", by="ada", details=details)
    path = raise_alarm("m", alarm)
    assert alarms("m")[path] == alarm
    assert [type(value) for value in alarms("m")[path].details.values()] == [type(it) for it in details.values()]
    path.unlink()


def _raise_many(process: int) -> None:
    for number in range(20):
        raise_alarm("m", Alarm(at=NOW, reason=f"{process}/{number}"))


def test_no_alarm_is_lost_when_processes_raise_them_in_the_same_second(home: Path) -> None:
    context = multiprocessing.get_context("fork")
    processes = [context.Process(target=_raise_many, args=(process,)) for process in range(4)]
    for process in processes:
        process.start()
    while any(process.is_alive() for process in processes):
        alarms("m")  # fails on a file that is there by half
    for process in processes:
        process.join()
    raised = {f"{process}/{number}" for process in range(4) for number in range(20)}
    assert {alarm.reason for alarm in alarms("m").values()} == raised
    assert all(path.suffix == ".json" for path in (home / "retrain" / "m" / "alarms").iterdir())


def test_an_alarm_that_another_process_answers_meanwhile_is_no_error() -> None:
    path = raise_alarm("m", Alarm(at=NOW, reason="here"))
    # What a listing has named and is gone before it is read.
    path.with_name("gone.json").symlink_to(path.with_name("nowhere"))
    assert [alarm.reason for alarm in alarms("m").values()] == ["here"]


def test_a_full_disk_leaves_nothing_behind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(JobError, match=r"the alarm can't be kept in .*alarms: No space left on device"):
        raise_alarm("m", Alarm(at=NOW, reason="here"))
    assert list((home / "retrain" / "m" / "alarms").iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", '{"at": "2026-03-01T12:00:00", "reason": "no zone"}', '["x"]'])
def test_a_file_that_is_no_alarm_is_named(text: str) -> None:
    path = raise_alarm("m", Alarm(at=NOW, reason="good"))
    path.with_name("bad.json").write_text(text)
    with pytest.raises(JobError, match=r"bad\.json is no alarm: expected JSON with at"):
        alarms("m")


def test_the_file_that_any_program_may_write_is_an_alarm() -> None:
    folder = raise_alarm("m", Alarm(at=NOW, reason="ours")).parent
    theirs = {"at": "2026-03-01T12:30:00+01:00", "reason": " drift of wind\n", "endpoint": "flights"}
    (folder / "theirs.json").write_text(json.dumps(theirs))
    assert [(it.at, it.reason) for it in alarms("m").values()] == [(ago(30), "drift of wind"), (NOW, "ours")]


@pytest.mark.parametrize(
    "wrong",
    [
        {"reason": " \n"},
        {"reason": "x" * 2_001},
        {"reason": "a NUL \0 that PostgreSQL refuses"},
        {"reason": "\ud800"},
        {"details": {"psi": float("nan")}},
        {"details": {"": 1}},
        {"details": {"psi": {"wind": 1}}},
        {"details": {"text": "x" * 1_001}},
        {"details": {str(number): number for number in range(101)}},
    ],
)
def test_what_has_no_bounds_is_no_alarm(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Alarm.model_validate({"at": NOW, "reason": "wind drifts"} | wrong)
