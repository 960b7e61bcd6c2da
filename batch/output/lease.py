"""One writer for an S3 prefix: an object that its holder renews, written only on conditions that S3 checks."""

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from batch.output.s3_client import asked, client
from taxiway.errors import OutputHeld, TryLater

LEASE_S = 30.0
_RENEW_S = LEASE_S / 3
_TAKEN = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")


@dataclass(frozen=True)
class _Seen:
    """Who holds a lease, since how many seconds by the clock of the storage, and the condition to replace it."""

    who: str
    process: str
    age_s: float
    etag: str


class Lease:
    """Held while the process lives and renews it; `LEASE_S` after its last renewal anybody may take it.

    Args:
        uri: of the object.
        who: a sentence for those who are refused.
    """

    def __init__(self, uri: str, who: str) -> None:
        self._uri, self._who = uri, who
        split = urlsplit(uri)
        self._bucket, self._key = split.netloc, unquote(split.path).lstrip("/")
        self._s3 = client(uri)
        self._etag = ""
        self._lost = ""
        self._renewed = 0.0
        self._stop = threading.Event()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Raises OutputHeld when somebody else has it."""
        self._take()
        renewing = threading.Thread(target=self._renew, daemon=True)
        renewing.start()
        try:
            yield
        finally:
            self._stop.set()
            renewing.join()
            self._give_back()

    def check(self) -> None:
        """Raises OutputHeld when the lease was lost, by a process that did not run or a storage that was away."""
        if self._lost:
            raise OutputHeld(self._lost)
        if time.monotonic() - self._renewed > LEASE_S:
            raise OutputHeld(f"the lease {self._uri} could not be renewed for {LEASE_S:.0f} s; run the command again")

    def _take(self) -> None:
        seen = self._seen()
        if seen is None:
            taken = self._put({"IfNoneMatch": "*"})
        elif seen.age_s > LEASE_S or _is_dead_here(seen.process):
            taken = self._put({"IfMatch": seen.etag})
        else:
            left = LEASE_S - seen.age_s
            raise OutputHeld(
                f"another scoring job writes to this output: {seen.who}; if it is dead, its lease ends in {left:.0f} s"
            )
        if not taken:
            raise OutputHeld(f"another scoring job has just begun to write to this output: {self._uri}")

    def _renew(self) -> None:
        while not self._stop.wait(_RENEW_S):
            try:
                if not self._put({"IfMatch": self._etag}):
                    self._lost = f"another job has taken the lease {self._uri} over; this one has been too slow"
                    return
            except TryLater:
                continue

    def _give_back(self) -> None:
        if not self._lost:
            self._asked(lambda: self._s3.delete_object(Bucket=self._bucket, Key=self._key))

    def _put(self, condition: dict[str, str]) -> bool:
        began = time.monotonic()
        body = json.dumps({"who": self._who, "process": _this_process()}).encode()
        found = self._asked(
            lambda: self._s3.put_object(Bucket=self._bucket, Key=self._key, Body=body, **condition), refused=_TAKEN
        )
        if found is None:
            return False
        self._etag, self._renewed = str(found["ETag"]), began
        return True

    def _seen(self) -> _Seen | None:
        found = self._asked(
            lambda: self._s3.get_object(Bucket=self._bucket, Key=self._key), refused=("NoSuchKey", "404")
        )
        if found is None:
            return None
        told = json.loads(found["Body"].read())
        now = _date(found["ResponseMetadata"]["HTTPHeaders"].get("date"))
        age = (now - found["LastModified"].timestamp()) if now else time.time() - found["LastModified"].timestamp()
        return _Seen(str(told.get("who")), str(told.get("process")), age, str(found["ETag"]))

    def _asked(self, ask: Callable[[], Any], refused: tuple[str, ...] = ()) -> Any:
        return asked(self._uri, ask, refused)


def _date(header: str | None) -> float | None:
    from email.utils import parsedate_to_datetime

    return parsedate_to_datetime(header).timestamp() if header else None


def _this_process() -> str:
    return f"{socket.gethostname()}:{os.getpid()}:{_started(os.getpid())}"


def _started(pid: int) -> str:
    """When a process began, in ticks since boot: a number that is used again belongs to another process."""
    with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as stat:  # noqa: PTH123
        return stat.read().rpartition(")")[2].split()[19]


def _is_dead_here(process: str) -> bool:
    """Whether the holder was a process of this machine that has ended."""
    host, *rest = process.rsplit(":", 2)
    if host != socket.gethostname() or len(rest) != 2:
        return False
    pid, started = rest
    try:
        return _started(int(pid)) != started
    except (FileNotFoundError, ProcessLookupError):
        return True
    except (OSError, ValueError):
        return False
