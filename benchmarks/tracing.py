"""`python -m benchmarks.tracing [--slices N]`: CPU time a request, traced and not, by cells in one process; a collector
in another process takes what they send.
"""

import argparse
import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import grpc
import uvloop

from benchmarks.in_process import Kind, measured, page
from benchmarks.processes import free_port

_RESULTS = Path(__file__).parent / "results" / "tracing.md"
_EXPORT = "opentelemetry.proto.collector.trace.v1.TraceService"
KINDS: Mapping[str, Kind] = {
    "off": Kind(),
    "off again": Kind(),
    "0% of requests traced": Kind(0.0),
    "1%": Kind(0.01),
    "100%": Kind(1.0),
}
"""What `off again` takes more than off is chance."""


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    if given.collect:
        collect(given.port)
        return 0
    found = in_turn(KINDS, given.slices)
    text = page("What tracing costs", "benchmarks.tracing", found, "making and exporting spans included.")
    print(text)
    given.results.write_text(text)
    return 0


def in_turn(kinds: Mapping[str, Kind], slices: int) -> dict[str, list[float]]:
    """`measured` with a collector for their spans."""
    port = free_port()
    with collector(port):
        os.environ["OTEL_EXPORTER_OTLP_ENDPOINT"] = f"http://127.0.0.1:{port}"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(measured(kinds, slices))


@contextmanager
def collector(port: int) -> Iterator[None]:
    command = [sys.executable, "-m", "benchmarks.tracing", "--collect", "--port", str(port)]
    started = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        if started.stdout is None or started.stdout.readline().strip() != "ready":
            raise RuntimeError("the collector did not start")
        yield
    finally:
        started.terminate()
        started.wait(20)


def collect(port: int) -> None:
    """Takes spans and forgets them."""
    server = grpc.server(ThreadPoolExecutor(1))
    taken = grpc.unary_unary_rpc_method_handler(lambda request, context: b"")
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_EXPORT, {"Export": taken}),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    print("ready", flush=True)
    server.wait_for_termination()


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tracing", description=__doc__)
    parser.add_argument("--slices", type=int, default=10, help="of each cell (10)")
    parser.add_argument("--results", type=Path, default=_RESULTS, metavar="FILE")
    parser.add_argument("--collect", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--port", type=int, default=0, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
