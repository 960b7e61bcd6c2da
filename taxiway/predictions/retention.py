"""Hours of the log that are too old: which they are, and how they go."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from taxiway.predictions.ground_truth import CLOCK_SKEW
from taxiway.predictions.lock import one_at_a_time
from taxiway.predictions.partitions import GROUND_TRUTH, end_of, endpoint_root, endpoints, hours, parse_hour
from taxiway.predictions.snapshot import live_files
from taxiway.predictions.storage import Storage, until_nothing_vanishes

_NEVER_BEFORE = datetime.fromisoformat("1970-01-01T00:00:00+00:00")


@dataclass(frozen=True)
class OldHour:
    """A folder whose answers were all made, or whose labels were all received, before a moment."""

    folder: str
    files: int
    size_bytes: int

    @property
    def root(self) -> str:
        return self.folder.partition("/")[0]

    @property
    def begin(self) -> datetime:
        return parse_hour(self.folder)


def old_hours(storage: Storage, before: datetime) -> Iterator[OldHour]:
    """Those that end before a moment, of every endpoint and of the ground truth.

    An answer goes by when it was made, a label by when it was received: it outlives its answer by the time that it
    took to arrive, and no label of an answer that stays is among them.
    """
    for root in (*(endpoint_root(name) for name in endpoints(storage)), GROUND_TRUTH):
        latest = before - CLOCK_SKEW if root == GROUND_TRUTH else before
        for folder in hours(storage, root, _NEVER_BEFORE, latest):
            listed = storage.files(folder)
            if end_of(folder) <= latest and listed:
                yield OldHour(folder, len(listed), sum(listed.values()))


def retain(
    location: str,
    now: datetime,
    keep: timedelta,
    told: Callable[[OldHour], None],
    step: Callable[[str], None] = lambda _: None,
) -> None:
    """Deletes the hours that ended longer ago than `keep`. A kill leaves the rest for the next call.

    Args:
        told: of each hour when it is gone.
        step: told before each file its path; whoever raises there has killed it.

    Raises:
        OutputHeld: a compaction is at work, or another retention.
        OSError: the storage does not answer.
    """
    storage = Storage(location)
    with one_at_a_time(storage, "compaction") as still_mine:
        for hour in old_hours(storage, now - keep):
            still_mine()
            until_nothing_vanishes(lambda hour=hour: _delete(storage, hour.folder, step))  # type: ignore[misc]
            told(hour)


def _delete(storage: Storage, folder: str, step: Callable[[str], None]) -> None:
    """What a compaction has replaced goes first: it must not count again when its successor is gone."""
    listed = storage.files(folder)
    live = live_files(storage, listed)
    for path in [*sorted(listed.keys() - live.keys()), *live]:
        step(path)
        storage.delete([path])
    storage.remove_empty(folder)
