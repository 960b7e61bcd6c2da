"""What a window held, as numbers that add up: replicas count, parts merge, and a window is a difference."""

from collections.abc import Mapping
from dataclasses import dataclass

from taxiway.drift.settings import UsualDrift
from taxiway.profile import CategoryProfile, ColumnProfile, Group, OpaqueProfile, Profile, count, pairs
from taxiway.signature import Columns

Numbers = Mapping[str, float]
ROWS = "rows"


@dataclass(frozen=True)
class ColumnCounts:
    """One column of one window.

    Args:
        numeric: its bins are in order.
        rows: with and without a value.
        bins: rows by bin, of those with a value; empty for tensors and bytes, of which only `missing` is known.
    """

    group: Group
    column: str
    numeric: bool
    rows: int
    missing: int
    bins: tuple[int, ...]

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def key(self) -> str:
        """`inputs/wind`: unlike the name alone it is there once."""
        return f"{self.group}/{self.column}"


Counts = tuple[ColumnCounts, ...]


@dataclass(frozen=True)
class Counted:
    """What a process has counted since its start, in the bins of a model version's reference window.

    Args:
        usual: how far windows of the training data lay from it; None where nobody knows.
    """

    reference: Counts
    numbers: Numbers
    usual: UsualDrift | None = None


def of_profile(window: Profile) -> Counts:
    return tuple(_column(group, name, it) for group, found in window.groups.items() for name, it in found.items())


def paired(reference: Profile, current: Profile) -> tuple[tuple[ColumnCounts, ColumnCounts], ...]:
    """Each column of two windows, with the bins of both in the reference's order.

    Raises:
        JobError: the bins differ.
    """
    return tuple(
        (_column(group, name, before), _column(group, name, after, before))
        for group, columns in reference.groups.items()
        for name, before, after in pairs(columns, current.groups[group])
    )


def of_rows(reference: Profile, columns: Columns, outputs: Columns) -> dict[str, float]:
    """The numbers of some answered rows: `rows`, `GROUP/COLUMN/missing`, `GROUP/COLUMN/BIN`; zeros are left out.

    Raises:
        JobError: values are not of their column's type.
    """
    found: dict[str, float] = {}
    for _, it in paired(reference, count(reference, columns, outputs)):
        found[ROWS] = float(it.rows)
        found |= _named(it)
    return found


def of_numbers(reference: Counts, numbers: Numbers) -> Counts:
    """The window that such numbers tell of, or the sum of several."""
    rows = int(numbers.get(ROWS, 0))
    return tuple(
        ColumnCounts(
            it.group,
            it.column,
            it.numeric,
            rows,
            int(numbers.get(f"{it.key}/missing", 0)),
            tuple(int(numbers.get(f"{it.key}/{place}", 0)) for place in range(len(it.bins))),
        )
        for it in reference
    )


def _named(counts: ColumnCounts) -> dict[str, float]:
    found = {f"{counts.key}/{place}": float(rows) for place, rows in enumerate(counts.bins) if rows}
    return found | {f"{counts.key}/missing": float(counts.missing)} if counts.missing else found


def _column(group: Group, name: str, window: ColumnProfile, like: ColumnProfile | None = None) -> ColumnCounts:
    return ColumnCounts(group, name, window.kind == "number", window.rows, window.missing, _bins(window, like))


def _bins(window: ColumnProfile, like: ColumnProfile | None) -> tuple[int, ...]:
    """Categories in the order of `like`."""
    if isinstance(window, OpaqueProfile):
        return ()
    if isinstance(window, CategoryProfile) and isinstance(like, CategoryProfile):
        return (*(window.counts[name] for name in like.counts), window.other)
    return window.bins
