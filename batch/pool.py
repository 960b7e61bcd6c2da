"""Ray: a cluster to work on, and actors to which the driver hands pieces, not rows."""

import logging
import os
import pickle
import threading
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from batch.actor import Actor
from batch.pieces import Piece, PieceResult
from batch.schedule import Schedule
from batch.scorer import ScorerSpec
from taxiway.errors import JobError, TryLater

_ATTEMPTS = 4
_LOCAL: dict[str, Any] = {"address": "local", "include_dashboard": False}
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


@dataclass(frozen=True)
class Shares:
    """What of the cluster each actor takes, and how many there are; None: as many as fit what is free."""

    cpus: float
    gpus: float
    actors: int | None


class Cluster:
    """The cluster of `RAY_ADDRESS`, which a Ray job has set, or one of our own. It starts while the driver plans.

    The thread that starts it lives as long as it does: Linux ends Ray's processes with the thread that began them.
    """

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._failure: Exception | None = None
        self._actors: list[Any] = []
        self._started, self._ending = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True, name="ray")

    @contextmanager
    def running(self) -> Iterator["Cluster"]:
        self._thread.start()
        try:
            yield self
        finally:
            self._started.wait()
            ray.shutdown()
            self._ending.set()
            self._thread.join()

    def _live(self) -> None:
        try:
            ray.init(**({} if os.environ.get("RAY_ADDRESS") else _LOCAL), **_QUIET)
            self._actors = [self.new_actor() for _ in range(self._wanted())]
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._failure = error
        self._started.set()
        self._ending.wait()

    def _wanted(self) -> int:
        free = ray.available_resources()
        fitting = [
            int(free.get(name, 0) / share)
            for name, share in (("CPU", self._shares.cpus), ("GPU", self._shares.gpus))
            if share
        ]
        return self._shares.actors or max(min(fitting), 1)

    def actors(self, at_most: int) -> list[Any]:
        """The actors, as soon as they are asked for; surplus ones are let go.

        Raises:
            TryLater: there is no cluster.
        """
        self._started.wait()
        if self._failure is not None:
            raise TryLater(f"no Ray cluster: {self._failure}") from self._failure
        for surplus in self._actors[at_most:]:
            ray.kill(surplus)
        self._actors = self._actors[:at_most]
        return list(self._actors)

    def new_actor(self) -> Any:
        return Actor.options(num_cpus=self._shares.cpus, num_gpus=self._shares.gpus, max_restarts=0).remote()


@dataclass
class _Pool:
    """Who does what at the moment."""

    cluster: Cluster
    spec: Any
    carried: Any
    schedule: Schedule
    free: set[int] = field(default_factory=set)
    asked: dict[Any, tuple[int, Piece | None]] = field(default_factory=dict)
    attempts: Counter[int] = field(default_factory=Counter)
    actors: dict[int, Any] = field(default_factory=dict)
    _number: int = 0

    def admit(self, actor: Any) -> None:
        """Gives an actor the models; it gets pieces when it has them."""
        self._number += 1
        self.actors[self._number] = actor
        self.asked[actor.prepare.remote(self.spec, self.carried)] = (self._number, None)

    def hand_out(self) -> None:
        for number in sorted(self.free):
            piece = self.schedule.next_of(number)
            if piece is None:
                continue
            self.free.remove(number)
            self.attempts[piece.number] += 1
            reference = self.actors[number].score.remote(piece.model_dump_json(), self.attempts[piece.number])
            self.asked[reference] = (number, piece)

    def lost(self, number: int, piece: Piece | None, error: RayError) -> None:
        """Replaces an actor that has died, and gives its piece to another one.

        Raises:
            JobError: actors die on the same piece again and again.
        """
        self.actors.pop(number)
        tries = self.attempts[piece.number] if piece is not None else self._failed_starts()
        if tries >= _ATTEMPTS:
            where = f"on piece {piece.number} ({piece.spans[0].file})" if piece and piece.spans else "as they start"
            raise JobError(f"{tries} actors have died {where}: {_first_line(error)}") from error
        self.schedule.give_back(number, [piece] if piece is not None else [])
        self.admit(self.cluster.new_actor())
        self.hand_out()

    def _failed_starts(self) -> int:
        self.attempts[-1] += 1
        return self.attempts[-1]


def score_pieces(
    cluster: Cluster, spec: ScorerSpec, carried: Sequence[Any], pieces: Sequence[Piece]
) -> Generator[PieceResult, None, None]:
    """Has every piece scored; results come as they are ready.

    Raises:
        TaxiwayError: what an actor raised.
        JobError: actors die again and again.
        TryLater: the cluster is away.
    """
    actors = cluster.actors(len(pieces))
    try:
        pool = _Pool(cluster, ray.put(spec), ray.put(list(carried)), Schedule(pieces))
        for actor in actors:
            pool.admit(actor)
        yield from _results(pool, len(pieces))
    except RayTaskError:
        raise
    except RayError as error:
        raise TryLater(f"the Ray cluster has gone: {_first_line(error)}") from error


def _results(pool: _Pool, pieces: int) -> Iterator[PieceResult]:
    done = 0
    while done < pieces:
        (ready, *_), _ = ray.wait(list(pool.asked), num_returns=1)
        number, piece = pool.asked.pop(ready)
        try:
            answer = ray.get(ready)
        except (RayActorError, OutOfMemoryError, WorkerCrashedError) as error:
            pool.lost(number, piece, error)
            continue
        result, failure = answer if piece is not None else (None, answer)
        if failure is not None:
            raise pickle.loads(failure)
        pool.free.add(number)
        pool.hand_out()
        if result is not None:
            done += 1
            yield PieceResult.model_validate_json(result)


def _first_line(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
