"""Records, what a rollback restores, and turns; all without a registry of MLflow."""

import threading
import time
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.errors import ConfigError, RegistryError
from taxiway.history import (
    BY_CHARACTERS,
    REASON_CHARACTERS,
    Entry,
    Record,
    bounded,
    champions_before,
    entries,
    next_key,
)
from taxiway.registry import LiveModel
from taxiway.turn import TagTurn, sqlite_path

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def record(action: str, from_version: str | None, to_version: str | None, **more: Any) -> Record:
    fields = {"alias": "champion", "at": NOON, "by": "ada", "reason": "better", "state": "done"} | more
    return Record.model_validate({"action": action, "from_version": from_version, "to_version": to_version, **fields})


def moves(*steps: str) -> list[Record]:
    """`3` promotes version 3, `<2` rolls back to version 2."""
    found: list[Record] = []
    for step in steps:
        before = found[-1].to_version if found else None
        found.append(record("rollback" if step[0] == "<" else "promote", before, step.lstrip("<")))
    return found


@pytest.mark.parametrize(
    ("steps", "before"),
    [
        ((), ()),
        (("1",), ()),
        (("1", "2", "3"), ("2", "1")),
        (("1", "2", "3", "<2"), ("1",)),
        (("1", "2", "3", "<1"), ()),
        (("1", "2", "3", "<2", "4"), ("2", "1")),
        (("1", "2", "3", "<2", "<3"), ("2", "1")),
        (("1", "2", "1"), ("2",)),
        (("1", "2", "1", "<2"), ("1",)),
    ],
)
def test_a_rollback_goes_back_as_far_as_it_is_asked_again(steps: tuple[str, ...], before: tuple[str, ...]) -> None:
    records = moves(*steps)
    assert champions_before(records, records[-1].to_version if records else None) == before


def test_a_champion_that_no_record_made_is_one_to_go_back_to() -> None:
    assert champions_before([record("promote", "1", "2")], "2") == ("1",)
    assert champions_before([record("promote", "1", "2")], "7") == ("2", "1")
    assert champions_before([record("promote", "1", "2")], None) == ("2", "1")


def test_what_was_abandoned_or_is_of_another_alias_was_no_champion() -> None:
    records = [
        *moves("1", "2"),
        record("promote", "2", "9", state="abandoned"),
        record("challenge", None, "8", alias="challenger"),
        record("reject", "7", None, alias=None),
    ]
    assert champions_before(records, "2") == ("1",)


@given(st.lists(st.integers(0, 5), max_size=30))
def test_rollbacks_undo_promotions_one_by_one(promoted: list[int]) -> None:
    """Promotions of ever new versions with rollbacks between (0) behave as a stack does."""
    stack: list[str] = []
    records: list[Record] = []
    for number, step in enumerate(promoted):
        champion = stack[-1] if stack else None
        if step:
            records.append(record("promote", champion, str(number)))
            stack.append(str(number))
        elif len(stack) > 1:
            records.append(record("rollback", champion, stack[-2]))
            stack.pop()
    assert champions_before(records, stack[-1] if stack else None) == tuple(reversed(stack[:-1]))


@given(st.text(max_size=6_000), st.text(max_size=500))
def test_a_record_fits_into_a_tag_of_every_database_and_comes_back(reason: str, by: str) -> None:
    kept = record("promote", "1", "2", reason=bounded(reason, REASON_CHARACTERS), by=bounded(by, BY_CHARACTERS))
    text = kept.model_dump_json()
    assert len(text) < 5_000
    assert "\x00" not in text
    assert Record.model_validate_json(text) == kept


def test_a_long_reason_is_cut_where_it_can_be_seen() -> None:
    assert bounded("x" * 2_000, 2_000) == "x" * 2_000
    assert bounded("x" * 2_001, 2_000) == "x" * 1_999 + "…"
    assert bounded('"\\' * 3_000, 2_000).count("\\") == 999


