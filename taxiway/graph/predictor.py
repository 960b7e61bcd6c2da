"""A graph as one predictor: what a request takes for a model asks several of them."""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from enum import StrEnum
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from taxiway.errors import DeadlineExceeded, ModelFailed, Unavailable
from taxiway.graph import combine
from taxiway.graph.plan import Graph
from taxiway.graph.settings import EnsembleNode, FallbackNode, ModelNode, SequenceNode, SwitchNode
from taxiway.graph.switch import branches
from taxiway.scoring import Predictor
from taxiway.signature import Array, Column, Columns, row_count, take

_log = logging.getLogger(__name__)
T = TypeVar("T")
Outputs = dict[str, Array]
Rows = NDArray[np.intp]


class NodeOutcome(StrEnum):
    """How a node's call ended; a label of metrics."""

    ANSWERED = "answered"
    FAILED = "failed"
    LATE = "late"
    UNAVAILABLE = "unavailable"


Observe = Callable[[str, float, int, NodeOutcome], None]
"""Told the node, the seconds, the rows and the outcome of each call; called from several threads, never raises."""


class RunWithTimeout(Protocol):
    """Runs a node's call.

    Raises:
        DeadlineExceeded: it took longer than `timeout_s`; its result is dropped.
        Unavailable: too many calls of this node are late already.
    """

    def __call__(self, node: str, call: Callable[[], T], timeout_s: float, /) -> T: ...


class MapParallel(Protocol):
    """Runs calls, at the same time where it can; their results in order, or what the first one of them raised."""

    def __call__(self, calls: Sequence[Callable[[], T]], /) -> list[T]: ...


def one_after_another(calls: Sequence[Callable[[], T]], /) -> list[T]:
    return [call() for call in calls]


