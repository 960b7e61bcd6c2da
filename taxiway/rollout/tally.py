"""What replicas have seen of each variant: numbers that add up, so that parts merge and a step is a difference."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from taxiway.rollout.joint import bounded, conformed, is_cell, of_pairs
from taxiway.signature import Array, Columns

Kind = Literal["live", "shadow"]
Numbers = Mapping[str, float]

FAULTS = frozenset({"model_failed", "internal", "variant_unavailable", "deadline_exceeded", "feature_store"})
"""Codes of answers that no other request would have helped: a variant is blamed for them."""
_GROWTH = 1.1
LATENCY_BOUNDS_S: NDArray[np.float64] = np.asarray(0.0002 * _GROWTH ** np.arange(140), np.float64)
"""Upper bounds of the latency histogram: up to two minutes, each ten percent above the one before."""
_LABELS = 50
OTHER = "(other)"
"""What has no name of its own."""
_BINS = 400
"""Bins or pairs of an output that are counted by name; a text that is never the same twice must not fill the memory."""
_BINS_OF_A_DOUBLING = 4
_EQUAL = -161
CLASSES = 50
"""Whole numbers as classes: those nearer to 0 than this have names, the rest is `(other)`."""
RANKED = 8
"""Of a model with more outputs, the first by name are compared by their order too."""
_COUNTED_BY_NAME = re.compile(r"(?:output|difference)/.+?/(?:bin|pair)/")


class Stream(NamedTuple):
    """Whose tally it is; the version makes sure that a variant's next model starts from nothing."""

    endpoint: str
    variant: str
    version: str
    kind: Kind

    @classmethod
    def parse(cls, text: str) -> Self:
        endpoint, variant, version, kind = text.split("\t")
        return cls(endpoint, variant, version, "shadow" if kind == "shadow" else "live")

    def __str__(self) -> str:
        return "\t".join(self)


@dataclass(frozen=True)
class Tally:
    """Additive numbers by name: `requests`, `code/…`, `latency/BUCKET`, `rows`, `missing/COLUMN`, and for each output
    `output/NAME/…` (moments, bins, labels, classes) and, of a shadow, `difference/NAME/…` to the live answer.

    All of them grow, but for those in cells (`taxiway.rollout.joint`): these become wider, and have other names then.
    """

    numbers: Numbers = field(default_factory=dict)

    def __add__(self, other: "Tally") -> "Tally":
        return Tally(added(self.numbers, other.numbers))

    def __sub__(self, before: "Tally") -> "Tally":
        """What came since `before`, which must be an earlier tally of the same process."""
        names = (*self.numbers, *(name for name in before.numbers if name not in self.numbers))
        found = {name: self[name] - before[name] for name in names}
        return Tally({name: value for name, value in found.items() if value})

    def __getitem__(self, name: str) -> float:
        return self.numbers.get(name, 0.0)

    @property
    def requests(self) -> int:
        return int(self["requests"])

    @property
    def faults(self) -> int:
        """Requests that the variant is to blame for."""
        return int(sum(self[f"code/{code}"] for code in FAULTS))

    @property
    def codes(self) -> dict[str, int]:
        return {name: int(value) for name, value in self.below("code/").items()}

    @property
    def latencies(self) -> NDArray[np.int64]:
        """Answers by latency: [141], the last one for what took longer than every bound."""
        counts = np.zeros(len(LATENCY_BOUNDS_S) + 1, np.int64)
        for bucket, count in self.below("latency/").items():
            counts[int(bucket)] = int(count)
        return counts

    def slower_than(self, seconds: float) -> int:
        """Answers in buckets that lie wholly above."""
        first = int(np.searchsorted(LATENCY_BOUNDS_S, seconds, side="left")) + 1
        return int(self.latencies[first:].sum())

    def quantile_s(self, share: float) -> float | None:
        """The upper bound of the bucket that holds it, at most ten percent too much; None without answers."""
        counts = self.latencies
        if not counts.sum():
            return None
        bucket = int(np.searchsorted(np.cumsum(counts), share * counts.sum(), side="left"))
        return float(LATENCY_BOUNDS_S[min(bucket, len(LATENCY_BOUNDS_S) - 1)])

    def moments(self, prefix: str) -> tuple[int, float, float]:
        """Count, sum and sum of squares below `output/NAME` or `difference/NAME`."""
        return int(self[f"{prefix}/n"]), self[f"{prefix}/sum"], self[f"{prefix}/sumsq"]

    def names(self, kind: str) -> list[str]:
        """The outputs of which there is an `output` or a `difference`."""
        found = (re.fullmatch(rf"{kind}/(.+)/n", name) for name in self.numbers)
        return sorted({match[1] for match in found if match})

    def below(self, prefix: str) -> dict[str, float]:
        """The numbers whose names begin like this, without the beginning."""
        return {name.removeprefix(prefix): value for name, value in self.numbers.items() if name.startswith(prefix)}


def added(one: Numbers, other: Numbers) -> dict[str, float]:
    total = dict(one)
    for name, value in other.items():
        total[name] = total.get(name, 0.0) + value
    return total


