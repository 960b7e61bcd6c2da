"""The `graph:` of an endpoint in YAML: the nodes by name, and the one that answers."""

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, StringConstraints, field_validator, model_validator

from taxiway.settings import Settings
from taxiway.signature import Column

NodeName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
Placement = Literal["inline", "dedicated"]


class NodeSettings(Settings):
    """What every kind of node has."""

    timeout_s: float | None = Field(default=None, gt=0, description="a node that takes longer has failed")

    def uses(self) -> Iterator[tuple[str, str]]:
        """The nodes that this one asks, each with the key that names it."""
        yield from ()


class ModelNode(NodeSettings):
    """A registered model."""

    kind: Literal["model"] = "model"
    model: str = Field(description="models:/NAME@ALIAS or models:/NAME/VERSION")
    placement: Placement = Field(default="inline", description="in the ingress, or a deployment of its own")
    inputs: Mapping[str, str] = Field(
        default_factory=dict, description="the model's input: the column it takes, where the names differ"
    )
    outputs: Mapping[str, str] | None = Field(
        default=None, description="the model's output: its name in the graph; default all, under their own names"
    )

    @field_validator("inputs", "outputs")
    @classmethod
    def _differ(cls, names: Mapping[str, str] | None) -> Mapping[str, str] | None:
        if names is not None and len(set(names.values())) < len(names):
            raise ValueError(f"two of {', '.join(names)} have the same name in the graph; names must differ")
        return names


class SequenceNode(NodeSettings):
    """One step after another: each takes the columns of the request and the outputs of the steps before it."""

    kind: Literal["sequence"]
    steps: tuple[str, ...] = Field(min_length=2)
    outputs: tuple[str, ...] | None = Field(
        default=None, min_length=1, description="outputs of any step; default those of the last one"
    )

    def uses(self) -> Iterator[tuple[str, str]]:
        yield from (("steps", name) for name in self.steps)


class EnsembleNode(NodeSettings):
    """All members answer; their answers become one."""

    kind: Literal["ensemble"]
    of: tuple[str, ...] = Field(min_length=2)
    method: Literal["mean", "weighted", "vote", "stacked"] = "mean"
    weights: tuple[Annotated[float, Field(ge=0)], ...] | None = Field(
        default=None, description="of `weighted`: one for each member, summing to 1"
    )
    by: str | None = Field(
        default=None, description="of `stacked`: the node that takes the members' outputs, as columns MEMBER.OUTPUT"
    )

    def uses(self) -> Iterator[tuple[str, str]]:
        yield from (("of", name) for name in self.of)
        if self.by is not None:
            yield "by", self.by

    @model_validator(mode="after")
    def _what_the_method_needs(self) -> "EnsembleNode":
        if (self.weights is not None) != (self.method == "weighted"):
            found = "has none" if self.weights is None else f"is {self.method!r}"
            raise ValueError(f"weights belong to the method 'weighted', and it to them; this ensemble {found}")
        if (self.by is not None) != (self.method == "stacked"):
            found = "has none" if self.by is None else f"is {self.method!r}"
            raise ValueError(f"'by' belongs to the method 'stacked', and it to 'by'; this ensemble {found}")
        if self.weights is not None and len(self.weights) != len(self.of):
            raise ValueError(f"{len(self.weights)} weights for {len(self.of)} members; each member needs one")
        if self.weights is not None and not math.isclose(sum(self.weights), 1, abs_tol=1e-9):
            raise ValueError(f"the weights sum to {sum(self.weights):g}; they must sum to 1")
        return self


class SwitchCase(Settings):
    """Which rows a branch answers: values in a closed set, or numbers in a range."""

    one_of: tuple[bool | int | float | str, ...] | None = Field(default=None, min_length=1)
    at_least: float | None = None
    below: float | None = None
    use: str = Field(description="the node that answers these rows")

    @model_validator(mode="after")
    def _one_condition(self) -> "SwitchCase":
        ranged = (self.at_least, self.below) != (None, None)
        if (self.one_of is not None) == ranged:
            raise ValueError("a case has either one_of, or at_least or below or both of these")
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(f"no number is at least {self.at_least:g} and below {self.below:g}")
        return self


