"""The prediction log and the ground truth in S3: the same promises, and faults of the storage."""

import os
from datetime import timedelta
from unittest import mock

import pytest

from batch.feedback import import_feedback
from batch.feedback_settings import FeedbackSettings
from taxiway.errors import OutputHeld, Unavailable
from taxiway.predictions import storage
from taxiway.predictions.compaction import compact
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.join import label_window
from taxiway.predictions.reader import by_ids, read, scan
from taxiway.predictions.retention import retain
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.status import status
from taxiway.predictions.truth_log import GroundTruthLog
from taxiway.predictions.writer import PredictionLog
from tests.faulty_s3 import ENVIRONMENT, running_s3
from tests.prediction_records import NOON, a_batch, an_id, minutes, write

LATER = NOON + timedelta(days=1)


@pytest.fixture(scope="module")
def s3():
    with mock.patch.dict(os.environ, ENVIRONMENT), running_s3() as running:
        yield running


@pytest.fixture
def location(s3, request):
    return s3.uri(request.node.name)


@pytest.fixture
def impatient(monkeypatch):
    """Arrow asks once, so that the log's own patience is what is seen."""
    monkeypatch.setattr(storage, "_S3_ATTEMPTS", 1)
    storage._s3.cache_clear()
    yield
    storage._s3.cache_clear()


def parquet(s3, request):
    return [key for key in s3.keys(f"{request.node.name}/") if key.endswith(".parquet")]


def seen(location):
    return sorted(read(location, "delay", NOON, LATER)["prediction_id"].to_pylist())


def test_what_is_written_and_compacted_in_s3_is_read_and_joined(s3, location, request):
    log = PredictionLog(PredictionLogSettings(location=location))
    names = [an_id(minutes(20 * number), number) for number in range(6)]
    for name in names:
        write(log, a_batch([name]))
    log.close()
    truths = GroundTruthLog(location)
    truths.add([GroundTruth(names[4], 0, 1.0, NOON, LATER)]).result(10)
    truths.add([GroundTruth(names[4], 0, 2.0, NOON, LATER + timedelta(minutes=1))]).result(10)
    truths.close()
    assert len(parquet(s3, request)) == 8
    assert seen(location) == names

    killed = []

    def step(what):
        killed.append(what)
        if len(killed) == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        compact(location, LATER + timedelta(days=1), step=step)
    assert seen(location) == names
    assert compact(location, LATER + timedelta(days=1)).folders == 3
    assert len(parquet(s3, request)) == 3
    assert seen(location) == names
    assert sum(batch.num_rows for batch in scan(location, "delay", NOON, LATER)) == 6
    assert by_ids(location, [names[3], an_id(number=77)])["prediction_id"].to_pylist() == [names[3]]
    found = label_window(location, "delay", NOON, LATER, LATER + timedelta(days=1))
    assert found.table["label_number"].to_pylist() == [2.0]
    assert (found.labels, found.corrections, found.unmatched) == (1, 1, 0)


def test_a_second_compaction_is_refused(location):
    log = PredictionLog(PredictionLogSettings(location=location))
    write(log, a_batch([an_id()]))
    write(log, a_batch([an_id(number=1)]))
    log.close()

    def another(_):
        with pytest.raises(OutputHeld, match="another compaction"):
            compact(location, LATER)

    assert compact(location, LATER, step=another).folders == 1
    assert compact(location, LATER).folders == 0


def test_a_storage_that_is_away_for_a_moment_costs_no_record(s3, request, impatient):
    good, faulty = s3.uri(request.node.name), s3.uri(request.node.name, faulty=True)
    log = PredictionLog(PredictionLogSettings(location=faulty))
    s3.faults.failures = 2
    log.add(a_batch([an_id()]))
    assert log.flush(30)
    log.close()
    assert s3.faults.failures < 0
    assert seen(good) == [an_id()]


def test_a_label_that_s3_has_not_taken_is_not_acknowledged(s3, request, impatient):
    truths = GroundTruthLog(s3.uri(request.node.name, faulty=True))
    s3.faults.failures = 1_000
    try:
        with pytest.raises(Unavailable):
            truths.add([GroundTruth(an_id(), 0, 1.0, NOON, NOON)]).result(60)
    finally:
        s3.faults.failures = 0
        truths.close()


def test_labels_in_s3_are_imported_once_and_old_hours_go(s3, request, location):
    log = PredictionLog(PredictionLogSettings(location=location))
    write(log, a_batch([an_id()]), a_batch([an_id(minutes(60), 1)]))
    log.close()
    name = request.node.name
    s3.put(f"{name}-labels/a.csv", f"prediction_id,label\n{an_id()},1.5\n{an_id(minutes(60), 1)},2\n".encode())
    settings = FeedbackSettings(feedback=location, input=s3.uri(f"{name}-labels"))
    lines = []
    for _ in range(2):
        import_feedback(settings, None, False, lines.append, lambda: minutes(125))
    assert [line.rpartition(": ")[2] for line in lines] == ["2 labels", "1 of 1 files were taken before"]
    assert (status(location, LATER)[1].rows, len(s3.keys(f"{name}/imports/"))) == (2, 1)
    retain(location, minutes(125), timedelta(hours=1), lambda _: None)
    assert seen(location) == [an_id(minutes(60), 1)]
    assert [one.hours for one in status(location, LATER)] == [1, 1]
    assert not s3.keys(f"{name}/_")
