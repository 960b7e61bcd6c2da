"""The requests of the last hour in one process, for people who look at a status page."""

import time
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from taxiway.errors import TaxiwayError
from taxiway.rollout.tally import LATENCY_BOUNDS_S

Key = tuple[str, str]
"""Endpoint and variant."""
SLICE_S = 10.0
KEPT = 360


def failure_codes(root: type[TaxiwayError] = TaxiwayError) -> frozenset[str]:
    """The codes of errors that are not the caller's: those with a status of 500 or more."""
    below = frozenset[str]().union(*(failure_codes(kind) for kind in root.__subclasses__()))
    ours = root.__module__ == TaxiwayError.__module__ and root.status >= 500
    return below | ({root.code} if ours else frozenset())


FAILURES = failure_codes()


@dataclass(frozen=True)
class Seen:
    """Requests by code, and the answered ones by latency: [141], as `LATENCY_BOUNDS_S` and what lies above."""

    codes: Mapping[str, int] = field(default_factory=dict)
    latencies: NDArray[np.int64] = field(default_factory=lambda: np.zeros(len(LATENCY_BOUNDS_S) + 1, np.int64))

    def __add__(self, other: "Seen") -> "Seen":
        return Seen(Counter(self.codes) + Counter(other.codes), self.latencies + other.latencies)

    @property
    def requests(self) -> int:
        return sum(self.codes.values())

    @property
    def answered(self) -> int:
        return self.codes.get("ok", 0)

    @property
    def failures(self) -> int:
        """Those that no other request would have helped."""
        return sum(count for code, count in self.codes.items() if code in FAILURES)

    def slower_than(self, seconds: float) -> int:
        """Answers in buckets that lie wholly above."""
        first = int(np.searchsorted(LATENCY_BOUNDS_S, seconds, side="left")) + 1
        return int(self.latencies[first:].sum())

    def quantile_s(self, share: float) -> float | None:
        """The upper end of the bucket that holds it, at most ten percent too much; None without answers."""
        total = int(self.latencies.sum())
        if not total:
            return None
        bucket = int(np.searchsorted(np.cumsum(self.latencies), share * total, side="left"))
        return float(LATENCY_BOUNDS_S[min(bucket, len(LATENCY_BOUNDS_S) - 1)])


def seen(code: str, seconds: Sequence[float]) -> Seen:
    """Requests with one code."""
    if code != "ok":
        return Seen({code: len(seconds)})
    places = np.searchsorted(LATENCY_BOUNDS_S, np.asarray(seconds, np.float64), side="left")
    return Seen({code: len(seconds)}, np.bincount(places, minlength=len(LATENCY_BOUNDS_S) + 1))


class Recent:
    """Slices of ten seconds, an hour of them. For one thread.

    Args:
        clock: seconds that only grow.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._slices: deque[tuple[float, dict[Key, Seen]]] = deque(maxlen=KEPT)

    def add(self, key: Key, code: str, seconds: Sequence[float]) -> None:
        """Requests of one variant that had the same code."""
        now = self._clock()
        if not self._slices or now - self._slices[-1][0] >= SLICE_S:
            self._slices.append((now, {}))
        present = self._slices[-1][1]
        found = seen(code, seconds)
        present[key] = present[key] + found if key in present else found

    def last(self, window_s: float) -> dict[Key, Seen]:
        """What ended in about the last `window_s` seconds."""
        since = self._clock() - window_s
        found: dict[Key, Seen] = {}
        for began, one in self._slices:
            if began >= since:
                for key, part in one.items():
                    found[key] = found[key] + part if key in found else part
        return found

    def covered_s(self, window_s: float) -> float:
        """How much of a window the process has seen."""
        return min(window_s, max(self._clock() - self._began, 1.0))
