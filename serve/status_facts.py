"""The facts of a status, as its JSON has them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from serve.endpoint import Endpoint
from serve.multiplexed import MultiplexedFacts
from serve.progress import Told
from serve.variant import Variant
from taxiway.slo import SloSettings, budget_left
from taxiway.telemetry.recent import Key, Seen

State = Literal["ready", "loading", "failed", "missing"]
"""`loading` and `failed` are about a newer version where `version` says what answers; `missing`: nothing does."""


@dataclass(frozen=True)
class Counted:
    """Requests of some time that ended in this replica; latencies are of answers, at most a tenth too much."""

    requests: int
    requests_per_s: float
    failures: int
    refused: int
    p50_ms: float | None
    p99_ms: float | None


@dataclass(frozen=True)
class VariantStatus:
    """Shares are in percent: of live requests, and of those that the variant gets a copy of."""

    name: str
    version: str | None
    models: tuple[str, ...]
    share: float
    shadow_share: float
    state: State
    error: str | None
    counted: Counted


@dataclass(frozen=True)
class Budget:
    """A promise; `left` is the share of its error budget that is left, below 0 where it is broken."""

    promise: str
    bad: int
    of: int
    left: float | None


@dataclass(frozen=True)
class EndpointStatus:
    """`counted` holds all of its requests, also those that were refused before they were any variant's."""

    name: str
    ready: bool
    counted: Counted
    variants: tuple[VariantStatus, ...]
    budgets: tuple[Budget, ...]
    progress: tuple[str, ...]
    drift: tuple[str, ...]


@dataclass(frozen=True)
class MultiplexedStatus:
    """A multiplexed endpoint; `counted` are the requests for all of its models."""

    name: str
    counted: Counted
    facts: MultiplexedFacts


@dataclass(frozen=True)
class ViewStatus:
    """A feature view: up to when the online store is filled, ISO 8601."""

    name: str
    until: str | None
    stale: bool | None
    error: str | None


@dataclass(frozen=True)
class Status:
    """One replica. `window_s` is what the counts are about, `budget_window_s` the budgets."""

    application: str
    release: str
    ready: bool
    reason: str | None
    ongoing: int
    up_s: float
    memory_bytes: int
    window_s: float
    budget_window_s: float
    endpoints: tuple[EndpointStatus, ...]
    multiplexed: tuple[MultiplexedStatus, ...]
    feature_views: tuple[ViewStatus, ...]


def endpoint_status(
    endpoint: Endpoint,
    is_loading: Callable[[str], bool],
    lately: Mapping[Key, Seen],
    long: Mapping[Key, Seen],
    window_s: float,
    told: Told,
) -> EndpointStatus:
    """
    Args:
        is_loading: whether a newer version of a variant is being loaded.
        lately: what ended in the last `window_s` seconds.
        long: what the budgets are about.
    """
    variants = tuple(
        _variant(endpoint, it, is_loading(it.name), counted(lately.get((endpoint.name, it.name), Seen()), window_s))
        for it in endpoint.variants.values()
    )
    slo = endpoint.settings.slo
    return EndpointStatus(
        endpoint.name,
        endpoint.baseline_variant.slot is not None,
        counted(all_of(lately, endpoint.name), window_s),
        variants,
        () if slo is None else budgets(slo, all_of(long, endpoint.name)),
        told.progress,
        told.drift,
    )


def _variant(endpoint: Endpoint, variant: Variant, is_loading: bool, lately: Counted) -> VariantStatus:
    slot = variant.slot
    state: State = "loading" if is_loading else "failed" if variant.error else "ready" if slot else "missing"
    return VariantStatus(
        variant.name,
        slot.version if slot else None,
        tuple(found.uri for found in slot.versions.values()) if slot else (),
        endpoint.traffic.weights.get(variant.name, 0.0),
        endpoint.traffic.shadows.get(variant.name, 0.0),
        state,
        variant.error,
        lately,
    )


def all_of(found: Mapping[Key, Seen], endpoint: str) -> Seen:
    return sum((seen for key, seen in found.items() if key[0] == endpoint), Seen())


def counted(seen: Seen, window_s: float) -> Counted:
    """Refused is what another request would have helped; `cancelled`, where nobody waited any more, is neither."""
    p50_s, p99_s = seen.quantile_s(0.5), seen.quantile_s(0.99)
    return Counted(
        seen.requests,
        seen.requests / window_s,
        seen.failures,
        seen.requests - seen.failures - seen.answered - seen.codes.get("cancelled", 0),
        None if p50_s is None else 1_000 * p50_s,
        None if p99_s is None else 1_000 * p99_s,
    )


def budgets(slo: SloSettings, seen: Seen) -> tuple[Budget, ...]:
    """What is left of each promise."""
    found = [
        Budget(
            f"{100 * slo.availability:g} % of requests without a failure of ours",
            seen.failures,
            seen.requests,
            budget_left(seen.failures, seen.requests, slo.availability),
        )
    ]
    if slo.latency_ms is not None:
        slow = seen.slower_than(slo.latency_ms / 1_000)
        promise = f"{100 * slo.latency_share:g} % of answers within {slo.latency_ms:g} ms"
        found.append(Budget(promise, slow, seen.answered, budget_left(slow, seen.answered, slo.latency_share)))
    return tuple(found)


def view_status(name: str, found: Mapping[str, Any]) -> ViewStatus:
    return ViewStatus(name, found["until"], found["stale"], found["error"])
