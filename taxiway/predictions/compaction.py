"""Many small files of an hour become few, sorted by id; readers see each record exactly once meanwhile.

1. The live files of an hour that are small are read, as a reader would.
2. One file with their distinct records appears, under a name that follows from theirs. Its metadata names what it
   replaces, so that in the same moment the others count no more (see snapshot.py).
3. The replaced files are deleted, those of a compaction that was killed here too.

A kill between any two steps leaves files that are superfluous, never a record that is missing or counts twice. A
lock keeps a second compactor from doing the same work. Nothing rests on it: two that do not know of each other write
the same records twice at worst, which readers show once and the next compaction joins.

Before all that, rows go that have come since their subject was forgotten (see forgetting.py).
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import pyarrow as pa

from taxiway.predictions.distinct import distinct_records
from taxiway.predictions.fields import is_encrypted
from taxiway.predictions.forgetting import forget_late
from taxiway.predictions.labels import distinct_labels
from taxiway.predictions.lock import one_at_a_time
from taxiway.predictions.partitions import GROUND_TRUTH, end_of, endpoint_root, endpoints
from taxiway.predictions.rewriting import Change, Step, delete_superfluous, replace
from taxiway.predictions.snapshot import live_files, read_schema
from taxiway.predictions.storage import Storage, until_nothing_vanishes

_ABANDONED = timedelta(days=1)


@dataclass(frozen=True)
class CompactionRules:
    """When it pays. Files of `target_bytes` are left as they are; an hour is over `settle` after its end.

    An hour that still runs is compacted too when it has `many_files`: ground truth makes one for each commit.
    """

    target_bytes: int = 128 << 20
    settle: timedelta = timedelta(minutes=15)
    many_files: int = 1_000


@dataclass(frozen=True)
class Compacted:
    """What one pass did; `forgotten` is how many rows of subjects went that were forgotten before they came."""

    folders: int
    files_before: int
    files_after: int
    forgotten: int = 0


def compact(
    location: str, now: datetime, rules: CompactionRules = CompactionRules(), step: Step = lambda _: None
) -> Compacted:
    """Compacts the log of every endpoint and the ground truth, one hour after the other.

    Args:
        step: told before each change what it is; whoever raises there has killed the compaction.

    Raises:
        OutputHeld: another one is at work.
        OSError: the storage does not answer.
    """
    storage = Storage(location)
    roots: dict[str, Change] = {endpoint_root(name): distinct_records for name in endpoints(storage)}
    roots[GROUND_TRUTH] = distinct_labels
    done = []
    with one_at_a_time(storage, "compaction") as still_mine:
        storage.sweep((now - _ABANDONED).timestamp())
        late = forget_late(storage, now, still_mine, step)
        for root, distinct in roots.items():
            for folder, files in _by_hour(storage, root).items():
                is_over = end_of(folder) + rules.settle <= now
                if (is_over and files > 1) or files >= rules.many_files:
                    still_mine()
                    job = partial(_compact_hour, storage, folder, distinct, rules, step)
                    done.append(until_nothing_vanishes(job))
    changed = [it for it in done if it.folders]
    return Compacted(len(changed), sum(it.files_before for it in changed), sum(it.files_after for it in changed), late)


def _by_hour(storage: Storage, root: str) -> Mapping[str, int]:
    """The folders and their number of files."""
    return Counter(path.rpartition("/")[0] for path in sorted(storage.files(root)))


def _compact_hour(storage: Storage, folder: str, distinct: Change, rules: CompactionRules, step: Step) -> Compacted:
    listed = storage.files(folder)
    live = live_files(storage, listed)
    joined = [group for alike in _alike(storage, live) for group in groups(alike, rules.target_bytes)]
    for group in joined:
        replace(storage, folder, group, listed, distinct, step)
    superfluous = delete_superfluous(storage, folder, step)
    after = len(live) - sum(len(group) - 1 for group in joined)
    return Compacted(int(bool(superfluous)), len(listed), after)


def _alike(storage: Storage, live: Mapping[str, int]) -> list[dict[str, int]]:
    """Files that can be joined without changing the type of a value or its encryption; columns may be missing."""
    alike: list[tuple[pa.Schema, dict[str, int]]] = []
    for path, size in live.items():
        schema = read_schema(storage, path).remove_metadata()
        for place, (known, files) in enumerate(alike):
            if all(_same(known.field(name), schema.field(name)) for name in known.names if name in schema.names):
                files[path] = size
                alike[place] = pa.unify_schemas([known, schema]), files
                break
        else:
            alike.append((schema, {path: size}))
    return [files for _, files in alike]


def _same(one: Any, other: Any) -> bool:
    return bool(one.type == other.type) and is_encrypted(one) == is_encrypted(other)


def groups(live: Mapping[str, int], target_bytes: int) -> Iterator[list[str]]:
    """Which files become one: small ones, together not larger than the target, at least two."""
    group: list[str] = []
    size = 0
    for path in sorted(path for path, size in live.items() if size < target_bytes):
        if size + live[path] > target_bytes:
            if len(group) > 1:
                yield group
            group, size = [], 0
        group.append(path)
        size += live[path]
    if len(group) > 1:
        yield group
