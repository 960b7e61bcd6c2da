"""What the rank correlation of copies costs the thread that counts, and how far it is from scipy's: one output.

    python -m benchmarks.rank_cells

CPU time of this thread, of a process that has filled its cells already; the pairs are normal, with a coefficient of
about 0.95.
"""

import time

import numpy as np
from scipy.stats import spearmanr

from taxiway.rollout.joint import of_pairs, read_cells
from taxiway.rollout.observations import Values
from taxiway.rollout.ranks import ranks_of
from taxiway.rollout.tally import grown

SIZES = (1, 20, 200, 2_000, 20_000)
_NAME = "difference/p"


def pairs(random: np.random.Generator, rows: int) -> tuple[Values, Values]:
    live = random.normal(size=rows)
    return live, live + 0.3 * random.normal(size=rows)


def cost_us(rows: int, batches: int) -> float:
    """Microseconds a batch."""
    random = np.random.default_rng(1)
    total = grown({}, of_pairs(_NAME, *pairs(random, 50_000)))
    given = [pairs(random, rows) for _ in range(batches)]
    began = time.thread_time()
    for live, shadow in given:
        total = grown(total, of_pairs(_NAME, live, shadow))
    return 1e6 * (time.thread_time() - began) / batches


def main() -> None:
    print("| rows of a batch | us a batch | us a row |\n|---:|---:|---:|")
    for rows in SIZES:
        found = cost_us(rows, max(5, min(200, 40_000 // rows)))
        print(f"| {rows:,} | {found:,.0f} | {found / rows:.2f} |")
    live, shadow = pairs(np.random.default_rng(2), 50_000)
    total: dict[str, float] = {}
    for first in range(0, 50_000, 500):
        total = grown(total, of_pairs(_NAME, live[first : first + 500], shadow[first : first + 500]))
    cells = read_cells(total, _NAME)
    began = time.thread_time()
    found_ranks = None if cells is None else ranks_of(cells)
    if cells is not None and found_ranks is not None:
        exact = float(spearmanr(live, shadow).statistic)
        print(
            f"\n{len(cells.x)} cells of 50,000 pairs: {found_ranks.estimate:.4f}, {found_ranks.low:.4f} to "
            f"{found_ranks.high:.4f}, read in {1e3 * (time.thread_time() - began):.1f} ms; scipy {exact:.4f}"
        )


if __name__ == "__main__":
    main()
