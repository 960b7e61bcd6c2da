"""Objectives of endpoints and the rules that watch their error budgets.

An alert fires when the budget burns too fast in a long window and, so that it ends soon after the trouble, in a short
one too (multi-window, multi-burn-rate alerts: Beyer et al., The Site Reliability Workbook, 2018, chapter 5).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field

from cluster.observability.promql import REQUESTS, failing, per_second, slow
from taxiway.settings import FileSettings, Settings

WINDOWS = ("5m", "30m", "1h", "2h", "6h", "1d", "3d")
SECONDS = {"5m": 300, "30m": 1800, "1h": 3600, "2h": 7200, "6h": 21600, "1d": 86400, "3d": 259200}
LEAST_BAD = 10
"""So many requests have to be bad in the long window: of three requests one that fails wakes nobody."""
PERIOD_DAYS = 30
_BAD = {"failures": "failures", "slow": "slow answers"}


@dataclass(frozen=True)
class Burn:
    """Fires at `rate` times the speed that uses up the budget in exactly `PERIOD_DAYS` days."""

    rate: float
    long: str
    short: str
    severity: str


BURNS = (
    Burn(14.4, "1h", "5m", "page"),
    Burn(6.0, "6h", "30m", "page"),
    Burn(3.0, "1d", "2h", "ticket"),
    Burn(1.0, "3d", "6h", "ticket"),
)
"""Two, five, ten and ten percent of the budget of thirty days are gone when they fire."""


class Objective(Settings):
    """What is promised of an endpoint, over thirty days."""

    availability: float = Field(default=0.999, gt=0, lt=1, description="share of requests without a failure of ours")
    latency_ms: float = Field(default=100, gt=0, description="the upper end of a bucket of the histogram")
    latency_share: float = Field(default=0.99, gt=0, lt=1, description="share of answers within `latency_ms`")


class Objectives(FileSettings):
    """cluster/observability/objectives.yaml."""

    runbooks: str = Field(default="docs/runbooks", description="where runbooks lie; a URL in production")
    default: Objective = Objective()
    endpoints: Mapping[str, Objective] = Field(default_factory=dict)

    def each(self) -> Iterator[tuple[str, Objective]]:
        """Every objective and the label matcher of the endpoints that it is for."""
        for name, objective in self.endpoints.items():
            yield f'endpoint="{name}"', objective
        others = "|".join(("-", *(name.replace(".", r"\\.") for name in self.endpoints)))
        yield f'endpoint!~"{others}"', self.default


def recorded(objectives: Objectives) -> list[dict[str, Any]]:
    """Rates of requests, failures and slow answers over each window."""
    rules = []
    for window in WINDOWS:
        rules.append(_record("requests", window, per_second(REQUESTS, "endpoint", "", window)))
        rules.append(_record("failures", window, failing("endpoint", "", window)))
        for where, objective in objectives.each():
            rules.append(_record("slow", window, slow("endpoint", objective.latency_ms / 1000, where, window)))
    return rules


def burning(objectives: Objectives) -> Iterator[tuple[str, str, str, str]]:
    """Of each alert: name, expression, severity, summary."""
    for where, objective in objectives.each():
        unavailable, late = ("failures", 1 - objective.availability), ("slow", 1 - objective.latency_share)
        for severity, slowly in (("page", ""), ("ticket", "Slowly")):
            for name, (bad, budget) in (("Unavailable", unavailable), ("Slow", late)):
                pairs = [burns(bad, budget, burn, where) for burn in BURNS if burn.severity == severity]
                told = f"{{{{ $labels.endpoint }}}}: {_BAD[bad]} use up the error budget of {PERIOD_DAYS} days too fast"
                yield f"Endpoint{slowly}{name}", " or ".join(f"({pair})" for pair in pairs), severity, told


def burns(bad: str, budget: float, burn: Burn, where: str) -> str:
    """True where `bad` (of the recorded rates) takes more than its share in both windows, and not by chance."""
    over = [
        f"{_rate(bad, window, where)} / {_rate('requests', window, where)} > {burn.rate * budget:.6g}"
        for window in (burn.long, burn.short)
    ]
    enough = f"{_rate(bad, burn.long, where)} * {SECONDS[burn.long]} >= {LEAST_BAD}"
    return " and ".join([*over, enough])


def _record(name: str, window: str, expression: str) -> dict[str, Any]:
    return {"record": f"endpoint:taxiway_{name}:rate{window}", "expr": expression}


def _rate(name: str, window: str, where: str) -> str:
    return f"endpoint:taxiway_{name}:rate{window}{{{where}}}"
