"""The tables in docs/metrics.md: `python -m taxiway.telemetry.table docs/metrics.md` writes them anew."""

import ast
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.util.metrics import Counter, Gauge, Histogram

from taxiway.predictions.backlog import LogStatistics
from taxiway.predictions.truth_log import TruthStatistics
from taxiway.telemetry.buckets import Buckets
from taxiway.telemetry.drift import DriftMetrics
from taxiway.telemetry.experiments import ExperimentMetrics
from taxiway.telemetry.metrics import CostMetrics, JobMetrics, ServingMetrics
from taxiway.telemetry.predictions import PredictionLogMetrics
from taxiway.telemetry.rollouts import RolloutMetrics

BEGIN, END = "<!-- begin: tables -->", "<!-- end: tables -->"
_NAME = re.compile(r"taxiway_[a-z0-9_]+")
_KINDS = {Counter: "counter", Gauge: "gauge", Histogram: "histogram", Buckets: "histogram"}


@dataclass(frozen=True)
class Declared:
    """One metric, as it is declared: without the prefix `ray_`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    description: str


def _never(kind: type[Any]) -> Callable[[], Any]:
    def ask() -> Any:
        raise AssertionError(f"{kind.__name__} is not asked for a table")

    return ask


def exported() -> Mapping[str, list[Declared]]:
    """By who exports them: the metrics that Ray's agents expose."""
    log = PredictionLogMetrics(_never(LogStatistics), _never(TruthStatistics))
    owners = {
        "Ingress replicas": ServingMetrics(),
        "Ingress replicas with a prediction log": log,
        "Replicas of dedicated variants": CostMetrics(),
        "The controller: rollouts": RolloutMetrics(),
        "The controller: experiments": ExperimentMetrics(),
        "The controller: drift": DriftMetrics(),
        "The driver of a scoring job": JobMetrics("", ""),
    }
    return {title: list(_of(owner)) for title, owner in owners.items()}


def _of(owner: object) -> Iterator[Declared]:
    for held in vars(owner).values():
        for it in held.values() if isinstance(held, dict) else (held,):
            if isinstance(it, Buckets):
                yield Declared(it.name, "histogram", it.labels, it.description)
            elif isinstance(it, Counter | Gauge | Histogram):
                told = it.info
                yield Declared(told["name"], _KINDS[type(it)], told["tag_keys"], told["description"])


def in_sources(folder: Path) -> list[Declared]:
    """Every metric that a Python file below `folder` declares with a literal name and description.

    Labels are those that stand there as literals.
    """
    calls = (
        node
        for path in sorted(folder.rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and _NAME.fullmatch(_text(node.args[:1]))
    )
    return [Declared(_text(it.args[:1]), _called(it.func), _labels(it.args[2:]), _text(it.args[1:2])) for it in calls]


def _text(arguments: list[ast.expr]) -> str:
    """The first one, if it is a literal text."""
    value = arguments[0].value if arguments and isinstance(arguments[0], ast.Constant) else None
    return value if isinstance(value, str) else ""


def _labels(arguments: list[ast.expr]) -> tuple[str, ...]:
    tuples = [it for it in arguments if isinstance(it, ast.Tuple)]
    return tuple(str(it.value) for found in tuples for it in found.elts if isinstance(it, ast.Constant))


def _called(function: ast.expr) -> str:
    name = function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
    return name.strip("_").lower()


def tables(folder: Path) -> str:
    """Markdown: one table for each that exports, and one of what is pushed or exported without Ray."""
    found = exported()
    known = {it.name for several in found.values() for it in several}
    others = [it for it in in_sources(folder) if it.name not in known]
    sections = {**found, "Pushed, or exported on a port of their own; without the prefix": others}
    return "\n\n".join(f"### {title}\n\n{_table(several)}" for title, several in sections.items())


def _table(several: list[Declared]) -> str:
    rows = [
        f"| `{it.name}` | {it.kind} | {', '.join(it.labels) or '–'} | {it.description.replace('|', chr(92) + '|')} |"
        for it in several
    ]
    return "\n".join(("| metric | type | labels | what |", "|---|---|---|---|", *rows))


def written(text: str, folder: Path) -> str:
    """`text` with the tables of now between its two marks."""
    before, _, rest = text.partition(BEGIN)
    return f"{before}{BEGIN}\n{tables(folder)}\n{END}{rest.partition(END)[2]}"


def main() -> None:
    for path in map(Path, sys.argv[1:]):
        path.write_text(written(path.read_text(), Path(__file__).parent))


if __name__ == "__main__":
    main()
