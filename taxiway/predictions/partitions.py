"""Where files lie: `endpoint=E/date=YYYY-MM-DD/hour=HH`, in UTC, by the moment that the prediction ids tell."""

import secrets
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from taxiway.errors import ConfigError
from taxiway.predictions.ids import HOUR_MS
from taxiway.predictions.storage import Storage

GROUND_TRUTH = "ground_truth"
COMPACTED = "compacted-"
_ENDPOINT = "endpoint="
_HOUR = timedelta(hours=1)


class FileNames:
    """Names that no other process and no other call gives."""

    def __init__(self) -> None:
        self._boot = f"{time.time_ns() // 1_000_000:x}{secrets.token_hex(6)}"
        self._number = 0

    def next(self, folder: str) -> str:
        self._number += 1
        return f"{folder}/{self._boot}-{self._number:06d}.parquet"


def endpoint_root(endpoint: str) -> str:
    return f"{_ENDPOINT}{endpoint}"


def endpoints(storage: Storage) -> list[str]:
    """Those that have anything logged."""
    return [name.removeprefix(_ENDPOINT) for name in storage.folders() if name.startswith(_ENDPOINT)]


def hour_folder(root: str, hour: datetime) -> str:
    return f"{root}/{hour:date=%Y-%m-%d/hour=%H}"


def hour_of_ms(unix_ms: int) -> datetime:
    return datetime.fromtimestamp(unix_ms // HOUR_MS * 3600, UTC)


def hour_of(moment: datetime) -> datetime:
    """
    Raises:
        ConfigError: the moment has no time zone.
    """
    if moment.tzinfo is None:
        raise ConfigError(f"{moment}: say the time zone of a moment, UTC for instance")
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def parse_hour(folder: str) -> datetime:
    """The beginning of the hour that a folder holds."""
    date, hour = folder.split("/")[-2:]
    return datetime.fromisoformat(date.removeprefix("date=")).replace(hour=int(hour[-2:]), tzinfo=UTC)


def hours(storage: Storage, root: str, start: datetime, end: datetime) -> Iterator[str]:
    """The folders that may hold something of [start, end), in the order of time."""
    first = hour_of(start)
    for date in storage.folders(root):
        day = datetime.fromisoformat(date.removeprefix("date=")).replace(tzinfo=UTC)
        if day + timedelta(days=1) <= first or day >= end:
            continue
        for hour in storage.folders(f"{root}/{date}"):
            folder = f"{root}/{date}/{hour}"
            if parse_hour(folder) >= first and parse_hour(folder) < end:
                yield folder


def end_of(folder: str) -> datetime:
    return parse_hour(folder) + _HOUR
