"""Thompson sampling: how likely each variant is the best, and the traffic that follows from it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal, Protocol

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from taxiway.rollout.observations import Counts, Moments, Values

Better = Literal["higher", "lower"]
_NODES = 2_000


class Posterior(Protocol):
    """What is believed of one variant's figure."""

    def cdf(self, x: ArrayLike, /) -> Values: ...

    def ppf(self, q: ArrayLike, /) -> Values: ...

    def rvs(self, *, size: int, random_state: np.random.Generator) -> Values: ...


@dataclass(frozen=True)
class BetaPrior:
    """Of a rate: so many hits and misses are taken as seen already."""

    hits: float = 1.0
    misses: float = 1.0


@dataclass(frozen=True)
class NormalPrior:
    """Of mean and variance, normal-inverse-gamma; in the unit of the values.

    The mean counts as `rows` rows of it, the spread as 2 x `shape` rows with the variance `scale` / `shape`.
    """

    mean: float = 0.0
    rows: float = 0.01
    shape: float = 1.0
    scale: float = 1.0


def rate_posterior(counts: Counts, prior: BetaPrior = BetaPrior()) -> Posterior:
    """Beta: conjugate to hits among n."""
    found: Posterior = stats.beta(prior.hits + counts.hits, prior.misses + counts.n - counts.hits)
    return found


def mean_posterior(moments: Moments, prior: NormalPrior = NormalPrior()) -> Posterior:
    """Student's t: the mean's marginal under a normal-inverse-gamma prior (Murphy 2007, section 3)."""
    n = moments.n
    average = 0.0 if moments.mean is None else moments.mean
    rows, shape = prior.rows + n, prior.shape + n / 2
    between = prior.rows * n * (average - prior.mean) ** 2 / rows
    scale = prior.scale + (n * moments.variance + between) / 2
    center = (prior.rows * prior.mean + n * average) / rows
    found: Posterior = stats.t(2 * shape, loc=center, scale=np.sqrt(scale / (shape * rows)))
    return found


def best_probabilities(posteriors: Mapping[str, Posterior], better: Better) -> dict[str, float]:
    """The probability of each variant to be the best, by quadrature; they sum to 1.

    The mean, over a variant's quantiles, of the others' probability to be worse. It grows with the quantile, so
    the midpoint rule on 2,000 nodes is off by at most 1/4,000.
    """
    nodes = (np.arange(_NODES) + 0.5) / _NODES
    found = {name: _wins(name, posteriors, better, nodes) for name in posteriors}
    total = sum(found.values())
    return {name: share / total for name, share in found.items()}


def sampled_probabilities(
    posteriors: Mapping[str, Posterior], better: Better, random: np.random.Generator, samples: int = 10_000
) -> dict[str, float]:
    """As `best_probabilities`, counted in samples of the posteriors."""
    drawn = np.stack([one.rvs(size=samples, random_state=random) for one in posteriors.values()])
    winners = drawn.argmax(axis=0) if better == "higher" else drawn.argmin(axis=0)
    counts = np.bincount(winners, minlength=len(posteriors))
    return {name: float(count) / samples for name, count in zip(posteriors, counts, strict=True)}


def weights(probabilities: Mapping[str, float], floors: Mapping[str, float], step: str = "0.1") -> dict[str, float]:
    """A traffic split: each variant gets its floor (percent), the rest goes by the probabilities.

    In multiples of `step` percent, rounded by largest remainders, so that the weights sum to 100 exactly.

    Raises:
        ValueError: the floors or the step leave no such split.
    """
    units = Decimal(100) / Decimal(step)
    if Decimal(step) <= 0 or units != int(units):
        raise ValueError(f"100 is no multiple of the step {step}; take 1, 0.1 or the like")
    held = {
        name: int((Decimal(str(floors.get(name, 0.0))) / Decimal(step)).to_integral_value("ROUND_CEILING"))
        for name in probabilities
    }
    free = int(units) - sum(held.values())
    if unknown := floors.keys() - probabilities.keys():
        raise ValueError(f"{min(unknown)!r} has a floor and is no variant here; name one of {', '.join(probabilities)}")
    if free < 0 or min(held.values()) < 0:
        raise ValueError(f"the floors must be at least 0 and sum to at most 100, found {dict(floors)}")
    parts = _apportioned([probabilities[name] for name in held], free)
    return {name: float((held[name] + part) * Decimal(step)) for name, part in zip(held, parts, strict=True)}


def _wins(name: str, posteriors: Mapping[str, Posterior], better: Better, nodes: Values) -> float:
    values = posteriors[name].ppf(nodes)
    product = np.ones_like(nodes)
    for other, posterior in posteriors.items():
        if other != name:
            below = posterior.cdf(values)
            product *= below if better == "higher" else 1 - below
    return float(product.mean())


def _apportioned(shares: Sequence[float], units: int) -> list[int]:
    """`units` whole units by shares that sum to 1: each rounded down, the rest to the largest remainders."""
    exact = [share * units for share in shares]
    whole = [int(part) for part in exact]
    order = sorted(range(len(whole)), key=lambda one: (whole[one] - exact[one], one))
    for one in order[: units - sum(whole)]:
        whole[one] += 1
    return whole
