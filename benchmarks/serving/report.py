"""The Markdown page: what was measured, the ratios that we aim at, and every figure."""

import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version

from benchmarks.pages import memory_gb, processor, table
from benchmarks.serving.environments import ENVIRONMENTS
from benchmarks.serving.measure import Cell, Outcome
from benchmarks.serving.ratios import Ratios
from benchmarks.serving.servers import Server

_BUSY = 0.9
_OWN = ("ray", "mlflow", "scikit-learn", "numpy", "uvicorn", "uvloop", "orjson")


def write(
    servers: Sequence[Server],
    outcomes: Sequence[Outcome],
    in_process: Mapping[int, float],
    seconds: float,
    total_s: float,
) -> str:
    """The page; servers that failed are named with the reason."""
    titles = {server.key: server.title for server in servers}
    cells = [cell for outcome in outcomes for cell in outcome.cells]
    ratios = [(one.what, one.aim, one.measured) for one in Ratios(servers, cells, in_process).all()]
    parts = [
        "# One model behind Taxiway and its peers: measured by `python -m benchmarks.serving`",
        _setting(seconds, total_s),
        "![requests/s and p99 over connections](serving.png)",
        table("Ratios", ("what", "aim", "measured"), ratios),
        *(_payload(payload, cells, titles) for payload in dict.fromkeys(cell.payload for cell in cells)),
        table("Memory and start", ("server", "PSS under load, MB", "first answer after, s"), _memory(outcomes, titles)),
        _in_process(in_process),
        _failures(outcomes, titles),
        _versions(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _setting(seconds: float, total_s: float) -> str:
    return (
        f"{processor()}, {os.cpu_count()} cores, {memory_gb():.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}. A gradient-boosted classifier (100 iterations, 15 numbers a row) in one "
        f"process, OMP_NUM_THREADS=1, one server at a time, {seconds:g} s a cell after one of warm-up, server and load "
        f"generator on the same machine, everything in one run of {total_s / 60:.0f} minutes. Sampled answers are "
        "compared with the model's own. Errors: not 200, lost, or wrong. CPU: of all the server's processes, for one "
        f"request. An asterisk: the generator took over {_BUSY:.0%} of a core, so the server may do more. Compare the "
        "rows with each other, not with other machines."
    )


def _payload(payload: str, cells: Sequence[Cell], titles: Mapping[str, str]) -> str:
    rows = [
        (
            titles[cell.server],
            f"{cell.connections}",
            f"{cell.requests_per_s:,.0f}{'*' if cell.generator_busy > _BUSY else ''}",
            f"{cell.p50_ms:,.2f}",
            f"{cell.p99_ms:,.2f}",
            f"{cell.server_cpu_ms:,.2f}",
            f"{cell.errors}",
        )
        for cell in cells
        if cell.payload == payload
    ]
    return table(payload, ("server", "connections", "requests/s", "p50 ms", "p99 ms", "CPU ms", "errors"), rows)


def _memory(outcomes: Sequence[Outcome], titles: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    for outcome in outcomes:
        if outcome.cells:
            yield titles[outcome.server], f"{outcome.memory_mb:,.0f}", f"{outcome.started_s:.1f}"


def _in_process(in_process: Mapping[int, float]) -> str:
    figures = ", ".join(f"{speed:,.0f} of {rows}" for rows, speed in in_process.items())
    return f"The model alone, in process on one core, predicts so many rows/s in calls of so many rows: {figures}."


def _failures(outcomes: Sequence[Outcome], titles: Mapping[str, str]) -> str:
    rows = [(titles[outcome.server], outcome.failure) for outcome in outcomes if outcome.failure]
    return table("Not measured, or not to the end", ("server", "why"), rows) if rows else ""


def _versions() -> str:
    pins = "; ".join(
        f"{name}: {', '.join(pin for pin in packages if not pin.startswith(('scikit-learn', 'numpy', 'joblib')))}"
        for name, packages in ENVIRONMENTS.items()
    )
    own = ", ".join(f"{name} {version(name)}" for name in _OWN)
    return f"Taxiway's environment: {own}. The peers' have the same scikit-learn and numpy, and {pins}."
