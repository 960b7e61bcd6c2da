"""What one replica has to do, as autoscaling hears of it: ongoing requests, and how long their answers take."""

import time
from bisect import bisect_left
from collections import deque
from collections.abc import Iterable

from taxiway.autoscaling import WINDOW_S

ONGOING = "ongoing"
P99_MS = "p99_ms/"
REQUESTS_PER_S = "requests_per_s/"
"""What a replica reports, by endpoint: Serve knows numbers with names, and nothing else."""

_GROWTH = 1.1
_BOUNDS_S = [0.0002 * _GROWTH**step for step in range(140)]
"""Of the histogram: up to two minutes, each ten percent above the one before."""


class Workload:
    """Counts on the event loop; `stats` may be asked on another thread.

    What a torn read can misplace is one request between two reports.

    Args:
        names: of the endpoints.
    """

    def __init__(self, names: Iterable[str], now: float | None = None) -> None:
        self._names = tuple(names)
        self.ongoing = 0
        self._request_s = 0.0
        self._since = time.monotonic() if now is None else now
        self._reported_at, self._reported_request_s = self._since, 0.0
        self._counts = self._empty()
        self._slices: deque[tuple[float, dict[str, list[int]]]] = deque()

    def began(self, now: float) -> None:
        self._request_s += self.ongoing * (now - self._since)
        self._since = now
        self.ongoing += 1

    def ended(self, name: str, began: float, now: float) -> None:
        self._request_s += self.ongoing * (now - self._since)
        self._since = now
        self.ongoing -= 1
        self._counts[name][bisect_left(_BOUNDS_S, now - began)] += 1

    def stats(self, now: float | None = None) -> dict[str, float]:
        """What Serve takes from `record_autoscaling_stats`: the mean of ongoing requests since the last call, and rate
        and p99 of each endpoint that had requests in the window.
        """
        now = time.monotonic() if now is None else now
        request_s = self._request_s + self.ongoing * (now - self._since)
        begin, request_s_before = self._reported_at, self._reported_request_s
        self._reported_at, self._reported_request_s = now, request_s
        self._slices.append((begin, self._counts))
        self._counts = self._empty()
        while len(self._slices) > 1 and self._slices[0][0] < now - WINDOW_S:
            self._slices.popleft()
        covered_s = max(now - self._slices[0][0], 1e-3)
        found = {ONGOING: max(request_s - request_s_before, 0.0) / max(now - begin, 1e-3)}
        for name in self._names:
            counts = [sum(bucket) for bucket in zip(*(slice_[name] for _, slice_ in self._slices), strict=True)]
            if requests := sum(counts):
                found[REQUESTS_PER_S + name] = requests / covered_s
                found[P99_MS + name] = quantile(counts, 0.99) * 1000
        return found

    def _empty(self) -> dict[str, list[int]]:
        return {name: [0] * (len(_BOUNDS_S) + 1) for name in self._names}


def quantile(counts: list[int], share: float) -> float:
    """Of a histogram, in seconds: the upper bound of the bucket that holds it, at most ten percent too much."""
    below, wanted = 0, share * sum(counts)
    for bound, count in zip(_BOUNDS_S, counts, strict=False):
        below += count
        if below >= wanted:
            return bound
    return _BOUNDS_S[-1]
