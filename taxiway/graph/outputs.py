"""What each node of a graph gives, from what its models give."""

from collections.abc import Callable, Mapping, Sequence
from typing import NoReturn

from taxiway.errors import ConfigError
from taxiway.graph.columns import averaged, common, is_label, is_number, shown
from taxiway.graph.settings import EnsembleNode, GraphSettings, ModelNode, SequenceNode, SwitchNode
from taxiway.signature import Column, Signature

Outputs = Mapping[str, Column]


def refuse(where: str, key: str, sentence: str) -> NoReturn:
    raise ConfigError(f"{where}.nodes.{key}: {sentence}")


class NodeOutputs:
    """The outputs of every node that has been asked for, by name and in order."""

    def __init__(self, settings: GraphSettings, interfaces: Mapping[str, Signature], where: str) -> None:
        self._nodes = settings.nodes
        self._interfaces = interfaces
        self._where = where
        self.found: dict[str, Outputs] = {}

    def of(self, name: str) -> Outputs:
        """
        Raises:
            ConfigError: nodes whose answers stand in for each other, or become one, give different things.
        """
        if name not in self.found:
            self.found[name] = self._of(name)
        return self.found[name]

    def _of(self, name: str) -> Outputs:
        node = self._nodes[name]
        match node:
            case ModelNode():
                return self._model(name, node)
            case SequenceNode():
                return self._sequence(name, node)
            case EnsembleNode():
                return self._ensemble(name, node)
            case SwitchNode():
                return self._agreed(name, "cases", list(dict.fromkeys([it.use for it in node.cases] + [node.default])))
            case _:
                return self._agreed(name, "of", node.of)

    def _model(self, name: str, node: ModelNode) -> Outputs:
        if name not in self._interfaces:
            refuse(self._where, name, f"the signature of {node.model} is not known")
        columns = {column.name: column for column in self._interfaces[name].outputs}
        for output in node.outputs or ():
            if output not in columns:
                refuse(self._where, f"{name}.outputs", f"{node.model} has no output {output!r}; {_has(columns)}")
        names = node.outputs or {output: output for output in columns}
        return {new: columns[output].model_copy(update={"name": new}) for output, new in names.items()}

    def _sequence(self, name: str, node: SequenceNode) -> Outputs:
        if node.outputs is None:
            return self.of(node.steps[-1])
        given = {output: column for step in node.steps for output, column in self.of(step).items()}
        for output in node.outputs:
            if output not in given:
                refuse(self._where, f"{name}.outputs", f"no step gives {output!r}; {_has(given)}")
        return {output: given[output] for output in node.outputs}

    def _ensemble(self, name: str, node: EnsembleNode) -> Outputs:
        if node.by is not None:
            return self.of(node.by)
        if node.method == "vote":
            return self._agreed(name, "of", node.of, is_label, "vote needs labels (strings, whole numbers or booleans)")
        needs = "averages numbers" if node.method == "weighted" else "mean needs numbers"
        return self._agreed(name, "of", node.of, is_number, needs, averaged)

    def _agreed(
        self,
        name: str,
        key: str,
        users: Sequence[str],
        usable: Callable[[Column], bool] = lambda _: True,
        needs: str = "",
        one_type: Callable[[Sequence[Column]], Column | None] = common,
    ) -> Outputs:
        """The outputs of nodes that all give the same ones."""
        first = self.of(users[0])
        for other in users[1:]:
            if set(self.of(other)) != set(first):
                found = f"{users[0]!r} gives {', '.join(first)}, {other!r} gives {', '.join(self.of(other))}"
                refuse(self._where, f"{name}.{key}", f"{found}; they must give the same (rename with `outputs`)")
        agreed = {}
        for output in first:
            columns = {user: self.of(user)[output] for user in users}
            for user, column in columns.items():
                if not usable(column):
                    refuse(self._where, f"{name}.method", f"{needs}; {output!r} of {user!r} is {shown(column)}")
            one = one_type(list(columns.values()))
            if one is None:
                found = ", ".join(f"{user!r} {shown(column)}" for user, column in columns.items())
                refuse(self._where, f"{name}.{key}", f"as {output!r} they give different types: {found}")
            agreed[output] = one
        return agreed


def _has(columns: Mapping[str, Column]) -> str:
    return f"there are {', '.join(columns)}"
