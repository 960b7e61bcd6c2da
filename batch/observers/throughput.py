"""Rows per second over the time of a run, from when each piece began and ended."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from taxiway.settings import Settings

MAX_INTERVALS = 60
_SHORTEST_S = 0.25


@dataclass(frozen=True)
class Span:
    """Rows that passed evenly between two moments."""

    began_s: float
    ended_s: float
    rows: int


class Interval(Settings):
    """Rows per second from `begin_s` to `end_s`, since the first piece began."""

    begin_s: float
    end_s: float
    rows_per_s: float


def throughput(spans: Sequence[Span]) -> tuple[Interval, ...]:
    """At most `MAX_INTERVALS` of the same length, without a gap."""
    if not spans:
        return ()
    origin = min(span.began_s for span in spans)
    length = max(max(span.ended_s for span in spans) - origin, _SHORTEST_S)
    count = min(max(int(length / _SHORTEST_S), 1), MAX_INTERVALS)
    width = length / count
    rows = [0.0] * count
    for span in spans:
        _spread(span, origin, width, rows)
    return tuple(
        Interval(begin_s=place * width, end_s=(place + 1) * width, rows_per_s=total / width)
        for place, total in enumerate(rows)
    )


def _spread(span: Span, origin: float, width: float, rows: list[float]) -> None:
    begin, end = (span.began_s - origin) / width, (span.ended_s - origin) / width
    if end <= begin:
        rows[min(int(begin), len(rows) - 1)] += span.rows
        return
    for place in range(int(begin), min(math.ceil(end), len(rows))):
        overlap = min(end, place + 1) - max(begin, place)
        rows[place] += span.rows * max(overlap, 0.0) / (end - begin)
