"""One at a time: a lock of the operating system, or an object in S3 written on conditions."""

import fcntl
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import unquote, urlsplit

from taxiway.errors import OutputHeld
from taxiway.predictions.storage import Storage
from taxiway.storage import s3_endpoint, s3_options

LEASE_S = 600.0
_REFUSED = ("PreconditionFailed", "ConditionalRequestConflict", "412", "409")
_ABSENT = ("NoSuchKey", "404")
StillMine = Callable[[], None]


@contextmanager
def one_at_a_time(storage: Storage, what: str) -> Iterator[StillMine]:
    """Keeps others away who do the same. What it gives is called now and then, and raises when others took over.

    Without boto3 there is no lock in S3: nothing that takes it rests on it.

    Args:
        what: `compaction` (which deletes replaced files, as retention does) or `import`.

    Raises:
        OutputHeld: another one is at work.
    """
    if storage.is_local:
        with _file_lock(storage, what):
            yield lambda: None
        return
    try:
        lease = _Lease(storage.location, what)
    except ImportError:
        yield lambda: None
        return
    lease.take()
    try:
        yield lease.renew
    finally:
        lease.give_back()


@contextmanager
def _file_lock(storage: Storage, what: str) -> Iterator[None]:
    storage.folder.mkdir(parents=True, exist_ok=True)
    with (storage.folder / _name(what)).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise OutputHeld(f"another {what} is at work in {storage.location}; try again later") from None
        yield


class _Lease:
    """An object that its holder renews; `LEASE_S` after the last time anybody may take it."""

    def __init__(self, location: str, what: str) -> None:
        import boto3

        split = urlsplit(location)
        options = s3_options(location)
        self._what = what
        self._s3 = boto3.client("s3", region_name=options.get("region"), endpoint_url=s3_endpoint(options))
        self._where = {"Bucket": split.netloc, "Key": f"{unquote(split.path).strip('/')}/{_name(what)}".lstrip("/")}
        self._etag = ""
        self._renewed = 0.0

    def take(self) -> None:
        seen = self._asked(lambda: self._s3.head_object(**self._where), _ABSENT)
        age_s = 0.0 if seen is None else time.time() - seen["LastModified"].timestamp()
        if seen is not None and age_s <= LEASE_S:
            left_s = LEASE_S - age_s
            raise OutputHeld(f"another {self._what} is at work; if it is dead, its lease ends in {left_s:.0f} s")
        self._put({"IfNoneMatch": "*"} if seen is None else {"IfMatch": seen["ETag"]})

    def renew(self) -> None:
        if time.monotonic() - self._renewed > LEASE_S / 4:
            self._put({"IfMatch": self._etag})

    def give_back(self) -> None:
        self._asked(lambda: self._s3.delete_object(**self._where), _ABSENT)

    def _put(self, condition: dict[str, str]) -> None:
        body = f"{socket.gethostname()}, process {os.getpid()}, {time.time_ns()}".encode()
        began = time.monotonic()
        found = self._asked(lambda: self._s3.put_object(**self._where, Body=body, **condition), _REFUSED)
        if found is None:
            raise OutputHeld(f"another {self._what} has just begun; try again later")
        self._etag, self._renewed = found["ETag"], began

    def _asked(self, ask: Callable[[], Any], refused: tuple[str, ...]) -> Any:
        """None when S3 refuses with one of these codes. Raises OSError when it does not answer."""
        from botocore.exceptions import BotoCoreError, ClientError

        try:
            return ask()
        except ClientError as error:
            if str(error.response.get("Error", {}).get("Code")) in refused:
                return None
            raise OSError(f"{_name(self._what)}: {error}") from error
        except BotoCoreError as error:
            raise OSError(f"{_name(self._what)}: {error}") from error


def _name(what: str) -> str:
    return f"_{what}.lock"
