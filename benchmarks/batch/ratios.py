"""The ratios that we aim at, from the figures of one run; a ratio whose contestants were not measured is left out."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.batch.contestants import Contestant, Role
from benchmarks.batch.figures import Slope, count, slopes
from benchmarks.batch.measure import Run

_AIMED_AT_ROWS = 100_000_000
_SPARK_ROWS = 10_000_000


@dataclass(frozen=True)
class Ratio:
    """What is compared, what we aim at (nothing where the figure is only for information), and what came out."""

    what: str
    aim: str
    measured: str


@dataclass(frozen=True)
class Ratios:
    """`figures` are the best runs; `idle_mb` is the memory of a Ray that does nothing."""

    contestants: Sequence[Contestant]
    figures: Sequence[Run]
    idle_mb: float

    def all(self) -> Iterator[Ratio]:
        for rows in self._sizes:
            yield from self._against_the_loop(rows)
        for rows in self._sizes:
            yield from self._against(rows, "spark", "more" if rows >= _SPARK_ROWS else "")
            yield from self._against(rows, "ray", "")
        yield from self._slope()
        yield from self._linear()
        yield from self._cpu()
        yield from self._memory()
        yield from self._first_row()

    @cached_property
    def _sizes(self) -> list[int]:
        return sorted({run.rows for run in self.figures})

    def _of(self, rows: int, role: Role) -> list[Run]:
        keys = {contestant.key for contestant in self.contestants if contestant.role == role}
        return [run for run in self.figures if run.rows == rows and run.contestant in keys]

    def _pairs(self, rows: int) -> Iterator[tuple[Run, Run]]:
        """Taxiway and the reference, when there are both."""
        for own in self._of(rows, "taxiway"):
            for reference in self._of(rows, "reference"):
                yield own, reference

    def _against_the_loop(self, rows: int) -> Iterator[Ratio]:
        for own, reference in self._pairs(rows):
            aim = "85%" if rows >= _AIMED_AT_ROWS else ""
            share = f"{own.rows_per_s / reference.rows_per_s:.0%}"
            yield Ratio(f"rows/s over the whole wall time of the threaded loop's, {count(rows)} rows", aim, share)

    def _against(self, rows: int, role: Role, aim: str) -> Iterator[Ratio]:
        others = self._of(rows, role)
        for own in self._of(rows, "taxiway") if others else ():
            best = max(others, key=lambda run: run.rows_per_s)
            what = f"rows/s against {self._title(best)}, {count(rows)} rows"
            yield Ratio(what, aim, f"{own.rows_per_s / best.rows_per_s:.2f}x")

    def _title(self, run: Run) -> str:
        return next(contestant.title for contestant in self.contestants if contestant.key == run.contestant)

    def _slopes(self, role: Role) -> list[Slope]:
        keys = (contestant.key for contestant in self.contestants if contestant.role == role)
        return [slope for key in keys for slope in slopes(self.figures, key)]

    def _slope(self) -> Iterator[Ratio]:
        of_the_loop = {_span(slope): slope.s_per_million for slope in self._slopes("reference")}
        for own in self._slopes("taxiway"):
            if reference := of_the_loop.get(_span(own)):
                what = f"seconds for each further million rows against the threaded loop, {_span(own)}"
                yield Ratio(what, "at most 1.10x", f"{own.s_per_million / reference:.2f}x")

    def _linear(self) -> Iterator[Ratio]:
        own = self._slopes("taxiway")
        if len(own) > 1:
            grown = f"{own[-1].s_per_million / own[0].s_per_million:.2f}x"
            what = f"seconds for each further million rows, {_span(own[-1])} against {_span(own[0])}"
            yield Ratio(what, "linear: about 1x", grown)

    def _cpu(self) -> Iterator[Ratio]:
        for rows in self._sizes[-1:]:
            for own, reference in self._pairs(rows):
                what = f"CPU seconds a row against the threaded loop, {count(rows)} rows"
                yield Ratio(what, "at most 1.3x", f"{own.cpu_s / reference.cpu_s:.2f}x")

    def _memory(self) -> Iterator[Ratio]:
        peaks = [run for rows in self._sizes for run in self._of(rows, "taxiway")]
        if peaks:
            beyond = f"{peaks[-1].peak_mb - self.idle_mb:,.0f} MB"
            yield Ratio(f"peak PSS beyond an idle Ray, {count(peaks[-1].rows)} rows", "under 2,000 MB", beyond)
        if len(peaks) > 1:
            grown = f"{peaks[-1].peak_mb - peaks[0].peak_mb:+,.0f} MB"
            what = f"peak PSS at {count(peaks[-1].rows)} rows less that at {count(peaks[0].rows)}"
            yield Ratio(what, "flat", grown)

    def _first_row(self) -> Iterator[Ratio]:
        for rows in self._sizes:
            for own in self._of(rows, "taxiway"):
                what = f"from the command to the first scored row, {count(rows)} rows"
                yield Ratio(what, "under 15 s", f"{own.first_row_s:.1f} s")


def _span(slope: Slope) -> str:
    return f"{count(slope.first_rows)} to {count(slope.last_rows)}"