class GraphPredictor:
    """Answers from the output of a graph.

    Args:
        predictors: the model of each model node.
        clock: seconds, monotonic.
        map_parallel: asks the members of an ensemble of which one is in another process.
        within: each call of a node is made inside what it gives.
    """

    def __init__(
        self,
        graph: Graph,
        predictors: Mapping[str, Predictor],
        observe: Observe,
        clock: Callable[[], float],
        run_with_timeout: RunWithTimeout,
        map_parallel: MapParallel = one_after_another,
        within: Callable[[str], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self.graph = graph
        self.predictors = predictors
        self.observe = observe
        self.clock = clock
        self.run_with_timeout = run_with_timeout
        self.map_parallel = map_parallel
        self.within = within
        nodes = graph.settings.nodes
        self.shared = frozenset(name for name in nodes if graph.settings.times_used(name) > 1)
        self.remote = frozenset(name for name in nodes if graph.settings.is_remote(name))

    def predict(self, columns: Columns) -> Outputs:
        """
        Raises:
            Exception: what a node raised that is in no fallback, or the last one of a fallback.
        """
        return _Answer(self).of(self.graph.settings.output, columns)


class _Answer:
    """One call of a graph; what a shared node has answered for the same columns is not asked again."""

    def __init__(self, asked: GraphPredictor) -> None:
        self._asked = asked
        self._nodes = asked.graph.settings.nodes
        self._outputs = asked.graph.outputs
        self._known: dict[str, tuple[Columns, Outputs]] = {}

    def of(self, name: str, columns: Columns) -> Outputs:
        known = self._known.get(name)
        if known is not None and known[0] is columns:
            return known[1]
        with self._asked.within(name):
            outputs = self._observed(name, columns)
        if name in self._asked.shared:
            self._known[name] = columns, outputs
        return outputs

    def _observed(self, name: str, columns: Columns) -> Outputs:
        clock, timeout_s = self._asked.clock, self._nodes[name].timeout_s
        started, outcome = clock(), NodeOutcome.FAILED
        try:
            if timeout_s is None:
                outputs = self._evaluate(name, columns)
            else:
                outputs = self._asked.run_with_timeout(name, lambda: self._evaluate(name, columns), timeout_s)
            outcome = NodeOutcome.ANSWERED
        except DeadlineExceeded:
            outcome = NodeOutcome.LATE
            raise
        except Unavailable:
            outcome = NodeOutcome.UNAVAILABLE
            raise
        finally:
            self._asked.observe(name, clock() - started, row_count(columns), outcome)
        return outputs

    def _evaluate(self, name: str, columns: Columns) -> Outputs:
        node = self._nodes[name]
        match node:
            case ModelNode():
                return self._model(name, node, columns)
            case SequenceNode():
                return self._sequence(name, node, columns)
            case EnsembleNode():
                return self._ensemble(name, node, columns)
            case SwitchNode():
                return self._switch(name, node, columns)
            case _:
                return self._fallback(name, node, columns)

    def _model(self, name: str, node: ModelNode, columns: Columns) -> Outputs:
        inputs = {}
        unchecked = self._asked.graph.from_nodes.get(name, frozenset())
        for taken in self._asked.graph.takes[name]:
            column = taken.column
            inputs[column.name] = columns[taken.source].astype(column.numpy_dtype, copy=False)
            if column.name in unchecked and (rejects := column.rejects(inputs[column.name])):
                raise ValueError(f"{name}: its input {column.name!r} breaks a rule: {rejects[0].reasons[0]}")
        answered = self._asked.predictors[name].predict(inputs)
        return {
            new: _as_declared(name, answered.get(old), self._outputs[name][new], row_count(columns))
            for old, new in _names(node, self._outputs[name])
        }

    def _sequence(self, name: str, node: SequenceNode, columns: Columns) -> Outputs:
        every = dict(columns)
        for step in node.steps:
            every |= self.of(step, columns)
            columns = dict(every)
        return {output: every[output] for output in self._outputs[name]}

    def _ensemble(self, name: str, node: EnsembleNode, columns: Columns) -> Outputs:
        calls = [lambda member=member: self.of(member, columns) for member in node.of]
        remote = any(member in self._asked.remote for member in node.of)
        answers = (self._asked.map_parallel if remote else one_after_another)(calls)
        if node.by is not None:
            members = zip(node.of, answers, strict=True)
            named = {f"{member}.{output}": it for member, answer in members for output, it in answer.items()}
            return self.of(node.by, {**columns, **named})
        outputs = {}
        for output, column in self._outputs[name].items():
            values = [answer[output] for answer in answers]
            if node.method == "vote":
                outputs[output] = combine.vote(values)
            elif node.weights is not None:
                outputs[output] = combine.weighted_sum(values, node.weights)
            else:
                outputs[output] = combine.mean(values)
            outputs[output] = outputs[output].astype(column.numpy_dtype, copy=False)
        return outputs

    def _switch(self, name: str, node: SwitchNode, columns: Columns) -> Outputs:
        looked_at = self._asked.graph.settings.switched_on(node)
        if looked_at is not None:
            values = self.of(looked_at[0], columns)[looked_at[1]]
        else:
            values = columns[node.on.name if isinstance(node.on, Column) else node.on]
        chosen = branches(values, node.cases)
        use = [*(case.use for case in node.cases), node.default]
        by_node: dict[str, list[int]] = {}
        for position, branch in enumerate(use):
            by_node.setdefault(branch, []).append(position)
        parts = []
        for branch, positions in by_node.items():
            rows = np.flatnonzero(np.isin(chosen, positions))
            if len(rows):
                parts.append((rows, self.of(branch, _some(columns, rows))))
        return self._together(name, parts, len(values))

    def _fallback(self, name: str, node: FallbackNode, columns: Columns) -> Outputs:
        rows = row_count(columns)
        parts: list[tuple[Rows, Outputs]] = []
        left: Rows = np.arange(rows)
        for alternative in node.of[:-1]:
            answered, left = self._isolate(alternative, columns, left)
            parts += answered
            if not len(left):
                return self._together(name, parts, rows)
        try:
            parts.append((left, self.of(node.of[-1], _some(columns, left))))
        except (Unavailable, DeadlineExceeded) as error:
            if len(left) < rows:
                # Of these rows alone: whoever halves the batch finds them, and the others keep their answers.
                raise ModelFailed(f"no node of {name!r} answers these rows") from error
            raise
        return self._together(name, parts, rows)

    def _isolate(self, name: str, columns: Columns, rows: Rows) -> tuple[list[tuple[Rows, Outputs]], Rows]:
        """What a node answers, and the rows that it does not.

        Where it raises, the rows are halved until the guilty ones stand alone, in so many calls as a few of them
        need: a node that fails on all rows must not be called for each. One that is late or away is not asked again.
        """
        answered: list[tuple[Rows, Outputs]] = []
        left: list[Rows] = []
        waiting, calls = [rows], 4 + 4 * len(rows).bit_length()
        while waiting:
            some = waiting.pop(0)
            calls -= 1
            try:
                answered.append((some, self.of(name, _some(columns, some))))
            except (Unavailable, DeadlineExceeded):
                left += [some, *waiting]
                break
            except Exception as error:  # noqa: BLE001 - whatever a model raises, the next one answers
                if some is rows:
                    _log.warning("the node %s raised, the next of its fallback answers", name, exc_info=error)
                if len(some) > 1 and calls > len(waiting) + 1:
                    waiting += np.array_split(some, 2)
                else:
                    left.append(some)
        return answered, np.sort(np.concatenate(left)) if left else rows[:0]

    def _together(self, name: str, parts: Sequence[tuple[Rows, Outputs]], rows: int) -> Outputs:
        """Answers of some rows each, as those of all rows in their order."""
        outputs = {}
        for output, column in self._outputs[name].items():
            if len(parts) == 1:
                outputs[output] = parts[0][1][output].astype(column.numpy_dtype, copy=False)
                continue
            first = parts[0][1][output]
            outputs[output] = np.empty((rows, *first.shape[1:]), column.numpy_dtype)
            for positions, part in parts:
                outputs[output][positions] = part[output]
        return outputs


def _some(columns: Columns, rows: Rows) -> Columns:
    """All of them are the same columns: nothing is copied, and known answers are found."""
    return columns if len(rows) == row_count(columns) else take(columns, rows)


def _names(node: ModelNode, outputs: Mapping[str, Column]) -> Sequence[tuple[str, str]]:
    """Each output's name in the model and in the graph."""
    return [(name, name) for name in outputs] if node.outputs is None else list(node.outputs.items())


def _as_declared(name: str, values: Array | None, column: Column, rows: int) -> Array:
    """Answers are joined by position: one value too many or too few must not pass."""
    if values is None or len(values) != rows:
        found = "none" if values is None else f"{len(values)} values"
        raise ValueError(f"{name} must answer {rows} values as {column.name!r}, it answered {found}")
    return np.asarray(values).astype(column.numpy_dtype, casting="same_kind", copy=False)
