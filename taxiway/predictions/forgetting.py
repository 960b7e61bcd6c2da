"""Forgets subjects: every row about them goes, answers and the labels that belong to them, and a record of it stays.

1. Looks: which rows are theirs, in which hours, and which labels are about these. That is written down.
2. These rows go, labels first: what says whose they are goes last.
3. A file with other rows is replaced as in a compaction (rewriting.py), one without them is deleted.

A kill between any two steps loses no row of anybody else, and the same command goes on. The lock of the compaction is
held meanwhile: a compactor that has read a file before would bring the rows back.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from importlib.util import find_spec
from typing import Any

import pyarrow as pa

from taxiway.errors import ConfigError
from taxiway.predictions import forgotten
from taxiway.predictions.forgotten import About, Forgotten
from taxiway.predictions.ground_truth import CLOCK_SKEW
from taxiway.predictions.lock import StillMine, one_at_a_time
from taxiway.predictions.partitions import GROUND_TRUTH, endpoint_root, endpoints, hours
from taxiway.predictions.rewriting import Step, delete_superfluous, replace
from taxiway.predictions.snapshot import live_files, read_files
from taxiway.predictions.storage import Storage, until_nothing_vanishes
from taxiway.predictions.subjects import Digests, Finder, Subjects, Theirs

LATE = timedelta(days=7)
_EVER = datetime(1970, 1, 1, tzinfo=UTC)
_KEY = ("prediction_id", "row")


@dataclass(frozen=True)
class _Work:
    """One pass over the log.

    Args:
        find: which rows are to go.
        known: rows that are known to be theirs, whatever `find` says.
        start: of the first hour to look at; `end` likewise of the last one.
    """

    storage: Storage
    find: Finder
    known: About
    start: datetime
    end: datetime
    still_mine: StillMine
    step: Step


@dataclass
class _Found:
    """Rows by the folder of an hour, what they are, and of how many nobody can tell."""

    rows: dict[str, int] = field(default_factory=dict)
    about: list[pa.Table] = field(default_factory=list)
    unreachable: Counter[str] = field(default_factory=Counter)


def forget(
    location: str,
    subjects: Subjects,
    by: str,
    now: datetime,
    late: timedelta = LATE,
    is_dry: bool = False,
    step: Step = lambda _: None,
) -> Forgotten:
    """Removes every row about some subjects.

    Args:
        by: who wants it; the record keeps it.
        late: for how long rows that are still on their way are waited for, and how old they may be (`forget_late`).
        is_dry: only says what would go.
        step: told before each change what it is; whoever raises there has killed it.

    Raises:
        ConfigError: in S3, without boto3 there is no lock.
        OutputHeld: a compaction, a retention or another forgetting is at work.
        OSError: the storage does not answer.
    """
    storage = Storage(location)
    if not storage.is_local and find_spec("boto3") is None:
        raise ConfigError("forgetting in S3 needs a lock; install boto3")
    with one_at_a_time(storage, "compaction") as still_mine:
        record = _begun(storage, subjects, by, now, late)
        known = About(forgotten.read_about(storage, record.key))
        work = _Work(storage, subjects, known, _EVER, now, still_mine, step)
        found, labels = _look(work)
        counts = {**found.rows, **labels}
        rows = {**record.rows, **{name: max(count, record.rows.get(name, 0)) for name, count in counts.items()}}
        record = record.model_copy(update={"rows": rows, "unreachable": dict(found.unreachable)})
        if is_dry:
            return record
        about = known.with_more(found.about)
        step("write how many")
        forgotten.keep_record(storage, record)
        step("write which")
        forgotten.keep_about(storage, record.key, about.table)
        _remove(work, about, (*labels, *found.rows))
        step("write that it is done")
        record = record.model_copy(update={"finished": now})
        forgotten.keep_record(storage, record)
        return record


def forget_late(storage: Storage, now: datetime, still_mine: StillMine, step: Step = lambda _: None) -> int:
    """Removes what has come since from those who had it in memory, and labels about it; says how many rows.

    Only of forgettings whose `late_until` is still to come, in hours so long before them; afterwards the ids of what
    was forgotten go too. For who holds the lock.
    """
    records = forgotten.read_records(storage)
    for over in (it for it in records if it.finished and it.late_until < now):
        forgotten.delete_about(storage, over.key)
    awaited = [it for it in records if it.late_until >= now]
    if not awaited:
        return 0
    last = {digest: it for it in sorted(awaited, key=lambda it: it.at) for digest in it.subjects}
    known = About().with_more([forgotten.read_about(storage, it.key) for it in awaited])
    start = min(it.at - (it.late_until - it.at) for it in awaited)
    find = Digests({digest: it.at for digest, it in last.items()})
    work = _Work(storage, find, known, start, now, still_mine, step)
    found, labels = _look(work)
    counts = Counter(found.rows) + Counter(labels)
    if counts:
        newest = awaited[-1]
        more = About(forgotten.read_about(storage, newest.key)).with_more(found.about)
        step("write what has come late")
        forgotten.keep_about(storage, newest.key, more.table)
        _remove(work, known.with_more(found.about), (*labels, *found.rows))
        told = dict(Counter(newest.late_rows) + counts)
        forgotten.keep_record(storage, newest.model_copy(update={"late_rows": told}))
    return counts.total()


def _begun(storage: Storage, subjects: Subjects, by: str, now: datetime, late: timedelta) -> Forgotten:
    """What an earlier attempt of the same has left unfinished, or a new one."""
    times = {"at": now, "late_until": now + late}
    for record in forgotten.read_records(storage):
        if record.finished is None and record.subjects == subjects.digests:
            return record.model_copy(update=times)
    key = forgotten.new_key(now)
    return Forgotten(key=key, by=by, subjects=subjects.digests, **times)


def _look(work: _Work) -> tuple[_Found, dict[str, int]]:
    """What is to go of the answers, and, by folder, how many labels."""
    found = _Found()
    for endpoint in endpoints(work.storage):
        for folder in hours(work.storage, endpoint_root(endpoint), work.start, work.end + CLOCK_SKEW):
            work.still_mine()
            until_nothing_vanishes(partial(_look_at, work, endpoint, folder, found))
    about = work.known.with_more(found.about)
    labels: dict[str, int] = {}
    if about.table.num_rows:
        start = max(about.oldest - CLOCK_SKEW, work.start)
        for folder in hours(work.storage, GROUND_TRUTH, start, work.end + CLOCK_SKEW):
            work.still_mine()
            count = until_nothing_vanishes(partial(_count_labels, work.storage, folder, about))
            if count:
                labels[folder] = count
    return found, labels


def _look_at(work: _Work, endpoint: str, folder: str, found: _Found) -> None:
    paths = list(live_files(work.storage, work.storage.files(folder)))
    tables = read_files(work.storage, paths, [*_KEY, *work.find.columns])
    theirs = _theirs(tables, endpoint, work.find, work.known)
    for it in theirs:
        found.unreachable.update({why: int(rows.sum()) for why, rows in it.unknown.items() if rows.any()})
    count = sum(int(it.mask.sum()) for it in theirs)
    if count:
        found.rows[folder] = count
        found.about.append(forgotten.about_of(tables, [it.mask for it in theirs]))


def _theirs(tables: Sequence[pa.Table], endpoint: str, find: Finder, known: About) -> list[Theirs]:
    """Of the files of one hour. A copy that was asked without the subject goes with the answer that it copies."""
    found = [find.of(table, endpoint) for table in tables]
    same = About().with_more([forgotten.rows_of(table, it.mask) for table, it in zip(tables, found, strict=True)])
    theirs = []
    for table, it in zip(tables, found, strict=True):
        mask = it.mask | same.of(table) | known.of(table)
        theirs.append(Theirs(mask, {why: rows & ~mask for why, rows in it.unknown.items()}))
    return theirs


def _count_labels(storage: Storage, folder: str, about: About) -> int:
    tables = read_files(storage, list(live_files(storage, storage.files(folder))), _KEY)
    return sum(int(about.of(table).sum()) for table in tables)


def _remove(work: _Work, about: About, folders: Iterable[str]) -> None:
    """What was looked up, and no more: what has come since is not written down, and its labels would stay."""
    for folder in folders:
        work.still_mine()
        until_nothing_vanishes(partial(_rewrite, work, folder, about))


def _rewrite(work: _Work, folder: str, about: About) -> None:
    """Takes rows out of the files of an hour."""
    storage, step = work.storage, work.step
    listed = storage.files(folder)
    paths = list(live_files(storage, listed))
    masks = [about.of(table) for table in read_files(storage, paths, _KEY)]
    for path, mask in zip(paths, masks, strict=True):
        if mask.all():
            # What it has replaced must not count again when it is gone.
            delete_superfluous(storage, folder, step)
            step(f"delete {path}")
            storage.delete([path])
        elif mask.any():
            others: Any = pa.array(~mask)
            replace(storage, folder, [path], listed, partial(_only, others), step)
    delete_superfluous(storage, folder, step)
    storage.remove_empty(folder)


def _only(rows: Any, table: pa.Table) -> pa.Table:
    return table.filter(rows)
