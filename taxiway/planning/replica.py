"""One replica as a queue: from what was measured in a closed loop to what it does under any load.

The throughput that a replica shows with n requests on their way is the rate at which it leaves state n (the
flow-equivalent server of Chandy, Herzog and Woo, 1975). Requests arrive by chance, those above the limit are refused:
a birth and death chain, of which M/M/c/K is the case of c equal servers. How it moves between stationary states is the
pointwise stationary fluid flow approximation (Wang, Tipper and Banerjee, 1996).
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr

from taxiway.planning.settings import MeasuredPoint, ReplicaPlan
from taxiway.planning.trace import Values

_Z99 = 2.3263478740408408
_LOADS = np.concatenate([
    [0.0],
    np.linspace(0.005, 0.895, 90),
    1 - np.geomspace(0.1, 0.001, 60),
    [1.0],
    1 + np.geomspace(0.001, 0.5, 60),
    np.geomspace(1.6, 10_000.0, 40),
])  # fmt: skip
"""Arrivals as a share of what a replica holds; close together where waiting explodes."""
_BINS = 600


def service_rates(points: Sequence[MeasuredPoint], most: int) -> Values:
    """Requests/s with 1, 2, ..., `most` on their way.

    A batch of n takes a fixed time and a time for each request, so its duration is interpolated, not its rate. Above
    the last point the rate stays.
    """
    connections = np.array([point.connections for point in points], np.float64)
    seconds = connections / np.array([point.requests_per_s for point in points])
    numbers: Values = np.arange(1, most + 1, dtype=np.float64)
    beyond = np.maximum(numbers / connections[-1], 1.0)
    rates: Values = numbers / (np.interp(numbers, connections, seconds) * beyond)
    return rates


def left_out(points: Sequence[MeasuredPoint]) -> tuple[float, ...]:
    """How far each inner point lies from what the others predict of it: 0.1 is 10 % too much."""
    errors = []
    for index in range(1, len(points) - 1):
        others = [*points[:index], *points[index + 1 :]]
        left = points[index]
        errors.append(float(service_rates(others, left.connections)[-1]) / left.requests_per_s - 1)
    return tuple(errors)


def stationary(rates: Values, arrivals_per_s: Values) -> Values:
    """How often each number of requests is found, shape (arrivals, len(rates) + 1).

    An arrival that finds len(rates) requests is refused.
    """
    with np.errstate(divide="ignore"):
        odds = np.log(arrivals_per_s)[:, None] - np.log(rates)[None, :]
    logs = np.concatenate([np.zeros((len(arrivals_per_s), 1)), np.cumsum(odds, axis=1)], axis=1)
    weights = np.exp(logs - logs.max(axis=1, keepdims=True))
    shares: Values = weights / weights.sum(axis=1, keepdims=True)
    return shares


class Replica:
    """A replica under load, tabulated over `loads`: arrivals/s that it could have for ever."""

    def __init__(self, plan: ReplicaPlan) -> None:
        rates = service_rates(plan.measured, plan.max_ongoing_requests)
        self.most_per_s = float(rates.max())
        self.loads: Values = _LOADS * self.most_per_s
        shares = stationary(rates, self.loads)
        self.ongoing: Values = shares @ np.arange(len(rates) + 1)
        self.refused: Values = shares[:, -1]
        self.answered_per_s: Values = shares[:, 1:] @ rates
        self._bounds_ms, by_number = _latencies(plan)
        # Who is let in finds what a random moment finds (Wolff's PASTA), given that it is not full.
        self._slower: Values = shares[:, :-1] @ by_number / (1 - self.refused)[:, None]
        self.p99_ms: Values = np.array([self._quantile(row, 0.99) for row in self._slower])
        self._ongoing: list[float] = self.ongoing.tolist()
        self._answered: list[float] = self.answered_per_s.tolist()
        self._refused: list[float] = self.refused.tolist()
        self._left: list[float] = (self.ongoing + self.answered_per_s).tolist()

    def second(self, ongoing: float, arrived: float) -> tuple[float, float, float]:
        """One step of backward Euler, which holds however fast the queue moves.

        Args:
            ongoing: requests on their way at its begin.

        Returns:
            Requests on their way at its end, requests answered in it, and where in the tables that is. What is missing
            was refused.
        """
        low, part = self._place(ongoing + arrived, arrived)
        after, answered = self._ongoing[low], self._answered[low]
        after += part * (self._ongoing[low + 1] - after)
        answered += part * (self._answered[low + 1] - answered)
        return after, answered, low + part

    def _place(self, there: float, arrived: float) -> tuple[int, float]:
        """Where those who are still there, were answered and were refused are as many as there were."""
        left, refused = self._left, self._refused
        low, high = 0, len(left) - 1
        while high - low > 1:
            middle = (low + high) // 2
            if left[middle] + arrived * refused[middle] <= there:
                low = middle
            else:
                high = middle
        below, above = (left[place] + arrived * refused[place] for place in (low, low + 1))
        return low, min(max((there - below) / (above - below), 0.0), 1.0) if above > below else 1.0

    def latency_ms(self, places: Values, weights: Values, share: float) -> float:
        """Of all answers: `share` of them took no longer. `weights` is how many were given at each of the places."""
        below = np.minimum(places.astype(np.int64), len(self.loads) - 2)
        part = places - below
        counts = np.bincount(below, weights * (1 - part), len(self.loads))
        counts += np.bincount(below + 1, weights * part, len(self.loads))
        if counts.sum() == 0:
            return float("nan")
        return self._quantile(counts @ self._slower / counts.sum(), share)

    def _quantile(self, shares: Values, share: float) -> float:
        return float(np.exp(np.interp(share, shares, np.log(self._bounds_ms))))


def _latencies(plan: ReplicaPlan) -> tuple[Values, Values]:
    """Bounds in ms, shape (bounds,), and the share of answers below each, shape (numbers on their way, bounds).

    Of each number the latency is lognormal with the median and the p99 measured there.
    """
    connections = np.array([point.connections for point in plan.measured], np.float64)
    numbers: Values = np.arange(1, plan.max_ongoing_requests + 1, dtype=np.float64)
    beyond = np.maximum(numbers / connections[-1], 1.0)
    p50_ms = np.interp(numbers, connections, [point.p50_ms for point in plan.measured]) * beyond
    p99_ms = np.interp(numbers, connections, [point.p99_ms for point in plan.measured]) * beyond
    spread = np.maximum(np.log(p99_ms / p50_ms) / _Z99, 1e-3)
    bounds_ms: Values = np.geomspace(p50_ms.min() ** 2 / p99_ms.max() / 2, 4 * p99_ms.max(), _BINS)
    return bounds_ms, ndtr((np.log(bounds_ms)[None, :] - np.log(p50_ms)[:, None]) / spread[:, None])
