"""What every listener asks: the endpoints of one replica, and one inference from request to response."""

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Protocol

from serve.batching import Outputs, Waiting
from serve.caller import Caller, code_of, header_timeout_s
from serve.endpoint import VERSION_HEADER, Endpoint
from serve.prediction_id import new_prediction_id
from serve.recording import Recorder
from serve.request_log import RequestLine, RequestLog
from serve.shadowing import Shadowing
from serve.tracing import Kept, RequestNote, TracedResponse, Tracing, is_ours, mark
from serve.variant import Slot
from serve.workload import Workload
from taxiway.errors import (
    DeadlineExceeded,
    NotFound,
    Overloaded,
    TaxiwayError,
    Unavailable,
)
from taxiway.inference import InferRequest, InferResponse, ModelInterface
from taxiway.telemetry.metrics import ServingMetrics

Decode = Callable[[ModelInterface], InferRequest]
Answered = Callable[["InferResponse | TaxiwayError"], None]


def _nobody(_: "InferResponse | TaxiwayError") -> None:
    pass


class Call:
    """One inference on its way. `cancel` when nobody waits for it any more."""

    __slots__ = ("_service", "_waiting", "answered", "caller", "endpoint", "request", "slot", "started")

    def __init__(
        self,
        service: "Service",
        endpoint: Endpoint,
        slot: Slot,
        request: InferRequest,
        caller: Caller,
        started: float,
        answered: Answered,
    ) -> None:
        self._service = service
        self._waiting: Waiting | None = None
        self.endpoint = endpoint
        self.slot = slot
        self.request = request
        self.caller = caller
        self.started = started
        self.answered = answered

    def submit(self, expires: float) -> None:
        self._waiting = self.slot.live.submit(self.request.columns, self.request.rows, expires, self._done)
        self._waiting.headers = self.caller.headers

    def cancel(self) -> None:
        if self._waiting is not None and self._waiting.done is not None:
            self._waiting.cancel()
            self.answered = _nobody
            self._service.finished(self, "cancelled", self._kept(failed=False))

    @property
    def queued(self) -> float | None:
        """When it began to wait for its batch, as of `time.monotonic()`."""
        return None if self._waiting is None else self._waiting.since

    def _kept(self, failed: bool) -> Kept | None:
        tracing = self._service.tracing
        if tracing is None:
            return None
        return tracing.keep(self.caller.headers, failed, time.monotonic() - self.started, self.slot.live.handing_out)

    def _done(self, outcome: "Outputs | TaxiwayError") -> None:
        # Whoever is told holds this call: without the cycle both go at once, and not with the garbage collector.
        answered, self.answered = self.answered, _nobody
        if isinstance(outcome, TaxiwayError):
            kept = self._kept(is_ours(outcome))
            if kept is not None:
                mark(outcome, kept)
            self._service.finished(self, code_of(outcome), kept, is_ours(outcome))
            answered(outcome)
            return
        wanted = self.request.outputs
        prediction_id = new_prediction_id()
        tracing = self._service.tracing  # not by `_kept`: this is the hot path
        kept = (
            None
            if tracing is None
            else tracing.keep(self.caller.headers, False, time.monotonic() - self.started, self.slot.live.handing_out)
        )
        if self._waiting is not None:
            self._waiting.prediction_id = prediction_id
            if kept is not None:
                self._waiting.trace_id = kept.trace_id
        about = (
            self.endpoint.name,
            self.slot.version,
            self.slot.variant,
            prediction_id,
            outcome if wanted is None else {name: outcome[name] for name in wanted},
        )
        answered(InferResponse(*about) if kept is None else TracedResponse(*about, kept))
        self._service.finished(self, "ok", kept, prediction_id=prediction_id)
        self._service.copy_to_shadows(self, outcome, prediction_id, kept)


class Others(Protocol):
    """Endpoints that come and go: the models of multiplexed ones."""

    def kept(self, model: str) -> Endpoint | None:
        """One that is here now."""

    async def find(self, model: str, timeout_s: float | None) -> Endpoint:
        """Raises NotFound, or another TaxiwayError when it can't be had in time."""

    async def check(self, model: str) -> None:
        """Returns when it is here or would be loaded; raises as `find` does."""

    def status(self) -> dict[str, Any]:
        """By the names of the multiplexed endpoints."""

    def loaded(self) -> Sequence[Endpoint]:
        """Those that are here now."""


@dataclass(slots=True)
class _Ended:
    """What is told of a request at its end, whatever became of it."""

    endpoint: str
    variant: str
    version: str
    code: str
    failed: bool
    started: float
    now: float


