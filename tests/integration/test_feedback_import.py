"""An import of ground truth through the batch entry point: each label once, whoever is killed when."""

import csv
import json
import subprocess
import sys
from datetime import timedelta

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml

from batch.__main__ import main
from batch.feedback import import_feedback, utc_now
from batch.feedback_settings import FeedbackSettings
from batch.label_files import label_files
from taxiway.errors import ConfigError, TooManyRejects
from taxiway.predictions import imports
from taxiway.predictions.compaction import compact
from taxiway.predictions.join import label_since
from taxiway.predictions.labels import read_labels, resolve
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage
from taxiway.predictions.writer import PredictionLog
from taxiway.settings import parse
from tests.prediction_records import NOON, a_batch, an_id, minutes, write


class _Killed(BaseException):
    pass


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


@pytest.fixture
def folder(tmp_path):
    made = tmp_path / "labels"
    made.mkdir()
    return made


def put_parquet(folder, numbers, name="a.parquet", **columns):
    table = {"prediction_id": [an_id(number=number) for number in numbers], "label": [float(it) for it in numbers]}
    pq.write_table(pa.table(table | columns), folder / name)


def put_csv(folder, lines, name="a.csv"):
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows(lines)


def settings_of(log, folder, **others):
    return parse({"feedback": log, "input": str(folder)} | others, FeedbackSettings, "feedback.yaml")


def take(log, folder, clock=utc_now, dry_run=False, **others):
    lines = []
    import_feedback(settings_of(log, folder, **others), None, dry_run, lines.append, clock)
    return lines


def reports(log):
    return read_labels(Storage(log), NOON, utc_now() + timedelta(days=1))


def labels(log):
    return sorted(resolve(reports(log)).table["label_number"].to_pylist())


def ticking():
    """A clock that goes on a minute each time it is looked at."""
    moments = iter(range(10_000))
    return lambda: minutes(60 + next(moments))


def test_a_job_takes_files_of_labels_and_they_meet_their_answers(log, folder, tmp_path, capsys):
    answers = PredictionLog(PredictionLogSettings(location=log))
    write(answers, a_batch([an_id(number=number) for number in range(3)]))
    answers.close()
    put_parquet(folder, [0, 2], value=[1.5, None])
    put_csv(folder, [["when", "id", "label"], ["2026-01-01T13:00:00Z", an_id(number=1).upper(), "7"]], "b.csv")
    for name, more in (("a.parquet", {}), ("b.csv", {"columns": {"prediction_id": "id", "became_true": "when"}})):
        config = tmp_path / f"{name}.yaml"
        config.write_text(yaml.safe_dump({"feedback": log, "input": str(folder / name), **more}))
        assert main([str(config)]) == 0
    assert "a.parquet: 2 labels\n" in capsys.readouterr().out
    joined = label_since(log, NOON, utc_now() + timedelta(days=1), columns=["output.y"]).table
    assert sorted(zip(joined["output.y"].to_pylist(), joined["label_number"].to_pylist(), strict=True)) == [
        (0.0, 0.0), (10.0, 7.0), (20.0, 2.0),
    ]  # fmt: skip
    assert joined["became_true"].to_pylist()[1] == minutes(60)


def test_a_second_run_takes_new_and_changed_files_only(log, folder):
    put_parquet(folder, [0, 1])
    assert len(take(log, folder)) == 1
    before = reports(log)
    assert take(log, folder) == ["1 of 1 files were taken before"]
    assert reports(log).equals(before)
    put_parquet(folder, [2], "b.parquet")
    assert take(log, folder)[0] == "1 of 2 files were taken before"
    assert labels(log) == [0.0, 1.0, 2.0]
    pq.write_table(pa.table({"prediction_id": [an_id(number=0)], "label": [9.0]}), folder / "a.parquet")
    take(log, folder)
    assert labels(log) == [1.0, 2.0, 9.0]
    assert resolve(reports(log)).corrections == 1


def test_a_correction_that_came_between_two_runs_stays(log, folder):
    put_parquet(folder, [0])
    take(log, folder)
    put_parquet(folder, [0], "b.parquet", label=[5.0])
    take(log, folder)
    take(log, folder)
    assert labels(log) == [5.0]


@pytest.mark.parametrize("writes", range(9))
def test_an_import_that_is_killed_anywhere_goes_on_and_tells_nothing_twice(log, folder, monkeypatch, writes):
    monkeypatch.setattr(imports, "PART_ROWS", 1)
    monkeypatch.setattr("batch.label_files._ROWS", 2)
    put_parquet(folder, range(6))
    clock, left, write_file = ticking(), iter(range(writes)), Storage.write

    def dying(storage, path, content):
        if next(left, None) is None:
            raise _Killed
        write_file(storage, path, content)

    monkeypatch.setattr(Storage, "write", dying)
    try:
        take(log, folder, clock)
        finished = True
    except _Killed:
        finished = False
    monkeypatch.setattr(Storage, "write", write_file)
    assert finished == (writes > 7)
    take(log, folder, clock)
    found = reports(log)
    assert sorted(found["label_number"].to_pylist()) == [0.0, 1.0, 2.0, 3.0, 4.0, 5.0]
    assert len(set(found["received_at"].to_pylist())) == 3


