"""`python -m benchmarks.rollout_statistics`: false alarms and time to detection when a rollout is watched each second.

Simulated traffic, numpy and the functions that the controller calls; nothing is served. Beside the sequential
methods stands the fixed-horizon test, peeked at in the same way.
"""

import platform
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import log
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray
from scipy import stats

from taxiway.rollout import evidence
from taxiway.rollout.observations import Counts, Values
from taxiway.rollout.sequential import log_evidence_of_difference
from taxiway.rollout.sequential_means import FIRST_LOOK

mpl.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parent / "results"
ALPHA = 0.05
DAY_S = 86_400
REQUESTS_PER_S, SHARE = 20.0, 0.1
ERRORS = 0.001
LOSS_MEAN, LOSS_SD = 0.40, 0.45
PAIR_SD, PAIR_BOUND = 0.10, 2.0
EQUAL_PATHS, BROKEN_PATHS, BATCH = 400, 100, 25
THINNED = 1.002
SAMPLED_S = np.unique(np.geomspace(1, DAY_S, 200).astype(int)) - 1

Evidence = Callable[[np.random.Generator, int], Values]
"""So many paths of evidence, seconds along the second axis; at log(1/alpha) it alarms."""


@dataclass(frozen=True)
class Watched:
    """When each path alarmed, in seconds; infinite for never."""

    name: str
    first_s: Values

    def by(self, seconds: float) -> float:
        return float((self.first_s <= seconds).mean())

    def quantile_s(self, share: float) -> float:
        return float(np.quantile(self.first_s, share, method="higher"))


def main() -> int:
    """Runs every simulation, writes the page and the plot."""
    began, random = time.process_time(), np.random.default_rng(2_024)
    equal = [watch(name, make, random, EQUAL_PATHS) for name, make in _equal().items()]
    broken = [watch(name, make, random, BROKEN_PATHS) for name, make in _broken().items()]
    page = "\n".join(_page(equal, broken, time.process_time() - began)) + "\n"
    (RESULTS / "rollout_statistics.md").write_text(page)
    _draw(equal, broken, RESULTS / "rollout_statistics.png")
    print(page)
    return 0


