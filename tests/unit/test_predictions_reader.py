"""Reading the prediction log: windows, columns that differ, ids, duplicates."""

from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from taxiway.errors import ConfigError
from taxiway.predictions.reader import by_ids, read, scan
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.storage import Storage, Vanished, until_nothing_vanishes
from taxiway.predictions.writer import PredictionLog
from tests.prediction_records import NOON, a_batch, an_id, minutes, write

HOUR = timedelta(hours=1)


@pytest.fixture
def log(tmp_path):
    opened = PredictionLog(PredictionLogSettings(location=str(tmp_path)))
    yield opened
    opened.close()


def test_a_window_holds_its_beginning_and_not_its_end(log, tmp_path):
    write(log, a_batch([an_id(minutes(number)) for number in (0, 59, 60, 61, 120, 60 * 24)]))
    found = read(str(tmp_path), "delay", minutes(59), minutes(120), ["prediction_id"])
    assert found["prediction_id"].to_pylist() == [an_id(minutes(number)) for number in (59, 60, 61)]
    assert read(str(tmp_path), "delay", minutes(-9), minutes(9999)).num_rows == 6


def test_nothing_logged_is_an_empty_table_with_the_columns_of_every_record(tmp_path):
    table = read(str(tmp_path / "none"), "delay", NOON, NOON + HOUR)
    assert table.num_rows == 0
    assert {"prediction_id", "row", "time", "endpoint", "variant", "version", "kind"} <= set(table.column_names)
    assert list(scan(str(tmp_path / "none"), "delay", NOON, NOON + HOUR)) == []
    assert by_ids(str(tmp_path / "none"), [an_id()]).num_rows == 0


def test_versions_with_different_columns_are_one_table(log, tmp_path):
    write(log, a_batch([an_id()]), a_batch([an_id(number=1)], column="z"))
    write(log, a_batch([an_id(minutes(60))], column="w"))
    table = read(str(tmp_path), "delay", NOON, NOON + 2 * HOUR, ["input.x", "input.z", "input.w", "input.none"])
    assert sorted(map(str, table.to_pylist())) == sorted(
        str({"input.x": x, "input.z": z, "input.w": w, "input.none": None})
        for x, z, w in ((0.0, None, None), (None, 0.0, None), (None, None, 0.0))
    )


def test_numbers_in_one_version_and_text_in_the_next_are_text(log, tmp_path):
    text = a_batch([an_id(number=1)])
    text.inputs = {"x": pa.array(["red"]).to_numpy(zero_copy_only=False)}
    write(log, a_batch([an_id()]), text)
    assert set(read(str(tmp_path), "delay", NOON, NOON + HOUR)["input.x"].to_pylist()) == {"0", "red"}


def test_a_scan_gives_batches_of_one_schema_with_the_same_rows(log, tmp_path):
    write(log, a_batch([an_id()]), a_batch([an_id(minutes(60))], column="z"), a_batch([an_id(minutes(200))]))
    for columns in (None, ["output.*", "input.z"]):
        batches = list(scan(str(tmp_path), "delay", NOON, minutes(90), columns))
        assert len(batches) == 2
        whole = read(str(tmp_path), "delay", NOON, minutes(90), columns)
        assert pa.Table.from_batches(batches).select(whole.column_names).equals(whole)


def test_a_record_that_was_logged_twice_counts_once_and_a_shadow_counts_beside_the_live_one(log, tmp_path):
    live, shadow = a_batch([an_id()], [2]), a_batch([an_id()], [2], "new", "shadow")
    write(log, live, shadow)
    write(log, live, a_batch([an_id()], [2], "newer", "shadow"))
    table = read(str(tmp_path), "delay", NOON, NOON + HOUR)
    seen = sorted(zip(table["kind"].to_pylist(), table["variant"].to_pylist(), table["row"].to_pylist(), strict=True))
    assert seen == [
        (kind, variant, row)
        for kind, variant in (("live", "champion"), ("shadow", "new"), ("shadow", "newer"))
        for row in (0, 1)
    ]


def test_only_the_hours_that_the_ids_name_are_opened(log, tmp_path):
    write(log, a_batch([an_id(), an_id(minutes(60)), an_id(minutes(120), 5)]))
    write(log, a_batch([an_id(number=7)], endpoint="other"))
    for path in tmp_path.glob("*/*/hour=13/*"):
        path.write_bytes(b"unreadable")
    wanted = [an_id(), an_id(minutes(120), 5), an_id(minutes(120), 6), an_id(number=7)]
    assert by_ids(str(tmp_path), wanted, "delay")["prediction_id"].to_pylist() == [wanted[0], wanted[1]]
    every = by_ids(str(tmp_path), wanted, columns=["prediction_id", "endpoint"])
    assert sorted(every["endpoint"].to_pylist()) == ["delay", "delay", "other"]


def test_a_moment_without_a_time_zone_is_refused(tmp_path):
    with pytest.raises(ConfigError, match="time zone"):
        read(str(tmp_path), "delay", datetime(2026, 1, 1), NOON)
    with pytest.raises(ConfigError, match="gs://"):
        read("gs://bucket", "delay", NOON, NOON + HOUR)


def test_a_listing_is_repeated_until_nothing_is_missing(monkeypatch, tmp_path):
    """A listing may miss what appears while it runs, and then what has been deleted since."""
    listings = iter([{"a": 1, "b": 1}, {"b": 1}, {"b": 1, "compacted": 1}, {"compacted": 1}, {"compacted": 1}])
    monkeypatch.setattr(Storage, "_listed", lambda *_: next(listings))
    assert Storage(str(tmp_path)).files("") == {"b": 1, "compacted": 1}


def test_reading_begins_anew_when_a_file_has_gone():
    answers = iter([Vanished("a"), Vanished("b"), "read"])

    def look():
        answer = next(answers)
        if isinstance(answer, Exception):
            raise answer
        return answer

    assert until_nothing_vanishes(look) == "read"
