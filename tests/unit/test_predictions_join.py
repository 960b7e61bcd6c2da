"""Labelled predictions: every pair once, however late the label came."""

from collections import Counter
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.predictions.compaction import compact
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.join import label_since, label_window
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.storage import Storage
from taxiway.predictions.truth_log import GroundTruthLog
from tests.prediction_records import NOON, a_batch, an_id, minutes

HOUR, WEEK = timedelta(hours=1), timedelta(days=7)
FOREVER = NOON + 9 * WEEK


def put(location, *batches):
    for batch in batches:
        for file in encode([(batch, None)], FieldRules({}), FileNames()):
            Storage(str(location)).write(file.path, file.content)


@pytest.fixture
def tell(tmp_path):
    log = GroundTruthLog(str(tmp_path), gather_s=0.0)
    yield lambda *reports: log.add(reports).result(5)
    log.close()


def truth(name, label, at, row=0, value=None):
    return GroundTruth(name, row, label, NOON, at, value)


def pairs(found):
    names = ["prediction_id", "row", "kind", "output.y", "label_number"]
    return sorted(tuple(record[name] for name in names) for record in found.table.to_pylist())


def test_a_late_label_is_still_joined(tmp_path, tell):
    put(tmp_path, a_batch([an_id(), an_id(number=1)], [2, 1]))
    tell(truth(an_id(), 3.0, NOON + 3 * WEEK, row=1, value=7.5))
    found = label_window(str(tmp_path), "delay", NOON, NOON + HOUR, FOREVER)
    assert pairs(found) == [(an_id(), 1, "live", 10.0, 3.0)]
    (record,) = found.table.to_pylist()
    assert (record["endpoint"], record["variant"], record["version"]) == ("delay", "champion", "1")
    assert (record["value"], record["received_at"]) == (7.5, NOON + 3 * WEEK)
    assert (found.labels, found.corrections, found.unmatched) == (1, 0, 0)
    assert "input.x" not in found.table.column_names
    before = label_window(str(tmp_path), "delay", NOON, NOON + HOUR, NOON + 3 * WEEK)
    assert (before.table.num_rows, before.labels) == (0, 0)


def test_a_label_meets_the_shadows_record_too(tmp_path, tell):
    put(tmp_path, a_batch([an_id()]), a_batch([an_id()], variant="new", kind="shadow"))
    tell(truth(an_id(), 1.0, minutes(1)))
    found = label_since(str(tmp_path), NOON, FOREVER)
    assert pairs(found) == [(an_id(), 0, "live", 0.0, 1.0), (an_id(), 0, "shadow", 0.0, 1.0)]
    assert found.labels == 1


def test_a_label_of_every_row_holds_until_one_says_otherwise(tmp_path, tell):
    put(tmp_path, a_batch([an_id()], [3]))
    tell(truth(an_id(), 5.0, minutes(1), row=0), truth(an_id(), 1.0, minutes(2), row=None))
    tell(truth(an_id(), 2.0, minutes(3), row=2))
    found = label_window(str(tmp_path), "delay", NOON, NOON + HOUR, FOREVER)
    assert [pair[-1] for pair in pairs(found)] == [1.0, 1.0, 2.0]
    assert (found.labels, found.corrections, found.unmatched) == (3, 0, 0)


def test_labels_about_nothing_that_was_logged_are_counted(tmp_path, tell):
    put(tmp_path, a_batch([an_id()]), a_batch([an_id(number=5)], endpoint="other"))
    tell(
        *(truth(an_id(number=number), 1.0, minutes(1)) for number in (0, 5, 6)), truth(an_id(), 1.0, minutes(1), row=9)
    )
    found = label_window(str(tmp_path), "delay", NOON, NOON + HOUR, FOREVER)
    assert (found.table.num_rows, found.labels, found.unmatched) == (1, 3, 2)
    every = label_since(str(tmp_path), NOON, FOREVER)
    assert (every.table.num_rows, every.labels, every.unmatched) == (2, 4, 2)
    other = label_since(str(tmp_path), NOON, FOREVER, "other")
    assert (pairs(other)[0][0], other.labels, other.unmatched) == (an_id(number=5), 3, 2)


def test_a_repeated_label_is_no_news_and_a_correction_is(tmp_path, tell):
    put(tmp_path, a_batch([an_id()]))
    tell(truth(an_id(), 1.0, minutes(1)))
    tell(truth(an_id(), 1.0, minutes(61)))
    tell(truth(an_id(), 0.0, minutes(121)))
    windows = [label_since(str(tmp_path), minutes(60 * hour), minutes(60 * hour + 60)) for hour in range(4)]
    assert [[pair[-1] for pair in pairs(window)] for window in windows] == [[1.0], [], [0.0], []]
    assert [window.corrections for window in windows] == [0, 0, 1, 0]


def test_nothing_at_all_is_an_empty_table(tmp_path):
    assert label_since(str(tmp_path), NOON, FOREVER).table.num_rows == 0
    assert label_window(str(tmp_path), "delay", NOON, FOREVER, FOREVER).table.num_rows == 0


_answers = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 179)), max_size=5, unique_by=lambda it: it[0])
_truths = st.tuples(st.integers(0, 6), st.sampled_from([0, 1, None]), st.sampled_from([0.0, 1.0]))


@given(_answers, st.lists(_truths, max_size=8), st.booleans())
@settings(max_examples=12, deadline=None)
def test_windows_that_follow_one_another_give_what_a_loop_would(tmp_path_factory, answers, truths, is_compacted):
    location = tmp_path_factory.mktemp("log")
    made = dict(answers)
    put(location, *(a_batch([an_id(minutes(at), number)], [2]) for number, at in answers))
    log = GroundTruthLog(str(location), gather_s=0.0)
    reports = [
        truth(an_id(minutes(made.get(number, 7)), number), label, minutes(180 + 25 * place), row)
        for place, (number, row, label) in enumerate(truths)
    ]
    for report in reports:
        log.add([report]).result(5)
    log.close()
    if is_compacted:
        compact(str(location), FOREVER)
    for hour in range(3, 8):
        window = label_since(str(location), minutes(60 * hour), minutes(60 * hour + 60))
        now = Counter((pair[0], pair[1], pair[4]) for pair in pairs(window)) if window.table.num_rows else Counter()
        assert now == _news(reports, made, hour)


def _news(reports, made, hour):
    """What changed in an hour, one report after the other."""
    known = {an_id(minutes(at), number) for number, at in made.items()}
    holding = {}
    for report in reports:
        if report.received_at < minutes(60 * hour + 60):
            before = holding.get((report.prediction_id, report.row))
            if before is None or before.label != report.label:
                holding[report.prediction_id, report.row] = report
    since = [it for it in holding.values() if it.received_at >= minutes(60 * hour) and it.prediction_id in known]
    rows = {}
    for report in sorted(since, key=lambda it: it.received_at):
        for row in (0, 1) if report.row is None else (report.row,):
            rows[report.prediction_id, row] = report.label
    return Counter((name, row, label) for (name, row), label in rows.items())
