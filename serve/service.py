"""What every listener asks: the endpoints of one replica, and one inference from request to response."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from serve.batching import Outputs, Waiting
from serve.endpoint import VERSION_HEADER, Endpoint
from serve.prediction_id import new_prediction_id
from serve.recording import Recorder
from serve.shadowing import Shadowing
from serve.variant import Slot
from serve.workload import Workload
from taxiway.errors import InvalidInput, MalformedRequest, ModelFailed, NotFound, Overloaded, TaxiwayError
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.telemetry.metrics import ServingMetrics

TIMEOUT_HEADER = b"taxiway-timeout-ms"

Decode = Callable[[ModelInterface], InferRequest]
Answered = Callable[["InferResponse | TaxiwayError"], None]


def _nobody(_: "InferResponse | TaxiwayError") -> None:
    pass


class Call:
    """One inference on its way. `cancel` when nobody waits for it any more."""

    __slots__ = ("_service", "_waiting", "answered", "endpoint", "request", "slot", "started")

    def __init__(
        self,
        service: "Service",
        endpoint: Endpoint,
        slot: Slot,
        request: InferRequest,
        started: float,
        answered: Answered,
    ) -> None:
        self._service = service
        self._waiting: Waiting | None = None
        self.endpoint = endpoint
        self.slot = slot
        self.request = request
        self.started = started
        self.answered = answered

    def submit(self, expires: float) -> None:
        self._waiting = self.slot.live.submit(self.request.columns, self.request.rows, expires, self._done)

    def cancel(self) -> None:
        if self._waiting is not None and self._waiting.done is not None:
            self._waiting.cancel()
            self.answered = _nobody
            self._service.finished(self, "cancelled")

    def _done(self, outcome: "Outputs | TaxiwayError") -> None:
        # Whoever is told holds this call: without the cycle both go at once, and not with the garbage collector.
        answered, self.answered = self.answered, _nobody
        if isinstance(outcome, TaxiwayError):
            self._service.finished(self, code_of(outcome))
            answered(outcome)
            return
        wanted = self.request.outputs
        prediction_id = new_prediction_id()
        if self._waiting is not None:
            self._waiting.prediction_id = prediction_id
        response = InferResponse(
            self.endpoint.name,
            self.slot.version,
            self.slot.variant,
            prediction_id,
            outcome if wanted is None else {name: outcome[name] for name in wanted},
        )
        answered(response)
        self._service.finished(self, "ok")
        self._service.copy_to_shadows(self, outcome, prediction_id)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: what routing may look at, and the budget that the transport names."""

    headers: Mapping[bytes, bytes]
    address: str
    timeout_s: float | None = None


