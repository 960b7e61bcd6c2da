"""Forgetting: every row about a subject goes and no other one, whoever is killed or writes meanwhile."""

import shutil
import threading
from collections import Counter
from contextlib import suppress
from datetime import timedelta
from io import StringIO

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from taxiway.cli import main
from taxiway.errors import ConfigError, OutputHeld
from taxiway.predictions.compaction import compact
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.forgetting import forget
from taxiway.predictions.forgotten import read_about, read_records
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.keys import FieldKeys
from taxiway.predictions.labels import label_file, label_table, read_labels
from taxiway.predictions.lock import one_at_a_time
from taxiway.predictions.partitions import GROUND_TRUTH, FileNames, hour_folder, hour_of
from taxiway.predictions.reader import read
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.storage import Storage
from taxiway.predictions.subjects import LOCKED, NOBODY, Subjects
from tests.prediction_records import NOON, an_id, minutes

SECRET = "a secret of sixteen"
RULES = FieldRules({}, SECRET, None, "customer")
DAY = timedelta(days=1)
LATER = minutes(24 * 60)
KEYS = FieldKeys({"k1": b"1" * 32})
NAMES = FileNames()
ANN = Subjects(["ann"], RULES)


class _Killed(Exception):
    pass


def put(location, customers, at=0.0, number=0, rows=1, rules=RULES, kind="live", column="customer", endpoint="delay"):
    """One file: a request of `rows` rows for each group of customers. Its ids."""
    requests = len(customers) // rows
    names = [an_id(minutes(at), number + place) for place in range(requests)]
    kinds = None if all(isinstance(it, float) for it in customers) else np.object_
    inputs = {column: np.array(customers, kinds), "x": np.arange(float(len(customers)))}
    source = Source(endpoint, "champion", "1", kind)
    batch = LoggedBatch(source, inputs, {}, names, [rows] * requests, [1.0] * requests, [1.0] * requests)
    for file in encode([(batch, None)], rules, NAMES):
        Storage(str(location)).write(file.path, file.content)
    return names


def say(location, *labels, at=30.0):
    """Labels of (id, row), received at once."""
    reports = [GroundTruth(name, row, 1.0, minutes(at), minutes(at)) for name, row in labels]
    path = NAMES.next(hour_folder(GROUND_TRUTH, hour_of(minutes(at))))
    Storage(str(location)).write(path, label_file(label_table(reports)))


def seen(location, endpoint="delay", column="input.customer"):
    table = read(str(location), endpoint, NOON - DAY, NOON + 3 * DAY, ["prediction_id", "row", column])
    return Counter(table[column].to_pylist())


def labels(location):
    table = read_labels(Storage(str(location)), NOON - DAY, NOON + 30 * DAY)
    return Counter(zip(table["prediction_id"].to_pylist(), table["row"].to_pylist(), strict=True))


