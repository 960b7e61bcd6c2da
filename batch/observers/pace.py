"""How fast rows pass, what share of the work is done, and how long the rest takes."""

from collections.abc import Sequence
from dataclasses import dataclass

WINDOW_S = 30.0


@dataclass(frozen=True)
class Mark:
    """Where a job stood at a moment; `work` is rows, or bytes where nobody has counted the rows."""

    time_s: float
    rows: int
    work: int


@dataclass(frozen=True)
class Pace:
    """`share` is between 0 and 1; `left_s` is None as long as nobody can say."""

    share: float
    rows_per_s: float
    left_s: float | None


def recent(marks: Sequence[Mark], at_least: int) -> list[Mark]:
    """The marks that tell today's pace: those of the last `WINDOW_S` and one before, but `at_least` so many.

    Args:
        at_least: more than there are actors, as these end their pieces in volleys.
    """
    limit = marks[-1].time_s - WINDOW_S
    older = sum(mark.time_s <= limit for mark in marks)
    return list(marks[max(min(older - 1, len(marks) - at_least), 0) :])


def pace(marks: Sequence[Mark], whole: int, certain: bool = True) -> Pace:
    """From the first to the last of the marks.

    Args:
        whole: the work of the whole job, in the unit of the marks.
        certain: false while too few pieces are done to foretell the end.
    """
    first, last = marks[0], marks[-1]
    spent = last.time_s - first.time_s
    done = last.work - first.work
    share = min(last.work / whole, 1.0) if whole else 1.0
    rate = (last.rows - first.rows) / spent if spent > 0 else 0.0
    left = max(whole - last.work, 0) * spent / done if done > 0 and certain else None
    return Pace(share, rate, left)
