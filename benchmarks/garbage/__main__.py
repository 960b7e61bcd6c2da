"""`python -m benchmarks.garbage [--minutes M]`: memory, time series, files and log lines of a server under garbage."""

import argparse
import logging
import os
import re
import shutil
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from pathlib import Path

import psutil
import yaml

from benchmarks.garbage.client import Garbage
from benchmarks.processes import Running, free_port, running
from benchmarks.recording.deployed import metrics
from benchmarks.serving import codecs
from benchmarks.serving.measure import ask
from benchmarks.serving.model import NAME, OUTPUT, Material, prepare
from benchmarks.serving.servers import OWN_PROGRAMS
from examples.flights.memory import proportional_set_size_mb
from taxiway.settings import home

_RESULTS = Path(__file__).parents[1] / "results" / "garbage.md"
_ROOT = Path(__file__).parents[2]
_CLIENTS = 3
_SERIES = re.compile(r"^(ray_taxiway_\w+\{[^}]*\}) ", re.MULTILINE)


@dataclass(frozen=True)
class Moment:
    """What there is after so many minutes and requests; `series` are Taxiway's, as Prometheus would scrape them.

    `replica_mb` is USS: what would be free if the replica ended. `all_mb` is PSS of all processes.
    """

    minutes: float
    requests: int
    replica_mb: float
    all_mb: float
    series: int
    open_files: int
    threads: int
    kept_files: int
    kept_mb: float
    log_mb: float


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes garbage.md to benchmarks/results; exit status 1 when the server did not answer at the end."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.garbage", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    parser.add_argument("--rate", type=float, default=90.0, help="requests a second at most (90)")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    given = parser.parse_args(arguments)
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    material, folder = prepare(), home() / "bench" / "servers" / "garbage"
    with _serving(material, folder) as (up, grpc_port):
        clients = [Garbage(up.port, grpc_port, given.rate / _CLIENTS, seed) for seed in range(_CLIENTS)]
        moments: list[Moment] = []
        for moment in _moments(up, folder, clients, given.minutes):
            moments.append(moment)
            # Each time: what was seen until then is there, however it ends.
            given.results.write_text(_report(moments, sum((client.sent for client in clients), Counter())))
        for client in clients:
            client.stop()
        ask(up.port, codecs.inference(f"/v2/models/{NAME}/infer", OUTPUT).encode(material.rows[:1]))
    print(given.results.read_text())
    return 0


@contextmanager
def _serving(material: Material, folder: Path) -> Iterator[tuple[Running, int]]:
    """Everything on that has a default, and a line of the log for each hundredth request."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    port, grpc_port = free_port(), free_port()
    models = {name: f"models:/{NAME}@{name}" for name in ("champion", "challenger")}
    variants = [{"name": name, "model": model} for name, model in models.items()]
    arguments = {
        "endpoints": [{"name": NAME, "variants": variants, "rollout": {}}],
        "registry": material.registry.model_dump(),
        "listener": {"host": "127.0.0.1", "port": port, "grpc_port": grpc_port},
        "predictions": {"location": str(folder / "predictions")},
        "tracing": {"sample": 0.01},
        "logs": {"format": "json", "requests": 0.01, "request_headers": ["x-request-id"]},
    }
    traffic = {NAME: {"weights": {"champion": 100}}}
    application = {
        "name": "garbage",
        "import_path": "serve.app:build",
        "route_prefix": "/",
        "args": arguments,
        "deployments": [{"name": "ingress", "user_config": {"traffic": traffic}}],
    }
    config = folder / "serve.yaml"
    config.write_text(yaml.safe_dump({"proxy_location": "Disabled", "applications": [application]}))
    command = [str(OWN_PROGRAMS / "serve"), "run", "--address", "local", str(config)]
    # No collector is there: what can't be sent must not pile up either.
    environment = {
        "PYTHONPATH": str(_ROOT),
        "TAXIWAY_HOME": str(folder),
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
    }
    probe = codecs.inference(f"/v2/models/{NAME}/infer", OUTPUT).encode(material.rows[:1])

    def answers() -> bool:
        with suppress(OSError, RuntimeError):
            ask(port, probe)
            return True
        return False

    with running(command, port, environment, folder / "log.txt", answers, 300.0) as up:
        yield up, grpc_port


def _moments(up: Running, folder: Path, clients: Sequence[Garbage], minutes: float) -> Iterator[Moment]:
    begin = time.monotonic()
    while (passed := (time.monotonic() - begin) / 60) < minutes:
        time.sleep(60.0 if passed else 20.0)
        moment = _moment(up, folder, (time.monotonic() - begin) / 60, sum(it.sent.total() for it in clients))
        print("  ".join(f"{field.name} {getattr(moment, field.name):.5g}" for field in fields(moment)), flush=True)
        yield moment


def _moment(up: Running, folder: Path, minutes: float, requests: int) -> Moment:
    processes = psutil.Process(up.pid).children(recursive=True)
    (replica,) = (it for it in processes if "ServeReplica:garbage:ingress" in " ".join(it.cmdline()))
    (raylet,) = (it for it in processes if it.name() == "raylet")
    session = next(it.partition("=")[2] for it in raylet.cmdline() if it.startswith("--session_dir="))
    kept = _sizes(folder / "predictions")
    return Moment(
        minutes,
        requests,
        replica.memory_full_info().uss / 2**20,
        proportional_set_size_mb(up.pid),
        len(set(_SERIES.findall(metrics(up.pid)))),
        replica.num_fds(),
        replica.num_threads(),
        len(kept),
        sum(kept) / 1e6,
        sum(_sizes(Path(session) / "logs")) / 1e6,
    )


def _sizes(folder: Path) -> list[int]:
    found = []
    for file in folder.rglob("*"):
        with suppress(OSError):
            if file.is_file():
                found.append(file.stat().st_size)
    return found


def _report(moments: Sequence[Moment], sent: Counter[str]) -> str:
    middle = moments[len(moments) // 2]
    some = [next(it for it in moments if it.minutes >= min(5.0, middle.minutes)), middle, moments[-1]]
    rows = "".join(
        f"| {it.minutes:.0f} | {it.requests:,} | {it.replica_mb:.0f} | {it.all_mb:.0f} | {it.series} | {it.open_files} "
        f"| {it.threads} | {it.kept_files} | {it.kept_mb:.1f} | {it.log_mb:.1f} |\n"
        for it in some
    )
    ended = ", ".join(f"{code} {count:,}" for code, count in sent.most_common())
    return (
        "# Garbage without end: measured by `python -m benchmarks.garbage`\n\n"
        "One replica with prediction log, observations, tracing (to a collector that is not there) and a log of "
        "requests; HTTP and gRPC. Requests have random paths, names, headers, bodies, types and numbers, are no HTTP "
        "at all, or end in the middle; some are right. Memory is USS for the replica and PSS for all processes. Files "
        "are those of the prediction log and of the feedback; its rows are right answers, and stay until they are "
        "old.\n\n"
        "| minutes | requests | replica, MB | all, MB | time series | open files | threads | files kept | MB | "
        "Ray's logs, MB |\n|---|---|---|---|---|---|---|---|---|---|\n"
        f"{rows}\nHow the requests ended: {ended}.\n"
    )


if __name__ == "__main__":
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    sys.exit(main())
