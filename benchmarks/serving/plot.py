"""The plot: requests/s and p99 over connections, both axes logarithmic, one line a server."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from benchmarks.serving.measure import CONNECTIONS, JSON_ROW, JSON_ROWS, Cell, Outcome, Payload
from benchmarks.serving.servers import Server

mpl.use("Agg")
import matplotlib.pyplot as plt

_COLOR = {
    "fastapi": "#4c72b0",
    "mlflow": "#937860",
    "mlserver": "#55a868",
    "bentoml": "#c44e9b",
    "litserve": "#8172b3",
    "ray": "#64a8b8",
    "limit": "#777777",
    "taxiway": "#d1301f",
}
_MARKER = {"fastapi": "o", "mlflow": "v", "mlserver": "s", "bentoml": "^", "litserve": "D", "ray": "P", "limit": "x"}


def draw(servers: Sequence[Server], outcomes: Sequence[Outcome], file: Path) -> None:
    """Writes a PNG with a row of panels for each payload and the legend in the order of the lines."""
    payloads = (JSON_ROW, JSON_ROWS)
    figure, panels = plt.subplots(2, 2, figsize=(13, 9.5), sharex=True, layout="constrained")
    for (left, right), payload in zip(panels, payloads, strict=True):
        _panel(left, servers, outcomes, payload, "requests_per_s", f"requests/s ({payload.name})")
        _panel(right, servers, outcomes, payload, "p99_ms", f"p99, ms ({payload.name})")
    for panel in panels[-1]:
        panel.set_xlabel("connections")
    lines = sorted(panels[0][0].get_lines(), key=lambda line: -float(line.get_ydata()[-1]))
    figure.legend(
        handles=lines, loc="outside right center", frameon=False, fontsize=10, title="in the order of the\nfirst panel"
    )
    figure.suptitle("One model, one payload, one machine: requests/s and latency by server", fontsize=13)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _panel(
    panel: Axes, servers: Sequence[Server], outcomes: Sequence[Outcome], payload: Payload, what: str, title: str
) -> None:
    by_key = {outcome.server: outcome for outcome in outcomes}
    for server in servers:
        cells = [cell for cell in _cells(by_key.get(server.key)) if cell.payload == payload.name]
        if cells:
            family, _, kind = server.key.partition("-")
            panel.plot(
                [cell.connections for cell in cells],
                [getattr(cell, what) for cell in cells],
                label=server.title,
                color=_COLOR[family],
                marker=_MARKER.get(family, "o"),
                markersize=6 if server.role == "taxiway" else 5,
                linewidth=2.8 if server.role == "taxiway" else 1.4,
                linestyle={"": "-", "split": ":"}.get(kind, "--"),
                zorder=3 if server.role == "taxiway" else 2,
            )
    panel.set_xscale("log")
    panel.set_yscale("log")
    panel.set_title(title, fontsize=11)
    panel.set_xticks(CONNECTIONS, [str(number) for number in CONNECTIONS])
    panel.xaxis.set_minor_locator(NullLocator())
    panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}" if value >= 1 else f"{value:g}"))
    panel.yaxis.set_minor_formatter(NullFormatter())
    panel.grid(which="major", color="#dddddd")
    panel.grid(which="minor", axis="y", color="#f2f2f2")


def _cells(outcome: Outcome | None) -> Sequence[Cell]:
    return () if outcome is None else outcome.cells
