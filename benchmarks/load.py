"""A closed-loop HTTP load generator: N keep-alive connections, each sends its next request when it has its answer."""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import httptools
import numpy as np
import uvloop


@dataclass(frozen=True)
class Load:
    """What one run of load saw; latencies in milliseconds, errors are answers other than 200 and lost connections."""

    connections: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int


class Connection(asyncio.Protocol):
    """Sends requests one after the other until told to stop."""

    def __init__(self, requests: list[bytes], first: int) -> None:
        self._requests = requests
        self._next = first
        self._sent_at = 0.0
        self.latencies_s: list[float] = []
        self.errors = 0
        self.stopping = False
        self.closed = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._send()

    def _send(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self._sent_at = time.perf_counter()
        self._transport.write(self._requests[self._next % len(self._requests)])
        self._next += 1

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        """Called by httptools at the end of an answer."""
        self.latencies_s.append(time.perf_counter() - self._sent_at)
        self.errors += self._parser.get_status_code() != 200
        if self.stopping:
            self._transport.close()
        else:
            # In the next turn: the parser that calls this must not be replaced under its own feet.
            asyncio.get_running_loop().call_soon(self._send)

    def connection_lost(self, exc: Exception | None) -> None:
        self.errors += not self.stopping
        if not self.closed.done():
            self.closed.set_result(None)


async def _run(host: str, port: int, requests: list[bytes], connections: int, warm_up_s: float, seconds: float) -> Load:
    loop = asyncio.get_running_loop()
    opened = [
        (await loop.create_connection(lambda first=first: Connection(requests, first * 7), host, port))[1]  # type: ignore[misc]
        for first in range(connections)
    ]
    await asyncio.sleep(warm_up_s)
    for connection in opened:
        connection.latencies_s.clear()
    start = time.perf_counter()
    await asyncio.sleep(seconds)
    wall_s = time.perf_counter() - start
    latencies_ms = np.concatenate([connection.latencies_s for connection in opened]) * 1000
    errors = sum(connection.errors for connection in opened)
    for connection in opened:
        connection.stopping = True
    await asyncio.wait([connection.closed for connection in opened], timeout=10)
    p50, p99 = np.percentile(latencies_ms, [50, 99])
    return Load(connections, len(latencies_ms) / wall_s, float(p50), float(p99), errors)


def http_request(host: str, path: str, body: bytes) -> bytes:
    """The bytes of one POST."""
    head = (
        f"POST {path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def main() -> None:
    """`python -m benchmarks.load HOST PORT PATH BODIES CONNECTIONS SECONDS`; prints a `Load` as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("host")
    parser.add_argument("port", type=int)
    parser.add_argument("path")
    parser.add_argument("bodies", type=Path, help="a file with one JSON body a line")
    parser.add_argument("connections", type=int)
    parser.add_argument("seconds", type=float)
    given = parser.parse_args()
    requests = [http_request(given.host, given.path, body) for body in given.bodies.read_bytes().splitlines()]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        load = runner.run(_run(given.host, given.port, requests, given.connections, 1.0, given.seconds))
    json.dump(asdict(load), sys.stdout)


if __name__ == "__main__":
    main()
