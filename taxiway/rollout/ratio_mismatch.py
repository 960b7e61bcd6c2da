"""Do the requests arrive in the shares that the traffic split asks for? A sequential test of sample ratio mismatch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, log, sqrt

from taxiway.rollout import evidence
from taxiway.rollout.sequential import p_value

CONCENTRATION = 1_000.0
"""Weight of the expected shares in the prior, in requests: small deviations are what is looked for."""


@dataclass(frozen=True)
class Assigned:
    """Requests by variant while one set of weights held; the weights need not sum to 1, their ratios count."""

    counts: Mapping[str, int]
    weights: Mapping[str, float]

    def __post_init__(self) -> None:
        if min(self.weights.values(), default=0.0) < 0 or not sum(self.weights.values()) > 0:
            raise ValueError("weights must be at least 0, and one of them above 0")
        if min(self.counts.values(), default=0) < 0:
            raise ValueError("a number of requests is negative; count from 0")

    @property
    def n(self) -> int:
        return sum(self.counts.values())

    def share(self, variant: str) -> float:
        """What the variant should get, from 0 to 1."""
        return self.weights.get(variant, 0.0) / sum(self.weights.values())


@dataclass(frozen=True)
class RatioMismatch:
    """`mismatched` once the evidence has reached 1/alpha; `sentence` says it with the farthest variant."""

    mismatched: bool
    p_value: float
    log_evidence: float
    n: int
    sentence: str


def ratio_mismatch(steps: Sequence[Assigned], alpha: float, concentration: float = CONCENTRATION) -> RatioMismatch:
    """Tests all steps at once: their evidence multiplies, each against its own weights.

    Lindon and Malek 2022, "Anytime-valid inference for multinomial count data" (`evidence.shares`). Counts what
    is assigned at random, one by one: of sticky requests the keys, each once, not the requests.

    Raises:
        ValueError: alpha does not lie between 0 and 1.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha is {alpha:g}; it must lie between 0 and 1")
    found = sum((log_evidence(step, concentration) for step in steps), 0.0)
    n = sum(step.n for step in steps)
    mismatched = found >= -log(alpha)
    return RatioMismatch(mismatched, p_value(found), found, n, _sentence(steps, mismatched, n))


def log_evidence(step: Assigned, concentration: float = CONCENTRATION) -> float:
    """Of one step; infinite when a variant with weight 0 got a request."""
    shares = {name: step.share(name) for name in {**step.weights, **step.counts}}
    if any(step.counts.get(name, 0) for name, share in shares.items() if not share):
        return inf
    kept = sorted(name for name, share in shares.items() if share)
    counts = [step.counts.get(name, 0) for name in kept]
    return float(evidence.shares(counts, [shares[name] for name in kept], concentration))


def _sentence(steps: Sequence[Assigned], mismatched: bool, n: int) -> str:
    if not n:
        return "no requests have been assigned yet"
    names = sorted({name for step in steps for name in {**step.counts, **step.weights}})
    expected = {name: sum(step.n * step.share(name) for step in steps) for name in names}
    got = {name: sum(step.counts.get(name, 0) for step in steps) for name in names}
    worst = max(names, key=lambda name: _residual(got[name], expected[name]))
    shares = f"{worst} got {got[worst] / n:.2%} of {n:,} requests instead of {expected[worst] / n:.2%}"
    if mismatched:
        return f"{shares}: the split is not what it should be, and no comparison can be trusted"
    return f"{shares}, no more than chance allows"


def _residual(got: int, expected: float) -> float:
    """Pearson's, without its sign."""
    if not expected:
        return inf if got else 0.0
    return abs(got - expected) / sqrt(expected)