def grown(total: Numbers, numbers: Numbers) -> dict[str, float]:
    """As `added`, but no output fills the memory.

    Of its bins and pairs only the first ones keep their names, what is new later is `(other)`; its cells become wider.
    """
    numbers = conformed(total, numbers)
    if numbers.keys() <= total.keys():
        return added(total, numbers)
    known = Counter(match[0] for name in total if not is_cell(name) and (match := _COUNTED_BY_NAME.match(name)))
    found: dict[str, float] = {}
    for name, value in numbers.items():
        told, match = name, None if name in total or is_cell(name) else _COUNTED_BY_NAME.match(name)
        if match:
            known[match[0]] += 1
            told = name if known[match[0]] <= _BINS else match[0] + OTHER
        found[told] = found.get(told, 0.0) + value
    return bounded(added(total, found), [name for name in found if name not in total])


def of_requests(codes: Iterable[str], seconds: Array) -> dict[str, float]:
    """Requests by their code, and the latency of each that was answered.

    Args:
        seconds: from arrival to answer, in the order of `codes`.
    """
    told = list(codes)
    found: dict[str, float] = {"requests": float(len(told))}
    for code, count in Counter(told).items():
        found[f"code/{code}"] = float(count)
    answered = np.fromiter((code == "ok" for code in told), np.bool_, len(told))
    buckets = np.searchsorted(LATENCY_BOUNDS_S, np.asarray(seconds, np.float64)[answered], side="left")
    for bucket, count in zip(*np.unique(buckets, return_counts=True), strict=True):
        found[f"latency/{bucket}"] = float(count)
    return found


def of_answers(inputs: Columns, outputs: Columns) -> dict[str, float]:
    """Missing inputs and the distribution of outputs, over the rows of some answers."""
    found: dict[str, float] = {"rows": float(len(next(iter(outputs.values()), ())))}
    for name, values in inputs.items():
        if missing := _missing(values):
            found[f"missing/{name}"] = float(missing)
    for name, values in outputs.items():
        found |= _distribution(f"output/{name}", _one_per_row(values))
    return found


def of_differences(live: Columns, shadow: Columns) -> dict[str, float]:
    """How far a shadow's answers lie from the live ones to the same rows.

    Numbers: moments of the absolute difference (a missing one on one side counts as 1), its histogram as
    `quantile_apart` reads it, the sums that the correlation of both needs, and, of one number a row, the cells of its
    rank correlation. Other values: how many differ. Of these and of whole numbers: which stood for which.
    """
    found: dict[str, float] = {}
    for place, (name, values) in enumerate(sorted(live.items())):
        other = shadow.get(name)
        if other is None or other.shape != values.shape or not len(values):
            continue
        prefix = f"difference/{name}"
        if values.dtype.kind in "iuf" and other.dtype.kind in "iuf":
            found |= _numeric_difference(prefix, values.astype(np.float64), other.astype(np.float64))
            if values.size == len(values):
                found |= _pairs_of_numbers(prefix, values.ravel(), other.ravel(), is_ranked=place < RANKED)
        else:
            found |= _label_difference(prefix, _one_per_row(values), _one_per_row(other))
    return found


def _pairs_of_numbers(prefix: str, live: Array, shadow: Array, is_ranked: bool) -> dict[str, float]:
    found: dict[str, float] = {}
    if is_ranked:
        x, y = live.astype(np.float64), shadow.astype(np.float64)
        known = ~(np.isnan(x) | np.isnan(y))
        found |= of_pairs(prefix, x[known], y[known])
    if live.dtype.kind in "iu" and shadow.dtype.kind in "iu":
        found |= _pairs(prefix, _classes(live), _classes(shadow))
    return found


def _classes(values: Array) -> Array:
    """Whole numbers as labels."""
    near = (values < CLASSES) & (values > -CLASSES)
    return np.where(near, np.where(near, values, 0).astype(np.int64).astype(str), OTHER)


def correlation(tally: Tally, output: str) -> float | None:
    """Pearson's, of a shadow's answers and the live ones; None where either never varies."""
    prefix = f"difference/{output}"
    n, x, y = tally[f"{prefix}/pairs"], tally[f"{prefix}/x"], tally[f"{prefix}/y"]
    if n < 2:
        return None
    covariance = tally[f"{prefix}/xy"] - x * y / n
    spread = (tally[f"{prefix}/xx"] - x * x / n) * (tally[f"{prefix}/yy"] - y * y / n)
    return float(covariance / np.sqrt(spread)) if spread > 1e-24 else None


