"""One cell under load, and what became of the rows that it has answered."""

import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq

from benchmarks import load
from benchmarks.recording.cells import CELLS, FLUSH_S, Cell
from benchmarks.recording.deployed import Deployed, codec, metrics
from benchmarks.serving.model import Material

_DIFFERENT_ROWS = 400
_WARM_UP_S = 2.5 * FLUSH_S
"""Until the log writes as much as it gets, and nothing of the cell before is written any more."""
_TOLERANCE = 1e-9
_EXPORTED_S = 15.0
"""Ray exports metrics every ten seconds."""
_SAMPLE = re.compile(r"^(\w+)\{(.*)\} (\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')


@dataclass(frozen=True)
class Figures:
    """One cell in one round from so many connections, one row a request.

    Attributes:
        cpu_ms: CPU time of the ingress replica, a request.
        beside_ms: of the cell's other replicas, a request.
        errors: not 200, lost, or another answer than the model's own.
        generator_busy: share of one core that the load generator took.
    """

    cell: str
    connections: int
    round: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    cpu_ms: float
    beside_ms: float
    errors: int
    generator_busy: float


@dataclass(frozen=True)
class Rows:
    """What a cell has answered since its start, and how much of it is in the log.

    Attributes:
        copies: for the shadow, by what became of them: compared, dropped, late, failed.
        copies_logged: rows of the shadow in the log.
    """

    cell: str
    answered: int
    logged: int
    copies: Mapping[str, int]
    copies_logged: int

    @property
    def lost(self) -> int:
        """Rows that were answered or compared and are not in the log; of a cell that logs."""
        copies = max(self.copies.get("compared", 0) - self.copies_logged, 0)
        return abs(self.answered - self.logged) + copies


def measure(up: Deployed, material: Material, cell: Cell, connections: int, number: int, seconds: float) -> Figures:
    """Loads one cell while the others rest; `number` is the round's."""
    how = codec(cell)
    requests = [how.encode(material.rows[row : row + 1]) for row in range(_DIFFERENT_ROWS)]
    ingress, beside = up.ingress[cell.key], up.beside[cell.key]
    before = cpu_s([ingress]), cpu_s(beside)
    seen = load.run(up.ports[cell.key], requests, connections, seconds, ingress.pid, _WARM_UP_S)
    own_s, beside_s = cpu_s([ingress]) - before[0], cpu_s(beside) - before[1]
    wrong = sum(
        not np.allclose(how.decode(it), material.expected[it.request : it.request + 1], rtol=0, atol=_TOLERANCE)
        for it in seen.samples
    )
    return Figures(
        cell.key,
        connections,
        number,
        seen.requests_per_s,
        seen.p50_ms,
        seen.p99_ms,
        seen.server_cpu_ms,
        # The generator watches the ingress from the end of the warm-up; the others' share is of all the time.
        seen.server_cpu_ms * beside_s / own_s,
        seen.errors + wrong,
        seen.generator_busy,
    )


def idle(up: Deployed, seconds: float) -> dict[str, float]:
    """By cell the share of one core that its processes take while nobody asks."""
    processes = {key: [up.ingress[key], *up.beside[key]] for key in up.ingress}
    before = {key: cpu_s(several) for key, several in processes.items()}
    time.sleep(seconds)
    return {key: (cpu_s(several) - before[key]) / seconds for key, several in processes.items()}


def cpu_s(processes: Iterable[psutil.Process]) -> float:
    """CPU seconds since they started."""
    times = [process.cpu_times() for process in processes]
    return sum(it.user + it.system for it in times)


def rows(up: Deployed) -> list[Rows]:
    """What became of all rows, once the log is written and the metrics are exported."""
    time.sleep(_EXPORTED_S)
    page = metrics(up.pid)
    return [rows_of(cell, page, logged(up.predictions, cell.key)) for cell in CELLS]


def rows_of(cell: Cell, page: str, kinds: Mapping[str, int]) -> Rows:
    """
    Args:
        page: metrics in Prometheus' text format.
        kinds: rows in the log by their kind.
    """
    answered = sum(
        value
        for labels, value in _samples(page, "ray_taxiway_requests_total")
        if labels["endpoint"] == cell.key and labels["code"] == "ok"
    )
    copies: Counter[str] = Counter()
    for labels, value in _samples(page, "ray_taxiway_shadow_requests_total"):
        if labels["endpoint"] == cell.key:
            copies[labels["outcome"]] += int(value)
    return Rows(cell.key, int(answered), kinds.get("live", 0), copies, kinds.get("shadow", 0))


def logged(predictions: Path, endpoint: str) -> dict[str, int]:
    """Rows of an endpoint in the log's files by their kind; one that stands there twice counts twice."""
    kinds: Counter[str] = Counter()
    for file in (predictions / f"endpoint={endpoint}").rglob("*.parquet"):
        kinds.update(map(str, pq.ParquetFile(file).read(["kind"])["kind"].to_pylist()))
    return kinds


def _samples(page: str, name: str) -> Iterator[tuple[dict[str, str], float]]:
    for found, labels, value in _SAMPLE.findall(page):
        if found == name:
            yield dict(_LABEL.findall(labels)), float(value)


def in_turn(cells: Sequence[Cell], number: int) -> list[Cell]:
    """The cells of a round: each two rounds begin with another one, and every other round goes backwards."""
    first = number // 2 % len(cells)
    order = [*cells[first:], *cells[:first]]
    return order[::-1] if number % 2 else order
