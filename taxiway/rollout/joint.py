"""Pairs of numbers in cells that add up: exact while few pairs differ, and wider cells when there are many.

A float64 read as a whole number keeps the order of the values (IEEE 754), so a shift to the right puts neighbours into
one bin, and bins of one more shift are unions of these. A process that has filled its cells makes all of them wider;
who adds or subtracts tallies of different widths sums them in the widest. So no range has to be known before.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Numbers = Mapping[str, float]
Whole = NDArray[np.int64]

CELLS = 1_024
"""Of one output in one process."""
WIDEST = 63
"""With this shift only the sign is left."""
_PART = "/joint cell/"
"""No output is called like this: it may hold letters, digits, and what else people use, but not that."""
_ROWS = "rows"


@dataclass(frozen=True)
class Cells:
    """How often the pairs of a cell were seen; `x` and `y` are places on both axes, at a common shift."""

    shift: int
    x: Whole
    y: Whole
    counts: NDArray[np.float64]

    @property
    def n(self) -> int:
        return int(self.counts.sum())

    def widened(self, shift: int) -> "Cells":
        """The same in wider cells, each there once. Those whose counts have become 0 go."""
        x, y = self.x >> (shift - self.shift), self.y >> (shift - self.shift)
        first, where = _distinct(x, y)
        counts = np.bincount(where, self.counts, len(first))
        kept = counts != 0
        return Cells(shift, x[first][kept], y[first][kept], counts[kept])

    def within(self, most: int) -> "Cells":
        """As narrow as possible with no more cells than `most`, which is at least 4."""
        low, high = self.shift, WIDEST
        while low < high:
            middle = (low + high) // 2
            fits = len(_distinct(self.x >> (middle - self.shift), self.y >> (middle - self.shift))[0]) <= most
            low, high = (low, middle) if fits else (middle + 1, high)
        return self.widened(low)

    def named(self, prefix: str) -> dict[str, float]:
        """As numbers of a tally; `rows` says at which shift the cells are."""
        head = f"{prefix}{_PART}{self.shift}/"
        cells = zip(self.x.tolist(), self.y.tolist(), self.counts.tolist(), strict=True)
        return {f"{head}{_ROWS}": float(self.n)} | {f"{head}{x}:{y}": count for x, y, count in cells}


def of_pairs(
    prefix: str, live: NDArray[np.float64], shadow: NDArray[np.float64], most: int = CELLS
) -> dict[str, float]:
    """The pairs of some rows, all of them numbers, as numbers of a tally below `prefix`."""
    if not len(live):
        return {}
    x, y = places(live), places(shadow)
    if len(x) > most:
        return Cells(0, x, y, np.ones(len(x))).within(most).named(prefix)
    head = f"{prefix}{_PART}0/"
    seen = Counter(zip(x.tolist(), y.tolist(), strict=True))
    return {f"{head}{_ROWS}": float(len(x))} | {f"{head}{one}:{other}": float(it) for (one, other), it in seen.items()}


def places(values: NDArray[np.float64]) -> Whole:
    """Whole numbers in the order of the values; 0.0 and -0.0 are one."""
    bits = np.ascontiguousarray(values, np.float64).view(np.int64)
    return np.where(bits < 0, np.iinfo(np.int64).min - bits, bits)


def read_cells(numbers: Numbers, prefix: str) -> Cells | None:
    """What lies below a prefix, all of it as wide as the widest; None where nothing does."""
    found: dict[int, list[tuple[str, float]]] = {}
    for name in _below(numbers, prefix):
        _, shift, cell = name.rsplit("/", 2)
        if cell != _ROWS:
            found.setdefault(int(shift), []).append((cell, numbers[name]))
    if not found:
        return None
    widest = max(found)
    parts = [_parsed(shift, cells).widened(widest) for shift, cells in found.items()]
    x, y, counts = (np.concatenate([getattr(it, name) for it in parts]) for name in ("x", "y", "counts"))
    return Cells(widest, x, y, counts).widened(widest)


def has_cells(numbers: Numbers, prefix: str) -> bool:
    return bool(_shifts(numbers, f"{prefix}{_PART}"))


def conformed(total: Numbers, numbers: Numbers) -> dict[str, float]:
    """New numbers, their cells as wide as those that `total` has of the same output."""
    wider: dict[str, tuple[str, int]] = {}
    found: dict[str, float] = {}
    for name, value in numbers.items():
        told = name
        if _PART in name:
            head, _, cell = name.rpartition("/")
            if head not in wider:
                wider[head] = _wider(total, head)
            told_head, more = wider[head]
            if more and cell == _ROWS:
                told = f"{told_head}/{_ROWS}"
            elif more:
                x, _, y = cell.partition(":")
                told = f"{told_head}/{int(x) >> more}:{int(y) >> more}"
        found[told] = found.get(told, 0.0) + value
    return found


def is_cell(name: str) -> bool:
    """Whether a number of a tally belongs to cells."""
    return _PART in name


def bounded(total: dict[str, float], news: Iterable[str], most: int = CELLS) -> dict[str, float]:
    """`total`, which has some new names: where an output has too many cells now, they are wider."""
    for prefix in {name.partition(_PART)[0] for name in news if _PART in name}:
        mine = _below(total, prefix)
        if len(mine) > most + 1 or len(_shifts(total, f"{prefix}{_PART}")) > 1:
            cells = read_cells(total, prefix)
            for name in mine:
                del total[name]
            total |= {} if cells is None else cells.within(most).named(prefix)
    return total


def _below(numbers: Numbers, prefix: str) -> list[str]:
    head = f"{prefix}{_PART}"
    return [name for name in numbers if name.startswith(head)]


def _shifts(numbers: Numbers, head: str) -> list[int]:
    return [shift for shift in range(WIDEST + 1) if f"{head}{shift}/{_ROWS}" in numbers]


def _wider(total: Numbers, head: str) -> tuple[str, int]:
    """What `.../joint cell/0` is in `total`, and by how many shifts that is wider."""
    prefix, _, own = head.rpartition("/")
    shift = max([int(own), *_shifts(total, f"{prefix}/")])
    return f"{prefix}/{shift}", shift - int(own)


def _parsed(shift: int, cells: Sequence[tuple[str, float]]) -> Cells:
    pairs = [cell.partition(":") for cell, _ in cells]
    x, y = (np.array([int(pair[place]) for pair in pairs], np.int64) for place in (0, 2))
    return Cells(shift, x, y, np.array([value for _, value in cells], np.float64))


def _distinct(x: Whole, y: Whole) -> tuple[Any, Any]:
    """The positions of pairs that are all different, and for each pair which of them it equals."""
    (_, xs), (known, ys) = (np.unique(axis, return_inverse=True) for axis in (x, y))
    _, first, where = np.unique(xs * len(known) + ys, return_index=True, return_inverse=True)
    return first, where
