"""Every metric that Taxiway exports, declared once. Ray's agent on each node exposes them with the prefix `ray_`."""

from collections import Counter as Tally

from ray.util.metrics import Counter, Histogram

_LATENCY_BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
_ROW_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384]
_DIFFERENCE_BUCKETS = [1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0, 100.0]
Labels = tuple[str, ...]


class ServingMetrics:
    """What one ingress replica counts.

    Labels: endpoint and variant (configured names, or `-`), code, outcome and phase (closed lists), node and
    output (names of a graph and of a signature). Observations are kept in the process and handed to Ray by
    `flush`, ten times a second and not on each request.
    """

    def __init__(self) -> None:
        variant = ("endpoint", "variant")
        self._counters = {
            "requests": Counter("taxiway_requests_total", "Requests answered.", (*variant, "code")),
            "loads": Counter("taxiway_load_failures_total", "Model versions that could not be loaded.", variant),
            "shadows": Counter("taxiway_shadow_requests_total", "Copies for shadows.", (*variant, "outcome")),
            "features": Counter("taxiway_feature_rows_total", "Rows read from the feature store.", ("view", "outcome")),
        }
        self._histograms = {
            "latency": Histogram(
                "taxiway_request_duration_seconds",
                "From a request's last byte to its answer.",
                _LATENCY_BUCKETS_S,
                variant,
            ),
            "phases": Histogram(
                "taxiway_phase_duration_seconds",
                "Parts of a batch: `queue` is the wait of its oldest request, `score` rules, features and model, "
                "`features` the reading of features within it.",
                _LATENCY_BUCKETS_S,
                (*variant, "phase"),
            ),
            "nodes": Histogram(
                "taxiway_node_duration_seconds",
                "One call of a node of a graph.",
                _LATENCY_BUCKETS_S,
                (*variant, "node", "outcome"),
            ),
            "rows": Histogram(
                "taxiway_batch_rows", "Rows of one call of the model.", [float(rows) for rows in _ROW_BUCKETS], variant
            ),
            "differences": Histogram(
                "taxiway_shadow_difference",
                "Of one request: mean absolute difference of a numeric output, share of other values that differ.",
                _DIFFERENCE_BUCKETS,
                (*variant, "output"),
            ),
        }
        self._counted: Tally[tuple[str, Labels]] = Tally()
        self._observed: list[tuple[str, Labels, float]] = []

    def request(self, endpoint: str, variant: str, code: str, duration_s: float) -> None:
        self._counted["requests", (endpoint, variant, code)] += 1
        self._observed.append(("latency", (endpoint, variant), duration_s))

    def batch(self, endpoint: str, variant: str, rows: int, waited_s: float, scored_s: float) -> None:
        self._observed += [
            ("rows", (endpoint, variant), float(rows)),
            ("phases", (endpoint, variant, "queue"), waited_s),
            ("phases", (endpoint, variant, "score"), scored_s),
        ]

    def node(self, endpoint: str, variant: str, node: str, duration_s: float, rows: int, outcome: str) -> None:
        self._observed.append(("nodes", (endpoint, variant, node, outcome), duration_s))

    def shadow(self, endpoint: str, variant: str, outcome: str) -> None:
        self._counted["shadows", (endpoint, variant, outcome)] += 1

    def shadow_difference(self, endpoint: str, variant: str, output: str, difference: float) -> None:
        self._observed.append(("differences", (endpoint, variant, output), difference))

    def load_failed(self, endpoint: str, variant: str) -> None:
        self._counted["loads", (endpoint, variant)] += 1

    def features(self, view: str, rows: int, outcome: str) -> None:
        self._counted["features", (view, outcome)] += rows

    def flush(self) -> None:
        """Hands what was gathered to Ray."""
        counted, self._counted = self._counted, Tally()
        observed, self._observed = self._observed, []
        for (name, labels), count in counted.items():
            counter = self._counters[name]
            counter.inc(count, dict(zip(counter._tag_keys, labels, strict=True)))
        for name, labels, value in observed:
            histogram = self._histograms[name]
            histogram.observe(value, dict(zip(histogram._tag_keys, labels, strict=True)))
