"""The reference profile: what a model's columns held, in bins into which later rows are counted.

The bins come from the reference window alone. `count` puts the rows of a current window into the same bins, and
profiles with the same bins merge whatever the order, so that many workers can count one window.
`taxiway.drift` compares them.
"""

import math
import sys
import zlib
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from typing import Annotated, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, FiniteFloat, NonNegativeInt, model_validator

from taxiway.errors import JobError
from taxiway.settings import Settings
from taxiway.signature import Array, Column, Columns, Signature, row_count

Number = int | FiniteFloat
Group = Literal["inputs", "features", "outputs"]

BINS = 20
CATEGORIES = 50
NAMED_FROM_ROWS = 5
"""A text of fewer rows is counted but not named, unless the signature lists it: it may be someone's key."""
SKETCH_SIZE = 64
_LONGEST_NAME = 48
_LARGE = 1e150
"""Squares of larger numbers overflow."""


class _Rows(Settings):
    """Of a number of rows, those with and without a value."""

    rows: NonNegativeInt = 0
    missing: NonNegativeInt = Field(default=0, description="rows whose value is None or NaN")

    @property
    def present(self) -> int:
        return self.rows - self.missing

    @property
    def missing_share(self) -> float | None:
        return self.missing / self.rows if self.rows else None

    def _merged_rows(self, other: "_Rows") -> dict[str, int]:
        return {"rows": self.rows + other.rows, "missing": self.missing + other.missing}


class OpaqueProfile(_Rows):
    """Of tensors and bytes: nothing but rows and missing values. A tensor with one NaN counts as missing."""

    kind: Literal["opaque"] = "opaque"

    def counted(self, values: Array) -> Self:
        missing = _missing(values).reshape(len(values), math.prod(values.shape[1:])).any(axis=1)
        return self.model_copy(update={"rows": len(values), "missing": int(missing.sum())})

    def same_bins(self, other: "ColumnProfile") -> bool:
        return isinstance(other, OpaqueProfile)

    def merged(self, other: Any) -> Self:
        return self.model_copy(update=self._merged_rows(other))


class NumberProfile(_Rows):
    """Of numbers. Minimum, maximum, mean and standard deviation (of the population) are of the finite ones.

    Bin 0 of `counts` lies below `edges[0]`, bin i holds `edges[i - 1] <= value < edges[i]`, and the last bin
    begins at the last edge, which lies just above the reference's maximum: the outer bins of a reference are
    empty. Infinite numbers lie in the outer bins.
    """

    kind: Literal["number"] = "number"
    infinite: NonNegativeInt = 0
    minimum: Number | None = None
    maximum: Number | None = None
    mean: FiniteFloat | None = None
    standard_deviation: FiniteFloat | None = None
    edges: tuple[Number, ...]
    counts: tuple[NonNegativeInt, ...]

    @model_validator(mode="after")
    def _sums_agree(self) -> Self:
        if len(self.counts) != len(self.edges) + 1 or sum(self.counts) != self.present:
            raise ValueError("counts: one more bin than edges, holding the rows that are not missing")
        return self

    @property
    def finite(self) -> int:
        return self.present - self.infinite

    @property
    def bins(self) -> tuple[int, ...]:
        return self.counts

    def counted(self, values: Array) -> Self:
        numbers = _numbers(values)
        present = numbers[~_missing(numbers)]
        finite = present[np.isfinite(present)]
        found: dict[str, object] = {
            "rows": len(values),
            "missing": len(values) - len(present),
            "infinite": len(present) - len(finite),
            "counts": _counts_of_bins(present, self.edges),
        }
        return self.model_copy(update=found | _moments(finite))

    def same_bins(self, other: "ColumnProfile") -> bool:
        return isinstance(other, NumberProfile) and self.edges == other.edges

    def merged(self, other: Any) -> Self:
        counts = tuple(one + another for one, another in zip(self.counts, other.counts, strict=True))
        update = self._merged_rows(other) | {"infinite": self.infinite + other.infinite, "counts": counts}
        return self.model_copy(update=update | _merged_moments(self, other))


