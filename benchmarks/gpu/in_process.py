"""Rows a second in this process: what a replica's `predict` can do at most, and what TF32 would change."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.gpu.networks import NETWORKS, Network, torch
from benchmarks.pages import table
from taxiway.package import load_package
from taxiway.scoring import Predictor
from taxiway.signature import Array

ROWS = (1, 32, 128, 1_024)
_CPU_ROWS = 128
"""At a time and at most: a CPU is no faster with more."""
_SLICE_S, _SLICES = 0.2, 4

Alone = dict[tuple[str, str, int], float]
"""Rows a second by network, kind and rows at a time."""


def in_process(folders: dict[str, Path], device: str) -> Alone:
    """`predict` of a loaded package, arrays in and arrays out, as a replica calls it."""
    kinds = {"cpu": ("cpu", "fp32"), **{it: (device, it) for it in ("fp32", "bf16")}}
    found: Alone = {}
    for network in NETWORKS:
        for kind, (where, precision) in kinds.items():
            _, predictor = load_package(folders[network.name], device=where, precision=precision)  # type: ignore[arg-type]
            for rows in ROWS:
                inputs = network.inputs(min(rows, _CPU_ROWS) if where == "cpu" else rows)
                found[network.name, kind, rows] = _rows_per_s(predictor, inputs)
    return found


def _rows_per_s(predictor: Predictor, inputs: Array) -> float:
    """The median of some slices, after one that warms up."""
    found = []
    for _ in range(_SLICES + 1):
        calls, begin = 0, time.perf_counter()
        while (spent := time.perf_counter() - begin) < _SLICE_S:
            predictor.predict({"x": inputs})
            calls += 1
        found.append(calls * len(inputs) / spent)
    return median(found[1:])


def alone_table(alone: Alone) -> str:
    rows = [
        (
            network.title,
            f"{count:,}",
            *(f"{alone[network.name, kind, count]:,.0f}" for kind in ("cpu", "fp32", "bf16")),
            f"{alone[network.name, 'fp32', count] / alone[network.name, 'cpu', count]:.1f}",
        )
        for network in NETWORKS
        for count in ROWS
    ]
    head = ("network", "rows at a time", "one CPU thread", "GPU fp32", "GPU bf16", "fp32 / CPU thread")
    return table("In the process: rows/s", head, rows)


@dataclass(frozen=True)
class Rounded:
    """A network in fp32 proper (`ieee`) or in TF32, without copies to and from the host.

    Args:
        distance: ||answers - those of 64 bits|| / ||those of 64 bits||.
    """

    network: str
    kind: str
    distance: float
    rows_per_s: float


def rounded(network: Network, kind: str) -> Rounded:
    """Of 80 mini-batches of 1,024 rows, eight different ones: no cache holds them."""
    torch.manual_seed(0)
    module = network.make().eval()
    inputs = [torch.from_numpy(network.inputs(1_024) + number).cuda() for number in range(8)]
    few = inputs[0][:64]
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = kind
    with torch.inference_mode():
        exact = module.double()(few.cpu().double())
        module.float().cuda()
        away = (module(few).cpu().double() - exact).norm() / exact.norm()
        for warms_up in inputs:
            module(warms_up)
        torch.cuda.synchronize()
        begin = time.perf_counter()
        for number in range(80):
            module(inputs[number % 8])
        torch.cuda.synchronize()
        spent = time.perf_counter() - begin
    torch.backends.cuda.matmul.fp32_precision = torch.backends.cudnn.conv.fp32_precision = "ieee"
    return Rounded(network.title, kind, float(away), 80 * 1_024 / spent)


def precision_table(found: Sequence[Rounded]) -> str:
    names = {"ieee": "fp32", "tf32": "TF32"}
    rows = [(it.network, names[it.kind], f"{it.distance:.1e}", f"{it.rows_per_s:,.0f}") for it in found]
    return table("What TF32 would be: on the device alone", ("network", "in", "away from 64 bits", "rows/s"), rows)
