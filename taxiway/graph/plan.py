"""Checks a graph against its models before anything starts, and says what the whole takes and gives."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import NoReturn

from taxiway.errors import ConfigError
from taxiway.feature_binding import FeatureBinding
from taxiway.graph.columns import in_the_way, merged_column, merged_features
from taxiway.graph.outputs import NodeOutputs, Outputs, refuse
from taxiway.graph.settings import EnsembleNode, GraphSettings, ModelNode, SequenceNode, SwitchNode
from taxiway.graph.switch import in_the_way as in_the_way_of_case
from taxiway.signature import Column, Signature


@dataclass(frozen=True)
class Taken:
    """An input of a node's model, and the name under which the graph has it."""

    column: Column
    source: str


@dataclass(frozen=True)
class Graph:
    """A graph that fits together.

    `takes` is what each model takes, `outputs` what each node gives. `from_nodes` are the inputs of each
    model that another node gives: they have not been checked with the request.
    """

    settings: GraphSettings
    signature: Signature
    features: FeatureBinding | None
    takes: Mapping[str, tuple[Taken, ...]]
    outputs: Mapping[str, Outputs]
    from_nodes: Mapping[str, frozenset[str]]

    @cached_property
    def model_columns(self) -> tuple[Column, ...]:
        """What requests may bring: the signature's inputs and those of the feature store."""
        return self.signature.inputs + (self.features.optional_inputs if self.features else ())

    @cached_property
    def blocks(self) -> bool:
        """Whether an answer waits for another process or for a thread: nothing for an event loop."""
        remote = self.settings.is_remote(self.settings.output)
        return remote or any(node.timeout_s is not None for node in self.settings.nodes.values())


def plan(
    settings: GraphSettings,
    interfaces: Mapping[str, Signature],
    bindings: Mapping[str, FeatureBinding | None],
    where: str = "graph",
) -> Graph:
    """
    Args:
        interfaces: the signature of each model, by node.
        bindings: what each model reads from the feature store, by node; a node without one may be left out.
        where: the graph's key in the config file, for errors.

    Raises:
        ConfigError: two nodes don't fit together; the sentence names the nodes and the column.
    """
    outputs = NodeOutputs(settings, interfaces, where)
    answer = outputs.of(settings.output)
    features = _features(settings, bindings, where)
    visit = _Visit(settings, interfaces, bindings, where, outputs)
    visit.node(settings.output, {})
    inputs = visit.inputs(features)
    return Graph(
        settings,
        Signature(inputs=tuple(inputs.values()), outputs=tuple(answer.values())),
        features,
        visit.takes,
        outputs.found,
        {name: frozenset(found) for name, found in visit.from_nodes.items()},
    )


def _features(
    settings: GraphSettings, bindings: Mapping[str, FeatureBinding | None], where: str
) -> FeatureBinding | None:
    try:
        return merged_features(bindings.get(name) for name in settings.models)
    except ConfigError as error:
        raise ConfigError(f"{where}.{error}") from error


def version_of(versions: Mapping[str, str]) -> str:
    """One version of the whole from those of its models, by node and in the order of the file."""
    return "+".join(f"{node}:{version}" for node, version in versions.items())


@dataclass(frozen=True)
class _From:
    """A column, and the node that gives or takes it."""

    node: str
    column: Column


_Scope = Mapping[str, _From]
"""What earlier nodes have added to the columns of the request."""


