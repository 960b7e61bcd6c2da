"""Ground truth: what is taken, what holds of several reports, and that an acknowledged label is never lost."""

import json
import os
import signal
import subprocess
import sys
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import InvalidInput, Overloaded, Unavailable
from taxiway.predictions import truth_log
from taxiway.predictions.compaction import compact
from taxiway.predictions.ground_truth import GroundTruth, parse_ground_truth
from taxiway.predictions.labels import label_table, read_labels, resolve
from taxiway.predictions.storage import Storage
from taxiway.predictions.truth_log import GroundTruthLog
from tests.prediction_records import NOON, an_id, minutes

FOREVER = (NOON - timedelta(days=9), NOON + timedelta(days=9))


def a_label(number=0, label=1.0, at=0.0, row=0, value=None):
    return GroundTruth(an_id(number=number), row, label, NOON, minutes(at), value)


@pytest.fixture
def log(tmp_path):
    opened = GroundTruthLog(str(tmp_path))
    yield opened
    opened.close()


def test_a_report_has_defaults():
    taken = parse_ground_truth({"prediction_id": an_id().upper(), "label": 3}, minutes(1))
    assert taken == GroundTruth(an_id(), 0, 3.0, minutes(1), minutes(1), None, None)


def test_a_report_may_be_about_every_row_and_may_say_when_and_what_it_is_worth():
    report = {
        "prediction_id": an_id(),
        "row": None,
        "label": "late",
        "became_true": "2026-01-01T13:00:00+01:00",
        "value": -2,
        "source": "tower",
    }
    taken = parse_ground_truth(report, minutes(1))
    assert taken == GroundTruth(an_id(), None, "late", NOON, minutes(1), -2.0, "tower")
    assert parse_ground_truth(report | {"label": True}, minutes(1)).label == 1.0


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"prediction_id": None}, "missing_value", "prediction_id"),
        ({"prediction_id": "17"}, "wrong_type", "prediction_id"),
        ({"prediction_id": 17}, "wrong_type", "prediction_id"),
        ({"prediction_id": "017f22e2-79b0-4cc3-98c4-dc0c0c07398f"}, "wrong_type", "prediction_id"),
        ({"prediction_id": an_id(minutes(3))}, "out_of_range", "prediction_id"),
        ({"label": None}, "missing_value", "label"),
        ({"label": float("nan")}, "not_finite", "label"),
        ({"label": float("-inf")}, "not_finite", "label"),
        ({"label": [1]}, "wrong_type", "label"),
        ({"label": 2**53 + 1}, "out_of_range", "label"),
        ({"label": "x" * 1001}, "out_of_range", "label"),
        ({"label": "\ud800"}, "wrong_type", "label"),
        ({"row": -1}, "out_of_range", "row"),
        ({"row": 2**31}, "out_of_range", "row"),
        ({"row": True}, "wrong_type", "row"),
        ({"row": "0"}, "wrong_type", "row"),
        ({"became_true": "yesterday"}, "wrong_type", "became_true"),
        ({"became_true": 5}, "wrong_type", "became_true"),
        ({"became_true": "2026-01-02"}, "out_of_range", "became_true"),
        ({"value": "much"}, "wrong_type", "value"),
        ({"value": float("inf")}, "not_finite", "value"),
        ({"source": 5}, "wrong_type", "source"),
        ({"lable": 1}, "unknown_column", "lable"),
    ],
)
def test_what_can_not_be_is_refused_by_name(change, code, field):
    with pytest.raises(InvalidInput) as refused:
        parse_ground_truth({"prediction_id": an_id(), "label": 1} | change, minutes(1))
    assert (refused.value.reject_code, refused.value.field) == (code, field)


def test_an_acknowledged_label_is_in_a_file(log, tmp_path):
    first, second = log.add([a_label(0), a_label(1)]), log.add([a_label(2, "late", at=70)])
    first.result(5)
    second.result(5)
    table = read_labels(Storage(str(tmp_path)), *FOREVER)
    assert table["label_number"].to_pylist() == [1.0, 1.0, None]
    assert table["label_text"].to_pylist() == [None, None, "late"]
    assert sorted(path.parent.name for path in tmp_path.rglob("*.parquet")) == ["hour=12", "hour=13"]
    assert log.statistics().labels_written == 3


def test_those_who_come_together_share_a_commit(tmp_path):
    log = GroundTruthLog(str(tmp_path), gather_s=0.2)
    for future in [log.add([a_label(number)]) for number in range(50)]:
        future.result(5)
    log.close()
    assert log.statistics().commits <= 2
    assert len(list(tmp_path.rglob("*.parquet"))) == log.statistics().commits


def test_a_storage_that_fails_is_told_and_the_next_label_is_taken(tmp_path):
    class Failing(Storage):
        def write(self, path, content):
            if not (tmp_path / "mended").exists():
                raise OSError("full")
            super().write(path, content)

    log = GroundTruthLog(str(tmp_path), storage=Failing(str(tmp_path)))
    with pytest.raises(Unavailable, match="send them again"):
        log.add([a_label()]).result(5)
    assert log.statistics().last_error == "OSError: full"
    (tmp_path / "mended").touch()
    log.add([a_label()]).result(5)
    log.close()
    assert (log.statistics().failed, log.statistics().labels_written, log.statistics().last_error) == (1, 1, None)


def test_who_has_given_up_does_no_harm_to_others(tmp_path):
    log = GroundTruthLog(str(tmp_path), gather_s=0.1)
    gone, here = log.add([a_label(0)]), log.add([a_label(1)])
    assert gone.cancel()
    here.result(5)
    log.close()
    assert read_labels(Storage(str(tmp_path)), *FOREVER).num_rows == 1