class Service:
    """The endpoints of one replica. Everything here runs on one event loop.

    Args:
        feature_views: how fresh they are, for the status.
        tracing: None where no request is traced; `request_log` likewise.
        more_labels: what metrics call those endpoints that come and go.

    Attributes:
        others: asked for an endpoint that is not one of these.
    """

    def __init__(
        self,
        endpoints: Sequence[Endpoint],
        metrics: ServingMetrics,
        shadowing: Shadowing,
        queue_requests: int,
        recorder: Recorder | None,
        feature_views: Callable[[], Mapping[str, Any]] = dict,
        tracing: Tracing | None = None,
        request_log: RequestLog | None = None,
        more_labels: Sequence[str] = (),
    ) -> None:
        self.others: Others | None = None
        self.endpoints = {endpoint.name: endpoint for endpoint in endpoints}
        self.metrics = metrics
        self._shadowing = shadowing
        self._recorder = recorder
        self._feature_views = feature_views
        self.tracing = tracing
        self._request_log = request_log
        self._queue_requests = queue_requests
        self.workload = Workload((*self.endpoints, *more_labels))
        self.draining = False

    @property
    def ongoing(self) -> int:
        """Requests between arrival and answer."""
        return self.workload.ongoing

    @property
    def not_ready(self) -> str | None:
        """Why no new request should come here; None when all endpoints can answer."""
        if self.draining:
            return "this replica is going away"
        for endpoint in self.endpoints.values():
            if endpoint.baseline_variant.slot is None:
                return f"{endpoint.name}: no model is loaded yet"
        return None

    def names(self) -> list[str]:
        return list(self.endpoints)

    def endpoint(self, name: str) -> Endpoint:
        """
        Raises:
            NotFound: there is no endpoint of this name.
        """
        found = self.endpoints.get(name)
        if found is None and self.others is not None:
            found = self.others.kept(name)
        if found is None:
            raise NotFound(f"no such model: {name[:80]!r}; served here: {', '.join(self.endpoints)}")
        return found

    async def find(self, name: str, timeout_s: float | None = None) -> Endpoint:
        """As `endpoint`; a model of a multiplexed endpoint is loaded if it has to be.

        Raises:
            NotFound: there is no endpoint of this name.
            TaxiwayError: it can't be had, or not in time.
        """
        if name in self.endpoints or self.others is None:
            return self.endpoint(name)
        return await self.others.find(name, timeout_s)

    async def is_ready(self, name: str, version: str | None) -> bool:
        """Whether a model answers, or would when it is asked for."""
        try:
            if version is None and name not in self.endpoints and self.others is not None:
                await self.others.check(name)
            else:
                await self.interface(name, version)
        except (NotFound, Unavailable, DeadlineExceeded):
            return False
        return not self.draining

    async def interface(self, name: str, version: str | None) -> ModelInterface:
        """What a client may know of a model; without a version of its baseline variant.

        Raises:
            NotFound: there is no such model or version.
            TaxiwayError: as `find`.
        """
        endpoint = await self.find(name)
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
            call = Call(self, endpoint, slot, request, caller, started, answered)
            budgets = (endpoint.timeout_s, request.timeout_s, caller.timeout_s, header_timeout_s(caller.headers))
            call.submit(started + min(budget for budget in budgets if budget is not None))
        except TaxiwayError as error:
            self._refused(endpoint, variant, error, caller, started)
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

        started = time.monotonic()
        endpoint = await self.find(name, caller.timeout_s)
        call = self.submit(endpoint, version, decode, caller, started, answered)
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
            "multiplexed": self.others.status() if self.others is not None else {},
            "feature_views": self._feature_views(),
        }

    def finished(
        self, call: Call, code: str, kept: Kept | None, failed: bool = False, prediction_id: str | None = None
    ) -> None:
        now = time.monotonic()
        self.workload.ended(call.endpoint.label, call.started, now)
        self.metrics.request(call.endpoint.label, call.slot.variant, code, now - call.started, call.caller.protocol)
        if self._recorder is not None:
            self._recorder.request(call.slot.stream, code, now - call.started)
        if self.tracing is not None and self.tracing.latencies is not None:
            context = None if kept is None else kept.context
            self.tracing.latencies.observe(call.endpoint.label, call.slot.variant, now - call.started, context)
        logged = self._request_log is not None and self._request_log.wants()
        if kept is None and not logged:
            return
        ended = _Ended(call.endpoint.name, call.slot.variant, call.slot.version, code, failed, call.started, now)
        self._tell(ended, call.caller, kept, logged, call, prediction_id)

    def _refused(self, endpoint: Endpoint, variant: str, error: TaxiwayError, caller: Caller, started: float) -> None:
        """A request has ended before it was one of a variant's."""
        now, failed = time.monotonic(), is_ours(error)
        kept: Kept | None = None
        self.metrics.request(endpoint.label, variant, code_of(error), now - started, caller.protocol)
        if self.tracing is not None:
            kept = self.tracing.keep(caller.headers, failed, now - started)
            if kept is not None:
                mark(error, kept)
        logged = self._request_log is not None and self._request_log.wants()
        if kept is not None or logged:
            ended = _Ended(endpoint.name, variant, "-", code_of(error), failed, started, now)
            self._tell(ended, caller, kept, logged)

    def _tell(
        self,
        ended: "_Ended",
        caller: Caller,
        kept: Kept | None,
        logged: bool,
        call: Call | None = None,
        prediction_id: str | None = None,
    ) -> None:
        """Notes a request for its trace and for the log of requests."""
        rows = 0 if call is None else call.request.rows
        about = (ended.endpoint, ended.variant, ended.version, ended.code)
        if self.tracing is not None and kept is not None:
            queued, batch = (None, None) if call is None else (call.queued, call.slot.live.handing_out)
            times = ended.started, queued, ended.now
            self.tracing.request(
                RequestNote(kept, *about, ended.failed, caller.protocol, rows, *times, prediction_id, batch)
            )
        if self._request_log is not None and logged:
            seconds = ended.now - ended.started
            self._request_log.note(
                RequestLine(*about, caller.protocol, rows, seconds, caller.address, caller.headers, prediction_id, kept)
            )

    def copy_to_shadows(self, call: Call, outputs: Outputs, prediction_id: str, kept: Kept | None) -> None:
        """After the answer: it is sent already, and nothing that happens here can change it."""
        with suppress(Exception):
            for slot in call.endpoint.shadows(call.slot.variant):
                self._shadowing.copy(call.endpoint, slot, call.request, outputs, prediction_id, kept)


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
