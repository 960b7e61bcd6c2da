"""What a replica tells the controller of rollouts, every second."""

import logging
import time
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from serve.drifting import DriftCounter
from serve.endpoint import Endpoint
from serve.live import Live
from taxiway.drift.counts import Counted
from taxiway.drift.progress import VariantDrift
from taxiway.errors import Unavailable
from taxiway.rollout.tally import Numbers, Stream
from taxiway.traffic import TrafficSettings, only

_log = logging.getLogger(__name__)
_PATIENCE_S = 5.0


@dataclass(frozen=True)
class EndpointReport:
    """How one endpoint stands in one replica: of each variant the version that answers, or why there is none."""

    traffic: TrafficSettings
    declared: TrafficSettings
    versions: Mapping[str, str | None]
    errors: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Report:
    """All that a process has counted since `started_s` (since 1970). `number` grows with each report."""

    process: str
    started_s: float
    number: int
    streams: Mapping[Stream, Numbers]
    endpoints: Mapping[str, EndpointReport] = field(default_factory=dict)
    drift: Mapping[Stream, Counted] = field(default_factory=dict)


class Reporter:
    """Sends reports. One that can't be sent is no loss: the next one holds all of it.

    Args:
        send: hands a report to the controller.
        drift: what is counted for drift, in endpoints that watch it.
    """

    def __init__(
        self,
        send: Callable[[Report], None],
        endpoints: Mapping[str, Endpoint],
        live: Live,
        drift: DriftCounter | None = None,
    ) -> None:
        self._send, self._endpoints, self._live, self._drift = send, endpoints, live, drift
        self._process, self._started_s, self._number = uuid.uuid4().hex, time.time(), 0
        self._heard = True

    def __call__(self, streams: Mapping[Stream, Numbers]) -> None:
        self._number += 1
        endpoints = {name: self._endpoint(endpoint) for name, endpoint in self._endpoints.items()}
        drift = self._drift.counted() if self._drift is not None else {}
        try:
            self._send(Report(self._process, self._started_s, self._number, streams, endpoints, drift))
            self._heard = True
        except Exception as error:  # noqa: BLE001 - a controller that is away is no matter of the requests
            if self._heard:
                _log.warning("the controller of rollouts does not answer: %s", type(error).__name__)
            self._heard = False

    def _endpoint(self, endpoint: Endpoint) -> EndpointReport:
        declared = self._live.declared.traffic.get(endpoint.name) or only(endpoint.baseline_variant.name)
        versions = {name: it.slot.version if it.slot else None for name, it in endpoint.variants.items()}
        errors = {name: it.error for name, it in endpoint.variants.items() if it.error}
        return EndpointReport(endpoint.traffic, declared, versions, errors)


def by_handle(handle: Any) -> Callable[[Report], None]:
    """Sends through Ray Serve, and waits for the controller to have taken it."""

    def send(report: Report) -> None:
        handle.take.remote(report).result(timeout_s=_PATIENCE_S)

    return send


AskDrift = Callable[[str], list[VariantDrift]]


def drift_by_handle(handle: Any) -> AskDrift:
    """Asks the controller through Ray Serve about the drift of an endpoint.

    The function raises Unavailable where the controller does not answer.
    """

    def ask(endpoint: str) -> list[VariantDrift]:
        try:
            found: list[VariantDrift] = handle.drift.remote(endpoint).result(timeout_s=_PATIENCE_S)
        except Exception as error:
            raise Unavailable("the controller, which watches drift, does not answer; try again") from error
        return found

    return ask
