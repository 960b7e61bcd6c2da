"""`python -m benchmarks.serving [--quick] [--only NAME …] [--seconds S]`: measures, writes a table and a plot."""

import argparse
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

from benchmarks.serving import plot, report
from benchmarks.serving.measure import CONNECTIONS, measure
from benchmarks.serving.model import Material, prepare, rows_per_s
from benchmarks.serving.servers import SERVERS
from taxiway.settings import home

PUBLISHED = Path(__file__).parents[1] / "results"


def main(arguments: list[str] | None = None) -> int:
    """A whole run replaces the published figures; a quick one or a part goes to `TAXIWAY_HOME`/bench/results."""
    given = _parse(arguments)
    # What has been started is ended, however this ends; in the background a shell leaves SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    started = time.monotonic()
    material = prepare()
    in_process = _in_process(material, given.seconds)
    outcomes = []
    connections = (1, 32) if given.quick else CONNECTIONS
    for server in SERVERS:
        if not given.only or server.key in given.only:
            print(f"{server.title}:", flush=True)
            outcomes.append(measure(server, material, given.seconds, connections))
    # The machine drifts over such a run: what we compare ourselves with is the better of two measurements.
    later = _in_process(material, given.seconds)
    in_process = {rows: max(speed, later[rows]) for rows, speed in in_process.items()}
    whole = not given.only and not given.quick
    folder = PUBLISHED if whole else home() / "bench" / "results"
    folder.mkdir(parents=True, exist_ok=True)
    text = report.write(SERVERS, outcomes, in_process, given.seconds, time.monotonic() - started)
    (folder / "serving.md").write_text(text)
    plot.draw(SERVERS, outcomes, folder / "serving.png")
    (home() / "bench" / "serving.json").write_text(json.dumps([outcome.as_dict() for outcome in outcomes], indent=1))
    print(f"\n{text}\nwritten to {folder}")
    return 1 if any(outcome.failure for outcome in outcomes) else 0


def _in_process(material: Material, seconds: float) -> dict[int, float]:
    return {rows: rows_per_s(material, rows, min(seconds, 2.0)) for rows in (1, 32, 256)}


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="1 and 32 connections, one second each")
    parser.add_argument("--only", nargs="+", choices=[server.key for server in SERVERS], default=[], metavar="NAME")
    parser.add_argument("--seconds", type=float, help="of each cell (3)")
    given = parser.parse_args(arguments)
    given.seconds = given.seconds or (1.0 if given.quick else 3.0)
    return given


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(main())
