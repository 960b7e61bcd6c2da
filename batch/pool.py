"""Ray: a cluster to work on, and a pool of actors to which Ray Data hands pieces, not rows."""

import importlib
import logging
import os
import pickle
import threading
import warnings
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import ray
from ray.exceptions import OutOfMemoryError, RayActorError, RayError, RayTaskError, WorkerCrashedError

from batch.pieces import Piece, PieceResult
from batch.scorer import ScorerSpec
from taxiway.errors import JobError, TryLater

_RETRIES = 3
_TASKS_PER_ACTOR = 4
_PIECES_PER_TASK = 8
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
        self.shares = shares
        self._failure: Exception | None = None
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
            importlib.import_module("ray.data")  # takes a second, in which the driver plans
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self._failure = error
        self._started.set()
        self._ending.wait()

    def actors(self, at_most: int) -> int:
        """How many actors the job gets, once the cluster is there.

        Raises:
            TryLater: there is no cluster.
        """
        self._started.wait()
        if self._failure is not None:
            raise TryLater(f"no Ray cluster: {self._failure}") from self._failure
        free = ray.available_resources()
        shares = (("CPU", self.shares.cpus), ("GPU", self.shares.gpus))
        fitting = [int(free.get(name, 0) / share) for name, share in shares if share]
        return min(self.shares.actors or max(min(fitting), 1), at_most)


def score_pieces(
    cluster: Cluster, spec: ScorerSpec, carried: Sequence[Any], pieces: Sequence[Piece]
) -> Generator[PieceResult, None, None]:
    """Has every piece scored; results come as they are ready.

    Raises:
        TaxiwayError: what an actor raised.
        JobError: actors die again and again on the same pieces.
        TryLater: the cluster is away.
    """
    from ray.data.exceptions import ExecutionTimeoutError

    actors = cluster.actors(len(pieces))
    try:
        for answer in _answers(cluster.shares, spec, carried, tasks_of(pieces, actors), actors):
            if answer["failure"]:
                raise pickle.loads(answer["failure"])
            yield PieceResult.model_validate_json(answer["result"])
    except RayTaskError:
        raise
    except (RayError, ExecutionTimeoutError) as error:
        summary = str(error).strip().partition("\n")[0]
        if isinstance(error, RayActorError | OutOfMemoryError | WorkerCrashedError):
            raise JobError(f"{_RETRIES + 1} actors have died on the same piece: {summary}") from error
        raise TryLater(f"the Ray cluster has gone: {type(error).__name__}: {summary}") from error


def tasks_of(pieces: Sequence[Piece], actors: int) -> list[tuple[Piece, ...]]:
    """What an actor does in one go: a piece, or a few that share a row group, which is then decoded once."""
    at_most = max(min(len(pieces) // (_TASKS_PER_ACTOR * actors), _PIECES_PER_TASK), 1)
    chains = [tuple(chain) for _, chain in groupby(pieces, lambda piece: piece.chain)]
    return [chain[at : at + at_most] for chain in chains for at in range(0, len(chain), at_most)]


def _answers(
    shares: Shares, spec: ScorerSpec, carried: Sequence[Any], tasks: Sequence[tuple[Piece, ...]], actors: int
) -> Iterator[dict[str, Any]]:
    from batch.actor import PIECES, ScoringActor

    _quiet()
    items = [{"pieces": PIECES.dump_json(task)} for task in tasks]
    with warnings.catch_warnings():
        # Ray 2.60 deprecates `max_task_retries` here and has no other place for it.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        scored = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
            ScoringActor,
            fn_constructor_args=(ray.put(spec), ray.put(list(carried))),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
            num_cpus=shares.cpus,
            num_gpus=shares.gpus or None,
            # The default is to try for ever, also a piece on which the process dies each time.
            max_task_retries=_RETRIES,
        )
    return iter(scored.iter_rows())


def _quiet() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
