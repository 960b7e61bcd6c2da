"""What a controller has heard of one endpoint: what its replicas count, and how they stand."""

import threading
import time
from collections.abc import Iterable

from serve.reports import EndpointReport, Report
from taxiway.rollout.ledger import Ledger
from taxiway.rollout.tally import Stream, Tally
from taxiway.traffic import TrafficSettings, digest, only

RECENT_S = 10.0
"""A replica that has told nothing for so long is gone, or will ask the registry when it comes back."""


class Heard:
    """Reports come on any thread.

    Args:
        baseline: the variant that gets everything where nothing was declared.
        ledger: with what a controller before this one has heard.
    """

    def __init__(self, endpoint: str, baseline: str, ledger: Ledger) -> None:
        self._endpoint, self._ledger = endpoint, ledger
        self._reports: dict[str, tuple[float, EndpointReport]] = {}
        self._lock = threading.Lock()
        self._declared = only(baseline)

    def take(self, report: Report) -> None:
        own = {stream: it for stream, it in report.streams.items() if stream.endpoint == self._endpoint}
        with self._lock:
            self._ledger.take(report.process, report.started_s, report.number, own)
            if (endpoint := report.endpoints.get(self._endpoint)) is not None:
                self._reports[report.process] = time.monotonic(), endpoint

    def recent(self) -> list[EndpointReport]:
        with self._lock:
            now = time.monotonic()
            self._reports = {name: it for name, it in self._reports.items() if now - it[0] < RECENT_S}
            return [report for _, report in self._reports.values()]

    def declared(self) -> TrafficSettings:
        """As the replicas know it from the deployed file."""
        if recent := self.recent():
            self._declared = recent[-1].declared
        return self._declared

    def all_split_like(self, traffic: TrafficSettings) -> bool:
        """Whether there are replicas, and each one splits the traffic so."""
        recent, wanted = self.recent(), digest(traffic)
        return bool(recent) and all(digest(it.traffic) == wanted for it in recent)

    def begin(self, now_s: float, of_another_kind: bool) -> None:
        """From here on only what comes counts.

        Args:
            of_another_kind: what the dead have told is of no interest any more.
        """
        with self._lock:
            if of_another_kind:
                self._ledger.forget_others(self._reports)
            self._ledger.begin(now_s)

    def observed(self, streams: Iterable[Stream]) -> list[Tally]:
        """Since then, all replicas together."""
        with self._lock:
            return [self._ledger.observed(stream) for stream in streams]

    def ever_answered(self, stream: Stream) -> int:
        """Requests, as far as the ledger goes back."""
        with self._lock:
            return sum(Tally(it[stream]).requests for _, it in self._ledger.told.values() if stream in it)

    def dump(self) -> str:
        with self._lock:
            return self._ledger.dump()
