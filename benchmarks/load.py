"""A closed-loop HTTP load generator: N keep-alive connections, each sends its next request when it has its answer."""

import argparse
import asyncio
import json
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import httptools
import numpy as np
import psutil
import uvloop

_ACCEPT_S = 0.3
_SAMPLE_EVERY = 37
_SAMPLES_PER_CONNECTION = 20
_MAX_RECONNECTS = 1_000


@dataclass(frozen=True)
class Sample:
    """An answer that was kept: to which of the requests, and what it said."""

    request: int
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Load:
    """What one run of load saw.

    Latencies are in milliseconds. Errors are answers other than 200 and connections lost before their answer.
    `generator_busy` is the share of one core that the generator itself took: near 1 the server could do more.
    """

    connections: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    server_cpu_ms: float
    """CPU time a request of the server's processes; NaN when their process id was not given."""
    generator_busy: float
    samples: tuple[Sample, ...]


def post(path: str, body: bytes, headers: Mapping[str, str] | None = None) -> bytes:
    """The bytes of one POST, JSON unless the headers say something else."""
    fields = {"host": "127.0.0.1", "content-type": "application/json", "content-length": str(len(body))}
    lines = [f"POST {path} HTTP/1.1", *(f"{name}: {value}" for name, value in (fields | dict(headers or {})).items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


def run(
    port: int,
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    server: int | None = None,
    warm_up_s: float = 1.0,
) -> Load:
    """Loads 127.0.0.1:`port` from a process of its own; `server` is the id of the process whose family to watch."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "requests"
        file.write_bytes(b"".join(struct.pack("<I", len(request)) + request for request in requests))
        command = [sys.executable, "-m", "benchmarks.load", str(port), str(file), str(connections), str(seconds)]
        command += ["--warm-up", str(warm_up_s), *([] if server is None else ["--server", str(server)])]
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr.strip().rpartition("\n")[2])
    seen = json.loads(done.stdout)
    samples = tuple(Sample(request, headers, bytes.fromhex(body)) for request, headers, body in seen.pop("samples"))
    return Load(**seen, samples=samples)


class _Keeper:
    """Receives from httptools an answer that is kept; the others are only counted, so that the generator stays fast."""

    def __init__(self, connection: "Connection") -> None:
        self.headers: dict[str, str] = {}
        self.body = b""
        self.on_message_complete = connection.on_message_complete

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers[name.decode().lower()] = value.decode()

    def on_body(self, data: bytes) -> None:
        self.body += data


class Connection(asyncio.Protocol):
    """Sends requests one after the other until told to stop; opens itself anew when the server closes it."""

    def __init__(self, address: tuple[str, int], requests: Sequence[bytes], first: int) -> None:
        self._address = address
        self._requests = requests
        self._next = first
        self._sent_at = 0.0
        self._waiting = False
        self._reconnects = 0
        self.latencies_s: list[float] = []
        self.samples: list[Sample] = []
        self.errors = 0
        self.stopping = False
        self.closed = asyncio.get_running_loop().create_future()

    async def open(self) -> None:
        await asyncio.get_running_loop().create_connection(lambda: self, *self._address)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def send(self) -> None:
        if self._transport.is_closing():
            return
        kept = len(self.latencies_s) % _SAMPLE_EVERY == 0 and len(self.samples) < _SAMPLES_PER_CONNECTION
        self._keeper = _Keeper(self) if kept else None
        self._parser = httptools.HttpResponseParser(self._keeper or self)
        self._waiting = True
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by httptools at the end of an answer."""
        self.latencies_s.append(time.perf_counter() - self._sent_at)
        self._waiting = False
        self.errors += self._parser.get_status_code() != 200
        if self._keeper:
            self.samples.append(Sample(self._next % len(self._requests), self._keeper.headers, self._keeper.body))
        self._next += 1
        if self.stopping:
            self._transport.close()
        elif self._parser.should_keep_alive():
            # In the next turn: the parser that calls this must not be replaced under its own feet.
            asyncio.get_running_loop().call_soon(self.send)

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors += self._waiting and not self.stopping
        self._reconnects += 1
        if not self.stopping and self._reconnects < _MAX_RECONNECTS:
            self._opening = asyncio.ensure_future(self._reopen())
        elif not self.closed.done():
            self.closed.set_result(None)

    async def _reopen(self) -> None:
        try:
            await self.open()
            self.send()
        except OSError:
            self.errors += 1
            if not self.closed.done():
                self.closed.set_result(None)


def _cpu_seconds(pid: int | None) -> float:
    """Of the process and its descendants, those that live now."""
    if pid is None:
        return float("nan")
    total = 0.0
    for process in [psutil.Process(pid), *psutil.Process(pid).children(recursive=True)]:
        try:
            times = process.cpu_times()
        except psutil.Error:
            continue
        total += times.user + times.system
    return total


async def _run(
    address: tuple[str, int],
    requests: Sequence[bytes],
    connections: int,
    seconds: float,
    server: int | None,
    warm_up_s: float,
) -> dict[str, Any]:
    opened = [Connection(address, requests, first * 7) for first in range(connections)]
    for connection in opened:
        await connection.open()
    # A server under load accepts slowly: connections that it has not accepted yet would starve, and hide from p99.
    await asyncio.sleep(_ACCEPT_S)
    for connection in opened:
        connection.send()
    await asyncio.sleep(warm_up_s)
    server_before = _cpu_seconds(server)
    for connection in opened:
        connection.latencies_s.clear()
    start, own_before = time.perf_counter(), time.process_time()
    await asyncio.sleep(seconds)
    wall_s, own_s = time.perf_counter() - start, time.process_time() - own_before
    latencies_ms = np.concatenate([connection.latencies_s for connection in opened]) * 1000
    server_s = _cpu_seconds(server) - server_before
    errors = sum(connection.errors for connection in opened)
    for connection in opened:
        connection.stopping = True
    await asyncio.wait([connection.closed for connection in opened], timeout=10)
    answered = len(latencies_ms)
    p50, p99 = np.percentile(latencies_ms, [50, 99]) if answered else (float("nan"), float("nan"))
    return {
        "connections": connections,
        "requests_per_s": answered / wall_s,
        "p50_ms": float(p50),
        "p99_ms": float(p99),
        "errors": errors,
        "server_cpu_ms": server_s * 1000 / answered if answered else float("nan"),
        "generator_busy": own_s / wall_s,
        "samples": [(kept.request, kept.headers, kept.body.hex()) for one in opened for kept in one.samples],
    }


def _read_requests(file: Path) -> list[bytes]:
    data, requests = file.read_bytes(), []
    while data:
        (size,) = struct.unpack_from("<I", data)
        requests.append(data[4 : 4 + size])
        data = data[4 + size :]
    return requests


def main() -> None:
    """`python -m benchmarks.load PORT REQUESTS CONNECTIONS SECONDS`; prints a `Load` as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("requests", type=Path, help="whole HTTP requests, each after its length in four bytes")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    parser.add_argument("--server", type=int)
    parser.add_argument("--warm-up", type=float, default=1.0)
    given = parser.parse_args()
    address, requests = ("127.0.0.1", given.port), _read_requests(given.requests)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = _run(address, requests, given.connections, given.seconds, given.server, given.warm_up)
        seen = runner.run(load)
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