class CategoryProfile(_Rows):
    """Of texts or truth values: how often the reference's most frequent categories occur, and the rest together."""

    kind: Literal["category", "boolean"] = "category"
    counts: dict[str, NonNegativeInt]
    other: NonNegativeInt = 0
    smallest_hashes: tuple[NonNegativeInt, ...] = Field(
        default=(), description=f"of all categories, the {SKETCH_SIZE} smallest 32-bit hashes, in order"
    )

    @model_validator(mode="after")
    def _sums_agree(self) -> Self:
        if sum(self.bins) != self.present:
            raise ValueError("counts: they and other hold the rows that are not missing")
        return self

    @property
    def bins(self) -> tuple[int, ...]:
        """The count of each named category, then of all others."""
        return (*self.counts.values(), self.other)

    @property
    def distinct(self) -> int:
        """The number of categories: exact below `SKETCH_SIZE`, above it within about 13% (one standard error).

        The k smallest hash values estimate it (Beyer et al., "On synopses for distinct-value estimation under
        multiset operations", SIGMOD 2007).
        """
        if len(self.smallest_hashes) < SKETCH_SIZE:
            return len(self.smallest_hashes)
        return round((SKETCH_SIZE - 1) * 2**32 / (self.smallest_hashes[-1] + 1))

    def counted(self, values: Array) -> Self:
        found, missing = _categories(values, self.kind)
        counts = {name: found[name] for name in self.counts}
        update = {
            "rows": len(values),
            "missing": missing,
            "counts": counts,
            "other": found.total() - sum(counts.values()),
            "smallest_hashes": _smallest(_hashes(list(found))),
        }
        return self.model_copy(update=update)

    def same_bins(self, other: "ColumnProfile") -> bool:
        if not isinstance(other, CategoryProfile):
            return False
        return self.kind == other.kind and self.counts.keys() == other.counts.keys()

    def merged(self, other: Any) -> Self:
        update = {
            "counts": {name: count + other.counts[name] for name, count in self.counts.items()},
            "other": self.other + other.other,
            "smallest_hashes": _smallest(np.array((*self.smallest_hashes, *other.smallest_hashes), np.int64)),
        }
        return self.model_copy(update=self._merged_rows(other) | update)


ColumnProfile = Annotated[OpaqueProfile | NumberProfile | CategoryProfile, Field(discriminator="kind")]
ColumnProfiles = dict[str, ColumnProfile]


class Profile(Settings):
    """What the columns of one window held: a request's columns, the feature store's and the answers."""

    inputs: ColumnProfiles = Field(default_factory=dict)
    features: ColumnProfiles = Field(default_factory=dict)
    outputs: ColumnProfiles = Field(default_factory=dict)

    @property
    def groups(self) -> dict[Group, ColumnProfiles]:
        return {"inputs": self.inputs, "features": self.features, "outputs": self.outputs}


def profile(
    columns: Columns,
    signature: Signature,
    features: Sequence[Column] = (),
    outputs: Columns | None = None,
    *,
    bins: int = BINS,
    categories: int = CATEGORIES,
) -> Profile:
    """The profile of the reference window; its quantiles become the bins.

    Args:
        columns: the model's inputs and features, [rows] each; one that is not there is missing in every row.
        features: what `columns` holds from the feature store, as `FeatureBinding.optional_inputs`.
        outputs: what the model answered for these rows.
        bins: of numbers, equally full but for ties; a number that fills a bin has one of its own.
        categories: how many are named, the most frequent first.

    Raises:
        JobError: a column's values are not of its type.
    """
    answers = outputs or {}
    return Profile(
        inputs={it.name: _reference(it, columns, bins, categories) for it in signature.inputs},
        features={it.name: _reference(it, columns, bins, categories) for it in features},
        outputs={it.name: _reference(it, answers, bins, categories) for it in signature.outputs},
    )


def count(reference: Profile, columns: Columns, outputs: Columns | None = None) -> Profile:
    """The profile of a current window in the reference's bins; arguments and errors as for `profile`."""
    answers = outputs or {}
    return Profile(
        inputs={name: _counted(name, bins, columns) for name, bins in reference.inputs.items()},
        features={name: _counted(name, bins, columns) for name, bins in reference.features.items()},
        outputs={name: _counted(name, bins, answers) for name, bins in reference.outputs.items()},
    )


def merge(left: Profile, right: Profile) -> Profile:
    """The profile of two windows together.

    Raises:
        JobError: their bins differ.
    """
    return Profile(
        inputs=_merged(left.inputs, right.inputs),
        features=_merged(left.features, right.features),
        outputs=_merged(left.outputs, right.outputs),
    )