def watch(name: str, make: Evidence, random: np.random.Generator, paths: int) -> Watched:
    """Looks at every path at the end of each second of a day."""
    first = np.concatenate([_first_alarms(make(random, BATCH)) for _ in range(paths // BATCH)])
    print(f"{name}: {np.isfinite(first).mean():.1%} alarms", flush=True)
    return Watched(name, first)


def _first_alarms(found: Values) -> Values:
    alarmed = found >= -log(ALPHA)
    return np.where(alarmed.any(axis=1), alarmed.argmax(axis=1) + 1.0, np.inf)


def _equal() -> dict[str, Evidence]:
    """No difference: every alarm is false."""
    return {
        "error rate, canary": lambda random, paths: _rates(*_two_rates(random, paths, ERRORS, ERRORS)),
        "error rate, canary, peeked z-test": lambda random, paths: _z_rates(*_two_rates(random, paths, ERRORS, ERRORS)),
        "ratio of error rates, canary": lambda random, paths: _ratio(*_two_rates(random, paths, ERRORS, ERRORS)),
        "share over the latency bound, canary": lambda random, paths: _rates(*_two_rates(random, paths, 0.01, 0.01)),
        "log loss, canary": lambda random, paths: _means(*_two_means(random, paths, 0.0)),
        "log loss, canary, peeked z-test": lambda random, paths: _z_means(*_two_means(random, paths, 0.0)),
        "log loss, shadow": lambda random, paths: _paired(*_pairs(random, paths, 0.0)),
        "sample ratio": lambda random, paths: _split(random, paths, SHARE),
    }


def _broken() -> dict[str, Evidence]:
    """A challenger that is worse: every alarm is right."""
    return {
        "errors 0.1% → 0.2%": lambda random, paths: _rates(*_two_rates(random, paths, 0.002, ERRORS)),
        "errors 0.1% → 1%": lambda random, paths: _rates(*_two_rates(random, paths, 0.01, ERRORS)),
        "errors 0.1% → 1%, by ratio": lambda random, paths: _ratio(*_two_rates(random, paths, 0.01, ERRORS)),
        "errors 0.1% → 10%": lambda random, paths: _rates(*_two_rates(random, paths, 0.1, ERRORS)),
        "over the latency bound 1% → 2%": lambda random, paths: _rates(*_two_rates(random, paths, 0.02, 0.01)),
        "over the latency bound 1% → 10%": lambda random, paths: _rates(*_two_rates(random, paths, 0.1, 0.01)),
        "log loss +2%, canary": lambda random, paths: _means(*_two_means(random, paths, 0.02)),
        "log loss +10%, canary": lambda random, paths: _means(*_two_means(random, paths, 0.10)),
        "log loss +2%, shadow": lambda random, paths: _paired(*_pairs(random, paths, 0.02)),
        "log loss +10%, shadow": lambda random, paths: _paired(*_pairs(random, paths, 0.10)),
        "11% of the requests instead of 10%": lambda random, paths: _split(random, paths, 0.11),
    }


def _arrivals(random: np.random.Generator, paths: int, per_s: float) -> NDArray[np.int64]:
    return random.poisson(per_s, (paths, DAY_S))


def _two_rates(random: np.random.Generator, paths: int, challenger: float, champion: float) -> tuple[Values, ...]:
    """Cumulated hits and requests of both sides."""
    sides = []
    for rate, part in ((challenger, SHARE), (champion, 1 - SHARE)):
        n = _arrivals(random, paths, REQUESTS_PER_S * part)
        sides += [random.binomial(n, rate).cumsum(axis=1).astype(float), n.cumsum(axis=1).astype(float)]
    return tuple(sides)


def _rates(hits: Values, n: Values, other_hits: Values, other_n: Values) -> Values:
    """Exactly where it may alarm: what stands against the pooled rate is no less than the smallest over all rates."""
    pooled = (hits + other_hits) / np.maximum(n + other_n, 1)
    found = evidence.pair_of_proportions(hits, n, pooled, other_hits, other_n, pooled)
    sides = (hits, n), (other_hits, other_n)
    for path in range(len(found)):
        _replace_by_exact(found[path], [(some[path], total[path]) for some, total in sides])
    return found


def _replace_by_exact(found: Values, sides: Sequence[tuple[Values, Values]]) -> None:
    """Up to the first alarm. After a look without one, a look within 0.2% of the time is left out."""
    earliest = 0.0
    for at in np.flatnonzero(found >= -log(ALPHA)):
        if at < earliest:
            found[at] = -np.inf
            continue
        one, other = (Counts(int(total[at]), int(some[at])) for some, total in sides)
        found[at] = log_evidence_of_difference(one, other, 0.0)
        if found[at] >= -log(ALPHA):
            return
        earliest = at * THINNED


def _ratio(hits: Values, n: Values, other_hits: Values, other_n: Values) -> Values:
    return evidence.proportion(hits, hits + other_hits, SHARE)


def _z_rates(hits: Values, n: Values, other_hits: Values, other_n: Values) -> Values:
    pooled = (hits + other_hits) / np.maximum(n + other_n, 1)
    variance = pooled * (1 - pooled) * (1 / np.maximum(n, 1) + 1 / np.maximum(other_n, 1))
    apart = hits / np.maximum(n, 1) - other_hits / np.maximum(other_n, 1)
    z = np.divide(apart, np.sqrt(variance), out=np.zeros_like(apart), where=variance > 0)
    return np.where(hits + other_hits >= 10, _as_evidence(z), 0.0)


def _two_means(random: np.random.Generator, paths: int, worse: float) -> tuple[Values, Values, Values]:
    """z, clock and rows of the smaller side for gamma distributed losses; the challenger's are larger by `worse`."""
    sides = []
    for factor, part in ((1 + worse, SHARE), (1.0, 1 - SHARE)):
        n = _arrivals(random, paths, REQUESTS_PER_S * part)
        totals, squares = _sums(random, n, factor)
        rows = np.maximum(n.cumsum(axis=1), 1).astype(float)
        average = totals.cumsum(axis=1) / rows
        sides.append((average, np.maximum(squares.cumsum(axis=1) / rows - average**2, 1e-12), rows))
    (one, spread, rows), (other, other_spread, other_rows) = sides
    variance = spread / rows + other_spread / other_rows
    return (one - other) / np.sqrt(variance), (spread + other_spread) / 2 / variance, rows


def _sums(random: np.random.Generator, n: NDArray[np.int64], factor: float) -> tuple[Values, Values]:
    """Sum and sum of squares of the losses of each second.

    The sum of n gammas is one; given it, the sum of squares is set to its conditional mean, which matters little
    beside how the mean itself varies.
    """
    shape = (LOSS_MEAN / LOSS_SD) ** 2
    scale = LOSS_MEAN / shape * factor
    totals = random.standard_gamma(np.maximum(n * shape, 1e-9)) * scale * (n > 0)
    squares = totals**2 * (shape + 1) / np.maximum(n * shape + 1, 1)
    return totals, squares


def _means(z: Values, clock: Values, rows: Values) -> Values:
    found = evidence.normal_mean(z, clock, evidence.tuned(5_000, ALPHA))
    return np.where(rows >= FIRST_LOOK, found, 0.0)


def _z_means(z: Values, clock: Values, rows: Values) -> Values:
    return np.where(rows >= FIRST_LOOK, _as_evidence(z), 0.0)


def _as_evidence(z: Values) -> Values:
    """The logarithm of 1/p of the two-sided z-test: it reaches log(1/alpha) where p reaches alpha."""
    found: Values = -np.log(2) - stats.norm.logsf(np.abs(z))
    return found


def _pairs(random: np.random.Generator, paths: int, worse: float) -> tuple[Values, Values, Values]:
    """Rows, sum and sum of squares of differences of log loss of the same requests, scaled from the bound to [0, 1]."""
    n = _arrivals(random, paths, REQUESTS_PER_S)
    totals = random.normal(n * worse * LOSS_MEAN, np.sqrt(n) * PAIR_SD)
    within = random.chisquare(np.maximum(n - 1, 1e-9)) * PAIR_SD**2 * (n > 1)
    squares = within + totals**2 / np.maximum(n, 1)
    rows, sums, sums_of_squares = (part.cumsum(axis=1).astype(float) for part in (n, totals, squares))
    width = 2 * PAIR_BOUND
    scaled = (sums + rows * PAIR_BOUND) / width
    return rows, scaled, (sums_of_squares + 2 * PAIR_BOUND * sums + rows * PAIR_BOUND**2) / width**2


def _paired(rows: Values, totals: Values, squares: Values) -> Values:
    """Looked at each second in the first ten minutes, then once a minute: this evidence takes longest to compute."""
    looks = np.r_[0:600, 600:DAY_S:60]
    found = np.full(rows.shape, -np.inf)
    found[:, looks] = evidence.bounded_mean(rows[:, looks], totals[:, looks], squares[:, looks], 0.5)
    return found


def _split(random: np.random.Generator, paths: int, share: float) -> Values:
    counts = [_arrivals(random, paths, REQUESTS_PER_S * part).cumsum(axis=1) for part in (share, 1 - share)]
    return evidence.shares(np.stack(counts, axis=-1), [SHARE, 1 - SHARE], 1_000.0)


def _page(equal: list[Watched], broken: list[Watched], took_s: float) -> Iterator[str]:
    yield "# Watching a rollout: measured by `python -m benchmarks.rollout_statistics`"
    yield ""
    yield (
        f"{EQUAL_PATHS} simulated days each ({BROKEN_PATHS} of a worse challenger), {REQUESTS_PER_S:g} requests/s, "
        f"{SHARE:.0%} of them to the challenger (a shadow gets all), one look a second: {DAY_S:,} looks, alpha "
        f"{ALPHA:g} for each check. Base error rate {ERRORS:.1%}; "
        f"log loss {LOSS_MEAN:g} with a standard deviation of {LOSS_SD:g} (gamma), of pairs {PAIR_SD:g} (normal, bound "
        f"{PAIR_BOUND:g}; from the tenth minute on one look a minute). Every request has its label at once. "
        f"{took_s:.0f} s of one core ({platform.machine()})."
    )
    yield ""
    yield "![alarms over the day](rollout_statistics.png)"
    yield ""
    yield "## No difference: false alarms while peeking"
    yield "| check | after an hour | after a day |"
    yield "|---|---|---|"
    for one in equal:
        yield f"| {one.name} | {one.by(3_600):.1%} | {one.by(DAY_S):.1%} |"
    error = 2 * (ALPHA * (1 - ALPHA) / EQUAL_PATHS) ** 0.5
    yield ""
    yield f"What is promised is at most {ALPHA:.0%}; two standard errors of a figure near it are {error:.1%}."
    yield ""
    yield "## A worse challenger: how long it stays unnoticed"
    yield "The tolerated margin is 0. Requests are the challenger's, at the median."
    yield ""
    yield "| what is broken | median | 9 of 10 | requests | found in an hour | in a day |"
    yield "|---|---|---|---|---|---|"
    for one in broken:
        yield _row(one)


def _row(one: Watched) -> str:
    median = one.quantile_s(0.5)
    per_s = REQUESTS_PER_S * (1.0 if "shadow" in one.name else SHARE)
    requests = f"{median * per_s:,.0f}" if np.isfinite(median) else "-"
    shares = f"{one.by(3_600):.0%} | {one.by(DAY_S):.0%}"
    return f"| {one.name} | {_span(median)} | {_span(one.quantile_s(0.9))} | {requests} | {shares} |"


def _span(seconds: float) -> str:
    if not np.isfinite(seconds):
        return "over a day"
    for size, unit in ((3_600, "h"), (60, "min")):
        if seconds >= 2 * size:
            return f"{seconds / size:.1f} {unit}"
    return f"{seconds:.0f} s"


def _draw(equal: list[Watched], broken: list[Watched], file: Path) -> None:
    figure, (left, right) = plt.subplots(1, 2, figsize=(13, 7), layout="constrained")
    for one in equal:
        _curve(left, one, "--" if "z-test" in one.name else "-")
    left.axhline(ALPHA, color="#333333", linewidth=1, linestyle=":")
    left.set_title("no difference: share of false alarms so far", fontsize=11)
    for one in broken:
        _curve(right, one, "--" if "shadow" in one.name else ":" if "requests" in one.name else "-")
    right.set_title("worse challenger: share found so far", fontsize=11)
    figure.suptitle(
        "Looked at each second for a day (left: dashed is the fixed-horizon test, dotted is alpha)", fontsize=13
    )
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _curve(panel: Axes, one: Watched, style: str) -> None:
    seconds = SAMPLED_S + 1
    panel.plot(seconds, [one.by(at) for at in seconds], style, label=one.name, linewidth=1.5)
    panel.set_xscale("log")
    panel.set_xlabel("seconds")
    panel.grid(color="#dddddd")
    panel.spines[["top", "right"]].set_visible(False)
    panel.legend(fontsize=8, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.1), ncols=2)


if __name__ == "__main__":
    sys.exit(main())
