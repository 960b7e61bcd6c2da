"""Compaction: each record exactly once at every moment, whoever is killed when."""

import threading
from collections import Counter
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.errors import OutputHeld
from taxiway.predictions import compaction, ids
from taxiway.predictions.compaction import CompactionRules, compact, groups
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.reader import read, scan
from taxiway.predictions.snapshot import live_files
from taxiway.predictions.storage import Storage
from tests.prediction_records import NOON, a_batch, an_id, minutes

LATER = minutes(24 * 60)
DAY = timedelta(days=1)


class _Killed(Exception):
    pass


def put(location, *batches):
    """One file for each batch and hour."""
    names = FileNames()
    for batch in batches:
        for file in encode([(batch, None)], FieldRules({}), names):
            Storage(str(location)).write(file.path, file.content)


def seen(location, endpoint="delay"):
    table = read(str(location), endpoint, NOON - DAY, NOON + DAY, ["prediction_id", "row", "output.y"])
    return Counter(zip(*(values.to_pylist() for values in table.columns), strict=True))


def live_rows(location):
    """How many there are before readers leave out what is there twice."""
    storage = Storage(str(location))
    listed = storage.files("")
    folders = {path.rpartition("/")[0] for path in listed}
    live = [path for folder in folders for path in live_files(storage, storage.files(folder))]
    return sum(pq.read_metadata(location / path).num_rows for path in live)


def killed_at(number):
    """A step that raises at the number-th change."""
    left = iter(range(number))

    def step(_):
        if next(left, None) is None:
            raise _Killed

    return step


@pytest.fixture
def six_files(tmp_path):
    put(tmp_path, *(a_batch([an_id(minutes(9 - number), number)], [2]) for number in range(6)))
    return tmp_path


def test_the_small_files_of_an_hour_that_is_over_become_one_sorted_by_id(six_files):
    before = seen(six_files)
    done = compact(str(six_files), LATER)
    assert (done.folders, done.files_before, done.files_after) == (1, 6, 1)
    (path,) = six_files.rglob("*.parquet")
    table = pq.read_table(path)
    names = [str(one) for one in table["prediction_id"].to_pylist()]
    assert names == sorted(names)
    assert table["row"].to_pylist() == [0, 1] * 6
    assert pq.read_metadata(path).schema.column(0).logical_type.type == "UUID"
    assert seen(six_files) == before
    assert compact(str(six_files), LATER).folders == 0


def test_an_hour_that_may_still_grow_is_left_alone_unless_it_has_very_many_files(six_files):
    soon = minutes(74)
    assert compact(str(six_files), soon).folders == 0
    assert compact(str(six_files), soon, CompactionRules(many_files=6)).folders == 1


@pytest.mark.parametrize("number", range(8))
def test_a_compaction_that_is_killed_anywhere_loses_and_doubles_nothing(six_files, number):
    before = seen(six_files)
    steps = []
    try:
        compact(str(six_files), LATER, step=lambda what: (steps.append(what), killed_at_last(steps, number)))
    except _Killed:
        assert len(steps) == number + 1
    assert seen(six_files) == before
    assert live_rows(six_files) == 12
    compact(str(six_files), LATER)
    assert seen(six_files) == before
    assert len(list(six_files.rglob("*.parquet"))) == 1


def killed_at_last(steps, number):
    if len(steps) > number:
        raise _Killed


@given(st.data())
@settings(max_examples=8, deadline=None)
def test_no_order_of_writes_kills_and_compactions_changes_what_is_read(tmp_path_factory, data):
    location = tmp_path_factory.mktemp("log")
    expected = Counter()
    for turn in range(data.draw(st.integers(1, 6))):
        for number in range(data.draw(st.integers(0, 3))):
            name = an_id(minutes(data.draw(st.integers(0, 119))), turn * 10 + number)
            put(location, a_batch([name], [2]))
            expected.update({(name, 0, 0.0): 1, (name, 1, 10.0): 1})
        rules = CompactionRules(target_bytes=data.draw(st.sampled_from([1, 12_000, 1 << 30])))
        with suppress(_Killed):
            compact(str(location), LATER, rules, killed_at(data.draw(st.integers(0, 8))))
        assert seen(location) == expected
        assert live_rows(location) == expected.total()


def test_a_file_that_comes_late_joins_the_others(six_files):
    compact(str(six_files), LATER)
    put(six_files, a_batch([an_id(minutes(5), 99)]))
    before = seen(six_files)
    assert len(before) == 13
    compact(str(six_files), LATER)
    assert seen(six_files) == before
    assert len(list(six_files.rglob("*.parquet"))) == 1


