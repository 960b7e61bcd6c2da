"""The picture of a plan: traffic, replicas, latency and money over time, one line a policy."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from taxiway.planning.cost import cost_so_far
from taxiway.planning.replica import Replica
from taxiway.planning.settings import NodePlan
from taxiway.planning.simulate import Run
from taxiway.planning.trace import Values

_COLORS = ("#1f5fa8", "#a05a00", "#1b6e3c", "#6a3d9a", "#b3261e", "#3b8ea5")
_POINTS = 1_440
_TITLES = ("requests/s", "replicas that answer", "p99, ms", "refused and lost, of the requests", "spent so far")


def plan_figure(runs: Sequence[Run], node: NodePlan, replica: Replica) -> Figure:
    """Five panels over hours. Of each stretch the mean is drawn, of latencies the worst."""
    figure = Figure(figsize=(8.0, 10.0), dpi=130, layout="constrained")
    panels = figure.subplots(len(_TITLES), 1, sharex=True)
    every = max(len(runs[0].arrived) // _POINTS, 1)
    hours = np.arange(0, len(runs[0].arrived), every) / 3_600
    panels[0].plot(hours, _means(runs[0].arrived, every), color="#555555", linewidth=1)
    for number, run in enumerate(runs):
        look = {"color": _COLORS[number % len(_COLORS)], "linewidth": 1.2, "label": run.policy.name}
        p99_ms: Values = np.interp(run.places, np.arange(len(replica.p99_ms)), replica.p99_ms)
        failed = _means(run.refused + run.lost, every) / np.maximum(_means(run.arrived, every), 1e-9)
        panels[1].plot(hours, _means(run.ready, every), **look)
        panels[2].plot(hours, np.maximum.reduceat(p99_ms, np.arange(0, len(p99_ms), every)), **look)
        panels[3].plot(hours, failed, **look)
        panels[4].plot(hours, cost_so_far(run, node)[::every], **look)
    panels[2].set_yscale("log")
    titles = (*_TITLES[:-1], f"{_TITLES[-1]}, {node.currency}")
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, loc="left", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(color="#e6e6e6", linewidth=0.6)
    panels[1].legend(frameon=False, fontsize=8)
    panels[-1].set_xlabel("hours")
    return figure


def _means(values: Values, every: int) -> Values:
    begins = np.arange(0, len(values), every)
    sums: Values = np.add.reduceat(values, begins)
    return sums / np.diff(np.append(begins, len(values)))