class Service:
    """The endpoints of one replica. Everything here runs on one event loop.

    Args:
        feature_views: how fresh they are, for the status.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        metrics: ServingMetrics,
        shadowing: Shadowing,
        queue_requests: int,
        recorder: Recorder | None,
        feature_views: Callable[[], Mapping[str, Any]] = dict,
    ) -> None:
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self.metrics = metrics
        self._shadowing = shadowing
        self._recorder = recorder
        self._feature_views = feature_views
        self._queue_requests = queue_requests
        self.workload = Workload(self.endpoints)
        self.draining = False

    @property
    def ongoing(self) -> int:
        """Requests between arrival and answer."""
        return self.workload.ongoing

    def names(self) -> list[str]:
        return list(self.endpoints)

    def endpoint(self, name: str) -> Endpoint:
        """
        Raises:
            NotFound: there is no endpoint of this name.
        """
        found = self.endpoints.get(name)
        if found is None:
            raise NotFound(f"no such model: {name[:80]!r}; served here: {', '.join(self.endpoints)}")
        return found

    def interface(self, name: str, version: str | None) -> ModelInterface:
        """What a client may know of a model; without a version of its baseline variant.

        Raises:
            NotFound: there is no such model or version.
        """
        endpoint = self.endpoint(name)
        return (endpoint.baseline if version is None else endpoint.of_version(version)).interface

    def check_room(self) -> None:
        """Before a body is decoded: over capacity, refusing has to be cheap.

        Raises:
            Overloaded: too many requests are between arrival and answer.
        """
        if self.workload.ongoing >= self._queue_requests:
            raise Overloaded(f"{self.ongoing} requests are being answered already; try again later")

    def submit(
        self,
        endpoint: Endpoint,
        version: str | None,
        decode: Decode,
        caller: Caller,
        started: float,
        answered: Answered,
    ) -> Call:
        """Begins one inference; `answered` gets the response or the error, once, unless it is cancelled.

        Args:
            decode: reads the request for a model's interface.
            started: when the request arrived, as of `time.monotonic()`.

        Raises:
            TaxiwayError: it could not be begun; `answered` is not called.
        """
        variant = "-"
        try:
            self.check_room()
            slot, request = _route(endpoint, version, decode, caller)
            variant = slot.variant
            call = Call(self, endpoint, slot, request, started, answered)
            budgets = (endpoint.timeout_s, request.timeout_s, caller.timeout_s, _header_timeout_s(caller.headers))
            call.submit(started + min(budget for budget in budgets if budget is not None))
        except TaxiwayError as error:
            self.metrics.request(endpoint.name, variant, code_of(error), time.monotonic() - started)
            raise
        self.workload.began(started)
        return call

    async def infer(self, name: str, version: str | None, decode: Decode, caller: Caller) -> InferResponse:
        """One inference for a listener that awaits; cancelling it cancels the work.

        Raises:
            TaxiwayError: what the caller is to be told.
        """
        future: asyncio.Future[InferResponse] = asyncio.get_running_loop().create_future()

        def answered(outcome: "InferResponse | TaxiwayError") -> None:
            if future.done():
                return
            if isinstance(outcome, TaxiwayError):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)

        call = self.submit(self.endpoint(name), version, decode, caller, time.monotonic(), answered)
        try:
            return await future
        finally:
            call.cancel()

    def status(self) -> dict[str, Any]:
        """What is served now, what could not be loaded, and how fresh features are."""
        return {
            "draining": self.draining,
            "ongoing": self.ongoing,
            "endpoints": {name: endpoint.status() for name, endpoint in self.endpoints.items()},
            "feature_views": self._feature_views(),
        }

    def finished(self, call: Call, code: str) -> None:
        now = time.monotonic()
        self.workload.ended(call.endpoint.name, call.started, now)
        self.metrics.request(call.endpoint.name, call.slot.variant, code, now - call.started)
        if self._recorder is not None:
            self._recorder.request(call.slot.stream, code, now - call.started)

    def copy_to_shadows(self, call: Call, outputs: Outputs, prediction_id: str) -> None:
        """After the answer: it is sent already, and nothing that happens here can change it."""
        with suppress(Exception):
            for slot in call.endpoint.shadows(call.slot.variant):
                self._shadowing.copy(call.endpoint, slot, call.request, outputs, prediction_id)


def _route(endpoint: Endpoint, version: str | None, decode: Decode, caller: Caller) -> tuple[Slot, InferRequest]:
    if version is None and (named := caller.headers.get(VERSION_HEADER)) is not None:
        version = named.decode("latin-1")
    if version is not None:
        slot = endpoint.of_version(version)
        return slot, decode(slot.interface)
    if not endpoint.needs_columns:
        slot = endpoint.choose(caller.headers, caller.address)
        return slot, decode(slot.interface)
    first = endpoint.baseline
    request = decode(first.interface)
    slot = endpoint.choose_by(request)
    # What the baseline takes is mostly what the others take.
    return slot, request if slot.inputs == first.inputs else decode(slot.interface)


def _header_timeout_s(headers: Mapping[bytes, bytes]) -> float | None:
    value = headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    try:
        timeout_s = float(value) / 1000
    except ValueError:
        timeout_s = -1.0
    if not 0 < timeout_s < float("inf"):
        raise MalformedRequest(f"{TIMEOUT_HEADER.decode()}: expected milliseconds above 0, got {value[:20]!r}")
    return timeout_s


def code_of(error: TaxiwayError) -> str:
    """The code that metrics and the header `taxiway-error` carry."""
    return error.reject_code if isinstance(error, InvalidInput) else error.code


def safe_message(error: TaxiwayError) -> str:
    """What a client may read: the details of our own failures are for the log."""
    return str(error) if error.status != 500 or isinstance(error, ModelFailed) else "internal error"