def pairs(left: ColumnProfiles, right: ColumnProfiles) -> list[tuple[str, ColumnProfile, ColumnProfile]]:
    """The columns of two profiles.

    Raises:
        JobError: their names or bins differ.
    """
    if left.keys() != right.keys():
        names = ", ".join(sorted(left.keys() ^ right.keys()))
        raise JobError(f"only one of the two profiles has {names}; count both windows with one reference")
    for name, bins in left.items():
        if not bins.same_bins(right[name]):
            raise JobError(f"{name}: the two profiles have different bins; count both windows with one reference")
    return [(name, bins, right[name]) for name, bins in left.items()]


def _merged(left: ColumnProfiles, right: ColumnProfiles) -> ColumnProfiles:
    return {name: one.merged(another) for name, one, another in pairs(left, right)}


def _reference(column: Column, columns: Columns, bins: int, categories: int) -> ColumnProfile:
    template: ColumnProfile
    if column.shape or column.dtype == "bytes":
        template = OpaqueProfile()
    elif column.dtype == "bool":
        template = CategoryProfile(kind="boolean", counts={"false": 0, "true": 0})
    elif column.dtype == "string":
        names = _named(column, columns.get(column.name), categories)
        template = CategoryProfile(counts=dict.fromkeys(names, 0))
    else:
        edges = _edges(column.name, columns.get(column.name), bins)
        template = NumberProfile(edges=edges, counts=(0,) * (len(edges) + 1))
    return _counted(column.name, template, columns)


def _counted(name: str, template: ColumnProfile, columns: Columns) -> ColumnProfile:
    values = columns.get(name)
    if values is None:
        values = np.full(row_count(columns), None, np.object_)
    try:
        return template.counted(values)
    except (TypeError, ValueError) as error:
        raise JobError(f"{name}: its profile counts a {template.kind}, and the values are not: {error}") from error


def _named(column: Column, values: Array | None, most: int) -> list[str]:
    """The categories that get a count of their own, the most frequent first."""
    found, _ = _categories(np.empty(0, np.object_) if values is None else values, "category")
    listed = [_name(category) for category in column.categories or ()]
    shared = (name for name, rows in found.items() if rows >= NAMED_FROM_ROWS)
    names = dict.fromkeys(listed if column.categories is not None else shared)
    return sorted(names, key=lambda name: (-found[name], name))[:most]


def _categories(values: Array, kind: Literal["category", "boolean"]) -> tuple[Counter[str], int]:
    """How often each category occurs, and how many values are missing."""
    if kind == "boolean":
        numbers = _numbers(values)
        missing = _missing(numbers)
        true = int(((numbers != 0) & ~missing).sum())
        found = {"false": len(values) - int(missing.sum()) - true, "true": true}
        return Counter({name: rows for name, rows in found.items() if rows}), int(missing.sum())
    counts: Counter[str] = Counter()
    for value, rows in Counter(values.tolist()).items():
        if value is not None and value == value:
            counts[_name(value)] += rows
    return counts, len(values) - counts.total()


def _name(value: object) -> str:
    """A category as the profile writes it: long texts are cut, and told apart by a checksum."""
    data = str(value).encode("utf-8", "replace")
    text = data.decode()
    return text if len(text) <= _LONGEST_NAME else f"{text[: _LONGEST_NAME - 9]}~{zlib.crc32(data):08x}"


def _hashes(names: Sequence[str]) -> NDArray[np.int64]:
    """32-bit hashes, the same in every process: a checksum, mixed as MurmurHash3 ends."""
    mixed = np.fromiter((zlib.crc32(name.encode()) for name in names), np.uint32, len(names))
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
    return (mixed ^ (mixed >> np.uint32(16))).astype(np.int64)