class SwitchNode(NodeSettings):
    """Each row goes to the branch of the first case that holds for it; a missing value goes to the default."""

    kind: Literal["switch"]
    on: str | Column = Field(
        description="a column, or NODE.OUTPUT; a column that no model takes is declared here, with its dtype"
    )
    cases: tuple[SwitchCase, ...] = Field(min_length=1)
    default: str

    def uses(self) -> Iterator[tuple[str, str]]:
        yield from ((f"cases.{position}.use", case.use) for position, case in enumerate(self.cases))
        yield "default", self.default


class FallbackNode(NodeSettings):
    """The first that neither fails nor is late."""

    kind: Literal["fallback"]
    of: tuple[str, ...] = Field(min_length=2)

    def uses(self) -> Iterator[tuple[str, str]]:
        yield from (("of", name) for name in self.of)


Node = Annotated[ModelNode | SequenceNode | EnsembleNode | SwitchNode | FallbackNode, Field(discriminator="kind")]


_KINDS: dict[str, type[NodeSettings]] = {
    "model": ModelNode,
    "sequence": SequenceNode,
    "ensemble": EnsembleNode,
    "switch": SwitchNode,
    "fallback": FallbackNode,
}


def _with_kind(name: str, node: dict[str, Any]) -> dict[str, Any]:
    """pydantic's own words about a union name neither the kinds nor the keys."""
    kind = node.get("kind", "model")
    if not isinstance(kind, str) or kind not in _KINDS:
        raise ValueError(f"{name}.kind: there is no {kind!r}; there are {', '.join(_KINDS)}")
    known = _KINDS[kind].model_fields
    for key in node:
        if key not in known:
            raise ValueError(f"{name}: unknown key {key!r}; known here: {', '.join(sorted(known))}")
    return {"kind": kind, **node}


class GraphSettings(Settings):
    """The nodes of a graph, in any order; every node has its use, and none needs itself."""

    nodes: Mapping[NodeName, Node] = Field(min_length=1)
    output: str = Field(description="the node that answers")

    @field_validator("nodes", mode="before")
    @classmethod
    def _a_model_is_the_default(cls, nodes: Any) -> Any:
        if not isinstance(nodes, dict):
            return nodes
        return {name: _with_kind(name, node) if isinstance(node, dict) else node for name, node in nodes.items()}

    @model_validator(mode="after")
    def _structure(self) -> "GraphSettings":
        self._known(self.output, "output")
        for name in self.nodes:
            used = list(self._uses(name))
            for key, other in used:
                self._known(other, f"nodes.{name}.{key}")
            members = [other for key, other in used if key == "of"]
            if twice := [member for member in members if members.count(member) > 1]:
                raise ValueError(f"nodes.{name}.of: {twice[0]!r} stands there twice")
        reached: set[str] = set()
        self._walk(self.output, (), reached)
        for name in self.nodes:
            if name not in reached:
                self._walk(name, (), set())
                raise ValueError(f"nodes.{name}: nothing that leads to the output {self.output!r} uses it")
        return self

    def switched_on(self, switch: SwitchNode) -> tuple[str, str] | None:
        """The node and the output that a switch looks at; None when it looks at a column."""
        if isinstance(switch.on, str):
            node, dot, output = switch.on.partition(".")
            if dot and node in self.nodes:
                return node, output
        return None

    @property
    def models(self) -> dict[str, ModelNode]:
        return {name: node for name, node in self.nodes.items() if isinstance(node, ModelNode)}

    def is_remote(self, name: str) -> bool:
        """Whether a node or one that it uses is answered by another process."""
        node = self.nodes[name]
        if isinstance(node, ModelNode):
            return node.placement == "dedicated"
        return any(self.is_remote(other) for _, other in self._uses(name))

    def _uses(self, name: str) -> Iterator[tuple[str, str]]:
        node = self.nodes[name]
        yield from node.uses()
        if isinstance(node, SwitchNode) and (looked_at := self.switched_on(node)):
            yield "on", looked_at[0]

    def times_used(self, name: str) -> int:
        return sum(other == name for user in self.nodes for _, other in self._uses(user))

    def _known(self, name: str, key: str) -> None:
        if name not in self.nodes:
            raise ValueError(f"{key}: there is no node {name!r}; the nodes are {', '.join(self.nodes)}")

    def _walk(self, name: str, path: tuple[str, ...], reached: set[str]) -> None:
        if name in path:
            circle = " -> ".join((*path[path.index(name) :], name))
            raise ValueError(f"nodes.{name}: it needs its own answer: {circle}")
        if name in reached:
            return
        for _, other in self._uses(name):
            self._walk(other, (*path, name), reached)
        reached.add(name)
