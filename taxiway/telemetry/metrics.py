"""Every metric that Taxiway exports, declared once.

Ray's agent on each node exposes them with the prefix `ray_`; those of `LastRunMetrics` are pushed, without it.
"""

from collections import Counter as Tally
from collections.abc import Mapping

import prometheus_client
from ray.util.metrics import Counter, Gauge, Histogram

_LATENCY_BUCKETS_S = [0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0]
_ROW_BUCKETS = [1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384]
_DIFFERENCE_BUCKETS = [1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0, 100.0]
_PIECE_BUCKETS_S = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0]
Labels = tuple[str, ...]


class ServingMetrics:
    """What one ingress replica counts.

    Labels: endpoint and variant (configured names, or `-`), code, outcome and phase (closed lists), node and
    output (names of a graph and of a signature), view (of the feature store). Observations are kept in the
    process and handed to Ray by `flush`, ten times a second and not on each request.
    """

    def __init__(self) -> None:
        variant = ("endpoint", "variant")
        self._counters = {
            "requests": Counter("taxiway_requests_total", "Requests answered.", (*variant, "code")),
            "loads": Counter("taxiway_load_failures_total", "Model versions that could not be loaded.", variant),
            "shadows": Counter("taxiway_shadow_requests_total", "Copies for shadows.", (*variant, "outcome")),
            "features": Counter("taxiway_feature_rows_total", "Rows read from the feature store.", ("view", "outcome")),
            "registry": Counter(
                "taxiway_feature_registry_failures_total", "Feast's registry did not say how fresh the views are."
            ),
        }
        self._gauges = {
            "age": Gauge(
                "taxiway_feature_view_age_seconds",
                "Since the moment up to which the online store was filled; nothing while it never was.",
                ("view",),
            ),
            "stale": Gauge(
                "taxiway_feature_view_stale",
                "1 when all features of the view have outlived its time to live.",
                ("view",),
            ),
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
        self._measured: dict[tuple[str, Labels], float] = {}

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

    def feature_view(self, view: str, age_s: float | None, is_stale: bool) -> None:
        """How fresh a view is; `age_s` is None while it was never filled."""
        if age_s is not None:
            self._measured["age", (view,)] = age_s
        self._measured["stale", (view,)] = float(is_stale)

    def feature_registry_failed(self) -> None:
        self._counted["registry", ()] += 1

    def flush(self) -> None:
        """Hands what was gathered to Ray."""
        counted, self._counted = self._counted, Tally()
        observed, self._observed = self._observed, []
        measured, self._measured = self._measured, {}
        for (name, labels), count in counted.items():
            counter = self._counters[name]
            counter.inc(count, dict(zip(counter._tag_keys, labels, strict=True)))
        for name, labels, value in observed:
            histogram = self._histograms[name]
            histogram.observe(value, dict(zip(histogram._tag_keys, labels, strict=True)))
        for (name, labels), value in measured.items():
            gauge = self._gauges[name]
            gauge.set(value, dict(zip(gauge._tag_keys, labels, strict=True)))


class JobMetrics:
    """What the driver of a scoring job counts while it runs; they are gone when it has ended.

    Labels: model and version (of the registry), outcome and code (closed lists).
    """

    def __init__(self, model: str, version: str) -> None:
        keys = ("model", "version")
        self._tags = {"model": model, "version": version}
        self._rows = Counter(
            "taxiway_job_rows_total", "Rows that were written, rejected or filtered.", (*keys, "outcome")
        )
        self._rejects = Counter("taxiway_job_rejects_total", "Rows that were set aside.", (*keys, "code"))
        self._pieces = Histogram(
            "taxiway_job_piece_duration_seconds",
            "From an actor's begin with a piece to its commit.",
            _PIECE_BUCKETS_S,
            keys,
        )
        self._progress = Gauge("taxiway_job_progress_ratio", "Share of the input that is done, 0 to 1.", keys)

    def piece(self, written: int, filtered: int, rejects: Mapping[str, int], duration_s: float) -> None:
        """A piece is done."""
        outcomes = {"written": written, "filtered": filtered, "rejected": sum(rejects.values())}
        for outcome, rows in outcomes.items():
            if rows:
                self._rows.inc(rows, self._tags | {"outcome": outcome})
        for code, rows in rejects.items():
            if rows:
                self._rejects.inc(rows, self._tags | {"code": code})
        self._pieces.observe(duration_s, self._tags)

    def progress(self, share: float) -> None:
        self._progress.set(share, self._tags)


class LastRunMetrics:
    """How the last run of a scoring job went, for a Pushgateway, which keeps it until the next run.

    They are gauges: each run starts at zero, and a Pushgateway does not add up.
    """

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()

    def ended(self, time_s: float, exit_status: int) -> None:
        """Every run; `time_s` is since 1970."""
        self._gauge("taxiway_job_last_run_timestamp_seconds", "When the last run ended.").set(time_s)
        self._gauge("taxiway_job_last_run_exit_status", "What it ended with; 0 is success.").set(exit_status)
        if exit_status == 0:
            self._gauge("taxiway_job_last_success_timestamp_seconds", "When a run last published.").set(time_s)

    def counted(self, written: int, filtered: int, rejects: Mapping[str, int], duration_s: float) -> None:
        """A run that had a plan; an attempt that went on counts what was done before too, except for the time."""
        rows = self._gauge("taxiway_job_last_run_rows", "Rows by what became of them.", ("outcome",))
        for outcome, count in (("written", written), ("filtered", filtered), ("rejected", sum(rejects.values()))):
            rows.labels(outcome).set(count)
        codes = self._gauge("taxiway_job_last_run_rejects", "Rows that were set aside.", ("code",))
        for code, count in rejects.items():
            codes.labels(code).set(count)
        self._gauge("taxiway_job_last_run_seconds", "From the command to the end.").set(duration_s)

    def _gauge(self, name: str, description: str, labels: Labels = ()) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(name, description, labels, registry=self.registry)
