"""The prediction log's writer: bounded, never silent about what is missing, patient with its storage."""

import threading
import time
from datetime import timedelta

import numpy as np
import pytest

from taxiway.predictions.reader import by_ids, read
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage
from taxiway.predictions.writer import PredictionLog
from tests.prediction_records import NOON, a_batch, an_id, write

HOUR = timedelta(hours=1)


class _Failing(Storage):
    """A storage that refuses while `away` is set."""

    away = threading.Event()

    def write(self, path, content):
        if self.away.is_set():
            raise OSError("the disk has gone")
        super().write(path, content)


@pytest.fixture
def opened(tmp_path):
    logs = []

    def open_log(storage=None, **settings):
        log = PredictionLog(PredictionLogSettings(location=str(tmp_path), **settings), storage=storage)
        logs.append(log)
        return log

    yield open_log
    for log in logs:
        log.close(1.0)


@pytest.fixture
def failing(tmp_path):
    _Failing.away.clear()
    yield _Failing(str(tmp_path))
    _Failing.away.clear()


def until(condition):
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_what_was_flushed_is_read(opened, tmp_path):
    log = opened()
    write(log, a_batch([an_id(), an_id(number=1)], [1, 2]), a_batch([an_id(NOON + HOUR)]))
    table = read(str(tmp_path), "delay", NOON, NOON + HOUR)
    assert table["prediction_id"].to_pylist() == [an_id(), an_id(number=1), an_id(number=1)]
    assert table["row"].to_pylist() == [0, 0, 1]
    assert table["output.y"].to_pylist() == [0.0, 10.0, 20.0]
    assert table["endpoint"].to_pylist() == ["delay"] * 3
    seen = log.statistics()
    assert (seen.rows_written, seen.files_written, seen.backlog_rows, seen.backlog_bytes) == (4, 2, 0, 0)
    assert seen.dropped == {}


def test_it_writes_by_itself_after_a_while_and_when_there_is_much(opened):
    soon, full = opened(flush_s=0.05), opened(flush_s=3600, flush_rows=2)
    soon.add(a_batch([an_id()]))
    full.add(a_batch([an_id()]))
    until(lambda: soon.statistics().rows_written == 1)
    assert full.statistics().backlog_rows == 1
    full.add(a_batch([an_id(number=1)]))
    until(lambda: full.statistics().rows_written == 2)


def test_what_does_not_fit_is_dropped_and_counted(opened):
    log = opened(flush_s=3600, buffer_rows=3)
    log.add(a_batch([an_id()], [4]))
    log.add(a_batch([an_id(number=1)], [2]))
    log.add(a_batch([an_id(number=2)], [2]))
    log.add(a_batch([an_id(number=3)], [1]))
    assert log.statistics().dropped == {"overflow": 6}
    assert log.flush()
    assert log.statistics().rows_written == 3


def test_memory_is_bounded_too(opened):
    log = opened(flush_s=3600, buffer_mb=0.01)
    for number in range(20):
        log.add(a_batch([an_id(number=number)], [50]))
    seen = log.statistics()
    assert seen.backlog_bytes <= 10_000
    assert seen.backlog_rows + seen.dropped["overflow"] == 1000


def test_records_wait_for_a_storage_that_comes_back(opened, failing, tmp_path):
    log = opened(failing, flush_s=0.02)
    failing.away.set()
    log.add(a_batch([an_id()]))
    until(lambda: log.statistics().last_error == "OSError: the disk has gone")
    assert log.statistics().backlog_rows == 1
    failing.away.clear()
    assert log.flush()
    assert log.statistics().last_error is None
    assert by_ids(str(tmp_path), [an_id()]).num_rows == 1


def test_the_oldest_make_room_while_the_storage_fails(opened, failing, tmp_path):
    log = opened(failing, flush_s=0.01, buffer_rows=3)
    failing.away.set()
    for number in range(6):
        log.add(a_batch([an_id(number=number)]))
        until(lambda number=number: log.statistics().backlog_rows == min(number + 1, 3) and not log._backlog.batch_rows)
        until(lambda: log.statistics().last_error is not None and log._backlog._writing is None)
    assert log.statistics().dropped == {"storage": 3}
    failing.away.clear()
    assert log.flush()
    kept = read(str(tmp_path), "delay", NOON, NOON + HOUR)["prediction_id"].to_pylist()
    assert sorted(kept) == [an_id(number=number) for number in (3, 4, 5)]


def test_closing_says_what_was_lost(opened, failing):
    log = opened(failing, flush_s=3600)
    failing.away.set()
    log.add(a_batch([an_id()], [7]))
    log.close(0.05)
    log.add(a_batch([an_id()], [2]))
    assert log.statistics().dropped == {"storage": 7, "closed": 2}


def test_a_batch_that_makes_no_sense_keeps_no_other_one_out(opened):
    log = opened()
    source = Source("delay", "a", "1")
    log.add(LoggedBatch(source, {"x": np.zeros(1)}, {}, ["no id"], [1], [1.0], [1.0]))
    write(log, a_batch([an_id()]))
    seen = log.statistics()
    assert (seen.rows_written, seen.dropped) == (1, {"unreadable": 1})


def test_a_sample_is_of_the_size_asked_for_and_the_same_for_live_and_shadow(opened, tmp_path):
    log = opened(sample=0.1)
    draw = np.random.default_rng(1).integers(0, 1 << 62, 2000)
    names = [an_id(number=int(number)) for number in draw]
    write(log, a_batch(names[:1000]), a_batch(names[1000:]), a_batch(names, variant="new", kind="shadow"))
    table = read(str(tmp_path), "delay", NOON, NOON + HOUR, ["prediction_id", "kind", "row", "input.x"])
    kinds = {kind: set() for kind in ("live", "shadow")}
    for record in table.to_pylist():
        kinds[record["kind"]].add(record["prediction_id"])
    assert kinds["live"] == kinds["shadow"]
    assert 150 < len(kinds["live"]) < 250  # binomial: 200, standard deviation 13.4
    assert log.statistics().requests_sampled_out == 4000 - 2 * len(kinds["live"])
    values = {record["prediction_id"]: record["input.x"] for record in table.to_pylist() if record["kind"] == "shadow"}
    assert all(names[int(value)] == name for name, value in values.items())


def test_a_writer_that_dies_leaves_no_file_that_is_half_there(tmp_path, monkeypatch):
    storage = Storage(str(tmp_path))
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("killed")))
    with pytest.raises(OSError, match="killed"):
        storage.write("a.parquet", b"half")
    assert storage.files("") == {}
    assert list(tmp_path.iterdir()) == []


def test_the_subject_of_the_settings_is_in_the_log(opened, tmp_path):
    log = opened(subject="x", hash_secret="a secret of some length", fields={"x": "drop"})
    write(log, a_batch([an_id(), an_id(number=1)]), a_batch([an_id(number=2)]))
    first, second, again = read(str(tmp_path), "delay", NOON, NOON + HOUR)["subject"].to_pylist()
    assert first == again != second
    assert None not in (first, second)


def test_it_says_how_long_the_last_write_took(tmp_path):
    class Slow(Storage):
        def write(self, path, content):
            time.sleep(0.05)

    log = PredictionLog(PredictionLogSettings(location=str(tmp_path)), storage=Slow(str(tmp_path)))
    assert log.statistics().last_write_s == 0.0
    write(log, a_batch([an_id()]))
    log.close()
    assert 0.05 <= log.statistics().last_write_s < 5
