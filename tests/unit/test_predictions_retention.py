"""Retention, status, and the commands for both and for compaction."""

import argparse
import json
from datetime import timedelta

import pytest
import yaml

from taxiway import predictions_cli
from taxiway.cli import main
from taxiway.errors import OutputHeld
from taxiway.predictions.compaction import compact
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.lock import one_at_a_time
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.reader import read
from taxiway.predictions.retention import old_hours, retain
from taxiway.predictions.status import status
from taxiway.predictions.storage import Storage
from taxiway.predictions.truth_log import GroundTruthLog
from tests.prediction_records import NOON, a_batch, an_id, minutes

DAY = timedelta(days=1)


class _Killed(Exception):
    pass


@pytest.fixture
def log(tmp_path):
    """Answers of 12, 13 and 14 o'clock, two files each; a label of 12 that came at 14."""
    location = str(tmp_path / "log")
    names = FileNames()
    for number in range(6):
        (file,) = encode([(a_batch([an_id(minutes(30 * number), number)], [2]), None)], FieldRules({}), names)
        Storage(location).write(file.path, file.content)
    truth = GroundTruthLog(location)
    truth.add([GroundTruth(an_id(), 0, 1.0, NOON, minutes(125))]).result(5)
    truth.close()
    return location


def made(location):
    return read(location, "delay", NOON - DAY, NOON + DAY)["prediction_id"].to_pylist()


def test_hours_that_ended_before_the_moment_go_and_others_stay(log):
    gone = []
    retain(log, minutes(60 * 24), timedelta(hours=22, minutes=30), gone.append)
    assert [(hour.folder, hour.files) for hour in gone] == [("endpoint=delay/date=2026-01-01/hour=12", 2)]
    assert set(made(log)) == {an_id(minutes(30 * number), number) for number in range(2, 6)}
    assert sorted(path.name for path in (Storage(log).folder / "endpoint=delay/date=2026-01-01").iterdir()) == [
        "hour=13",
        "hour=14",
    ]


def test_nothing_of_an_hour_goes_before_all_of_it_is_too_old(log):
    assert [hour.begin for hour in old_hours(Storage(log), minutes(59.9))] == []
    assert [hour.begin for hour in old_hours(Storage(log), minutes(60))] == [NOON]


def test_a_label_outlives_its_answer_by_the_time_that_it_took(log):
    roots = [hour.root for hour in old_hours(Storage(log), minutes(180))]
    assert roots == ["endpoint=delay"] * 3
    assert [hour.root for hour in old_hours(Storage(log), minutes(181))][3:] == ["ground_truth"]


@pytest.mark.parametrize("number", range(5))
def test_a_retention_that_is_killed_anywhere_is_finished_by_the_next_one(log, number):
    steps = []

    def dying(path):
        steps.append(path)
        if len(steps) > number:
            raise _Killed

    with pytest.raises(_Killed):
        retain(log, minutes(180), timedelta(0), lambda _: None, dying)
    left = made(log)
    assert len(left) == 12 - 2 * number
    retain(log, minutes(180), timedelta(0), lambda _: None)
    assert made(log) == []
    assert not list(Storage(log).folder.glob("endpoint=*"))


def test_what_a_compaction_has_replaced_goes_first(log):
    with pytest.raises(_Killed):
        compact(log, NOON + DAY, step=lambda what: what.startswith("delete") and _raise())
    deleted = []

    def checked(path):
        deleted.append(path)
        rows = made(log)
        assert len(rows) == len(set(rows)) * 2

    retain(log, minutes(60), timedelta(0), lambda _: None, checked)
    assert "compacted-" in deleted[-1]


def _raise():
    raise _Killed


def test_a_retention_waits_for_no_compaction_but_is_refused(log):
    with one_at_a_time(Storage(log), "compaction"), pytest.raises(OutputHeld, match="another compaction is at work"):
        retain(log, minutes(60), timedelta(0), lambda _: None)


def test_the_status_says_what_is_held(log):
    answers, truth = status(log, NOON + DAY, with_labels=True)
    assert (answers.endpoint, answers.hours, answers.files, answers.rows, answers.labels) == ("delay", 3, 6, 12, 1)
    assert (answers.oldest, answers.newest) == (NOON, minutes(180))
    assert answers.size_bytes == sum(path.stat().st_size for path in Storage(log).folder.glob("endpoint=*/*/*/*"))
    assert (truth.endpoint, truth.hours, truth.rows, truth.labels) == (None, 1, 1, None)
    compact(log, NOON + DAY)
    assert status(log, NOON + DAY)[0].files == 3


def test_an_empty_log_has_a_status(tmp_path):
    (truth,) = status(str(tmp_path), NOON, with_labels=True)
    assert (truth.rows, truth.oldest) == (0, None)


def test_commands_need_no_registry(log, capsys):
    assert main(["predictions", "compact", "--location", log]) == 0
    assert capsys.readouterr().out == "3 hours: 6 files have become 3\n"
    assert main(["predictions", "status", "--location", log]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split()[:4] == ["delay", "3", "3", "12"]
    assert lines[2].startswith("(ground truth)")
    assert main(["predictions", "status", "--location", log, "--json", "--labels"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["labels"] == 1


def test_the_age_is_that_of_the_serve_file_and_a_dry_run_deletes_nothing(log, tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("UNSET", raising=False)
    told = {"location": log, "retention_days": 1, "hash_secret": "${UNSET}"}
    config = tmp_path / "serve.yaml"
    config.write_text(yaml.safe_dump({"applications": [{"args": {"predictions": told}}, {"args": {"endpoints": []}}]}))
    assert main(["predictions", "retain", "--config", str(config), "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "endpoint=delay: 3 hours (2026-01-01 12 to 2026-01-01 14 h), 6 files, " in out
    assert "ground_truth: 1 hours" in out
    assert "would be deleted" in out
    assert len(made(log)) == 12
    assert main(["predictions", "retain", "--config", str(config)]) == 0
    assert made(log) == []
    assert main(["predictions", "retain", "--config", str(config)]) == 0
    assert capsys.readouterr().out.endswith("UTC: nothing\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [([], "retention_days: nothing says"), (["--days", "0"], "--days: 0 would delete everything")],
)
def test_nothing_is_deleted_where_nothing_says_how_much_to_keep(log, capsys, arguments, message):
    assert main(["predictions", "retain", "--location", log, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert len(made(log)) == 12


def test_a_config_without_a_log_is_refused(tmp_path, capsys):
    config = tmp_path / "serve.yaml"
    config.write_text("applications: []")
    assert main(["predictions", "status", "--config", str(config)]) == 2
    assert "has no key `predictions`" in capsys.readouterr().err
    two = [{"args": {"predictions": {"location": place}}} for place in "ab"]
    config.write_text(yaml.safe_dump({"applications": two}))
    assert main(["predictions", "status", "--config", str(config)]) == 2
    assert "different prediction logs" in capsys.readouterr().err


def test_on_a_schedule_another_one_at_work_is_told_and_waited_for(log, monkeypatch):
    waited = []
    monkeypatch.setattr(predictions_cli.time, "sleep", waited.append)
    given = argparse.Namespace(location=log, config=None, every=5.0)
    lines = predictions_cli._compact(given)
    with one_at_a_time(Storage(log), "compaction"):
        assert "another compaction is at work" in next(lines)
    assert next(lines) == "3 hours: 6 files have become 3"
    assert waited == [300.0]