def _smallest(hashes: NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(np.unique(hashes)[:SKETCH_SIZE].tolist())


def _numbers(values: Array) -> Array:
    """Integers as they are, for a float can't tell large ones apart; everything else as float64."""
    if values.dtype.kind in "iu":
        return values
    if values.dtype == np.object_:
        return np.array([np.nan if value is None else value for value in values.tolist()], np.float64)
    return values.astype(np.float64, copy=False)


def _missing(values: Array) -> NDArray[np.bool_]:
    if values.dtype == np.object_:
        return np.asarray((values == None) | (values != values), np.bool_)  # noqa: E711 - element by element
    return np.isnan(values) if values.dtype.kind == "f" else np.zeros(values.shape, np.bool_)


def _edges(name: str, values: Array | None, bins: int) -> tuple[Number, ...]:
    """Ascending edges at the quantiles, all of them numbers of the column.

    Behind a quantile that occurs twice comes the next number: the value that fills a bin gets one of its own.
    """
    if values is None:
        return ()
    try:
        numbers = _numbers(values)
    except (TypeError, ValueError) as error:
        raise JobError(f"{name}: is a number in the signature, and its values are not: {error}") from error
    finite = numbers[np.isfinite(numbers)]
    if not len(finite):
        return ()
    places = np.round(np.linspace(0, len(finite) - 1, bins + 1)).astype(np.intp)
    quantiles = np.partition(finite, np.unique(places))[places].tolist()
    full = {one for one, next_one in pairwise(quantiles) if one == next_one}
    above = {_next(value, finite.dtype) for value in full | {quantiles[-1]}}
    return tuple(sorted(set(quantiles[:-1]) | {edge for edge in above if edge is not None}))


def _next(value: int | float, dtype: np.dtype[Any]) -> int | float | None:
    """The smallest number above, None where there is none."""
    if isinstance(value, int):
        return value + 1 if value < np.iinfo(dtype).max else None
    above = math.nextafter(value, math.inf)
    if 0 < above < sys.float_info.min:
        # Some libraries let the processor take the numbers below this one for 0.
        return sys.float_info.min
    return above if math.isfinite(above) else None


def _counts_of_bins(present: Array, edges: tuple[Number, ...]) -> tuple[int, ...]:
    numbers, borders = _comparable(present, edges)
    counts = np.bincount(np.searchsorted(borders, numbers, side="right"), minlength=len(edges) + 1)
    return tuple(counts.tolist())


def _comparable(numbers: Array, edges: tuple[Number, ...]) -> tuple[Array, Array]:
    """Both as integers of one type where they are such, or as float64."""
    if numbers.dtype.kind in "iu" and all(isinstance(edge, int) for edge in edges):
        wide = np.uint64 if numbers.dtype.kind == "u" else np.int64
        try:
            return numbers.astype(wide), np.array(edges, wide)
        except OverflowError:
            pass
    return numbers.astype(np.float64), np.array(edges, np.float64)


def _moments(finite: Array) -> dict[str, Number | None]:
    if not len(finite):
        return dict.fromkeys(("minimum", "maximum", "mean", "standard_deviation"))
    low, high = finite.min(), finite.max()
    if finite.dtype.kind in "iu":
        # Differences of 64-bit integers fit into 64 unsigned bits, and are exact there.
        offsets = (finite.astype(np.uint64) - low.astype(np.uint64)).astype(np.float64)
        mean, deviation = float(low) + float(offsets.mean()), float(offsets.std())
    else:
        largest = max(abs(float(low)), abs(float(high)))
        scale = largest if largest > _LARGE else 1.0
        mean, deviation = float((finite / scale).mean()) * scale, float((finite / scale).std()) * scale
    limits = {"minimum": low.item(), "maximum": high.item()}
    return limits | {"mean": _within(mean, low, high), "standard_deviation": min(deviation, sys.float_info.max)}


def _merged_moments(left: NumberProfile, right: NumberProfile) -> dict[str, Number | None]:
    """Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979."""
    if not (left.finite and right.finite):
        filled = left if left.finite else right
        return {name: getattr(filled, name) for name in ("minimum", "maximum", "mean", "standard_deviation")}
    low = min(it for it in (left.minimum, right.minimum) if it is not None)
    high = max(it for it in (left.maximum, right.maximum) if it is not None)
    rows = left.finite + right.finite
    shares = left.finite / rows, right.finite / rows
    means, deviations = (left.mean or 0.0, right.mean or 0.0), (left.standard_deviation, right.standard_deviation)
    within = [math.sqrt(share) * (one or 0.0) for share, one in zip(shares, deviations, strict=True)]
    apart = math.sqrt(shares[0] * shares[1])
    between = abs(apart * means[0] - apart * means[1])
    return {
        "minimum": low,
        "maximum": high,
        "mean": _within(shares[0] * means[0] + shares[1] * means[1], low, high),
        "standard_deviation": min(math.hypot(*sorted((*within, between))), sys.float_info.max),
    }


def _within(mean: float, low: Number, high: Number) -> float:
    return min(max(mean, float(low)), float(high))
