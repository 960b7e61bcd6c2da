"""The applications that are compared: one model, and ever more that is remembered of its answers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from benchmarks.serving.model import NAME, Material

FLUSH_S = 1.0
"""More often than the default: a measurement of some seconds then holds as much writing as a long one would."""
SAMPLE = 0.01
_COPY = "copy"
_MODEL = f"models:/{NAME}@champion"


@dataclass(frozen=True)
class Cell:
    """One application with one endpoint, both named `key`.

    Attributes:
        logs: every answer is in the prediction log.
        observes: the endpoint has a rollout, whose controller is told of every answer; there is no challenger.
        shadow: where a second variant of the same version gets a copy of every request.
        everything: all that a replica tells of itself besides: spans of a hundredth of the requests, a line in the
            log for as many, drift. Metrics are on in every cell: nothing turns them off.
    """

    key: str
    title: str
    logs: bool = False
    observes: bool = False
    shadow: Literal["inline", "dedicated"] | None = None
    everything: bool = False

    @property
    def variants(self) -> tuple[str, ...]:
        """Those that have a model to load."""
        return ("champion",) if self.shadow is None else ("champion", _COPY)


PLAIN = Cell("plain", "neither log nor rollout")
LOG = Cell("log", "prediction log", logs=True)
OBSERVED = Cell("observed", "log and observations", logs=True, observes=True)
EVERYTHING = Cell("everything", "and traces, request lines, drift", logs=True, observes=True, everything=True)
CELLS = (
    PLAIN,
    LOG,
    OBSERVED,
    EVERYTHING,
    Cell("shadow", "log, observations, 100% shadow in the same process", logs=True, observes=True, shadow="inline"),
    Cell("dedicated", "log, observations, 100% shadow dedicated", logs=True, observes=True, shadow="dedicated"),
)


def deployment(material: Material, ports: Mapping[str, int], predictions: Path) -> dict[str, Any]:
    """The serve file of all cells, each on a port of its own."""
    applications = [_application(cell, material, ports[cell.key], predictions) for cell in CELLS]
    return {"proxy_location": "Disabled", "applications": applications}


def _application(cell: Cell, material: Material, port: int, predictions: Path) -> dict[str, Any]:
    args: dict[str, Any] = {
        "endpoints": [_endpoint(cell)],
        "registry": material.registry.model_dump(),
        "listener": {"host": "127.0.0.1", "port": port},
        # One cell is asked at a time: they need not share the cores out among themselves.
        "ingress": {"cpus": 0},
    }
    if cell.logs:
        args["predictions"] = {"location": str(predictions), "flush_s": FLUSH_S}
    if cell.everything:
        args["tracing"] = {"sample": SAMPLE}
        args["logs"] = {"format": "json", "requests": SAMPLE}
    traffic: dict[str, Any] = {"weights": {"champion": 100}}
    if cell.shadow is not None:
        traffic["shadows"] = {_COPY: 100}
    return {
        "name": cell.key,
        "import_path": "serve.app:build",
        "route_prefix": f"/{cell.key}",
        "args": args,
        "deployments": [{"name": "ingress", "user_config": {"traffic": {cell.key: traffic}}}],
    }


def _endpoint(cell: Cell) -> dict[str, Any]:
    # What a model takes is measured when it is loaded: with ten processes that start at once, not well.
    variants: list[dict[str, Any]] = [{"name": "champion", "model": _MODEL, "run_in": "loop"}]
    endpoint: dict[str, Any] = {"name": cell.key, "variants": variants}
    if cell.observes:
        variants.append({"name": "challenger", "model": f"models:/{NAME}@challenger"})
        endpoint["rollout"] = {}
    if cell.everything:
        endpoint["drift"] = {}
    if cell.shadow is not None:
        variants.append({"name": _COPY, "model": _MODEL, "placement": cell.shadow, "dedicated": {"cpus": 0}})
    return endpoint
