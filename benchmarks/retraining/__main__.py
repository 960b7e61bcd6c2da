"""`python -m benchmarks.retraining`: a retraining beside a plain script, and the cost of its checkpoints."""

import argparse
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.retraining import report
from benchmarks.retraining.measure import Bench, Run, Search

_RESULTS = Path(__file__).parent.parent / "results" / "retraining_time.md"


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    search = {name: getattr(given, name) for name in ("trials", "max_iterations") if getattr(given, name)}
    with tempfile.TemporaryDirectory(prefix="taxiway-bench-") as scratch:
        bench = Bench(Path(scratch))
        results = _measure(bench, search, given)
    text = report.write(results)
    given.results.write_text(text)
    print(f"\n{text}\nwritten to {given.results}")
    return 0


def _measure(bench: Bench, search: Mapping[str, int], given: argparse.Namespace) -> report.Results:
    bench.prepare()
    config = bench.config("plain", search)
    facts = bench.material(config)
    _say("a retraining before the others", bench.retraining("champion", {**search, "trials": 1}))
    peer, own = [], []
    for number in range(given.rounds):
        peer.append(_say("script", bench.peer(f"peer-{number}")))
        own.append(_say("taxiway", bench.retraining(f"own-{number}", search)))
    searches = [
        _told(bench.search(f"search-{number}-{every}", config, every))
        for number in range(given.checkpoint_rounds)
        for every in (1, 0)
    ]
    return report.Results(peer, own, searches, facts, given.trials)


def _say(who: str, run: Run) -> Run:
    stages = ", ".join(f"{name} {spent:.1f}" for name, spent in run.seconds.items())
    print(f"  {who}: {run.wall_s:.1f} s, CPU {run.cpu_s:.0f} s, others {run.others:.0%} ({stages})", flush=True)
    return run


def _told(search: Search) -> Search:
    print(f"  search, checkpoint every {search.checkpoint_every}: {search.search_s:.1f} s", flush=True)
    return search


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.retraining", description=__doc__)
    parser.add_argument("--trials", type=int, default=12)
    parser.add_argument("--rounds", type=int, default=2, help="of script and retraining in turn")
    parser.add_argument("--checkpoint-rounds", type=int, default=2, help="of searches with checkpoints and without")
    parser.add_argument("--max-iterations", type=int, help="of a trial, for a quick look")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(main())
