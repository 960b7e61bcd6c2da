"""Runs one server after the other through every payload and number of connections."""

import http.client
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import load
from benchmarks.load import Sample
from benchmarks.processes import Running, StartFailed, free_port, running
from benchmarks.serving.codecs import Codec, Probabilities
from benchmarks.serving.environments import InstallFailed, programs
from benchmarks.serving.model import Material
from benchmarks.serving.servers import OWN_PROGRAMS, Server, Start
from examples.flights.memory import proportional_set_size_mb
from taxiway.settings import home

CONNECTIONS = (1, 8, 32, 128)
_DIFFERENT_ROWS = 6_400
_TOLERANCE = 1e-9


@dataclass(frozen=True)
class Payload:
    """A form and a number of rows; `connections` are those that it is measured with."""

    form: str
    rows: int
    connections: tuple[int, ...] = CONNECTIONS

    @property
    def name(self) -> str:
        return f"{self.form}, {self.rows} row{'s' if self.rows > 1 else ''}"


JSON_ROW = Payload("JSON", 1)
JSON_ROWS = Payload("JSON", 32)
BINARY_ROWS = Payload("binary", 256)
_JSON = (JSON_ROW, JSON_ROWS)
_BINARY = (Payload("binary", 1), Payload("binary", 32), BINARY_ROWS)
_BY_COLUMN = (Payload("JSON by column", 1, (32,)), Payload("JSON by column", 32, (32,)))


@dataclass(frozen=True)
class Cell:
    """One server under one payload from so many connections; `errors` includes sampled answers that were wrong."""

    server: str
    payload: str
    rows: int
    connections: int
    requests_per_s: float
    p50_ms: float
    p99_ms: float
    errors: int
    server_cpu_ms: float
    generator_busy: float


@dataclass(frozen=True)
class Outcome:
    """What became of one server; `failure` says why there are no or too few cells."""

    server: str
    cells: tuple[Cell, ...] = ()
    memory_mb: float = float("nan")
    started_s: float = float("nan")
    failure: str | None = None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def measure(server: Server, material: Material, seconds: float, connections: Sequence[int] = CONNECTIONS) -> Outcome:
    """Starts the server, loads it, ends it; what goes wrong with it stands in the outcome."""
    cells: list[Cell] = []
    try:
        with started(server, material) as up:
            for cell in _cells(server, material, up, seconds, connections):
                cells.append(cell)
                _show(cell)
            return Outcome(server.key, tuple(cells), proportional_set_size_mb(up.pid), up.started_s)
    except (InstallFailed, StartFailed, RuntimeError, OSError, subprocess.SubprocessError) as error:
        print(f"  {server.key}: {error}", flush=True)
        return Outcome(server.key, tuple(cells), failure=f"{type(error).__name__}: {error}")


def started(server: Server, material: Material) -> AbstractContextManager[Running]:
    """The server from its first right answer on.

    Raises:
        InstallFailed: its packages can't be had.
        StartFailed: it ended, or gave no right answer in time.
    """
    folder = home() / "bench" / "servers" / server.key
    folder.mkdir(parents=True, exist_ok=True)
    bin_folder = OWN_PROGRAMS if server.environment is None else programs(server.environment)
    start = Start(material, folder, bin_folder, free_port())
    command = server.command(start)
    question = server.json.encode(start.material.rows[:1])

    def answers() -> bool:
        try:
            answer = ask(start.port, question)
            return not _wrong(server.json, answer, start.material.expected[:1])
        except (OSError, http.client.HTTPException, RuntimeError):
            return False

    log = start.folder / "log.txt"
    return running(command.words, start.port, command.environment, log, answers, server.start_timeout_s)


def ask(port: int, request: bytes) -> Sample:
    """One request on a connection of its own."""
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", first.split()[1], body, dict(line.split(": ", 1) for line in lines))
        response = connection.getresponse()
        answer = response.read()
        if response.status != 200:
            raise RuntimeError(f"status {response.status}: {answer[:200]!r}")
        return Sample(0, {name.lower(): value for name, value in response.getheaders()}, answer)
    finally:
        connection.close()


def _cells(
    server: Server, material: Material, up: Running, seconds: float, connections: Sequence[int]
) -> Iterator[Cell]:
    payloads = [
        (codec, payload)
        for codec, several in ((server.json, _JSON), (server.binary, _BINARY), (server.by_column, _BY_COLUMN))
        if codec is not None
        for payload in several
    ]
    for codec, payload in payloads:
        cuts = [slice(start, start + payload.rows) for start in range(0, _DIFFERENT_ROWS, payload.rows)][:400]
        requests = [codec.encode(material.rows[cut]) for cut in cuts]
        for number in payload.connections:
            if number in connections:
                seen = load.run(up.port, requests, number, seconds, up.pid)
                wrong = sum(_wrong(codec, sample, material.expected[cuts[sample.request]]) for sample in seen.samples)
                figures = {name: value for name, value in vars(seen).items() if name != "samples"}
                yield Cell(server.key, payload.name, payload.rows, **(figures | {"errors": seen.errors + wrong}))


def _wrong(codec: Codec, answer: Sample, expected: Probabilities) -> bool:
    try:
        got = codec.decode(answer)
    except (ValueError, KeyError, TypeError, IndexError):
        return True
    return got.shape != expected.shape or not np.allclose(got, expected, rtol=0, atol=_TOLERANCE)


def _show(cell: Cell) -> None:
    print(
        f"  {cell.server:17} {cell.payload:23} {cell.connections:4} connections: {cell.requests_per_s:8,.0f} requests/s"
        f"  p50 {cell.p50_ms:8.2f}  p99 {cell.p99_ms:8.2f} ms  cpu {cell.server_cpu_ms:7.3f} ms"
        f"  generator {cell.generator_busy:4.0%}  errors {cell.errors}",
        flush=True,
    )


def log_file(server: str) -> Path:
    """What the server has said."""
    return home() / "bench" / "servers" / server / "log.txt"
