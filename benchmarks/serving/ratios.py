"""The ratios that we aim at, from the cells of one run; a ratio whose servers were not measured is left out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmarks.serving.measure import BINARY_ROWS, JSON_ROW, JSON_ROWS, Cell, Payload
from benchmarks.serving.servers import Server


@dataclass(frozen=True)
class Ratio:
    """What is compared, what we aim at (nothing where the figure is only for information), and what came out."""

    what: str
    aim: str
    measured: str


@dataclass(frozen=True)
class Ratios:
    """`in_process` is rows/s of the model alone on one core, by rows of a call."""

    servers: Sequence[Server]
    cells: Sequence[Cell]
    in_process: Mapping[int, float]

    def all(self) -> Iterator[Ratio]:
        for payload in (JSON_ROW, JSON_ROWS):
            for connections in (32, 128):
                yield from self._among_peers(payload, connections)
                yield from self._of_the_limit(payload, connections)
                yield from self._two_replicas(payload, connections)
        yield from self._stock_ray()
        yield from self._alone()
        yield from self._binary()

    @cached_property
    def _at(self) -> dict[tuple[str, str, int], Cell]:
        return {(cell.server, cell.payload, cell.connections): cell for cell in self.cells}

    def _cell(self, server: str, payload: Payload, connections: int) -> Cell | None:
        return self._at.get((server, payload.name, connections))

    def _others(self, payload: Payload, connections: int, *roles: str) -> list[Cell]:
        cells = (self._cell(server.key, payload, connections) for server in self.servers if server.role in roles)
        return [cell for cell in cells if cell is not None]

    def _among_peers(self, payload: Payload, connections: int) -> Iterator[Ratio]:
        own = self._cell("taxiway", payload, connections)
        here = _here(payload, connections)
        if own and (peers := self._others(payload, connections, "peer")):
            best = max(peers, key=lambda cell: cell.requests_per_s)
            what = f"requests/s against the best peer that is not Ray ({best.server}), {here}"
            yield Ratio(what, _aim("5x", payload), f"{own.requests_per_s / best.requests_per_s:.1f}x")
        if own and (peers := self._others(payload, connections, "peer", "ray")):
            quickest = min(peers, key=lambda cell: cell.p99_ms)
            what = f"p99 against the lowest of the peers ({quickest.server}), {here}"
            yield Ratio(what, _aim("lower", payload), f"{own.p99_ms:.1f} against {quickest.p99_ms:.1f} ms")

    def _of_the_limit(self, payload: Payload, connections: int) -> Iterator[Ratio]:
        own, limit = self._cell("taxiway", payload, connections), self._cell("limit", payload, connections)
        if own and limit:
            share = f"{own.requests_per_s / limit.requests_per_s:.0%}"
            yield Ratio(f"requests/s of the limit's, {_here(payload, connections)}", _aim("50%", payload), share)

    def _two_replicas(self, payload: Payload, connections: int) -> Iterator[Ratio]:
        one, two = self._cell("taxiway", payload, connections), self._cell("taxiway-2", payload, connections)
        if one and two:
            gain = f"{two.requests_per_s / one.requests_per_s:.2f}x"
            yield Ratio(f"two replicas against one, {_here(payload, connections)}", _aim("1.4x", payload), gain)

    def _stock_ray(self) -> Iterator[Ratio]:
        own, stock = self._cell("taxiway", JSON_ROW, 32), self._cell("ray", JSON_ROW, 32)
        if own and stock and stock.requests_per_s:
            ratio = f"{own.requests_per_s / stock.requests_per_s:.0f}x"
            yield Ratio(f"requests/s against stock Ray Serve, {_here(JSON_ROW, 32)}", "20x", ratio)

    def _alone(self) -> Iterator[Ratio]:
        own, fastapi = self._cell("taxiway", JSON_ROW, 1), self._cell("fastapi", JSON_ROW, 1)
        if own and fastapi:
            difference = f"{own.p50_ms - fastapi.p50_ms:+.2f} ms"
            yield Ratio("p50 less FastAPI's, 1 connection, 1 row", "at most +0.5 ms", difference)

    def _binary(self) -> Iterator[Ratio]:
        cells = [cell for cell in self.cells if (cell.server, cell.payload) == ("taxiway", BINARY_ROWS.name)]
        if cells and (alone := self.in_process.get(BINARY_ROWS.rows)):
            best = max(cells, key=lambda cell: cell.requests_per_s)
            by_time = best.requests_per_s * BINARY_ROWS.rows / alone
            by_cpu = BINARY_ROWS.rows / best.server_cpu_ms * 1000 / alone
            what = f"rows/s of binary tensors against in-process predict, 256 rows, {best.connections} connections"
            yield Ratio(what, "85%", f"{by_time:.0%}; for each CPU-second {by_cpu:.0%}")


def _here(payload: Payload, connections: int) -> str:
    return f"{connections} connections, {payload.name}"


def _aim(aim: str, payload: Payload) -> str:
    """The aims are for one row; the same figures of 32 rows are for information."""
    return aim if payload == JSON_ROW else ""
