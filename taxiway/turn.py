"""The turn of whoever changes a registered model: it keeps writers apart, although MLflow has no compare-and-set.

What it rests on:

- SQLite: a lock on a file beside the database. It ends with its process, however that ends. It binds the processes
  of one machine; SQLite itself is not for a database on a network drive.
- PostgreSQL: an advisory lock of the database, which ends with its connection.
- anything else, above all a tracking server: Lamport's bakery ("A New Solution of Dijkstra's Concurrent
  Programming Problem", CACM 17(8), 1974) over tags of the model, one tag for each who waits. It needs no
  compare-and-set, only that a read sees every write that was answered before: true of one database, not of a read
  replica that MLflow was told to read from. A writer renews its tag; one that another has seen unchanged for `LEASE_S`
  of its own clock counts as dead. No clocks are compared, but a process that stands still for `LEASE_S` between
  looking at its own clock and writing does write into somebody else's turn; so does a server that carries out after
  `LEASE_S` what it was sent before, and a request that MLflow sends once more after that.

Turns of different kinds know nothing of each other: who writes to one registry has to name it by the same kind of
URI. And whoever moves an alias with plain MLflow takes no turn; the next record then begins where that led.
"""

import fcntl
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from sqlalchemy import Connection, NullPool, create_engine, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError

from taxiway.errors import ConfigError, RegistryAway, RegistryError
from taxiway.registry import Registry
from taxiway.settings import Settings

WAIT_S = 60.0
LEASE_S = 20.0
_POLL_S = 0.05
_MAX_POLL_TAGS_S = 0.4  # a request each
_TURN = "taxiway.turn."
_LOCK_NOT_AVAILABLE = "55P03"

StillMine = Callable[[], None]
_given_up: set[str] = set()  # claims of this process that it could not take back


def turn(registry: Registry, name: str, who: str, wait_s: float = WAIT_S) -> AbstractContextManager[StillMine]:
    """Waits until nobody else changes the model, and keeps others away; the head of this file says how.

    What it gives is to be called before each write: it raises RegistryError when the turn was lost.

    Raises:
        RegistryError: others took longer than `wait_s`.
    """
    who = f"{who}, process {os.getpid()} on {os.uname().nodename}"
    path = sqlite_path(registry.tracking_uri)
    if path is not None:
        return _file_lock(path.with_name(f"{path.name}.lock"), name, who, wait_s)
    if registry.tracking_uri.startswith("postgres"):
        return _advisory_lock(registry.tracking_uri, name, wait_s)
    return TagTurn(registry, name, who, wait_s).held()


def sqlite_path(tracking_uri: str) -> Path | None:
    """The file of an SQLite registry; None for another. Raises ConfigError for what is no URL."""
    if not tracking_uri.startswith("sqlite"):
        return None
    try:
        database = make_url(tracking_uri).database
    except SQLAlchemyError as error:
        raise ConfigError(f"registry.tracking_uri: {tracking_uri} is no database URL: {error}") from error
    return Path(database).resolve() if database and database != ":memory:" else None


@contextmanager
def _file_lock(path: Path, name: str, who: str, wait_s: float) -> Iterator[StillMine]:
    """One for all models of a database: it is held for a moment."""
    try:
        file = path.open("a+")
    except OSError as error:
        raise RegistryError(f"{path} can't be opened, so nothing is changed: {error.strerror}") from error
    with file:
        deadline = time.monotonic() + wait_s
        while not _locked(file):
            if time.monotonic() > deadline:
                file.seek(0)
                raise _too_long(name, wait_s, file.read())
            time.sleep(_POLL_S)
        file.truncate(0)
        file.write(who)
        file.flush()
        yield _it_is


def _locked(file: Any) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _it_is() -> None:
    """The kernel does not take a lock away."""


@contextmanager
def _advisory_lock(uri: str, name: str, wait_s: float) -> Iterator[StillMine]:
    """Held by a transaction rather than by the connection, so that a pool of connections between does no harm."""
    engine = create_engine(uri, poolclass=NullPool)
    try:
        connection = engine.connect()
    except SQLAlchemyError as error:
        raise RegistryAway(f"model {name!r}: the database can't be locked: {type(error).__name__}") from error
    try:
        _ask(
            connection,
            name,
            wait_s,
            f"SET LOCAL lock_timeout = {int(wait_s * 1000)}",
            "SET LOCAL idle_in_transaction_session_timeout = 0",
            "SELECT pg_advisory_xact_lock(hashtextextended(:model, 0))",
        )
        yield lambda: _ask(connection, name, wait_s, "SELECT 1")
    finally:
        with suppress(SQLAlchemyError):
            connection.close()