@np.errstate(over="ignore", invalid="ignore")
def _numeric_difference(prefix: str, live: NDArray[np.float64], shadow: NDArray[np.float64]) -> dict[str, float]:
    apart = np.abs(live - shadow).reshape(len(live), -1)
    one_missing = (np.isnan(live) != np.isnan(shadow)).reshape(len(live), -1)
    apart = np.where(one_missing, 1.0, np.nan_to_num(apart, nan=0.0, posinf=1.0)).mean(axis=1)
    found = {
        f"{prefix}/n": float(len(apart)),
        f"{prefix}/sum": float(apart.sum()),
        f"{prefix}/sumsq": float((apart**2).sum()),
    }
    for place, count in zip(*np.unique(_bin_apart(apart), return_counts=True), strict=True):
        found[f"{prefix}/bin/{place}"] = float(count)
    x, y = live.ravel(), shadow.ravel()
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    sums = {"pairs": len(x), "x": x.sum(), "y": y.sum(), "xx": x @ x, "yy": y @ y, "xy": x @ y}
    return found | {f"{prefix}/{name}": float(value) for name, value in sums.items()}


def _bin_apart(apart: NDArray[np.float64]) -> NDArray[np.int64]:
    places = np.ceil(_BINS_OF_A_DOUBLING * np.log2(np.where(apart > 0, apart, 1.0))).clip(_EQUAL + 1, -_EQUAL - 1)
    return np.where(apart > 0, places, _EQUAL).astype(np.int64)


def quantile_apart(bins: Mapping[int, float], share: float) -> float | None:
    """Of the absolute differences: the upper end of the bin that holds it, at most 19 percent too much.

    Args:
        bins: what lies below `difference/NAME/bin/`; None comes of none.
    """
    if not bins:
        return None
    places = sorted(bins)
    sums = np.cumsum([bins[place] for place in places])
    place = places[int(np.searchsorted(sums, share * sums[-1], side="left"))]
    return 0.0 if place == _EQUAL else float(2.0 ** (place / _BINS_OF_A_DOUBLING))


def _label_difference(prefix: str, live: Array, shadow: Array) -> dict[str, float]:
    one, other = live.astype(str), shadow.astype(str)
    differ = float((one != other).sum())
    found = {f"{prefix}/n": float(len(live)), f"{prefix}/sum": differ, f"{prefix}/sumsq": differ}
    return found | _pairs(prefix, one, other)


def _pairs(prefix: str, live: Array, shadow: Array) -> dict[str, float]:
    """Which label stood for which, and how often."""
    labels, codes = np.unique(np.concatenate((live, shadow)), return_inverse=True)
    one, other = codes[: len(live)], codes[len(live) :]
    found: dict[str, float] = {}
    for pair, times in zip(*np.unique(one * len(labels) + other, return_counts=True), strict=True):
        name = f"{prefix}/pair/{labels[pair // len(labels)][:40]}→{labels[pair % len(labels)][:40]}"
        found[name] = found.get(name, 0.0) + float(times)
    return found


# Of 1e300 the square is infinite: then nothing is known of the spread.
@np.errstate(over="ignore")
def _distribution(prefix: str, values: Array) -> dict[str, float]:
    if values.dtype.kind not in "iufb":
        return _labels(prefix, values)
    numbers = values.astype(np.float64)
    known = numbers[np.isfinite(numbers)]
    found = {
        f"{prefix}/n": float(len(known)),
        f"{prefix}/sum": float(known.sum()),
        f"{prefix}/sumsq": float(known @ known),
    }
    if len(known) < len(numbers):
        found[f"{prefix}/missing"] = float(len(numbers) - len(known))
    for place, count in zip(*np.unique(bin_of(known), return_counts=True), strict=True):
        found[f"{prefix}/bin/{place}"] = float(count)
    if values.dtype.kind in "iu":
        for name, count in zip(*np.unique(_classes(values), return_counts=True), strict=True):
            found[f"{prefix}/class/{name}"] = float(count)
    return found


def bin_of(numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Bins that suit probabilities and large numbers alike: fifteen from 0 to 1, then each a quarter wider."""
    return np.rint(4.0 * np.arcsinh(20.0 * numbers)).astype(np.int64)


def place_of(number: float) -> float:
    """Where a number lies on an axis on which every bin is one wide."""
    return float(4.0 * np.arcsinh(20.0 * number))


def _labels(prefix: str, values: Array) -> dict[str, float]:
    found: dict[str, float] = {f"{prefix}/n": float(len(values))}
    labels, counts = np.unique(values.astype(str), return_counts=True)
    for label, count in zip(labels[:_LABELS], counts[:_LABELS], strict=True):
        found[f"{prefix}/bin/{label[:80]}"] = float(count)
    if len(labels) > _LABELS:
        found[f"{prefix}/bin/{OTHER}"] = float(counts[_LABELS:].sum())
    return found


def _one_per_row(values: Array) -> Array:
    """Of an output with several numbers a row (probabilities of classes), which is largest."""
    if values.ndim == 1:
        return values
    rows = values.reshape(len(values), -1)
    if rows.shape[1] == 1:
        return rows[:, 0]
    return rows.argmax(axis=1).astype(str) if rows.dtype.kind in "iuf" else rows[:, 0]


def _missing(values: Array) -> int:
    if values.dtype.kind == "f":
        return int(np.isnan(values.reshape(len(values), -1)).any(axis=1).sum())
    if values.dtype == np.object_ and values.ndim == 1:
        return sum(value is None for value in values)
    return 0