def test_a_replaced_file_names_nothing_that_comes_back_when_it_goes(six_files):
    """The first compaction dies before it deletes; the second one replaces its file and dies when that is gone."""
    with pytest.raises(_Killed):
        compact(str(six_files), LATER, step=killed_at(1))
    put(six_files, a_batch([an_id(minutes(5), 99)]))
    before = seen(six_files)
    with pytest.raises(_Killed):
        compact(str(six_files), LATER, step=killed_at(1))
    compacted = sorted(six_files.rglob("compacted-*"), key=lambda path: path.stat().st_mtime_ns)
    assert len(compacted) == 2
    compacted[0].unlink()
    assert seen(six_files) == before
    assert live_rows(six_files) == 13


def test_two_compactors_that_do_not_know_of_each_other_lose_nothing(six_files, monkeypatch):
    @contextmanager
    def nobody(*_):
        yield lambda: None

    monkeypatch.setattr(compaction, "one_at_a_time", nobody)
    before = seen(six_files)
    others = iter([put_one, compact_all])

    def meanwhile(_):
        other = next(others, None)
        if other is not None:
            before.update(other(six_files))
        assert seen(six_files) == before

    compact(str(six_files), LATER, step=meanwhile)
    assert seen(six_files) == before
    compact(str(six_files), LATER)
    assert seen(six_files) == before


def put_one(location):
    put(location, a_batch([an_id(minutes(1), 77)]))
    compact_all(location)
    return Counter({(an_id(minutes(1), 77), 0, 0.0): 1})


def compact_all(location):
    compact(str(location), LATER)
    return Counter()


def test_a_reader_sees_each_record_once_while_files_are_replaced(tmp_path):
    put(tmp_path, *(a_batch([an_id(minutes(1), number)]) for number in range(24)))
    before = seen(tmp_path)
    wrong, stop = [], threading.Event()

    def reading():
        while not stop.is_set():
            if (now := seen(tmp_path)) != before:
                wrong.append(now)

    readers = [threading.Thread(target=reading) for _ in range(2)]
    for reader in readers:
        reader.start()
    # Small targets, so that it takes several passes over files of its own.
    for target in (8_000, 12_000, 20_000, 30_000, 1 << 30):
        compact(str(tmp_path), LATER, CompactionRules(target_bytes=target))
    stop.set()
    for reader in readers:
        reader.join()
    assert not wrong
    assert len(list(tmp_path.rglob("*.parquet"))) == 1


def test_a_reader_whose_files_have_gone_since_it_listed_them_looks_again(six_files, monkeypatch):
    before = seen(six_files)
    listing, compacted = Storage.files, []

    def files(storage, folder):
        found = listing(storage, folder)
        if not compacted:
            compacted.append(True)
            compact(str(six_files), LATER)
        return found

    monkeypatch.setattr(Storage, "files", files)
    assert seen(six_files) == before


def test_a_scan_goes_on_over_an_hour_that_is_compacted_under_it(tmp_path):
    put(tmp_path, *(a_batch([an_id(minutes(60 * number), 1)]) for number in (0, 0.1, 1, 1.1, 2, 2.1)))
    batches = scan(str(tmp_path), "delay", NOON, NOON + DAY)
    first = next(batches)
    compact(str(tmp_path), LATER)
    assert first.num_rows + sum(batch.num_rows for batch in batches) == 6


def test_the_type_of_no_value_changes(tmp_path):
    text = a_batch([an_id(number=1)])
    text.inputs = {"x": ids.text(ids.parse([an_id()])).to_numpy(zero_copy_only=False)}
    whole = a_batch([an_id(number=2)])
    whole.inputs = {"x": whole.inputs["x"].astype(int)}
    put(tmp_path, a_batch([an_id()]), text, whole, a_batch([an_id(number=3)]), a_batch([an_id(number=4)], column="z"))
    compact(str(tmp_path), LATER)
    schemas = [pq.read_schema(path) for path in tmp_path.rglob("*.parquet")]
    types = {str(schema.field("input.x").type) for schema in schemas if "input.x" in schema.names}
    assert types == {"double", "string", "int64"}
    assert len(schemas) == 3


def test_what_a_killed_writer_has_begun_goes_after_a_day(six_files):
    begun = six_files / ".a.parquet.1234.writing"
    begun.write_bytes(b"half")
    for age, is_there in ((timedelta(hours=23), True), (timedelta(hours=25), False)):
        compact(str(six_files), datetime.fromtimestamp(begun.stat().st_mtime, UTC) + age)
        assert begun.exists() == is_there
        if is_there:
            assert len(seen(six_files)) == 12


def test_a_second_compaction_is_refused(six_files):
    def another(_):
        with pytest.raises(OutputHeld, match="another compaction"):
            compact(str(six_files), LATER)

    assert compact(str(six_files), LATER, step=another).folders == 1


@given(st.dictionaries(st.integers(0, 99).map(str), st.integers(1, 50)), st.integers(1, 100))
def test_groups_hold_small_files_and_no_more_than_the_target(sizes, target):
    found = list(groups(sizes, target))
    every = [path for group in found for path in group]
    assert len(set(every)) == len(every)
    assert all(len(group) > 1 and sum(sizes[path] for path in group) <= target for group in found)
