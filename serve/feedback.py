"""`POST /v2/models/NAME/feedback`: what later proved true of answers. Acknowledged when it is durable."""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import CancelledError, Future
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import orjson

from serve.http import POST, Handler, Route, error_answer
from serve.http_protocol import Answer, Cancel, HttpRequest, Respond
from taxiway.errors import InvalidInput, MalformedRequest, NotFound, PayloadTooLarge, TaxiwayError
from taxiway.predictions.ground_truth import GroundTruth, parse_ground_truth
from taxiway.predictions.truth_log import GroundTruthLog

_log = logging.getLogger(__name__)

MOST_LABELS = 10_000
Refused = Callable[[str], None]
_SHAPE = 'expected {"prediction_id": ..., "label": ...} or {"labels": [...]} of such'


def feedback(log: GroundTruthLog | None, refused: Refused = lambda code: None) -> Handler:
    """Takes labels; without a log it says how there would be one.

    Args:
        refused: told the code of each request of which no label is taken.
    """
    return partial(_feedback, log, refused)


def feedback_routes(endpoints: Sequence[str], handler: Handler) -> Mapping[str, Route]:
    """One path for each endpoint."""
    return {f"/v2/models/{name}/feedback": Route(POST, handler) for name in endpoints}


def _feedback(log: GroundTruthLog | None, refused: Refused, request: HttpRequest, respond: Respond) -> Cancel:
    if log is None:
        raise NotFound("ground truth is not kept here; add `predictions: {}` to the args of the serve file")
    try:
        records = labels_of(request.body, datetime.now(UTC))
        written, loop = log.add(records), asyncio.get_running_loop()
    except TaxiwayError as error:
        refused(error.reject_code if isinstance(error, InvalidInput) else error.code)
        raise

    def done(future: "Future[None]") -> None:
        # The loop may have gone when a replica drains.
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(respond, _answer(future, len(records), request.path))

    written.add_done_callback(done)
    return lambda: None


def _answer(written: "Future[None]", labels: int, path: str) -> Answer:
    try:
        written.result()
    except TaxiwayError as error:
        return error_answer(error, path)
    except (Exception, CancelledError):  # noqa: BLE001 - whoever waits is told
        _log.exception("keeping ground truth failed")
        return error_answer(TaxiwayError("internal error"), path)
    return Answer(200, orjson.dumps({"accepted": labels}))


def labels_of(body: bytes, received_at: datetime) -> list[GroundTruth]:
    """The labels of a request; all are taken, or none.

    Raises:
        MalformedRequest: the body is no JSON of one of the two shapes.
        InvalidInput: a label can't be; of several it says which one.
        PayloadTooLarge: there are too many.
    """
    try:
        found: Any = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(f"the body is not JSON: {error}; {_SHAPE}") from error
    if not isinstance(found, dict):
        raise MalformedRequest(f"the body is a {type(found).__name__}; {_SHAPE}")
    if "labels" not in found:
        return [parse_ground_truth(found, received_at)]
    labels = found["labels"]
    if len(found) > 1 or not isinstance(labels, list) or not labels:
        raise MalformedRequest(f"`labels` stands alone and is a list with at least one label; {_SHAPE}")
    if len(labels) > MOST_LABELS:
        raise PayloadTooLarge(f"{len(labels):,} labels in one request; send at most {MOST_LABELS:,}")
    return [_label(position, label, received_at) for position, label in enumerate(labels)]


def _label(position: int, label: Any, received_at: datetime) -> GroundTruth:
    if not isinstance(label, dict):
        raise MalformedRequest(f"labels[{position}] is a {type(label).__name__}; {_SHAPE}")
    try:
        return parse_ground_truth(label, received_at)
    except InvalidInput as error:
        raise InvalidInput(error.reject_code, f"labels[{position}].{error.field}", error.reason) from error
