"""`python -m benchmarks.recording [--seconds S] [--rounds N]`: measures, writes a page of tables."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.processes import free_port
from benchmarks.recording import report
from benchmarks.recording.cells import CELLS
from benchmarks.recording.deployed import Deployed, deployed
from benchmarks.recording.measure import Figures, idle, in_turn, measure, rows
from benchmarks.recording.report import CONNECTIONS, Results
from benchmarks.serving.model import Material, prepare
from benchmarks.tracing import collector

_RESULTS = Path(__file__).parents[1] / "results" / "recording.md"
_IDLE_S = 5.0


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when an answer was wrong or missing, or a row was lost."""
    given = _parse(arguments)
    # What has been started is ended, however this ends; in the background a shell leaves SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    begin = time.monotonic()
    material = prepare()
    port = free_port()
    with collector(port), deployed(material, port) as up:
        resting = idle(up, _IDLE_S)
        figures = list(_rounds(up, material, given.seconds, given.rounds))
        became = rows(up)
    results = Results(figures, became, resting, given.seconds, given.rounds, time.monotonic() - begin)
    text = report.write(results)
    given.results.write_text(text)
    print(f"\n{text}\nwritten to {given.results}")
    return int(results.errors > 0 or results.lost > 0)


def _rounds(up: Deployed, material: Material, seconds: float, rounds: int) -> Iterator[Figures]:
    for number in range(rounds):
        for connections in CONNECTIONS:
            for cell in in_turn(CELLS, number):
                found = measure(up, material, cell, connections, number, seconds)
                _show(found)
                yield found


def _show(found: Figures) -> None:
    print(
        f"  {found.round + 1} {found.cell:9} {found.connections:4} connections: {found.requests_per_s:7,.0f} requests/s"
        f"  p50 {found.p50_ms:6.2f}  p99 {found.p99_ms:7.2f} ms  cpu {found.cpu_ms:.3f} + {found.beside_ms:.3f} ms"
        f"  generator {found.generator_busy:4.0%}  errors {found.errors}",
        flush=True,
    )


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.recording", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument("--rounds", type=int, default=6, help="through all cells and connections (6)")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(main())
