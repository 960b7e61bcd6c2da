"""The Markdown page: what was measured, the ratios that we aim at, and every figure."""

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.batch.contestants import Contestant
from benchmarks.batch.environments import SPARK
from benchmarks.batch.figures import best, count, slopes, spread
from benchmarks.batch.measure import Failure, Run
from benchmarks.batch.ratios import Ratios
from benchmarks.pages import memory_gb, processor, table

_OWN = ("ray", "mlflow", "pyarrow", "pandas", "scikit-learn", "numpy")


@dataclass(frozen=True)
class Results:
    """All that one run of the benchmark has seen."""

    contestants: Sequence[Contestant]
    runs: Sequence[Run]
    failures: Sequence[Failure]
    idle_mb: float
    """PSS of a local Ray that does nothing."""
    total_s: float

    @property
    def figures(self) -> list[Run]:
        return best(self.runs)

    @property
    def sizes(self) -> list[int]:
        return sorted({run.rows for run in self.runs})


def write(results: Results) -> str:
    """The page; contestants that failed are named with the reason."""
    ratios = Ratios(results.contestants, results.figures, results.idle_mb).all()
    parts = [
        "# One scoring job by Taxiway and its peers: measured by `python -m benchmarks.batch`",
        _setting(results),
        "![rows/s and memory](batch.png)",
        table("Ratios", ("what", "aim", "measured"), [(one.what, one.aim, one.measured) for one in ratios]),
        *(_size(rows, results) for rows in results.sizes),
        _slopes(results),
        _failures(results),
        _versions(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setting(results: Results) -> str:
    return (
        f"{processor()}, {os.cpu_count()} cores, {memory_gb():.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}. A gradient-boosted classifier (100 iterations, 15 numbers a row) scores "
        "the flights of 2013, repeated, from Parquet files of 250,000 rows to Parquet, an id and a score a row; one "
        f"contestant at a time, everything in one run of {results.total_s / 60:.0f} minutes. Every score that a "
        "contestant has written is compared with the model's own, every id must be there once. Rows/s are over the "
        "whole wall time, from the command to its end. First row: from the command to the first scored row of the "
        "programs that can tell, of Taxiway to the first row in a file. CPU: of all processes, Ray's and Java's too. "
        "Memory: the highest sum of all processes' PSS. Of several rounds the fastest counts; the spread is how much "
        "longer the slowest took. Others: the share of the machine's CPU time that went to processes beside the "
        "contestant; about 2% of it is the watch itself, and a run with much more was disturbed. A local Ray that does "
        f"nothing has {results.idle_mb:,.0f} MB. Compare the rows with each other, not with other machines."
    )


def _size(rows: int, results: Results) -> str:
    by_key = {run.contestant: run for run in results.figures if run.rows == rows}
    lines = [
        (
            contestant.title,
            f"{run.rows_per_s:,.0f}",
            f"{run.wall_s:.1f}",
            f"{run.first_row_s:.1f}",
            f"{run.cpu_s:,.0f}",
            f"{run.cpu_s / rows * 1e6:.2f}",
            f"{run.peak_mb:,.0f}",
            f"{run.peak_mb - results.idle_mb:,.0f}" if contestant.on_ray else "",
            f"{spread(results.runs, run):.0%}",
            f"{run.others:.0%}",
        )
        for contestant in results.contestants
        if (run := by_key.get(contestant.key))
    ]
    head = ("", "rows/s", "wall s", "first row s", "CPU s", "CPU s per million rows", "peak PSS MB")
    return table(f"{count(rows)} rows", (*head, "beyond an idle Ray MB", "spread", "others"), lines)


def _slopes(results: Results) -> str:
    lines = [
        (
            contestant.title,
            f"{count(slope.first_rows)} to {count(slope.last_rows)}",
            f"{slope.s_per_million:.2f}",
            f"{slope.cpu_s_per_million:.2f}",
            f"{slope.fixed_s:.1f}",
        )
        for contestant in results.contestants
        for slope in slopes(results.figures, contestant.key)
    ]
    head = ("", "rows", "s per million rows", "CPU s per million rows", "fixed cost s")
    return table("What a further million rows costs", head, lines)


def _failures(results: Results) -> str:
    titles = {contestant.key: contestant.title for contestant in results.contestants}
    lines = [(titles.get(one.contestant, one.contestant), one.why.replace("|", "/")) for one in results.failures]
    return table("Not measured, or not to the end", ("", "why"), lines)


def _versions() -> str:
    own = ", ".join(f"{name} {version(name)}" for name in _OWN)
    return f"Taxiway, the loops and Ray Data: {own}. Spark: {', '.join(SPARK)}."
