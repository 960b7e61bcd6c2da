"""What the values of an output look like: summaries of a fixed size that merge to the same whatever the order."""

import math
from collections import Counter
from collections.abc import Mapping
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from taxiway.settings import Settings
from taxiway.signature import Array

MAX_BINS = 64
MAX_LABELS = 64
_FINEST, _COARSEST = -40, 1000


class Histogram(Settings):
    """Counts of values in bins of width 2**`exponent`; bin i of `counts` begins at (`first` + i) * 2**`exponent`.

    Widths are powers of two and bins begin at multiples of their width, so that two histograms merge exactly:
    the finer one is coarsened by joining neighbours.
    """

    exponent: int
    first: int
    counts: tuple[int, ...]

    @property
    def edges(self) -> tuple[float, ...]:
        """Where the bins begin, and where the last one ends."""
        return tuple(math.ldexp(self.first + place, self.exponent) for place in range(len(self.counts) + 1))

    def merged(self, other: "Histogram") -> "Histogram":
        exponent = max(self.exponent, other.exponent)
        while True:
            left, right = self._coarser(exponent), other._coarser(exponent)
            first = min(left.first, right.first)
            size = max(left.first + len(left.counts), right.first + len(right.counts)) - first
            if size <= MAX_BINS:
                break
            exponent += 1
        counts = [0] * size
        for part in (left, right):
            for place, count in enumerate(part.counts, part.first - first):
                counts[place] += count
        return Histogram(exponent=exponent, first=first, counts=tuple(counts))

    def _coarser(self, exponent: int) -> "Histogram":
        shift = exponent - self.exponent
        if not shift:
            return self
        first = self.first >> shift
        counts = [0] * (((self.first + len(self.counts) - 1) >> shift) - first + 1)
        for place, count in enumerate(self.counts, self.first):
            counts[(place >> shift) - first] += count
        return Histogram(exponent=exponent, first=first, counts=tuple(counts))


class NumberSummary(Settings):
    """Of finite numbers; `missing` counts all others. Minimum and maximum are null when there is no number."""

    kind: Literal["numbers"] = "numbers"
    count: int
    missing: int
    sum: float
    minimum: float | None
    maximum: float | None
    histogram: Histogram | None

    @property
    def mean(self) -> float | None:
        return self.sum / self.count if self.count else None

    def merged(self, other: "NumberSummary") -> "NumberSummary":
        if self.histogram is None or other.histogram is None:
            filled, empty = (other, self) if self.histogram is None else (self, other)
            return filled.model_copy(update={"missing": filled.missing + empty.missing})
        lows, highs = (self.minimum, other.minimum), (self.maximum, other.maximum)
        return NumberSummary(
            count=self.count + other.count,
            missing=self.missing + other.missing,
            sum=self.sum + other.sum,
            minimum=min(value for value in lows if value is not None),
            maximum=max(value for value in highs if value is not None),
            histogram=self.histogram.merged(other.histogram),
        )


class LabelSummary(Settings):
    """Of texts: how often each of the most frequent labels stands there; `others` is all the rest together."""

    kind: Literal["labels"] = "labels"
    counts: dict[str, int]
    others: int = 0
    missing: int = 0

    def merged(self, other: "LabelSummary") -> "LabelSummary":
        counts = Counter(self.counts)
        counts.update(other.counts)
        return _labels(counts, self.others + other.others, self.missing + other.missing)


OutputSummary = Annotated[NumberSummary | LabelSummary, Field(discriminator="kind")]


def summarize(values: Array) -> NumberSummary | LabelSummary:
    """Values of one output; those of a tensor all together."""
    flat = values.reshape(-1)
    if flat.dtype.kind == "O":
        found = flat.tolist()
        if any(isinstance(value, int | float) for value in found):
            return summarize(np.array([np.nan if value is None else value for value in found], np.float64))
        present = [str(value) for value in found if value is not None]
        return _labels(Counter(present), 0, len(flat) - len(present))
    numbers = flat.astype(np.float64, copy=False)
    finite = np.isfinite(numbers)
    if not finite.all():
        numbers = numbers[finite]
    if not len(numbers):
        return NumberSummary(count=0, missing=len(flat), sum=0.0, minimum=None, maximum=None, histogram=None)
    low, high = float(numbers.min()), float(numbers.max())
    return NumberSummary(
        count=len(numbers),
        missing=len(flat) - len(numbers),
        sum=float(numbers.sum()),
        minimum=low,
        maximum=high,
        histogram=_histogram(numbers, low, high),
    )


def merge(
    left: Mapping[str, NumberSummary | LabelSummary], right: Mapping[str, NumberSummary | LabelSummary]
) -> dict[str, NumberSummary | LabelSummary]:
    """Summaries of the outputs of two sets of rows, as those of both together."""
    merged = dict(left)
    for name, summary in right.items():
        known = merged.get(name)
        if isinstance(known, NumberSummary) and isinstance(summary, NumberSummary):
            merged[name] = known.merged(summary)
        elif known is None or isinstance(known, NumberSummary):
            merged[name] = summary
        elif isinstance(summary, LabelSummary):
            merged[name] = known.merged(summary)
    return merged


def _histogram(numbers: Array, low: float, high: float) -> Histogram:
    exponent = _exponent(low, high)
    with np.errstate(over="ignore"):
        places = np.floor(np.ldexp(numbers, -exponent)).astype(np.int64)
    first = int(places.min())
    counts = np.bincount(places - first)
    return Histogram(exponent=exponent, first=first, counts=tuple(counts.tolist()))


def _exponent(low: float, high: float) -> int:
    """Of the narrowest bins of which `MAX_BINS` cover the range."""
    width = max((high - low) / MAX_BINS, max(abs(low), abs(high)) * 2.0**-50, 2.0**_FINEST)
    exponent = min(math.frexp(width)[1] - 1, _COARSEST) if math.isfinite(width) else _COARSEST
    while math.floor(math.ldexp(high, -exponent)) - math.floor(math.ldexp(low, -exponent)) >= MAX_BINS:
        exponent += 1
    return exponent


def _labels(counts: Counter[str], others: int, missing: int) -> LabelSummary:
    kept = dict(counts.most_common(MAX_LABELS))
    return LabelSummary(counts=kept, others=others + counts.total() - sum(kept.values()), missing=missing)
