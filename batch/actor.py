"""What runs in each actor's process: the scorer behind Ray's interface, with as few imports as it can."""

import importlib
import os
import pickle
import socket
import threading
from collections.abc import Sequence
from typing import Any

import ray

from batch.pieces import Piece
from taxiway.errors import TaxiwayError

_USUAL = ("batch.scorer", "sklearn.pipeline", "sklearn.ensemble")


class ScoringActor:
    """Begins to import what it is going to need while the driver still plans.

    An error is an answer: Ray would add a traceback to its text and lose its cause.
    """

    def __init__(self) -> None:
        self._scorer: Any = None
        self._importing = threading.Thread(target=_import_usual, daemon=True)
        self._importing.start()

    def prepare(self, spec: Any, carried: Sequence[Any]) -> bytes | None:
        """Unpacks the models and opens the feature store; returns a pickled error or None."""
        self._importing.join()
        from batch.carried import unpack
        from batch.join import join_of
        from batch.scorer import PieceScorer

        os.environ["TAXIWAY_HOME"] = spec.home
        try:
            predictors = [unpack(model.pickled, model.archive) for model in carried]
            name = f"{socket.gethostname()}:{os.getpid()}"
            self._scorer = PieceScorer(spec, predictors, join_of(spec), name)
        except TaxiwayError as error:
            return pickle.dumps(error)
        return None

    def score(self, piece: str, attempt: int) -> tuple[str | None, bytes | None]:
        """A piece's commit record, or a pickled error."""
        try:
            return self._scorer.score(Piece.model_validate_json(piece), attempt).model_dump_json(), None
        except TaxiwayError as error:
            return None, pickle.dumps(error)


def _import_usual() -> None:
    for name in _USUAL:
        importlib.import_module(name)


Actor = ray.remote(ScoringActor)
