"""`python -m benchmarks.batch [--rows 1M 10M …] [--only NAME …] [--quick]`: measures, writes a table and a plot."""

import argparse
import json
import logging
import os
import re
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from benchmarks.batch import plot, report
from benchmarks.batch.contestants import CONTESTANTS, Contestant
from benchmarks.batch.data import NoSpace, make
from benchmarks.batch.measure import Failure, Run, idle_ray_mb, rounds
from benchmarks.batch.report import Results
from benchmarks.batch.watch import CommandFailed
from benchmarks.serving.model import Material, prepare
from taxiway.settings import home

PUBLISHED = Path(__file__).parents[1] / "results"
_SIZES = (1_000_000, 10_000_000)
_ROUNDS = 2
# So long a run averages the machine's moods by itself.
_ONE_ROUND_FROM = 50_000_000
_UNITS = {"": 1, "k": 1_000, "M": 1_000_000}


def main(arguments: Sequence[str] | None = None) -> int:
    """A whole run replaces the published figures; a quick one or a part goes to `TAXIWAY_HOME`/bench/results."""
    given = _parse(arguments)
    # What has been started is ended, however this ends; in the background a shell leaves SIGINT ignored.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    os.environ["MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR"] = "false"
    chosen = [one for one in CONTESTANTS if not given.only or one.key in given.only]
    started = time.monotonic()
    try:
        material = prepare()
        idle_mb = idle_ray_mb(material) if any(one.on_ray for one in chosen) else float("nan")
        runs, failures = _measure(chosen, given.rows, given.rounds, material)
    except (NoSpace, CommandFailed) as error:
        print(f"benchmarks.batch: {error}", file=sys.stderr)
        return 2
    results = Results(chosen, runs, failures, idle_mb, time.monotonic() - started)
    whole = len(chosen) == len(CONTESTANTS) and set(_SIZES) <= set(given.rows) and not failures
    _write(results, PUBLISHED if whole else home() / "bench" / "results")
    return 1 if failures else 0


def _measure(
    chosen: Sequence[Contestant], sizes: Sequence[int], number: int, material: Material
) -> tuple[list[Run], list[Failure]]:
    """The smallest size first; who fails at one size is spared the larger ones."""
    runs: list[Run] = []
    failures: list[Failure] = []
    for rows in sorted(sizes):
        print(f"{rows:,} rows:", flush=True)
        failed = {failure.contestant for failure in failures}
        able = [contestant for contestant in chosen if contestant.key not in failed]
        for result in rounds(able, make(rows, material.joblib), material, number if rows < _ONE_ROUND_FROM else 1):
            if isinstance(result, Failure):
                failures.append(result)
            else:
                runs.append(result)
    return runs, failures


def _write(results: Results, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    text = report.write(results)
    (folder / "batch.md").write_text(text)
    if results.runs:
        plot.draw(results, folder / "batch.png")
    raw = {"idle_ray_mb": results.idle_mb, "runs": [asdict(run) for run in results.runs]}
    (home() / "bench" / "batch.json").write_text(json.dumps(raw, indent=1))
    print(f"\n{text}\nwritten to {folder}")


def rows_of(text: str) -> int:
    """`10M` or `200k` or a plain number.

    Raises:
        argparse.ArgumentTypeError: it is none of them.
    """
    match = re.fullmatch(r"([1-9]\d*)([kM]?)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of rows; write 200k, 10M or 336776")
    return int(match[1]) * _UNITS[match[2]]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.batch", description=__doc__)
    parser.add_argument("--rows", nargs="+", type=rows_of, metavar="ROWS", help="sizes, such as 100M (1M 10M)")
    parser.add_argument(
        "--rounds", type=int, help=f"of each contestant, the fastest counts ({_ROUNDS}; 1 from 50M rows)"
    )
    parser.add_argument("--only", nargs="+", choices=[one.key for one in CONTESTANTS], default=[], metavar="NAME")
    parser.add_argument("--quick", action="store_true", help="1M rows, one round")
    given = parser.parse_args(arguments)
    given.rows = given.rows or (list(_SIZES[:1]) if given.quick else list(_SIZES))
    given.rounds = given.rounds or (1 if given.quick else _ROUNDS)
    return given


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(main())
