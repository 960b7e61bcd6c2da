"""What the log holds: hours, files, rows and bytes of each endpoint, and of the ground truth."""

from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from taxiway.predictions.join import label_since
from taxiway.predictions.partitions import GROUND_TRUTH, end_of, endpoint_root, endpoints, hours, parse_hour
from taxiway.predictions.snapshot import live_files, rows_of
from taxiway.predictions.storage import Storage, until_nothing_vanishes

_BEGIN = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Held:
    """What one endpoint has, or the ground truth.

    Attributes:
        endpoint: None for the ground truth, whose rows are reports.
        files: those that count; what a compaction has replaced and not yet deleted does not.
        rows: of the files; a record that was written twice counts twice.
        oldest: the beginning of the first hour.
        newest: the end of the last hour.
        labels: live records with ground truth; None where nobody has looked.
    """

    endpoint: str | None
    hours: int
    files: int
    rows: int
    size_bytes: int
    oldest: datetime | None
    newest: datetime | None
    labels: int | None = None


def status(location: str, now: datetime, with_labels: bool = False) -> list[Held]:
    """One for each endpoint in the order of their names, then one for the ground truth.

    Args:
        with_labels: joins the whole ground truth with the answers, in memory.

    Raises:
        OSError: the storage can't be read.
    """
    storage = Storage(location)
    later = now + timedelta(days=1)
    labelled = _labelled(location, later) if with_labels else None
    held = [
        _held(storage, endpoint_root(name), name, later, None if labelled is None else labelled[name])
        for name in endpoints(storage)
    ]
    return [*held, _held(storage, GROUND_TRUTH, None, later, None)]


def _held(storage: Storage, root: str, endpoint: str | None, until: datetime, labels: int | None) -> Held:
    folders = [(folder, _sizes(storage, folder)) for folder in hours(storage, root, _BEGIN, until)]
    full = [found for found in folders if found[1][0]]
    files, rows, size = (
        (sum(numbers) for numbers in zip(*(found[1] for found in full), strict=True)) if full else (0, 0, 0)
    )
    oldest, newest = (parse_hour(full[0][0]), end_of(full[-1][0])) if full else (None, None)
    return Held(endpoint, len(full), files, rows, size, oldest, newest, labels)


def _sizes(storage: Storage, folder: str) -> tuple[int, int, int]:
    """Files, rows and bytes of an hour."""

    def read() -> tuple[int, int, int]:
        live = live_files(storage, storage.files(folder))
        return len(live), sum(rows_of(storage, list(live))), sum(live.values())

    return until_nothing_vanishes(read)


def _labelled(location: str, until: datetime) -> Counter[str]:
    table = label_since(location, _BEGIN, until, columns=["kind"]).table
    if not table.num_rows:
        return Counter()
    pairs = zip(table["endpoint"].to_pylist(), table["kind"].to_pylist(), strict=True)
    return Counter(str(endpoint) for endpoint, kind in pairs if kind == "live")
