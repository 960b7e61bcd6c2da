"""`python -m benchmarks.scale [--seconds S] [--rounds N]`: measures, writes a page of tables."""

import argparse
import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.scale import endpoints, models, report
from benchmarks.scale.material import prepare
from benchmarks.scale.report import Results

_RESULTS = Path(__file__).parents[1] / "results" / "scale.md"
_ENDPOINTS = (1, 50, 200)
_ZIPF_ROUNDS = 10


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 1 when an answer was wrong or missing."""
    given = _parse(arguments)
    # What has been started is ended, however this ends; in the background a shell leaves SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    material = prepare()
    found = []
    for number in _ENDPOINTS:
        found.append(endpoints.measure(material, number, given.seconds, given.rounds))
        print(f"  {found[-1]}", flush=True)
    multiplexed = models.measure(material, _ZIPF_ROUNDS * given.seconds)
    print(f"  {multiplexed}", flush=True)
    results = Results(found, multiplexed, given.seconds, given.rounds)
    text = report.write(results)
    given.results.write_text(text)
    print(f"\n{text}\nwritten to {given.results}")
    return int(results.errors > 0)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement (4)")
    parser.add_argument("--rounds", type=int, default=4, help="of each number of endpoints (4)")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(main())
