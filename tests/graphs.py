"""Small graphs of models that are functions of their columns."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from taxiway.graph import GraphPredictor, GraphSettings, NodeOutcome, plan
from taxiway.settings import FileSettings, parse
from taxiway.signature import Array, Column, Columns, Signature

T = TypeVar("T")


class File(FileSettings):
    graph: GraphSettings


class Function:
    """A model that is a function of its columns; remembers the columns and rows of its calls."""

    def __init__(self, predict: Callable[..., Any], output: str = "p") -> None:
        self._predict = predict
        self._output = output
        self.calls: list[tuple[tuple[str, ...], int]] = []

    def predict(self, columns: Columns) -> dict[str, Array]:
        self.calls.append((tuple(columns), len(next(iter(columns.values())))))
        return {self._output: self._predict(**columns)}


class Watching:
    """Remembers what nodes did."""

    def __init__(self) -> None:
        self.outcomes: list[tuple[str, int, NodeOutcome]] = []

    def __call__(self, node: str, seconds: float, rows: int, outcome: NodeOutcome) -> None:
        self.outcomes.append((node, rows, outcome))


def unlimited(node: str, call: Callable[[], T], timeout_s: float, /) -> T:
    return call()


def column(name: str, dtype: str = "float64", **rules: Any) -> Column:
    return Column.model_validate({"name": name, "dtype": dtype, **rules})


def signature(inputs: Sequence[Column | str], outputs: Sequence[Column | str] = ("p",)) -> Signature:
    as_columns = [tuple(column(it) if isinstance(it, str) else it for it in some) for some in (inputs, outputs)]
    return Signature(inputs=as_columns[0], outputs=as_columns[1])


X = signature(["x"])


def settings(output: str, **nodes: Mapping[str, Any]) -> GraphSettings:
    """A node without a kind is a model of its own name."""
    named = {name: node if "kind" in node else {"model": f"models:/{name}/1", **node} for name, node in nodes.items()}
    return parse({"graph": {"nodes": named, "output": output}}, File, "serve.yaml").graph


def build(
    graph: GraphSettings, models: Mapping[str, tuple[Signature, Function]], **more: Any
) -> tuple[GraphPredictor, Watching]:
    planned = plan(graph, {name: it for name, (it, _) in models.items()}, {})
    watching = Watching()
    run = more.pop("run_with_timeout", unlimited)
    predictors = {name: predictor for name, (_, predictor) in models.items()}
    return GraphPredictor(planned, predictors, watching, time.monotonic, run, **more), watching