def _ask(connection: Connection, name: str, wait_s: float, *statements: str) -> None:
    try:
        for statement in statements:
            values = {"model": f"taxiway/{name}"} if ":model" in statement else {}
            connection.execute(text(statement), values)
    except SQLAlchemyError as error:
        cause = getattr(error, "orig", None)
        if _LOCK_NOT_AVAILABLE in (getattr(cause, "sqlstate", None), getattr(cause, "pgcode", None)):
            raise _too_long(name, wait_s, "") from error
        raise RegistryAway(
            f"model {name!r}: the database does not keep others away ({type(error).__name__}); somebody else may be "
            "changing the model: look at its history and try again"
        ) from error


class _Claim(Settings):
    """Who wants a turn. `number` is 0 while it is being drawn; `beat` counts renewals."""

    number: int
    beat: int
    who: str


class TagTurn:
    """Lamport's bakery in the tags of a model; see the head of this file.

    Args:
        who: for those who wait.
        lease_s: the same for all who take turns.
    """

    def __init__(
        self, registry: Registry, name: str, who: str, wait_s: float = WAIT_S, lease_s: float = LEASE_S
    ) -> None:
        self._registry, self._name, self._who = registry, name, who
        self._wait_s, self._lease_s = wait_s, lease_s
        self._key = f"{_TURN}{secrets.token_hex(8)}"
        self._number = self._beat = 0
        self._writing = threading.Lock()
        self._renewed: float | None = None
        self._stop = threading.Event()
        self._seen: dict[str, tuple[str, float]] = {}

    @contextmanager
    def held(self) -> Iterator[StillMine]:
        """As `turn`."""
        renewing = threading.Thread(target=self._renew, name="turn", daemon=True)
        try:
            self._write()
            renewing.start()
            self._draw()
            self._wait()
            yield self.check
        finally:
            self._stop.set()
            if renewing.ident is not None:
                renewing.join(self._lease_s)
            try:
                self._registry.delete_tag(self._name, self._key)
            except RegistryError:  # then others wait until it counts as dead
                _given_up.add(self._key)

    def check(self) -> None:
        """Raises RegistryError when others may have taken this process for dead."""
        if self._renewed is None or time.monotonic() - self._renewed > self._lease_s:
            raise RegistryError(
                f"model {self._name!r}: the turn to change it could not be renewed for {self._lease_s:.0f} s; "
                "somebody else may be changing the model: look at its history and try again"
            )

    def _draw(self) -> None:
        drawn = max((claim.number for claim in self._others().values()), default=0) + 1
        with self._writing:
            self._number = drawn
        self._write()

    def _wait(self) -> None:
        deadline, pause_s = time.monotonic() + self._wait_s, _POLL_S
        while ahead := self._ahead():
            if time.monotonic() > deadline:
                raise _too_long(self._name, self._wait_s, ahead[0].who)
            time.sleep(pause_s)
            pause_s = min(pause_s * 2, _MAX_POLL_TAGS_S)
        self.check()

    def _ahead(self) -> list[_Claim]:
        """Those that come before this one, or may: who is drawing has read the numbers before or will see this one."""
        mine = self._number, self._key
        return [claim for key, claim in self._others().items() if not claim.number or (claim.number, key) < mine]

    def _others(self) -> dict[str, _Claim]:
        """The claims of the living, in one read."""
        asked = time.monotonic()
        tags = self._registry.live(self._name).tags
        if self._key not in tags:
            raise RegistryError(f"model {self._name!r}: others have taken this process for dead; try again")
        claims = {key: value for key, value in tags.items() if key.startswith(_TURN) and key != self._key}
        dead = {key for key, value in claims.items() if self._is_dead(key, value, asked)}
        for key in dead:
            self._registry.delete_tag(self._name, key)
        return {key: _claim(value) for key, value in claims.items() if key not in dead}

    def _is_dead(self, key: str, value: str, asked: float) -> bool:
        """Unchanged from the first answer that had it to the beginning of this read."""
        if key in _given_up:
            return True
        before, since = self._seen.get(key, ("", 0.0))
        if before != value:
            self._seen[key] = value, time.monotonic()
            return False
        return asked - since > self._lease_s

    def _write(self) -> None:
        with self._writing:
            before = self._renewed
            if before is not None:
                self.check()
            began = time.monotonic()
            claim = _Claim(number=self._number, beat=self._beat, who=self._who)
            self._registry.write_tag(self._name, self._key, claim.model_dump_json())
            self._beat += 1
            # What was answered too late, others may not have seen in time.
            if before is None or time.monotonic() - before <= self._lease_s:
                self._renewed = began

    def _renew(self) -> None:
        while not self._stop.wait(self._lease_s / 4):
            with suppress(RegistryError):  # `check` tells when it has lasted too long
                self._write()


def _claim(value: str) -> _Claim:
    try:
        return _Claim.model_validate_json(value)
    except ValidationError:
        return _Claim(number=0, beat=0, who="somebody")


def _too_long(name: str, wait_s: float, who: str) -> RegistryError:
    return RegistryError(
        f"model {name!r} is being changed by others for {wait_s:.0f} s now ({who.strip() or 'somebody'}); try again"
    )
