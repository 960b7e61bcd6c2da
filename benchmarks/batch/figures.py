"""What follows from the runs: each contestant's figures at a size, and what a further million rows costs."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from benchmarks.batch.measure import Run


@dataclass(frozen=True)
class Slope:
    """From one size to the next: seconds and CPU seconds for each million rows, and the seconds that no row costs."""

    contestant: str
    first_rows: int
    last_rows: int
    s_per_million: float
    cpu_s_per_million: float
    fixed_s: float


def best(runs: Iterable[Run]) -> list[Run]:
    """The fastest run of each contestant at each size, in the order in which they came."""
    found: dict[tuple[str, int], Run] = {}
    for run in runs:
        key = (run.contestant, run.rows)
        if key not in found or run.wall_s < found[key].wall_s:
            found[key] = run
    return list(found.values())


def spread(runs: Iterable[Run], run: Run) -> float:
    """How much longer the slowest of the same runs took, as a share: 0.1 is a tenth."""
    same = (other.wall_s for other in runs if (other.contestant, other.rows) == (run.contestant, run.rows))
    return max(same) / run.wall_s - 1


def slopes(figures: Sequence[Run], contestant: str) -> list[Slope]:
    """Between neighbouring sizes, the smallest first; empty when there is only one."""
    ordered = sorted((run for run in figures if run.contestant == contestant), key=lambda run: run.rows)
    return [_slope(first, last) for first, last in pairwise(ordered)]


def _slope(first: Run, last: Run) -> Slope:
    millions = (last.rows - first.rows) / 1e6
    s_per_million = (last.wall_s - first.wall_s) / millions
    return Slope(
        contestant=first.contestant,
        first_rows=first.rows,
        last_rows=last.rows,
        s_per_million=s_per_million,
        cpu_s_per_million=(last.cpu_s - first.cpu_s) / millions,
        fixed_s=first.wall_s - s_per_million * first.rows / 1e6,
    )


def count(rows: int) -> str:
    """`10M` for ten million, `200k`; uneven numbers in full."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if rows and not rows % size:
            return f"{rows // size}{unit}"
    return f"{rows:,}"
