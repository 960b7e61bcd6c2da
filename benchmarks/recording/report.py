"""The Markdown page: the aims, every cell beside the plain one, and what became of the rows."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from benchmarks.pages import processor, table
from benchmarks.recording.cells import CELLS, EVERYTHING, FLUSH_S, LOG, OBSERVED, PLAIN, SAMPLE, Cell
from benchmarks.recording.figures import Spread, more, of_cell, ratio
from benchmarks.recording.measure import Figures, Rows

CONNECTIONS = (1, 32, 128)
LEAST_RATIO = {LOG: 0.85, OBSERVED: 0.85, EVERYTHING: 0.9}
"""Of the plain cell's requests/s."""
MOST_MS = 0.3
_BUSY = 0.9


@dataclass(frozen=True)
class Results:
    """All that one run has seen. `idle` is by cell the share of one core that it takes while nobody asks."""

    figures: Sequence[Figures]
    rows: Sequence[Rows]
    idle: Mapping[str, float]
    seconds: float
    rounds: int
    total_s: float

    @property
    def lost(self) -> int:
        """Rows that were answered and not logged, and those logged that nobody was answered."""
        logging = {cell.key for cell in CELLS if cell.logs}
        return sum(it.lost for it in self.rows if it.cell in logging)

    @property
    def errors(self) -> int:
        return sum(it.errors for it in self.figures)


def write(results: Results) -> str:
    """The page."""
    parts = [
        "# What it costs to remember answers: measured by `python -m benchmarks.recording`",
        _setting(results),
        table("Aims", ("what", "aim", "measured", ""), _aims(results.figures)),
        *(_connections(results.figures, number) for number in CONNECTIONS),
        _rows(results),
        _idle(results.idle),
        f"Taxiway's environment: {', '.join(f'{name} {version(name)}' for name in ('ray', 'numpy', 'pyarrow'))}.",
    ]
    return "\n\n".join(parts) + "\n"


def _setting(results: Results) -> str:
    return (
        f"{processor()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}, Python "
        f"{platform.python_version()}. A gradient-boosted classifier (100 iterations, 15 numbers a row), one row a "
        f"request as JSON, one ingress replica for each cell; all cells in one Ray, server and load generator on one "
        f"machine. {results.rounds} rounds in {results.total_s / 60:.0f} minutes; in each one every cell is loaded "
        f"for {results.seconds:g} s after a warm-up, one after the other, each round in another order. The log is "
        f"written every {FLUSH_S:g} s, all answers, to local files; {SAMPLE:.0%} of requests are traced, by OTLP to a "
        "collector beside, and leave a line. Metrics are on in every cell. Ratios and differences are to the plain "
        "cell of the same round: median (lowest to highest round). CPU: of the ingress replica, for one request; "
        "beside it: of the rollouts' controller and of the shadow's own replica. An asterisk: in a round the "
        f"load generator took over {_BUSY:.0%} of a core, so the server may do more."
    )


def _aims(figures: Sequence[Figures]) -> Iterator[tuple[str, ...]]:
    for cell, least in LEAST_RATIO.items():
        for number in CONNECTIONS[1:]:
            found = ratio(figures, cell.key, number, _rate)
            what = f"{cell.title}: requests/s of the plain cell's, {number} connections"
            yield what, f"at least {least:.0%}", found.shown(".0%"), _kept(found.median >= least)
        later = more(figures, cell.key, CONNECTIONS[0], _p50)
        what = f"{cell.title}: p50 less the plain cell's, {CONNECTIONS[0]} connection"
        yield what, f"at most {MOST_MS:+.1f} ms", f"{later.shown('+.2f')} ms", _kept(later.median <= MOST_MS)


def _kept(is_kept: bool) -> str:
    return "kept" if is_kept else "missed"


def _connections(figures: Sequence[Figures], number: int) -> str:
    lines = [_line(figures, cell, number) for cell in CELLS]
    head = ("", "requests/s", "of plain", "p50 ms", "more than plain", "p99 ms", "CPU ms", "of plain", "beside it")
    return table(f"{number} connection{'s' if number > 1 else ''}", (*head, "errors"), lines)


def _line(figures: Sequence[Figures], cell: Cell, number: int) -> tuple[str, ...]:
    def spread(what: str) -> Spread:
        return of_cell(figures, cell.key, number, lambda it: float(getattr(it, what)))

    is_plain = cell == PLAIN
    busy = "*" if spread("generator_busy").highest > _BUSY else ""
    return (
        cell.title,
        f"{spread('requests_per_s').shown(',.0f')}{busy}",
        "" if is_plain else ratio(figures, cell.key, number, _rate).shown(".2f"),
        f"{spread('p50_ms').median:.2f}",
        "" if is_plain else more(figures, cell.key, number, _p50).shown("+.2f"),
        f"{spread('p99_ms').median:.2f}",
        f"{spread('cpu_ms').median:.3f}",
        "" if is_plain else ratio(figures, cell.key, number, lambda it: it.cpu_ms).shown(".2f"),
        f"{spread('beside_ms').median:.3f}",
        str(sum(it.errors for it in figures if (it.cell, it.connections) == (cell.key, number))),
    )


def _rate(it: Figures) -> float:
    return it.requests_per_s


def _p50(it: Figures) -> float:
    return it.p50_ms


def _rows(results: Results) -> str:
    by_key = {it.cell: it for it in results.rows}
    lines = [_row_line(cell, by_key[cell.key]) for cell in CELLS]
    head = ("", "rows answered", "in the log", "lost", "copies compared", "in the log", "dropped", "late", "failed")
    told = (
        f"Rows answered, as the replicas have counted them, against rows in the log's files: {results.lost:,} lost. "
        "Copies that are dropped or late are no loss of the log: a shadow gives way to live requests."
    )
    return f"{table('Rows', head, lines)}\n\n{told}"


def _row_line(cell: Cell, found: Rows) -> tuple[str, ...]:
    told = [f"{found.logged:,}", f"{found.lost:,}"] if cell.logs else ["", ""]
    copies = [""] * 5
    if cell.shadow is not None:
        outcomes = (f"{found.copies.get(outcome, 0):,}" for outcome in ("dropped", "late", "failed"))
        copies = [f"{found.copies.get('compared', 0):,}", f"{found.copies_logged:,}", *outcomes]
    return cell.title, f"{found.answered:,}", *told, *copies


def _idle(idle: Mapping[str, float]) -> str:
    shares = ", ".join(f"{cell.title} {idle[cell.key]:.1%}" for cell in CELLS)
    return f"Of one core, while nobody asks (the others' share is in every cell's figures): {shares}."
