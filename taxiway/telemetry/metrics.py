"""What a process of Taxiway counts, and how it hands that to Ray; taxiway/telemetry/serving.py declares the names.

Ray's agent on each node exposes them with the prefix `ray_`; those of `LastRunMetrics` are pushed, without it.
"""

from collections import defaultdict, deque
from collections.abc import Mapping, Sequence

import prometheus_client
from ray.util.metrics import Counter, Gauge, Histogram

from taxiway.telemetry import serving
from taxiway.telemetry.recent import Recent
from taxiway.telemetry.tags import tags

_PIECE_BUCKETS_S = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 60.0, 180.0, 600.0]
_TURNS = 10
"""Of flushes: each hands over a tenth of the gauges and histograms, so that none takes long."""
_MOST_TURNS = 50
"""With very many endpoints they take turns for five seconds: Ray exports what it was told every ten."""
_A_TURN = 30
"""Histograms of one flush, as long as that leaves no more turns; each is some sixteen calls of 10 us into Ray."""
NOTES = 200_000
"""Observations between two flushes; more than ever come in a tenth of a second, the oldest are forgotten."""
Labels = tuple[str, ...]


class ServingMetrics:
    """What one ingress replica counts; labels as in taxiway/telemetry/serving.py.

    Observations are noted, from any thread, and handed to Ray by `flush`, ten times a second and not on each request.
    Levels and histograms follow within a second.
    """

    def __init__(self, recent: Recent | None = None) -> None:
        self.counters, self.gauges, self.histograms = serving.counters(), serving.gauges(), serving.histograms()
        self.recent = recent or Recent()
        # Appending to a deque and taking from it are safe on different threads; adding to a number is not.
        self._noted: deque[tuple[str, Labels, float]] = deque(maxlen=NOTES)
        self._levels: dict[tuple[str, Labels], float] = {}
        self._versions: dict[tuple[str, str], str] = {}
        self._turn = 0
        self._turns = 1

    def request(self, endpoint: str, variant: str, code: str, duration_s: float, protocol: str = "-") -> None:
        self._noted.append(("requests", (endpoint, variant, code, protocol), duration_s))

    def batch(
        self, endpoint: str, variant: str, rows: int, waited_s: float, scored_s: float, held_s: float = 0.0
    ) -> None:
        """
        Args:
            held_s: of `waited_s`, how long the batch was held open for more rows.
        """
        self._noted.append(("rows", (endpoint, variant), float(rows)))
        self._noted.append(("phases", (endpoint, variant, "queue"), waited_s))
        self._noted.append(("phases", (endpoint, variant, "score"), scored_s))
        if held_s:
            self._noted.append(("phases", (endpoint, variant, "batch_wait"), held_s))

    def phase(self, endpoint: str, variant: str, phase: str, seconds: float) -> None:
        self._noted.append(("phases", (endpoint, variant, phase), seconds))

    def node(self, endpoint: str, variant: str, node: str, duration_s: float, rows: int, outcome: str) -> None:
        self._noted.append(("nodes", (endpoint, variant, node, outcome), duration_s))

    def shadow(self, endpoint: str, variant: str, outcome: str) -> None:
        self._noted.append(("shadows", (endpoint, variant, outcome), 1))

    def shadow_difference(self, endpoint: str, variant: str, output: str, difference: float) -> None:
        self._noted.append(("differences", (endpoint, variant, output), difference))

    def load_failed(self, endpoint: str, variant: str) -> None:
        self._noted.append(("loads", (endpoint, variant), 1))

    def multiplexed_load(self, endpoint: str, outcome: str, seconds: float) -> None:
        """A model was looked up; `seconds` count where it was loaded."""
        self._noted.append(("model_loads", (endpoint, outcome), 1))
        if outcome == "loaded":
            self._noted.append(("load", (endpoint,), seconds))

    def multiplexed_evicted(self, endpoint: str) -> None:
        self._noted.append(("evictions", (endpoint,), 1))

    def multiplexed_models(self, endpoint: str, models: int) -> None:
        self._levels["models", (endpoint,)] = float(models)

    def features(self, view: str, rows: int, outcome: str) -> None:
        self._noted.append(("features", (view, outcome), rows))

    def features_missing(self, view: str, rows: int) -> None:
        self._noted.append(("unknown", (view,), rows))

    def inputs_missing(self, endpoint: str, variant: str, column: str, values: int) -> None:
        self._noted.append(("missing", (endpoint, variant, column), values))

    def feature_view(self, view: str, age_s: float | None, is_stale: bool) -> None:
        """How fresh a view is; `age_s` is None while it was never filled."""
        if age_s is not None:
            self._levels["age", (view,)] = age_s
        self._levels["stale", (view,)] = float(is_stale)

    def feature_registry_failed(self) -> None:
        self._noted.append(("registry", (), 1))

    def queued(self, endpoint: str, variant: str, kind: str, rows: int) -> None:
        self._levels["queued", (endpoint, variant, kind)] = rows

    def replica(self, ongoing: int, is_draining: bool, memory_bytes: int, gpu_bytes: int) -> None:
        levels = {"ongoing": ongoing, "draining": is_draining, "memory": memory_bytes, "gpu_memory": gpu_bytes}
        self._levels.update({(name, ()): float(level) for name, level in levels.items()})

    def answers(self, endpoint: str, variant: str, version: str, load_s: float) -> None:
        """Which version answers for a variant; of the one before it one last 0 is exported."""
        before = self._versions.get((endpoint, variant))
        if before is not None and before != version:
            self._levels.pop(("version", (endpoint, variant, before)), None)
            self._set("version", (endpoint, variant, before), 0.0)
        self._versions[endpoint, variant] = version
        self._levels["version", (endpoint, variant, version)] = 1.0
        self._levels["load_s", (endpoint, variant)] = load_s

    def used(self, endpoint: str, variant: str, cpu_s: float, gpu_s: float, cost: float) -> None:
        for name, amount in (("cpu", cpu_s), ("gpu", gpu_s), ("cost", cost)):
            self._noted.append((name, (endpoint, variant), amount))

    def inference_s(self) -> dict[tuple[str, str], float]:
        """By endpoint and variant: how long models took until the last flush, for shadows too."""
        phases = self.histograms["phases"]
        return {(it[0], it[1]): phases.total(it) for it in phases.series() if it[2] == "inference"}

    def flush(self, now: bool = False) -> None:
        """Hands what was gathered to Ray; `now`, at the end, every level and histogram too."""
        gathered: dict[tuple[str, Labels], list[float]] = defaultdict(list)
        for _ in range(len(self._noted)):
            name, labels, value = self._noted.popleft()
            gathered[name, labels].append(value)
        for (name, labels), values in gathered.items():
            if name == "requests":
                self._requests(labels, values)
            elif name in self.histograms:
                self.histograms[name].add(labels, values)
            else:
                self._count(name, labels, sum(values))
        self._hand_over(now)

    def _requests(self, labels: Labels, seconds: Sequence[float]) -> None:
        endpoint, variant, code, protocol = labels
        self._count("requests", (endpoint, variant, code), len(seconds))
        self.histograms["latency"].add((endpoint, variant, protocol), seconds)
        self.recent.add((endpoint, variant), code, seconds)

    def _hand_over(self, everything: bool) -> None:
        """A part of what stands, or everything. A level that is not told again and again, Ray forgets."""
        levels = list(self._levels.items())
        series = [(buckets, labels) for buckets in self.histograms.values() for labels in buckets.series()]
        self._turn += 1
        if self._turn >= self._turns:
            self._turn, self._turns = 0, turns(len(series))
        first, step = (0, 1) if everything else (self._turn, self._turns)
        for (name, labels), level in levels[first::step]:
            self._set(name, labels, level)
        for buckets, labels in series[first::step]:
            buckets.export(labels)

    def _count(self, name: str, labels: Labels, amount: float) -> None:
        counter = self.counters[name]
        if amount > 0:
            counter.inc(amount, tags(counter, labels))

    def _set(self, name: str, labels: Labels, level: float) -> None:
        self.gauges[name].set(level, tags(self.gauges[name], labels))


def turns(histograms: int) -> int:
    """Of how many flushes each hands over its part."""
    return min(max(_TURNS, -(-histograms // _A_TURN)), _MOST_TURNS)


class CostMetrics:
    """What a replica of a dedicated variant counts; labels as in taxiway/telemetry/serving.py."""

    def __init__(self) -> None:
        self.counters, self.gauges = serving.costs(), serving.memory()

    def holds(self, memory_bytes: int, gpu_bytes: int) -> None:
        self.gauges["memory"].set(memory_bytes)
        self.gauges["gpu_memory"].set(gpu_bytes)

    def used(self, endpoint: str, variant: str, cpu_s: float, gpu_s: float, cost: float) -> None:
        for name, amount in (("cpu", cpu_s), ("gpu", gpu_s), ("cost", cost)):
            if amount > 0:
                self.counters[name].inc(amount, {"endpoint": endpoint, "variant": variant})


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