def test_labels_that_a_resumed_import_takes_are_received_when_they_are_written(log, folder, monkeypatch):
    monkeypatch.setattr(imports, "PART_ROWS", 1)
    monkeypatch.setattr("batch.label_files._ROWS", 2)
    put_parquet(folder, range(4))
    write_file = Storage.write

    def dying(storage, path, content):
        if path.endswith("000001.parquet"):
            raise _Killed
        write_file(storage, path, content)

    monkeypatch.setattr(Storage, "write", dying)
    with pytest.raises(_Killed):
        take(log, folder, lambda: minutes(60))
    monkeypatch.setattr(Storage, "write", write_file)
    take(log, folder, lambda: minutes(600))
    assert sorted(reports(log)["received_at"].to_pylist()) == [minutes(60)] * 2 + [minutes(600)] * 2


def test_compaction_between_two_attempts_adds_nothing(log, folder):
    put_parquet(folder, [0, 1])
    put_parquet(folder, [2], "b.parquet")
    take(log, folder)
    compact(log, utc_now() + timedelta(days=1))
    assert take(log, folder) == ["2 of 2 files were taken before"]
    assert labels(log) == [0.0, 1.0, 2.0]


LINES = [
    ["prediction_id", "label", "row"],
    [an_id(), "1.5", "0"],
    [an_id(number=1), "late", "0"],
    [an_id(number=2), "", ""],
    ["17", "1", "0"],
    [an_id(number=3), "2", ""],
]


def test_a_bad_row_fails_the_job_and_nothing_is_taken(log, folder, tmp_path, capsys):
    put_csv(folder, LINES)
    put_parquet(tmp_path, [8], "good.parquet")
    config = tmp_path / "feedback.yaml"
    config.write_text(json.dumps({"feedback": log, "input": str(folder)}))
    assert main([str(config)]) == 3
    told = capsys.readouterr()
    assert "3 of 5 rows can't be taken, and nothing was; the first one:" in told.err
    assert "a.csv: row 2: label: got 'late', expected a double" in told.err
    assert "a.csv: row 4: prediction_id: got '17'" in told.out
    assert reports(log).num_rows == 0


def test_bad_rows_are_left_out_and_told_where_the_settings_say_so(log, folder):
    put_csv(folder, LINES)
    lines = take(log, folder, on_bad_rows="skip")
    assert [line.partition("a.csv: ")[2].partition(":")[0] for line in lines[:3]] == ["row 2", "row 3", "row 4"]
    assert lines[3].endswith("2 labels, left out 1 missing_value, 2 wrong_type")
    table = reports(log)
    assert table["label_number"].to_pylist() == [1.5, 2.0]
    assert table["row"].to_pylist() == [0, None]


def test_a_dry_run_says_what_would_be_taken_and_takes_nothing(log, folder, tmp_path):
    put_csv(folder, LINES)
    lines = take(log, folder, dry_run=True, on_bad_rows="skip")
    assert lines[-1].endswith("2 labels, left out 1 missing_value, 2 wrong_type")
    with pytest.raises(TooManyRejects):
        take(log, folder, dry_run=True)
    assert not (tmp_path / "log").exists()


def test_texts_are_labels_where_the_settings_say_so(log, folder):
    put_csv(folder, LINES)
    take(log, folder, label_type="text", on_bad_rows="skip")
    assert reports(log)["label_text"].to_pylist() == ["1.5", "late", "2"]


def test_json_lines_are_read_as_they_are(log, folder):
    rows = [{"prediction_id": an_id(number=number), "label": label} for number, label in enumerate([1, 0.5, 2])]
    (folder / "a.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\nnot json\n")
    lines = take(log, folder, on_bad_rows="skip")
    assert labels(log) == [0.5, 1.0, 2.0]
    assert lines[-1].endswith("3 labels, left out 1 malformed_row")


def test_columns_that_are_not_there_are_named(log, folder):
    put_parquet(folder, [0])
    with pytest.raises(
        ConfigError, match=r"columns\.label: .*a\.parquet has no column 'y', it has prediction_id, label"
    ):
        label_files(settings_of(log, folder, columns={"label": "y"}))
    with pytest.raises(ConfigError, match=r"columns\.value"):
        label_files(settings_of(log, folder, columns={"value": "worth"}))
    with pytest.raises(ConfigError, match="unknown key 'model'"):
        settings_of(log, folder, model="models:/x@champion")


def test_options_of_scoring_jobs_are_refused(log, folder, tmp_path, capsys):
    config = tmp_path / "feedback.yaml"
    config.write_text(json.dumps({"feedback": log, "input": str(folder)}))
    assert main([str(config), "--limit", "3"]) == 2
    assert "--limit: is for scoring jobs" in capsys.readouterr().err


def test_an_import_needs_no_ray():
    code = "import sys, batch.__main__, batch.feedback; print(sorted({'mlflow', 'ray'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
