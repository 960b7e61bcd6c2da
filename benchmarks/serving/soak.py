"""`python -m benchmarks.serving.soak [--minutes M]`: memory of one Taxiway server under load that does not end."""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import matplotlib as mpl
import numpy as np
import psutil

from benchmarks import load
from benchmarks.processes import Running
from benchmarks.serving.measure import JSON_ROW, started
from benchmarks.serving.model import Material, prepare
from benchmarks.serving.servers import SERVERS
from examples.flights.memory import proportional_set_size_mb

mpl.use("Agg")
import matplotlib.pyplot as plt

RESULTS = Path(__file__).parents[1] / "results"
_CONNECTIONS = 32
_EVERY_S = 20.0
_SETTLED_MIN = 5.0


@dataclass(frozen=True)
class Moment:
    """Memory of all processes, and of the replica alone, after so many minutes and requests."""

    minutes: float
    requests: int
    all_mb: float
    replica_mb: float
    errors: int


def main(arguments: list[str] | None = None) -> int:
    """Writes soak.md and soak.png to benchmarks/results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    minutes = parser.parse_args(arguments).minutes
    material = prepare()
    (server,) = (server for server in SERVERS if server.key == "taxiway")
    with started(server, material) as up:
        moments = list(_loaded(up, material, minutes))
    text = _report(moments)
    (RESULTS / "soak.md").write_text(text)
    _draw(moments, RESULTS / "soak.png")
    print(f"\n{text}")
    return int(any(moment.errors for moment in moments))


def _loaded(up: Running, material: Material, minutes: float) -> Iterator[Moment]:
    (server,) = (server for server in SERVERS if server.key == "taxiway")
    requests = [server.json.encode(material.rows[row : row + JSON_ROW.rows]) for row in range(400)]
    begin, answered = time.monotonic(), 0
    while time.monotonic() - begin < minutes * 60:
        seen = load.run(up.port, requests, _CONNECTIONS, _EVERY_S, up.pid)
        answered += int(seen.requests_per_s * _EVERY_S)
        passed = (time.monotonic() - begin) / 60
        moment = Moment(passed, answered, proportional_set_size_mb(up.pid), _replica_mb(up.pid), seen.errors)
        print(
            f"  {passed:5.1f} min {answered:10,} requests  all {moment.all_mb:7.0f} MB"
            f"  replica {moment.replica_mb:6.1f} MB  errors {moment.errors}",
            flush=True,
        )
        yield moment


def _replica_mb(pid: int) -> float:
    found = [
        child for child in psutil.Process(pid).children(recursive=True) if "ServeReplica" in " ".join(child.cmdline())
    ]
    return sum(proportional_set_size_mb(child.pid) for child in found)


def slope_mb(moments: list[Moment]) -> float:
    """The replica's growth in MB for each million requests, by least squares, once it has settled."""
    settled = [moment for moment in moments if moment.minutes >= min(_SETTLED_MIN, moments[-1].minutes / 3)]
    requests = np.array([moment.requests for moment in settled]) / 1e6
    return float(np.polyfit(requests, [moment.replica_mb for moment in settled], 1)[0])


def _report(moments: list[Moment]) -> str:
    first, last = next(m for m in moments if m.minutes >= min(_SETTLED_MIN, moments[-1].minutes / 3)), moments[-1]
    return (
        "# Memory under load: measured by `python -m benchmarks.serving.soak`\n\n"
        f"One replica, {_CONNECTIONS} connections, one row a request as JSON, for {last.minutes:.0f} minutes:"
        f" {last.requests:,} requests, {sum(moment.errors for moment in moments)} errors. PSS.\n\n"
        "| | replica, MB | all of Ray and Serve, MB |\n|---|---|---|\n"
        f"| after {first.minutes:.0f} minutes | {first.replica_mb:.0f} | {first.all_mb:.0f} |\n"
        f"| after {last.minutes:.0f} minutes | {last.replica_mb:.0f} | {last.all_mb:.0f} |\n\n"
        f"The replica grows by {slope_mb(moments):.1f} MB for each million requests between them (least squares).\n\n"
        "![memory](soak.png)\n"
    )


def _draw(moments: list[Moment], file: Path) -> None:
    figure, panel = plt.subplots(figsize=(8, 3.6), layout="constrained")
    minutes = [moment.minutes for moment in moments]
    panel.plot(minutes, [moment.all_mb for moment in moments], label="Ray, Serve and the replica", color="#777777")
    panel.plot(minutes, [moment.replica_mb for moment in moments], label="the replica", color="#d1301f")
    panel.set_ylim(bottom=0)
    panel.set_xlabel("minutes")
    panel.set_ylabel("PSS, MB")
    panel.grid(color="#dddddd")
    panel.legend(frameon=False)
    figure.savefig(file, dpi=110)
    plt.close(figure)


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(main())
