"""`python -m benchmarks.overhead [--slices N]`: CPU time a request with nothing on that can be turned off, with the
prediction log and the counting of answers, and with everything besides. Cells in one process take turns.
"""

import argparse
import logging
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from benchmarks.in_process import Kind
from benchmarks.in_process import page as page_of
from benchmarks.tracing import in_turn
from taxiway.telemetry.logs import of_this_process, switch_on
from taxiway.telemetry.settings import LogSettings

_RESULTS = Path(__file__).parent / "results" / "overhead.md"
_SAMPLE = 0.01


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.overhead", description=__doc__)
    parser.add_argument("--slices", type=int, default=10, help="of each cell (10)")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, Path(folder, "lines.json").open("w") as lines:
        switch_on(LogSettings(format="json", requests=_SAMPLE), of_this_process("benchmark"))
        _write_to(lines)
        kinds = {
            "off": Kind(),
            "off again": Kind(),
            "prediction log, answers counted": Kind(predictions=Path(folder, "log")),
            "1% traced, 1% with a line": Kind(_SAMPLE, lines=_SAMPLE),
            "all of it, and drift": Kind(_SAMPLE, Path(folder, "all"), _SAMPLE, drifts=True),
        }
        found = in_turn(kinds, given.slices)
    told = "threads, files and spans included; metrics are on in all of them."
    text = page_of("What it costs to tell what happens", "benchmarks.overhead", found, told)
    print(text)
    given.results.write_text(text)
    return 0


def _write_to(stream: object) -> None:
    for logger in (logging.getLogger(), logging.getLogger("serve"), logging.getLogger("taxiway")):
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler):
                handler.setStream(stream)


if __name__ == "__main__":
    sys.exit(main())