class _Visit:
    """Walks from the output to the models as an answer does, and collects what nothing in the graph gives."""

    def __init__(
        self,
        settings: GraphSettings,
        interfaces: Mapping[str, Signature],
        bindings: Mapping[str, FeatureBinding | None],
        where: str,
        outputs: NodeOutputs,
    ) -> None:
        self._settings = settings
        self._interfaces = interfaces
        self._bindings = bindings
        self._where = where
        self._outputs = outputs
        self._asked: dict[str, list[_From]] = {}
        self._used: set[tuple[str, str]] = set()
        self._untyped_switches: list[tuple[str, SwitchNode, str]] = []
        self.takes: dict[str, tuple[Taken, ...]] = {}
        self.from_nodes: dict[str, set[str]] = {}

    def node(self, name: str, scope: _Scope) -> None:
        node = self._settings.nodes[name]
        match node:
            case ModelNode():
                self._model(name, node, scope)
            case SequenceNode():
                self._sequence(name, node, scope)
            case EnsembleNode():
                self._ensemble(name, node, scope)
            case SwitchNode():
                self._switch(name, node, scope)
            case _:
                for alternative in node.of:
                    self.node(alternative, scope)

    def _model(self, name: str, node: ModelNode, scope: _Scope) -> None:
        inputs = self._interfaces[name].input_by_name
        binding = self._bindings.get(name)
        features = binding.optional_inputs if binding else ()
        keys = {key for view in binding.views for key in view.entity_keys} if binding else set()
        for renamed in node.inputs:
            if renamed in keys or renamed in {feature.name for feature in features}:
                self._refuse(f"{name}.inputs", f"{renamed!r} belongs to the feature store and keeps its name")
            if renamed not in inputs:
                self._refuse(f"{name}.inputs", f"{node.model} has no input {renamed!r}; there are {', '.join(inputs)}")
        for key in sorted(keys - inputs.keys()):
            self._refuse(name, f"{node.model} reads features by {key!r}, which is none of its inputs")
        for early in (*keys, *(feature.name for feature in features)):
            if early in scope:
                reason = f"features are read before the first node, and {early!r} is an output of {scope[early].node!r}"
                self._refuse(name, f"{reason}; give that output another name with `outputs`")
        taken = [Taken(column, node.inputs.get(column.name, column.name)) for column in inputs.values()]
        for one in taken:
            self._take(name, one, scope)
        self.takes[name] = (*taken, *(Taken(feature, feature.name) for feature in features))

    def _take(self, name: str, taken: Taken, scope: _Scope) -> None:
        given = scope.get(taken.source)
        if given is None:
            column = taken.column.model_copy(update={"name": taken.source})
            self._asked.setdefault(taken.source, []).append(_From(name, column))
            return
        if reason := in_the_way(given.column, taken.column):
            self._refuse(name, f"its input {taken.column.name!r} is {taken.source!r} of {given.node!r}: {reason}")
        self._used.add((given.node, taken.source))
        self.from_nodes.setdefault(name, set()).add(taken.column.name)

    def _sequence(self, name: str, node: SequenceNode, scope: _Scope) -> None:
        inner = dict(scope)
        for step in node.steps:
            self.node(step, inner)
            inner |= {output: _From(step, column) for output, column in self._outputs.of(step).items()}
        self._used |= {(inner[output].node, output) for output in self._outputs.of(name)}
        for step in node.steps:
            if not any((step, output) in self._used for output in self._outputs.of(step)):
                given = ", ".join(self._outputs.of(step))
                self._refuse(
                    f"{name}.steps", f"no later step takes what {step!r} gives ({given}); do the names differ?"
                )

    def _ensemble(self, name: str, node: EnsembleNode, scope: _Scope) -> None:
        for member in node.of:
            self.node(member, scope)
        if node.by is None:
            return
        answers = {
            f"{member}.{output}": _From(member, column)
            for member in node.of
            for output, column in self._outputs.of(member).items()
        }
        self.node(node.by, {**scope, **answers})
        for member in node.of:
            given = [source for source, answer in answers.items() if answer.node == member]
            if not any((member, source) in self._used for source in given):
                reason = f"{node.by!r} takes nothing of {member!r} ({', '.join(given)})"
                self._refuse(f"{name}.by", f"{reason}; say with `inputs` of {node.by!r} which input is which")

    def _switch(self, name: str, node: SwitchNode, scope: _Scope) -> None:
        for branch in dict.fromkeys([*(case.use for case in node.cases), node.default]):
            self.node(branch, scope)
        looked_at = self._settings.switched_on(node)
        if looked_at is not None:
            other, output = looked_at
            self.node(other, scope)
            given = self._outputs.of(other)
            if output not in given:
                self._refuse(f"{name}.on", f"{other!r} has no output {output!r}; there are {', '.join(given)}")
            self._check_cases(name, node, given[output])
        elif isinstance(node.on, Column):
            self._take(name, Taken(node.on, node.on.name), scope)
            self._check_cases(name, node, node.on)
        elif node.on in scope:
            self._used.add((scope[node.on].node, node.on))
            self._check_cases(name, node, scope[node.on].column)
        else:
            self._untyped_switches.append((name, node, node.on))

    def _check_cases(self, name: str, node: SwitchNode, column: Column) -> None:
        for position, case in enumerate(node.cases):
            if reason := in_the_way_of_case(column, case):
                self._refuse(f"{name}.cases.{position}", reason)

    def inputs(self, features: FeatureBinding | None) -> dict[str, Column]:
        """What requests have to bring, each column with the rules of all nodes that take it."""
        stored = {column.name: column for column in features.optional_inputs} if features else {}
        inputs = {}
        for name, takers in self._asked.items():
            if name in stored:
                self._check_stored(stored[name], takers)
            else:
                inputs[name] = self._merged(name, takers)
        for name, node, on in self._untyped_switches:
            column = inputs.get(on) or stored.get(on)
            if column is None:
                hint = f"{{name: {on}, dtype: string}}"
                self._refuse(f"{name}.on", f"no model takes a column {on!r}; declare it with its dtype, as in {hint}")
            self._check_cases(name, node, column)
        return inputs

    def _merged(self, name: str, takers: list[_From]) -> Column:
        merged = takers[0].column
        owner, dot, _ = name.partition(".")
        if dot and owner in self._settings.nodes:
            reason = f"it takes {name!r}, which only the node named by `by` of a stacked ensemble gets"
            self._refuse(takers[0].node, reason)
        for taker in takers[1:]:
            try:
                merged = merged_column(merged, taker.column)
            except ValueError as error:
                reason = f"its input {name!r} does not fit with that of {takers[0].node!r}: {error}"
                self._refuse(taker.node, f"{reason}; give one of them another column with `inputs`")
        return merged

    def _check_stored(self, stored: Column, takers: list[_From]) -> None:
        """A feature that one model reads is there for all; its rules are the store's."""
        for taker in takers:
            reason = in_the_way(stored, taker.column)
            rules = {"dtype": stored.dtype, "description": stored.description, "required": stored.required}
            if reason is None and merged_column(stored, taker.column.model_copy(update=rules)) != stored:
                reason = "it has rules that nothing checks on features"
            if reason is not None:
                self._refuse(taker.node, f"its input {stored.name!r} comes from the feature store: {reason}")

    def _refuse(self, key: str, sentence: str) -> NoReturn:
        refuse(self._where, key, sentence)