def test_keys_sort_in_the_order_of_records() -> None:
    found: list[Entry] = []
    for _ in range(12):
        found.append(Entry(next_key(found), record("promote", None, "1")))
    keys = [entry.key for entry in found]
    assert keys == sorted(keys)
    assert len(set(keys)) == 12
    tags = {entry.key: entry.record.model_dump_json() for entry in reversed(found)}
    assert [entry.key for entry in entries("parcel", tags | {"taxiway.history.notes": "mine"})] == keys


def test_a_tag_that_somebody_broke_is_named() -> None:
    with pytest.raises(RegistryError, match=r"'taxiway\.history\.00000001-0123abcd' of model 'parcel' is no record"):
        entries("parcel", {"taxiway.history.00000001-0123abcd": "{}"})


def test_the_file_of_a_registry() -> None:
    path = sqlite_path("sqlite:////srv/mlflow.db")
    assert path is not None
    assert str(path) == "/srv/mlflow.db"
    assert sqlite_path("sqlite+pysqlite:////srv/mlflow.db?timeout=5") == path
    assert sqlite_path("sqlite://") is None
    assert sqlite_path("http://mlflow:5000") is None
    with pytest.raises(ConfigError, match="is no database URL"):
        sqlite_path("sqlite")


class Tags:
    """The tags of one model, each read and write on its own, with a pause that lets others in."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self._lock = threading.Lock()

    def live(self, name: str) -> LiveModel:
        time.sleep(0.001)
        with self._lock:
            return LiveModel({}, dict(self.tags))

    def write_tag(self, name: str, key: str, value: str) -> None:
        time.sleep(0.001)
        with self._lock:
            self.tags[key] = value

    def delete_tag(self, name: str, key: str) -> None:
        with self._lock:
            self.tags.pop(key, None)


def turn_of(tags: Tags, who: str = "ada", **more: Any) -> TagTurn:
    return TagTurn(tags, "parcel", who, **more)  # type: ignore[arg-type]


def test_only_one_has_the_turn_however_many_want_it() -> None:
    tags, inside, most, done = Tags(), [0], [0], []

    def work(number: int) -> None:
        for _ in range(3):
            with turn_of(tags).held() as still_mine:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                still_mine()
                time.sleep(0.002)
                done.append(number)
                inside[0] -= 1

    threads = [threading.Thread(target=work, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(done) == 18
    assert most == [1]
    assert tags.tags == {}


def test_the_turn_of_a_dead_writer_ends_and_not_before_its_time() -> None:
    tags = Tags()
    tags.tags["taxiway.turn.dead"] = '{"number": 3, "beat": 0, "who": "grace"}'
    began = time.monotonic()
    with turn_of(tags, lease_s=1.0).held():
        assert time.monotonic() - began > 1.0
    assert tags.tags == {}


def test_the_turn_of_a_slow_writer_does_not_end() -> None:
    tags = Tags()
    with (
        turn_of(tags, "grace", lease_s=1.0).held() as still_mine,
        pytest.raises(RegistryError, match="is being changed by others for 2 s now \\(grace\\); try again"),
        turn_of(tags, wait_s=2.0, lease_s=1.0).held(),
    ):
        pass
    assert tags.tags == {}
    time.sleep(1.1)
    with pytest.raises(RegistryError, match="could not be renewed"):
        still_mine()


def test_who_was_taken_for_dead_while_waiting_has_no_turn() -> None:
    tags = Tags()
    tags.tags["taxiway.turn.0"] = '{"number": 1, "beat": 0, "who": "grace"}'
    turn, told = turn_of(tags, lease_s=30.0), []

    def work() -> None:
        with pytest.raises(RegistryError, match="others have taken this process for dead") as caught, turn.held():
            pass
        told.append(caught)

    thread = threading.Thread(target=work)
    thread.start()
    while len(tags.tags) < 2:
        time.sleep(0.005)
    time.sleep(0.1)
    for key in set(tags.tags) - {"taxiway.turn.0"}:
        tags.delete_tag("parcel", key)
    thread.join(30)
    assert told
