"""What follows from the rounds: each cell beside the plain one of the same round, and how far the rounds lie apart."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Self

from benchmarks.recording.cells import PLAIN
from benchmarks.recording.measure import Figures

What = Callable[[Figures], float]


@dataclass(frozen=True)
class Spread:
    """The median over rounds, and the lowest and highest of them."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Self:
        found = list(values)
        return cls(median(found), min(found), max(found))

    def shown(self, form: str) -> str:
        """`0.93 (0.90 to 0.95)` with the form `.2f`."""
        return f"{self.median:{form}} ({self.lowest:{form}} to {self.highest:{form}})"


def of_cell(figures: Sequence[Figures], cell: str, connections: int, what: What) -> Spread:
    """A figure of a cell over all rounds."""
    return Spread.of(what(it) for it in _at(figures, cell, connections))


def ratio(figures: Sequence[Figures], cell: str, connections: int, what: What) -> Spread:
    """A cell's figure over the plain cell's of the same round."""
    return Spread.of(what(own) / what(plain) for own, plain in _pairs(figures, cell, connections))


def more(figures: Sequence[Figures], cell: str, connections: int, what: What) -> Spread:
    """A cell's figure less the plain cell's of the same round."""
    return Spread.of(what(own) - what(plain) for own, plain in _pairs(figures, cell, connections))


def _pairs(figures: Sequence[Figures], cell: str, connections: int) -> list[tuple[Figures, Figures]]:
    plain = {it.round: it for it in _at(figures, PLAIN.key, connections)}
    return [(it, plain[it.round]) for it in _at(figures, cell, connections)]


def _at(figures: Sequence[Figures], cell: str, connections: int) -> list[Figures]:
    return [it for it in figures if (it.cell, it.connections) == (cell, connections)]