def test_a_closed_or_full_log_refuses(tmp_path, monkeypatch):
    entered, go_on = threading.Event(), threading.Event()

    class Slow(Storage):
        def write(self, path, content):
            entered.set()
            go_on.wait(5)

    monkeypatch.setattr(truth_log, "_MOST_WAITING", 1)
    log = GroundTruthLog(str(tmp_path), storage=Slow(str(tmp_path)))
    first = log.add([a_label()])
    assert entered.wait(5)
    second = log.add([a_label()])
    with pytest.raises(Overloaded):
        log.add([a_label()])
    go_on.set()
    log.close()
    assert (first.result(0), second.result(0)) == (None, None)
    with pytest.raises(Unavailable):
        log.add([a_label()])


def held(*reports):
    found = resolve(label_table(reports))
    columns = [found.table[name].to_pylist() for name in ("row", "label_number", "label_text", "value", "received_at")]
    return [tuple(values) for values in zip(*columns, strict=True)], found.corrections


def test_the_same_report_twice_is_one_with_the_moment_of_the_first():
    assert held(a_label(at=5), a_label(at=1)) == ([(0, 1.0, None, None, minutes(1))], 0)


def test_a_later_report_that_differs_holds_and_is_a_correction():
    assert held(a_label(label="b", at=5), a_label(at=1)) == ([(0, None, "b", None, minutes(5))], 1)
    assert held(a_label(at=1), a_label(at=2, value=3.0)) == ([(0, 1.0, None, 3.0, minutes(2))], 1)
    assert held(a_label(at=1), a_label(label=0.0, at=2), a_label(at=3)) == ([(0, 1.0, None, None, minutes(3))], 2)


def test_rows_and_all_rows_are_different_things_to_report_about():
    labels, corrections = held(a_label(at=1), a_label(row=1, at=2), a_label(row=None, at=3), a_label(number=1, at=4))
    assert [label[0] for label in labels] == [0, 1, None, 0]
    assert corrections == 0


_reports = st.builds(
    a_label,
    number=st.integers(0, 2),
    label=st.sampled_from([0.0, 1.0, "a", "b", ""]),
    at=st.integers(0, 4),
    row=st.sampled_from([None, 0, 1]),
    value=st.sampled_from([None, 0.0, 1.0]),
)


def _resolved_one_by_one(reports):
    """The same in plain Python, for reports of different moments."""
    holding, corrections = {}, 0
    for report in sorted(reports, key=lambda it: it.received_at):
        key = report.prediction_id, report.row
        before = holding.get(key)
        if before is None or (before.label, before.value) != (report.label, report.value):
            corrections += before is not None
            holding[key] = report
    return set(holding.values()), corrections


@settings(max_examples=40)
@given(st.lists(_reports, max_size=12, unique_by=lambda it: (it.prediction_id, it.row, it.received_at)))
def test_what_holds_is_what_a_loop_over_time_would_keep(reports):
    found = resolve(label_table(reports))
    expected, corrections = _resolved_one_by_one(reports)
    assert found.table.sort_by(ORDER).equals(label_table(list(expected)).sort_by(ORDER))
    assert found.corrections == corrections


@settings(max_examples=30)
@given(st.lists(_reports, max_size=8), st.randoms())
def test_what_holds_does_not_depend_on_the_order_of_the_files(reports, shuffle):
    mixed = list(reports)
    shuffle.shuffle(mixed)
    first, second = resolve(label_table(reports)), resolve(label_table(mixed))
    assert first.corrections == second.corrections
    assert first.table.sort_by(ORDER).equals(second.table.sort_by(ORDER))


ORDER = [("prediction_id", "ascending"), ("row", "ascending")]


def test_compaction_keeps_a_repetition_that_another_report_stands_before(tmp_path):
    log = GroundTruthLog(str(tmp_path), gather_s=0.0)
    for report in (a_label(at=1), a_label(label=0.0, at=2), a_label(at=3), a_label(1)):
        log.add([report]).result(5)
    log.close()
    before = resolve(read_labels(Storage(str(tmp_path)), *FOREVER))
    assert compact(str(tmp_path), NOON + timedelta(days=1)).files_after == 1
    after = resolve(read_labels(Storage(str(tmp_path)), *FOREVER))
    assert after.corrections == before.corrections == 2
    assert after.table.sort_by(ORDER).equals(before.table.sort_by(ORDER))


PROGRAM = """
import sys
from datetime import datetime, UTC
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.truth_log import GroundTruthLog
from tests.prediction_records import NOON, an_id

log = GroundTruthLog(sys.argv[1], gather_s=0.001)
for number in range(100_000):
    log.add([GroundTruth(an_id(number=number), 0, float(number), NOON, NOON)]).result()
    print(number, flush=True)
"""


def test_an_acknowledged_label_survives_a_kill(tmp_path):
    root = Path(__file__).parents[2]
    command = [sys.executable, "-c", PROGRAM, str(tmp_path)]
    environment = os.environ | {"PYTHONPATH": str(root)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as program:
        assert program.stdout is not None
        acknowledged = [int(program.stdout.readline()) for _ in range(30)]
        program.send_signal(signal.SIGKILL)
        acknowledged += [int(line) for line in program.stdout if line.endswith("\n")]
    kept = read_labels(Storage(str(tmp_path)), *FOREVER)["label_number"].to_pylist()
    assert {float(number) for number in acknowledged} <= set(kept)
    assert len(kept) <= len(acknowledged) + 1


def test_a_report_is_json():
    report = json.loads(f'{{"prediction_id": "{an_id()}", "label": 1.5, "row": null}}')
    assert parse_ground_truth(report, datetime(2026, 1, 2, tzinfo=UTC)).row is None
