"""Expressions that dashboards and alerts share."""

from functools import cache

from taxiway.errors import TaxiwayError

REQUESTS = "ray_taxiway_requests_total"
SECONDS = "ray_taxiway_request_duration_seconds"


@cache
def failures() -> str:
    """Matches the codes of failures."""
    return f'code=~"{"|".join(failure_codes())}"'


def failure_codes() -> tuple[str, ...]:
    """The codes of errors that are not the caller's: those with a status of 500 or more."""
    ours = [kind for kind in _kinds(TaxiwayError) if kind.__module__ == TaxiwayError.__module__]
    return tuple(sorted({kind.code for kind in ours if kind.status >= 500}))


def per_second(metric: str, by: str, where: str = "", window: str = "$__rate_interval") -> str:
    return f"sum by ({by}) (rate({metric}{_braces(where)}[{window}]))"


def failing(by: str, where: str = "", window: str = "$__rate_interval") -> str:
    """Failed requests a second; 0 where there are requests and none failed."""
    both = ", ".join(part for part in (where, failures()) if part)
    return f"({per_second(REQUESTS, by, both, window)} or 0 * {per_second(REQUESTS, by, where, window)})"


def failing_share(by: str, where: str = "", window: str = "$__rate_interval") -> str:
    return f"{failing(by, where, window)} / {per_second(REQUESTS, by, where, window)}"


def slow(by: str, seconds: float, where: str = "", window: str = "$__rate_interval") -> str:
    """Answers a second that took longer; `seconds` is the upper end of a bucket."""
    within = ", ".join(part for part in (where, f'le="{float(seconds)!r}"') if part)
    all_of_them = per_second(f"{SECONDS}_count", by, where, window)
    return f"({all_of_them} - {per_second(f'{SECONDS}_bucket', by, within, window)})"


def quantile(share: float, metric: str, by: str, where: str = "", window: str = "$__rate_interval") -> str:
    return f"histogram_quantile({share:g}, {per_second(f'{metric}_bucket', f'{by}, le', where, window)})"


def grew(metric: str, by: str, window: str, where: str = "") -> str:
    """How much a counter has grown in a window, where it has. One that was born meanwhile began at zero.

    `increase` alone does not see the first count of a series that appears with it.
    """
    series = f"{metric}{_braces(where)}"
    born = f"(sum by ({by}) ({series}) unless sum by ({by}) ({series} offset {window}))"
    return f"(sum by ({by}) (increase({series}[{window}])) > 0) or ({born} > 0)"


def _braces(where: str) -> str:
    return f"{{{where}}}" if where else ""


def _kinds(kind: type[TaxiwayError]) -> list[type[TaxiwayError]]:
    return [kind, *(found for below in kind.__subclasses__() for found in _kinds(below))]
