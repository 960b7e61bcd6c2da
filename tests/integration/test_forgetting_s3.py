"""Forgetting in S3: the same promises, with the lease as lock and with kills between objects."""

import os
from contextlib import suppress
from datetime import timedelta
from unittest import mock

import numpy as np
import pytest

from taxiway.errors import ConfigError, OutputHeld
from taxiway.predictions import forgetting
from taxiway.predictions.compaction import compact
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.forgetting import forget
from taxiway.predictions.forgotten import read_records, record_path
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.labels import read_labels
from taxiway.predictions.lock import one_at_a_time
from taxiway.predictions.reader import read
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage
from taxiway.predictions.subjects import Subjects
from taxiway.predictions.truth_log import GroundTruthLog
from taxiway.predictions.writer import PredictionLog
from tests.faulty_s3 import ENVIRONMENT, running_s3
from tests.prediction_records import NOON, an_id, minutes, write

SECRET = "a secret of sixteen"
ANN = Subjects(["ann"], FieldRules({}, SECRET, None, "customer"))
LATER = NOON + timedelta(days=1)


class _Killed(Exception):
    pass


@pytest.fixture(scope="module")
def s3():
    with mock.patch.dict(os.environ, ENVIRONMENT), running_s3() as running:
        yield running


@pytest.fixture
def location(s3, request):
    """Three hours of Ann and Bob, each with a label."""
    location = s3.uri(request.node.name)
    log = PredictionLog(PredictionLogSettings(location=location, hash_secret=SECRET, subject="customer"))
    truth = GroundTruthLog(location)
    for number in range(3):
        names = [an_id(minutes(60 * number), 2 * number + place) for place in range(2)]
        inputs = {"customer": np.array(["ann", "bob"], np.object_)}
        write(log, LoggedBatch(Source("delay", "champion", "1"), inputs, {}, names, [1, 1], [1.0] * 2, [1.0] * 2))
        truth.add([GroundTruth(name, 0, 1.0, minutes(200), minutes(200)) for name in names]).result(20)
    log.close()
    truth.close()
    return location


def left(location):
    customers = read(location, "delay", NOON, LATER, ["input.customer"])["input.customer"].to_pylist()
    return sorted(customers), read_labels(Storage(location), NOON, LATER).num_rows


def test_a_subject_goes_from_s3_after_any_kill_and_what_comes_late_goes_too(s3, location, request):
    for number in range(0, 12, 3):
        left_steps = iter(range(number))

        def step(_, left_steps=left_steps):
            if next(left_steps, None) is None:
                raise _Killed

        with suppress(_Killed):
            forget(location, ANN, "an officer", LATER, step=step)
        assert left(location)[0].count("bob") == 3
    record = forget(location, ANN, "an officer", LATER)
    assert left(location) == (["bob"] * 3, 3)
    assert s3.keys(f"{request.node.name}/{record_path(record.key)}")
    assert sum(sum(it.by_day.values()) for it in read_records(Storage(location))) == 6
    log = PredictionLog(PredictionLogSettings(location=location, hash_secret=SECRET, subject="customer"))
    inputs = {"customer": np.array(["ann"], np.object_)}
    write(log, LoggedBatch(Source("delay", "champion", "1"), inputs, {}, [an_id(minutes(125), 99)], [1], [1.0], [1.0]))
    log.close()
    assert compact(location, LATER + timedelta(minutes=1)).forgotten == 1
    assert left(location) == (["bob"] * 3, 3)


def test_without_a_lock_nothing_is_forgotten(location, monkeypatch):
    with one_at_a_time(Storage(location), "compaction"), pytest.raises(OutputHeld):
        forget(location, ANN, "an officer", LATER)
    monkeypatch.setattr(forgetting, "find_spec", lambda _: None)
    with pytest.raises(ConfigError, match="install boto3"):
        forget(location, ANN, "an officer", LATER)
    assert left(location)[1] == 6
