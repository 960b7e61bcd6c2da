"""The Markdown page: what an endpoint costs, and what a model behind a multiplexed one."""

import os
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.pages import processor, table
from benchmarks.scale.endpoints import CONNECTIONS, Endpoints, Rates
from benchmarks.scale.material import MODELS
from benchmarks.scale.models import CLIENTS, EXPONENT, KEPT, LOADS, Latencies, Models


@dataclass(frozen=True)
class Results:
    """All that one run has seen."""

    endpoints: Sequence[Endpoints]
    models: Models
    seconds: float
    rounds: int

    @property
    def errors(self) -> int:
        return self.models.errors + sum(it.one.errors + it.every.errors for it in self.endpoints)


def write(results: Results) -> str:
    """The page."""
    parts = [
        "# Many endpoints, many models: measured by `python -m benchmarks.scale`",
        _setting(results),
        table("Endpoints in one replica", _ENDPOINTS_HEAD, _endpoints(results.endpoints)),
        _each(results.endpoints),
        table(
            f"{MODELS:,} models behind one multiplexed endpoint",
            ("", "requests", "p50 ms", "p99 ms"),
            _models(results.models),
        ),
        _told(results.models),
        f"Taxiway's environment: {', '.join(f'{name} {version(name)}' for name in ('ray', 'mlflow', 'numpy'))}.",
    ]
    return "\n\n".join(parts) + "\n"


_ENDPOINTS_HEAD = (
    *("endpoints", "replica's start s", "replica MB", "with Ray MB", "CPU at rest"),
    *("requests/s, the first one", "p99 ms", "requests/s, all of them", "p99 ms"),
)


def _setting(results: Results) -> str:
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}. Gradient-boosted classifiers (100 iterations, 15 numbers a row), one row a "
        "request as JSON, one ingress replica, the registry in SQLite; server and load generator on one machine. "
        f"Endpoints: {CONNECTIONS} connections, {results.rounds} rounds of {results.seconds:g} s each, the first "
        "endpoint alone and all of them by turns, medians. Every endpoint has a registered model of its own. Memory: "
        "PSS. Start: from the birth of the replica's process to its readiness."
    )


def _endpoints(found: Sequence[Endpoints]) -> Iterator[tuple[str, ...]]:
    for it in found:
        numbers = f"{it.started_s:.1f}", f"{it.replica_mb:,.0f}", f"{it.everything_mb:,.0f}", f"{it.idle:.1%}"
        yield str(it.endpoints), *numbers, *_rates(it.one), *_rates(it.every)


def _rates(it: Rates) -> tuple[str, str]:
    return f"{it.requests_per_s:,.0f}", f"{it.p99_ms:.1f}"


def _each(found: Sequence[Endpoints]) -> str:
    first, last = found[0], found[-1]
    more = last.endpoints - first.endpoints
    return (
        f"Each further endpoint: {(last.replica_mb - first.replica_mb) / more:.2f} MB, "
        f"{1e3 * (last.started_s - first.started_s) / more:.0f} ms of the start, "
        f"{(last.idle - first.idle) / more:.2%} of a core at rest, where the registry is looked at every second. "
        f"All {last.endpoints} by turns: {last.every.requests_per_s / last.one.requests_per_s:.0%} of the rate of the "
        f"first one alone in the same replica. Wrong or missing answers: "
        f"{sum(it.one.errors + it.every.errors for it in found)}."
    )


def _models(found: Models) -> Iterator[tuple[str, ...]]:
    yield "not loaded yet, one client", *_latencies(found.cold)
    yield "loaded, one client", *_latencies(found.warm)
    yield f"Zipf load, {CLIENTS} clients: all requests", *_latencies(found.zipf)
    yield "the most popular model in it", *_latencies(found.popular)


def _latencies(it: Latencies) -> tuple[str, ...]:
    return f"{it.requests:,}", f"{it.p50_ms:.2f}", f"{it.p99_ms:.1f}"


def _told(found: Models) -> str:
    return (
        f"{KEPT} models are kept, {LOADS} are loaded at once. The replica grew from {found.empty_mb:,.0f} to "
        f"{found.full_mb:,.0f} MB with {KEPT} models, {(found.full_mb - found.empty_mb) / KEPT:.2f} MB each, after all "
        f"that was evicted. {CLIENTS} clients that each ask for other models get {found.at_once:.1f} loaded a second. "
        f"Under the Zipf load (exponent {EXPONENT:g}, {found.requests_per_s:,.0f} requests/s) {found.hits:.1%} of the "
        f"requests found their model; Che's approximation for independent requests says {found.expected:.1%}. Wrong "
        f"or missing answers: {found.errors}."
    )
