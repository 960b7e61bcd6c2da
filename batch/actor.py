"""What runs in each actor's process: the scorer behind the interface of Ray Data."""

import os
import pickle
import socket
from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import ray
from pydantic import TypeAdapter

from batch.pieces import Piece
from taxiway.errors import TaxiwayError

if TYPE_CHECKING:
    from batch.scorer import PieceScorer

PIECES = TypeAdapter(tuple[Piece, ...])


class ScoringActor:
    """Scores the pieces that Ray Data hands it.

    An error is an answer: Ray would add a traceback to its text and lose its cause.

    Args:
        spec: a reference to the `ScorerSpec`.
        carried: a reference to the models.
    """

    def __init__(self, spec: Any, carried: Any) -> None:
        self._references = [spec, carried]

    @cached_property
    def _scorer(self) -> "PieceScorer":
        """Made with the first piece: Ray counts how often a process dies on a piece, not how often as it starts."""
        from batch.carried import unpack
        from batch.join import join_of
        from batch.scorer import PieceScorer

        spec, carried = ray.get(self._references)
        os.environ["TAXIWAY_HOME"] = spec.home
        predictors = [unpack(model.pickled, model.archive) for model in carried]
        return PieceScorer(spec, predictors, join_of(spec), f"{socket.gethostname()}:{os.getpid()}")

    def __call__(self, batch: Mapping[str, Any]) -> Iterator[dict[str, list[Any]]]:
        """The commit record of each piece, or a pickled error."""
        (pieces,) = batch["pieces"]
        try:
            for piece in PIECES.validate_json(pieces):
                yield {"result": [self._scorer.score(piece).model_dump_json()], "failure": [b""]}
        except TaxiwayError as error:
            yield {"result": [""], "failure": [pickle.dumps(error)]}