def killed_at(number):
    left = iter(range(number))

    def step(_):
        if next(left, None) is None:
            raise _Killed

    return step


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Ann alone in a file, among others, in a compacted file, and in another endpoint; labels of all."""
    tmp_path = tmp_path_factory.mktemp("log")
    names = put(tmp_path, ["ann", "ann"])
    names += put(tmp_path, ["bob", "ann", "cyd"], at=1, number=10)
    put(tmp_path, ["ann", "dan"], at=70, number=20)
    put(tmp_path, ["dan"], at=71, number=30)
    say(tmp_path, *((name, 0) for name in names))
    say(tmp_path, (names[0], None), (names[4], None), at=1400)
    put(tmp_path, ["ann", "eve"], number=40, endpoint="price")
    compact_hour(tmp_path)
    put(tmp_path, ["ann"], at=72, number=50)
    return tmp_path


@pytest.fixture
def log(made, tmp_path):
    return shutil.copytree(made, tmp_path / "log")


def compact_hour(location):
    compact(str(location), LATER)


def forgotten(location, subjects=ANN, now=LATER, **others):
    return forget(str(location), subjects, "the data protection officer", now, **others)


LEFT = Counter(bob=1, cyd=1, dan=2)
STEPS = 14


def test_all_rows_of_a_subject_go_and_no_others(log):
    record = forgotten(log)
    assert seen(log) == LEFT
    assert seen(log, "price") == Counter(eve=1)
    assert sum(labels(log).values()) == 3
    assert record.by_day == {
        "endpoint=delay/date=2026-01-01": 5,
        "endpoint=price/date=2026-01-01": 1,
        "ground_truth/date=2026-01-01": 3,
        "ground_truth/date=2026-01-02": 1,
    }
    assert not record.unreachable
    assert forgotten(log).by_day == {}


def test_the_record_says_when_who_and_how_many_and_never_whom(log):
    record = forgotten(log)
    (kept,) = read_records(Storage(str(log)))
    assert kept == record
    assert (kept.at, kept.by, kept.finished) == (LATER, "the data protection officer", LATER)
    assert kept.subjects == tuple(RULES.subjects(np.array(["ann"])).tolist())
    for path in log.rglob("*"):
        assert path.is_dir() or b"ann" not in path.read_bytes() or "plain" in path.name, path


@pytest.mark.parametrize("number", range(STEPS))
def test_a_forgetting_that_is_killed_anywhere_loses_nothing_else_and_the_next_one_finishes(log, number):
    before = seen(log)
    with suppress(_Killed):
        forgotten(log, step=killed_at(number))
    now = seen(log)
    assert {name: count for name, count in now.items() if name != "ann"} == LEFT
    assert now["ann"] <= before["ann"]
    record = forgotten(log)
    assert seen(log) == LEFT
    assert sum(labels(log).values()) == 3
    assert (sum(record.by_day.values()), len(read_records(Storage(str(log))))) == (10, 1)


def test_the_steps_of_the_test_before_are_enough(log):
    steps = []
    forgotten(log, step=steps.append)
    assert len(steps) == STEPS


def test_a_file_that_a_killed_compaction_has_replaced_does_not_come_back(tmp_path):
    put(tmp_path, ["ann", "ann"])
    put(tmp_path, ["ann"], number=10)
    with pytest.raises(_Killed):
        compact(str(tmp_path), LATER, step=killed_at(1))
    assert len(list(tmp_path.rglob("*.parquet"))) == 3

    def looking(_):
        assert seen(tmp_path)["ann"] in (3, 0)

    forgotten(tmp_path, step=looking)
    assert not seen(tmp_path)
    assert not list(tmp_path.rglob("*.parquet"))


def test_writers_go_on_meanwhile_and_lose_nothing(log):
    stop, written = threading.Event(), Counter()

    def writing():
        number = 1_000
        while not stop.is_set() or number < 1_005:
            put(log, ["bob", "fay"], at=2, number=number)
            written.update(["bob", "fay"])
            number += 10

    writer = threading.Thread(target=writing)
    writer.start()
    forgotten(log)
    stop.set()
    writer.join()
    assert seen(log) == LEFT + written
    compact_hour(log)
    assert seen(log) == LEFT + written


def test_a_compaction_is_refused_meanwhile(log):
    with one_at_a_time(Storage(str(log)), "compaction"), pytest.raises(OutputHeld):
        forgotten(log)


@given(st.data())
@settings(max_examples=4, deadline=None)
def test_no_order_of_writes_kills_compactions_and_forgettings_changes_what_others_have(tmp_path_factory, data):
    location, expected = tmp_path_factory.mktemp("log"), Counter()
    for turn in range(data.draw(st.integers(1, 4))):
        for number in range(data.draw(st.integers(0, 3))):
            customers = data.draw(st.lists(st.sampled_from(["ann", "bob", "cyd"]), min_size=1, max_size=4))
            put(location, customers, at=data.draw(st.integers(0, 119)), number=100 * turn + 10 * number)
            expected.update(customers)
        with suppress(_Killed):
            compact(str(location), LATER, step=killed_at(data.draw(st.integers(0, 8))))
        with suppress(_Killed):
            forgotten(location, step=killed_at(data.draw(st.integers(0, 8))))
        assert {**seen(location), "ann": 0} == {**expected, "ann": 0}
    forgotten(location)
    del expected["ann"]
    assert seen(location) == expected


def test_what_a_writer_had_in_memory_goes_with_the_next_compaction(log):
    record = forgotten(log)
    late = put(log, ["ann", "gus"], at=60 * 23, number=500)
    say(log, (late[0], 0), (late[1], 0), at=60 * 24 + 5)
    now = LATER + timedelta(hours=1)
    assert compact(str(log), now).forgotten == 2
    assert seen(log) == LEFT + Counter(gus=1)
    assert sum(labels(log).values()) == 4
    (kept,) = read_records(Storage(str(log)))
    assert sum(kept.late_rows.values()) == 2
    assert kept.rows == record.rows
    assert compact(str(log), now).forgotten == 0


def test_a_label_that_comes_late_goes_too(log):
    about = put(log, ["ann"], at=600, number=600)[0]
    forgotten(log)
    say(log, (about, 0), at=60 * 24 + 5)
    assert compact(str(log), LATER + timedelta(hours=1)).forgotten == 1
    assert sum(labels(log).values()) == 3


def test_late_rows_are_not_waited_for_for_ever_and_new_answers_stay(log):
    forgotten(log, late=timedelta(hours=2))
    put(log, ["ann"], at=60 * 24 + 1, number=500)
    assert compact(str(log), LATER + timedelta(hours=1)).forgotten == 0
    put(log, ["ann"], at=60 * 24 - 1, number=600)
    after = LATER + timedelta(hours=3)
    assert compact(str(log), after).forgotten == 0
    assert seen(log) == LEFT + Counter(ann=2)
    (record,) = read_records(Storage(str(log)))
    assert read_about(Storage(str(log)), record.key).num_rows == 0


def test_a_late_pass_that_is_killed_is_done_by_the_next_one(log):
    forgotten(log)
    for number in range(6):
        put(log, ["ann", "gus"], at=60 * 23, number=500 + 10 * number)
        with suppress(_Killed):
            compact(str(log), LATER + timedelta(hours=1), step=killed_at(number))
        assert seen(log)["gus"] == number + 1
    compact(str(log), LATER + timedelta(hours=1))
    assert seen(log) == LEFT + Counter(gus=6)


def test_a_request_about_several_keeps_the_others_and_what_is_said_of_all_its_rows(tmp_path):
    (name,) = put(tmp_path, ["ann", "bob"], rows=2)
    say(tmp_path, (name, 0), (name, 1), (name, None))
    forgotten(tmp_path)
    assert seen(tmp_path) == Counter(bob=1)
    assert sorted(row if row is not None else -1 for _, row in labels(tmp_path)) == [-1, 1]


def test_a_copy_that_was_asked_without_the_subject_goes_with_the_answer(tmp_path):
    put(tmp_path, ["ann", "bob"])
    put(tmp_path, ["x", "y"], kind="shadow", column="z")
    record = forgotten(tmp_path)
    assert seen(tmp_path) == Counter({"bob": 1, None: 1})
    assert record.unreachable == {NOBODY: 1}


@pytest.mark.parametrize("number", range(4))
def test_such_a_copy_goes_also_when_the_answer_has_gone_before_a_kill(tmp_path, number):
    put(tmp_path, ["ann", "bob"])
    put(tmp_path, ["x", "y"], kind="shadow", column="z")
    with suppress(_Killed):
        forgotten(tmp_path, step=killed_at(number))
    forgotten(tmp_path)
    assert seen(tmp_path) == Counter({"bob": 1, None: 1})


@pytest.mark.parametrize(("rule", "keys"), [(None, None), ("hash", None), ("encrypt", KEYS)])
def test_rows_from_before_the_settings_named_a_subject_are_found_by_the_input(tmp_path, rule, keys):
    before = FieldRules({"customer": rule} if rule else {}, SECRET, keys)
    put(tmp_path, ["ann", "bob", None], rules=before)
    now = FieldRules({"customer": rule} if rule else {}, SECRET, keys, "customer")
    record = forgotten(tmp_path, Subjects(["ann"], now, keys))
    assert seen(tmp_path).total() == 2
    assert None in seen(tmp_path)
    assert record.unreachable == {NOBODY: 1}


def test_numbers_are_subjects_in_whatever_type_they_come(tmp_path):
    before = FieldRules({"customer": "encrypt"}, SECRET, KEYS)
    put(tmp_path, [7.0, 8.0])
    put(tmp_path, [7.0, 7.5], number=10, rules=before)
    forgotten(tmp_path, Subjects(["7"], RULES, KEYS))
    assert seen(tmp_path, column="input.x") == Counter({1.0: 2})


def test_what_is_encrypted_under_a_key_that_is_gone_is_said_to_be_out_of_reach(tmp_path):
    put(tmp_path, ["ann", "bob"], rules=FieldRules({"customer": "encrypt"}, SECRET, KEYS))
    put(tmp_path, ["ann"], number=10)
    for keys in (None, FieldKeys({"k2": b"2" * 32})):
        record = forgotten(tmp_path, Subjects(["ann"], RULES, keys))
        assert record.unreachable == {LOCKED: 2}
    assert seen(tmp_path).total() == 2


def test_nobody_and_a_log_without_subjects_can_not_be_forgotten():
    with pytest.raises(ConfigError, match=r"predictions\.subject"):
        Subjects(["ann"], FieldRules({}, SECRET))
    with pytest.raises(ConfigError, match="no subject"):
        Subjects([], RULES)


@pytest.fixture
def config(log, tmp_path, monkeypatch):
    monkeypatch.setenv("LOG_SECRET", SECRET)
    gone = {"gone": f"file:{tmp_path}/no-such-key"}
    told = {"location": str(log), "subject": "customer", "hash_secret": "${LOG_SECRET}", "encrypt_keys": gone}
    path = tmp_path / "serve.yaml"
    path.write_text(yaml.safe_dump({"applications": [{"args": {"predictions": told, "endpoints": []}}]}))
    return str(path)


def test_the_command_says_what_goes_by_day_and_where_the_record_is(log, config, capsys):
    asked = ["predictions", "forget", "--config", config, "--by", "ann herself", "--subject", "ann"]
    assert main([*asked, "--dry-run"]) == 0
    assert "10 rows about 1 subjects would go" in capsys.readouterr().out
    assert seen(log)["ann"] == 5
    assert main(asked) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "10 rows about 1 subjects have gone"
    assert "  2026-01-01 endpoint=delay: 5" in lines
    assert (log / lines[-1].removeprefix("the record is ")).is_file()
    assert seen(log) == LEFT


def test_many_subjects_come_from_a_file_or_from_standard_input(log, config, tmp_path, capsys, monkeypatch):
    asked = ["predictions", "forget", "--config", config, "--by", "me", "--subjects"]
    monkeypatch.setattr("sys.stdin", StringIO("bob\n\ncyd\n"))
    assert main([*asked, "-"]) == 0
    assert "about 2 subjects" in capsys.readouterr().out
    (tmp_path / "whom").write_text("dan\n")
    assert main([*asked, str(tmp_path / "whom")]) == 0
    assert seen(log) == Counter(ann=5)
    assert main([*asked, str(tmp_path / "nobody")]) == 2
    assert "one subject a line" in capsys.readouterr().err


def test_the_command_needs_to_know_how_the_log_keeps_subjects(log, capsys):
    assert main(["predictions", "forget", "--location", str(log), "--by", "me", "--subject", "ann"]) == 2
    assert "--config" in capsys.readouterr().err
