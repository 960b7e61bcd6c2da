"""Every metric that Taxiway exports, declared once. Ray's agent on each node exposes them with the prefix `ray_`."""

from collections import Counter as Tally

from ray.util.metrics import Counter, Histogram

_LATENCY_BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
_ROW_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384]


class ServingMetrics:
    """What one ingress replica counts. Labels: endpoint (configured names or `-`) and code (a closed list).

    Observations are kept in the process and handed to Ray by `flush`, once a second and not on each request.
    """

    def __init__(self) -> None:
        self._requests = Counter("taxiway_requests_total", "Requests answered.", ("endpoint", "code"))
        self._latency = Histogram(
            "taxiway_request_duration_seconds",
            "From the parsed request line to the answer handed to the socket.",
            _LATENCY_BUCKETS_S,
            ("endpoint",),
        )
        self._batch_rows = Histogram(
            "taxiway_batch_rows",
            "Rows of one call of the model.",
            [float(rows) for rows in _ROW_BUCKETS],
            ("endpoint",),
        )
        self._answered: Tally[tuple[str, str]] = Tally()
        self._durations_s: list[tuple[str, float]] = []
        self._batches: list[tuple[str, int]] = []

    def request(self, endpoint: str, code: str, duration_s: float) -> None:
        self._answered[endpoint, code] += 1
        self._durations_s.append((endpoint, duration_s))

    def batch(self, endpoint: str, rows: int) -> None:
        self._batches.append((endpoint, rows))

    def flush(self) -> None:
        """Hands what was gathered to Ray."""
        answered, self._answered = self._answered, Tally()
        durations, self._durations_s = self._durations_s, []
        batches, self._batches = self._batches, []
        for (endpoint, code), count in answered.items():
            self._requests.inc(count, {"endpoint": endpoint, "code": code})
        for endpoint, duration_s in durations:
            self._latency.observe(duration_s, {"endpoint": endpoint})
        for endpoint, rows in batches:
            self._batch_rows.observe(rows, {"endpoint": endpoint})
