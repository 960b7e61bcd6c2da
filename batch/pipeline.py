"""Ray: a cluster to work on, and a pool of actors to which Ray Data hands pieces, not rows."""

import base64
import logging
import os
import pickle
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property
from typing import Any

import ray
import ray.data
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import RayError, RayTaskError

from batch.pieces import Piece, PieceResult
from batch.scorer import PieceScorer, ScorerSpec, load_scorer
from taxiway.errors import JobError, TaxiwayError

_RETRIES = 3
_BLOCKS_PER_ACTOR = 32
_PIECES_PER_BLOCK = 16
_LOCAL: dict[str, Any] = {"address": "local", "include_dashboard": False}
_QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}


class ScoringActor:
    """Scores the pieces that Ray Data hands it.

    An error is part of the answer: Ray Data adds advice to the text of one that is raised, prints it
    with its traceback, and loses the cause of one that is raised in a constructor.
    """

    def __init__(self, spec: ScorerSpec) -> None:
        self._spec = spec
        self._failure = ""

    @cached_property
    def _scorer(self) -> PieceScorer:
        return load_scorer(self._spec)

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, list[str]]:
        return {"result": [self._answer(piece) for piece in batch["piece"]], "failure": [self._failure]}

    def _answer(self, piece: str) -> str:
        if self._failure:
            return ""
        try:
            return self._scorer.score(Piece.model_validate_json(piece)).model_dump_json()
        except TaxiwayError as error:
            self._failure = base64.b64encode(pickle.dumps(error)).decode()
            return ""


@contextmanager
def cluster() -> Iterator[None]:
    """The cluster of `RAY_ADDRESS`, which a Ray job has set, or one of our own for as long as it takes."""
    # Otherwise each actor of Ray Data makes Ray warn of how Ray Data makes its actors.
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    try:
        ray.init(**({} if os.environ.get("RAY_ADDRESS") else _LOCAL), **_QUIET)
    except (ConnectionError, RayError) as error:
        raise JobError(f"no Ray cluster: {error}") from error
    try:
        yield
    finally:
        ray.shutdown()


def free_cpus() -> int:
    return int(ray.available_resources().get("CPU", 0))


def score_pieces(spec: ScorerSpec, pieces: Sequence[Piece], actors: int) -> Iterator[PieceResult]:
    """Scores every piece; results come as they are ready.

    Raises:
        TaxiwayError: what an actor raised.
        JobError: actors die again and again.
    """
    _quiet()
    items = [{"piece": piece.model_dump_json()} for piece in pieces]
    # Neighbouring pieces share a block: they often share a row group, which is then decoded once.
    blocks = max(min(len(items), actors * _BLOCKS_PER_ACTOR), -(-len(items) // _PIECES_PER_BLOCK))
    answers = _scored(ray.data.from_items(items, override_num_blocks=blocks), spec, actors)
    try:
        for answer in answers.iter_rows():
            if answer["failure"]:
                raise pickle.loads(base64.b64decode(answer["failure"]))
            yield PieceResult.model_validate_json(answer["result"])
    except RayTaskError:
        raise
    except (RayError, ExecutionTimeoutError) as error:
        summary = str(error).strip().partition("\n")[0]
        raise JobError(f"Ray could not go on: {type(error).__name__}: {summary}") from error


def _scored(pieces: ray.data.Dataset, spec: ScorerSpec, actors: int) -> ray.data.Dataset:
    with warnings.catch_warnings():
        # Ray 2.60 deprecates `max_restarts` here and has no other place for it.
        warnings.filterwarnings("ignore", message="`ray_remote_args` is deprecated")
        return pieces.map_batches(
            ScoringActor,
            fn_constructor_args=(spec,),
            batch_size=1,
            batch_format="numpy",
            compute=ray.data.ActorPoolStrategy(size=actors, max_tasks_in_flight_per_actor=1),
            num_cpus=1,
            # The default is to try for ever, also a piece on which the process dies each time.
            max_restarts=_RETRIES,
            max_task_retries=_RETRIES,
        )


def _quiet() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    for handler in logging.getLogger("ray.data").handlers:
        if handler.name == "console":
            handler.setLevel(logging.CRITICAL)
