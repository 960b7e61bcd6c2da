"""The status as one page without scripts."""

from collections.abc import Iterator
from itertools import islice
from xml.etree.ElementTree import Element

from serve.status_facts import Budget, Counted, EndpointStatus, MultiplexedStatus, Status, VariantStatus
from taxiway.markup import Child, document, element, section, table
from taxiway.rollout_told import lasting

_HEAD = ("variant", "version", "share", "state", "requests/s", "failed", "refused", "p50", "p99")
_NUMBERS = frozenset({4, 5, 6, 7, 8})
_SECOND_MS = 1_000.0
_MODELS_SHOWN = 50
_LITTLE = 0.25
"""So little of an error budget is red."""


def page(status: Status) -> str:
    """An HTML document."""
    return document(
        f"{status.application}: status",
        element("h1", status.application),
        element("p", f"Taxiway {status.release}, one replica, up for {lasting(status.up_s)}. ", _note(status)),
        _standing(status),
        _figures(status),
        *(_endpoint(it) for it in status.endpoints),
        *(_multiplexed(it) for it in status.multiplexed),
        *_views(status),
    )


def _note(status: Status) -> Element:
    told = f"Counts are this replica's own, of the last {lasting(status.window_s)}; replicas take turns at answering."
    return element("span", told, class_="muted")


def _standing(status: Status) -> Element:
    if status.ready:
        return element(
            "p", element("strong", "Ready", class_="good"), ": new requests come here.", class_="verdict good"
        )
    told = f": {status.reason}."
    return element("p", element("strong", "Not ready", class_="bad"), told, class_="verdict bad")


def _figures(status: Status) -> Element:
    every = [*(it.counted for it in status.endpoints), *(it.counted for it in status.multiplexed)]
    requests = sum(it.requests_per_s for it in every)
    failures = sum(it.failures for it in every)
    refused = sum(it.refused for it in every)
    facts = (
        ("requests a second", f"{requests:,.1f}"),
        ("failed", f"{failures:,}"),
        ("refused", f"{refused:,}"),
        ("in flight", f"{status.ongoing:,}"),
        ("memory", f"{status.memory_bytes / 2**20:,.0f} MiB"),
    )
    return element(
        "dl", *(element("div", element("dt", name), element("dd", told)) for name, told in facts), class_="figures"
    )


def _endpoint(endpoint: EndpointStatus) -> Element:
    rows: list[list[Child]] = [_row(it) for it in endpoint.variants]
    if len(rows) > 1 or endpoint.counted.requests > sum(it.counted.requests for it in endpoint.variants):
        rows.append(["all", "", "", "", *_counts(endpoint.counted)])
    errors = [f"{it.name}: {it.error}" for it in endpoint.variants if it.error]
    return section(
        endpoint.name,
        table(_HEAD, rows, _NUMBERS),
        *(element("p", element("span", it, class_="bad")) for it in errors),
        *_budgets(endpoint.budgets),
        *_list("Rollout and experiment", endpoint.progress),
        *_list("Drift", endpoint.drift),
    )


def _row(variant: VariantStatus) -> list[Child]:
    shadow = f" + {variant.shadow_share:g} % copies" if variant.shadow_share else ""
    state = element("span", variant.state, class_="good" if variant.state == "ready" else "bad")
    if variant.state == "loading":
        state = element("span", "loading")
    share = f"{variant.share:g} %{shadow}"
    return [variant.name, variant.version or "none", share, state, *_counts(variant.counted)]


def _counts(counted: Counted) -> list[Child]:
    failed = f"{counted.failures:,}"
    return [
        f"{counted.requests_per_s:,.1f}",
        element("span", failed, class_="bad") if counted.failures else failed,
        f"{counted.refused:,}",
        _ms(counted.p50_ms),
        _ms(counted.p99_ms),
    ]


def _ms(value: float | None) -> str:
    """Three digits, as far as they are known."""
    if value is None:
        return "–"
    if value >= _SECOND_MS:
        return f"{value / _SECOND_MS:.1f} s"
    return f"{value:.0f} ms" if value >= 100 else f"{value:.3g} ms"


def _budgets(budgets: tuple[Budget, ...]) -> Iterator[Element]:
    if budgets:
        yield element("h3", "Objectives")
        head = ("objective", "bad", "of", "error budget left")
        yield table(
            head, [[it.promise, f"{it.bad:,}", f"{it.of:,}", _left(it)] for it in budgets], frozenset({1, 2, 3})
        )


def _left(budget: Budget) -> Child:
    if budget.left is None:
        return "–"
    return element("span", f"{budget.left:,.0%}", class_="good" if budget.left > _LITTLE else "bad")


def _multiplexed(endpoint: MultiplexedStatus) -> Element:
    facts, counts = endpoint.facts, endpoint.facts.counts
    asked = counts.hits + counts.misses
    hits = f"{counts.hits:,} ({counts.hits / asked:.1%})" if asked else "0"
    head = ("requests/s", "failed", "refused", "p50", "p99", "in memory", "hits", "misses", "evicted", "failed loads")
    kept = f"{len(facts.loaded):,} of {facts.most:,}"
    row: list[Child] = [*_counts(endpoint.counted), kept, hits, f"{counts.misses:,}", f"{counts.evictions:,}"]
    told = [f"{name} {version}" for name, version in islice(facts.loaded.items(), _MODELS_SHOWN)]
    more = [f"and {len(facts.loaded) - len(told):,} more"] if len(told) < len(facts.loaded) else []
    return section(
        endpoint.name,
        element("p", f"Registered models {', '.join(facts.patterns)} with the alias {facts.alias}, loaded when asked."),
        table(head, [[*row, f"{counts.failed:,}"]], frozenset(range(len(head)))),
        *_list("In memory, the one that was asked for last first", (", ".join([*told, *more]),) if told else ()),
        *_list("Being loaded", facts.loading),
        *_list("Could not be loaded", tuple(f"{name}: {why}" for name, why in facts.errors.items())),
    )


def _list(title: str, lines: tuple[str, ...]) -> Iterator[Element]:
    if lines:
        yield element("h3", title)
        yield element("ul", *(element("li", line) for line in lines))


def _views(status: Status) -> Iterator[Element]:
    rows: list[list[Child]] = []
    for view in status.feature_views:
        known = {True: element("span", "stale", class_="bad"), False: element("span", "fresh", class_="good")}
        rows.append(
            [
                view.name,
                view.until or "never filled",
                "unknown" if view.stale is None else known[view.stale],
                view.error or "",
            ]
        )
    if rows:
        yield section("Feature views", table(("view", "filled up to", "state", "last error"), rows))
