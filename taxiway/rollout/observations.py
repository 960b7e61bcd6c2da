"""What replicas count and push: sums that merge in any order, and that travel as JSON."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, TypeAdapter

Values = NDArray[np.float64]

SAME: Mapping[str, bool] = {"same": True}
"""Metadata of a field that both sides of a merge must share, such as the edges of a histogram."""


class Mergeable:
    """A frozen dataclass of sums: `merge` adds field by field, numbers, tuples and nested observations.

    Whole numbers merge exactly; sums of floats up to rounding.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", allow_inf_nan=False)

    def merge(self, other: Self) -> Self:
        """
        Raises:
            ValueError: the two were counted in different ways (other edges, another bound).
        """
        changed: dict[str, Any] = {}
        for one in fields(self):  # type: ignore[arg-type]
            mine, theirs = getattr(self, one.name), getattr(other, one.name)
            if one.metadata.get("same"):
                _check_same(one.name, mine, theirs)
            else:
                changed[one.name] = _sum(mine, theirs)
        return replace(self, **changed)  # type: ignore[type-var]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        dumped: dict[str, Any] = TypeAdapter(type(self)).dump_python(self, mode="json")
        return dumped

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """
        Raises:
            ValueError: a key is unknown or missing, or a value is of another kind or not finite.
        """
        return TypeAdapter(cls).validate_python(dict(data))


@dataclass(frozen=True)
class Counts(Mergeable):
    """`hits` among `n`: errors among requests, right answers among rows."""

    n: int = 0
    hits: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.hits <= self.n:
            raise ValueError(f"{self.hits} hits among {self.n} can't be; hits lie between 0 and n")

    @property
    def rate(self) -> float | None:
        """The share of hits; None of nothing."""
        return self.hits / self.n if self.n else None


@dataclass(frozen=True)
class Moments(Mergeable):
    """Number, sum and sum of squares of values.

    The variance comes from a difference of sums: subtract a constant from the values first when their mean
    is more than about a million times their spread.
    """

    n: int = 0
    total: float = 0.0
    squares: float = 0.0

    @classmethod
    def of(cls, values: ArrayLike) -> "Moments":
        """
        Raises:
            ValueError: a value is not finite.
        """
        numbers = np.asarray(values, dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("a value is NaN or infinite; leave such rows out and count them apart")
        return cls(numbers.size, float(numbers.sum()), float(np.square(numbers).sum()))

    @property
    def mean(self) -> float | None:
        """None of nothing."""
        return self.total / self.n if self.n else None

    @property
    def variance(self) -> float:
        """The mean squared distance from the mean; 0 of nothing. What rounding leaves counts as 0."""
        if not self.n:
            return 0.0
        second = self.squares / self.n
        found = second - (self.total / self.n) ** 2
        return found if found > 1e-13 * second else 0.0


@dataclass(frozen=True)
class Histogram(Mergeable):
    """Counts between edges: `counts[0]` is of values at or below `edges[0]`, the last of values above all edges."""

    edges: tuple[float, ...] = field(metadata=SAME)
    counts: tuple[int, ...]

    def __post_init__(self) -> None:
        if len(self.counts) != len(self.edges) + 1:
            raise ValueError(f"{len(self.edges)} edges need {len(self.edges) + 1} counts, found {len(self.counts)}")
        if any(high <= low for low, high in zip(self.edges, self.edges[1:], strict=False)):
            raise ValueError("the edges of a histogram must increase")

    @classmethod
    def of(cls, values: ArrayLike, edges: Sequence[float]) -> "Histogram":
        """
        Raises:
            ValueError: a value is NaN, or the edges don't increase.
        """
        numbers = np.asarray(values, dtype=np.float64)
        if np.isnan(numbers).any():
            raise ValueError("a value is NaN; leave such rows out and count them apart")
        where = np.searchsorted(np.asarray(edges, dtype=np.float64), numbers, side="left")
        counts = np.bincount(where.ravel(), minlength=len(edges) + 1)
        return cls(tuple(float(edge) for edge in edges), tuple(int(count) for count in counts))

    @property
    def n(self) -> int:
        return sum(self.counts)

    def above(self, edge: float) -> Counts:
        """How many values lie above one of the edges.

        Raises:
            ValueError: there is no such edge.
        """
        if edge not in self.edges:
            raise ValueError(f"{edge:g} is no edge of this histogram; give it one there")
        return Counts(self.n, sum(self.counts[self.edges.index(edge) + 1 :]))


def _check_same(name: str, mine: object, theirs: object) -> None:
    if mine != theirs:
        raise ValueError(f"{name} differ: {mine} and {theirs}; only what was counted alike can be merged")


def _sum(mine: Any, theirs: Any) -> Any:
    if isinstance(mine, Mergeable):
        return mine.merge(theirs)
    if isinstance(mine, tuple):
        if len(mine) != len(theirs):
            raise ValueError(f"{len(mine)} and {len(theirs)} counts can't be merged; they must be of the same length")
        return tuple(_sum(one, other) for one, other in zip(mine, theirs, strict=True))
    return mine + theirs
