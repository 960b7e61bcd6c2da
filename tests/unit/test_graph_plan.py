import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from serve.settings import ServeSettings
from taxiway.errors import ConfigError
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding
from taxiway.graph import Graph, GraphPredictor, GraphSettings, merged_features, plan, version_of
from taxiway.scoring import score
from taxiway.settings import parse, read_yaml
from taxiway.signature import Array, Columns, Signature
from tests.graphs import Function, Watching, X, build, column, settings, signature, unlimited

# What the whole takes


def planned(graph: GraphSettings, interfaces: Mapping[str, Signature], **bindings: FeatureBinding) -> Graph:
    return plan(graph, interfaces, bindings)


PAIR = settings("both", a={}, b={}, both={"kind": "ensemble", "of": ["a", "b"]})


def test_a_shared_input_has_the_rules_of_all_who_take_it() -> None:
    first = column("x", nullable=True, minimum=0, maximum=10)
    second = column("x", maximum=5, description="miles")
    carrier = column("carrier", "string", categories=("AA", "DL", "UA"))
    other = column("carrier", "string", categories=("UA", "AA"))
    graph = planned(PAIR, {"a": signature([first, carrier]), "b": signature([second, other])})
    x, merged = graph.signature.inputs
    assert (x.nullable, x.is_required, x.minimum, x.maximum, x.description) == (False, True, 0, 5, "miles")
    assert merged.categories == ("AA", "UA")


def test_a_nullable_integer_is_the_same_to_its_model_whoever_else_takes_it() -> None:
    seen = []

    def predict(n: Array) -> Array:
        seen.append(n.dtype)
        return n * 1.0

    models = {
        "a": (signature([column("n", "int64", nullable=True)]), Function(predict)),
        "b": (signature([column("n", "int64")]), Function(lambda n: n * 1.0)),
    }
    predictor, _ = build(PAIR, models)
    predictor.predict({"n": np.array([1, 2])})
    assert seen == [np.float64]


WEATHER = FeatureViewBinding(name="weather", entity_keys=("origin",), columns=("wind",), on_missing="null")
SEEN = WEATHER.model_copy(update={"columns": ("visibility", "wind"), "on_missing": "refuse"})


def test_each_feature_view_is_read_once_with_the_columns_of_all_and_the_strictest_policy() -> None:
    merged = merged_features(
        [FeatureBinding(service="a", views=(WEATHER,)), None, FeatureBinding(service="b", views=(SEEN,))]
    )
    assert merged is not None
    assert merged.service == "a+b"
    assert [(it.columns, it.on_missing) for it in merged.views] == [(("wind", "visibility"), "refuse")]
    assert merged_features([None]) is None


def with_policy(on_missing: str, defaults: dict[str, float], columns: tuple[str, ...] = ("wind",)) -> FeatureBinding:
    view = {"name": "weather", "entity_keys": ["origin"], "columns": columns, "on_missing": on_missing}
    return FeatureBinding(service="s", views=(FeatureViewBinding.model_validate({**view, "defaults": defaults}),))


def test_each_model_gets_the_defaults_that_it_knows() -> None:
    merged = merged_features([with_policy("default", {"wind": 1}), with_policy("null", {}, ("visibility",))])
    assert merged is not None
    completed = merged.views[0].with_defaults({"wind": np.array([np.nan]), "visibility": np.array([np.nan])})
    assert completed["wind"].tolist() == [1]
    assert np.isnan(completed["visibility"]).all()


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (with_policy("default", {"wind": 1}), with_policy("default", {"wind": 2})),
        (with_policy("default", {"wind": 1}), with_policy("null", {})),
        (with_policy("refuse", {"wind": 1}), with_policy("null", {"wind": 2})),
        (with_policy("default", {"wind": 1}), with_policy("null", {"visibility": 2}, ("visibility",))),
    ],
)
def test_models_that_know_an_unknown_entity_differently_are_refused(
    first: FeatureBinding, second: FeatureBinding
) -> None:
    for pair in ([first, second], [second, first]):
        with pytest.raises(ConfigError, match="features: the view 'weather' has other defaults"):
            merged_features(pair)


def test_views_that_do_not_fit_together_are_refused() -> None:
    by_route = WEATHER.model_copy(update={"entity_keys": ("origin", "dest")})
    with pytest.raises(ConfigError, match="'weather' is read under different keys, origin and origin, dest"):
        merged_features([FeatureBinding(service=it.name, views=(it,)) for it in (WEATHER, by_route)])
    airports = WEATHER.model_copy(update={"name": "airports"})
    with pytest.raises(ConfigError, match="'weather' and 'airports' both have a feature 'wind'"):
        merged_features([FeatureBinding(service=it.name, views=(it,)) for it in (WEATHER, airports)])


def test_a_graph_answers_with_features_that_are_read_once() -> None:
    binding = FeatureBinding(service="s", views=(WEATHER,))
    origin = column("origin", "string")
    models = {
        "a": (signature([origin]), Function(lambda origin, wind: wind)),
        "b": (signature([origin, column("wind", nullable=True)]), Function(lambda origin, wind: wind * 3)),
    }
    graph = planned(PAIR, {name: it for name, (it, _) in models.items()}, a=binding)
    assert [it.name for it in graph.signature.inputs] == ["origin"]
    assert [it.name for it in graph.model_columns] == ["origin", "wind"]
    predictors = {name: it for name, (_, it) in models.items()}
    predictor = GraphPredictor(graph, predictors, Watching(), time.monotonic, unlimited)
    reads = []

    def read(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
        reads.append([it.name for it in views])
        return {"wind": np.array([1.0, 2.0])}

    columns = {"origin": np.array(["JFK", "LGA"], dtype=object)}
    assert score(columns, graph.signature, graph.features, read, predictor).outputs["p"].tolist() == [2, 4]
    assert reads == [["weather"]]


def test_the_version_of_a_graph_names_those_of_its_models() -> None:
    assert version_of({"trees": "3", "linear": "1"}) == "trees:3+linear:1"


# What is refused


@pytest.mark.parametrize(
    ("output", "nodes", "sentence"),
    [
        ("b", {"a": {}}, "output: there is no node 'b'; the nodes are a"),
        ("b", {"a": {}, "b": {"kind": "fallback", "of": ["a", "c"]}}, "nodes.b.of: there is no node 'c'"),
        ("a", {"a": {}, "b": {}}, "nodes.b: nothing that leads to the output 'a' uses it"),
        (
            "a",
            {"a": {"kind": "fallback", "of": ["b", "c"]}, "b": {"kind": "sequence", "steps": ["c", "a"]}, "c": {}},
            "nodes.a: it needs its own answer: a -> b -> a",
        ),
        ("b", {"a": {}, "b": {"kind": "fallback", "of": ["a", "a"]}}, "nodes.b.of: 'a' stands there twice"),
        (
            "c",
            {"a": {}, "b": {}, "c": {"kind": "ensemble", "of": ["a", "b"], "method": "weighted", "weights": [1, 1]}},
            "the weights sum to 2; they must sum to 1",
        ),
        (
            "c",
            {"a": {}, "b": {}, "c": {"kind": "ensemble", "of": ["a", "b"], "method": "weighted", "weights": [1]}},
            "1 weights for 2 members",
        ),
        (
            "c",
            {"a": {}, "b": {}, "c": {"kind": "ensemble", "of": ["a", "b"], "weights": [0.5, 0.5]}},
            "weights belong to the method 'weighted', and it to them; this ensemble is 'mean'",
        ),
        (
            "c",
            {"a": {}, "b": {}, "c": {"kind": "ensemble", "of": ["a", "b"], "method": "stacked"}},
            "'by' belongs to the method 'stacked', and it to 'by'; this ensemble has none",
        ),
        (
            "b",
            {"a": {}, "b": {"kind": "switch", "on": "x", "cases": [{"use": "a"}], "default": "a"}},
            "a case has either one_of, or at_least or below",
        ),
        (
            "b",
            {
                "a": {},
                "b": {"kind": "switch", "on": "x", "default": "a", "cases": [{"at_least": 2, "below": 1, "use": "a"}]},
            },
            "no number is at least 2 and below 1",
        ),
        ("a", {"a": {"inputs": {"x": "z", "y": "z"}}}, "two of x, y have the same name in the graph"),
        ("a.b", {"a.b": {}}, "nodes"),
        ("a", {"a": {"kind": "modle"}}, "a.kind: there is no 'modle'; there are model, sequence, ensemble, switch"),
        ("a", {"a": {"modle": "x"}}, "a: unknown key 'modle'; known here: inputs, kind, model, outputs, placement"),
        ("a", {"a": {"timeout_s": 0}}, "timeout_s"),
    ],
)
def test_a_graph_with_a_wrong_structure_is_refused_before_anything_is_loaded(
    output: str, nodes: dict[str, Any], sentence: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        settings(output, **nodes)
    assert sentence in str(caught.value)
    assert str(caught.value).startswith("serve.yaml: key 'graph")


STRING = column("x", "string")
FLOW = {"kind": "sequence", "steps": ["a", "b"]}
STACK = {"kind": "ensemble", "of": ["a", "b"], "method": "stacked", "by": "c"}
ENSEMBLE = {"kind": "ensemble", "of": ["a", "b"]}


@pytest.mark.parametrize(
    ("nodes", "interfaces", "sentence"),
    [
        (
            {"top": ENSEMBLE},
            {"a": X, "b": signature([STRING])},
            "graph.nodes.b: its input 'x' does not fit with that of 'a': one takes a float64, the other a string",
        ),
        (
            {"top": ENSEMBLE},
            {"a": signature([column("x", shape=(2,))]), "b": signature([column("x", shape=(3,))])},
            "one takes a float64 of shape [2], the other a float64 of shape [3]",
        ),
        (
            {"top": ENSEMBLE},
            {"a": signature([column("x", minimum=5)]), "b": signature([column("x", maximum=1)])},
            "one takes at least 5, the other at most 1",
        ),
        (
            {"top": ENSEMBLE},
            {
                "a": signature([column("x", "string", categories=("r",))]),
                "b": signature([column("x", "string", categories=("g",))]),
            },
            "they have no category in common",
        ),
        (
            {"top": ENSEMBLE},
            {"a": X, "b": signature(["x"], ["probability"])},
            "graph.nodes.top.of: 'a' gives p, 'b' gives probability; they must give the same (rename with `outputs`)",
        ),
        (
            {"top": ENSEMBLE},
            {"a": X, "b": signature(["x"], [column("p", "string")])},
            "graph.nodes.top.method: mean needs numbers; 'p' of 'b' is a string",
        ),
        (
            {"top": ENSEMBLE | {"method": "vote"}},
            {"a": X, "b": X},
            "graph.nodes.top.method: vote needs labels (strings, whole numbers or booleans); 'p' of 'a' is a float64",
        ),
        (
            {"top": {"kind": "fallback", "of": ["a", "b"]}},
            {"a": X, "b": signature(["x"], [column("p", "int64")])},
            "graph.nodes.top.of: as 'p' they give different types: 'a' a float64, 'b' an int64",
        ),
        (
            {"top": FLOW},
            {"a": signature(["x"], [column("s", "string")]), "b": signature(["s"])},
            "graph.nodes.b: its input 's' is 's' of 'a': it takes a float64, and gets a string",
        ),
        (
            {"top": FLOW},
            {"a": signature(["x"], [column("s", nullable=True)]), "b": signature(["s"])},
            "its input 's' is 's' of 'a': it takes no missing values, and some may be missing in what it gets",
        ),
        (
            {"top": FLOW},
            {"a": signature(["x"], ["scaled"]), "b": X},
            "graph.nodes.top.steps: no later step takes what 'a' gives (scaled); do the names differ?",
        ),
        (
            {"top": FLOW | {"outputs": ["p", "why"]}},
            {"a": signature(["x"], ["s"]), "b": signature(["s"])},
            "graph.nodes.top.outputs: no step gives 'why'; there are s, p",
        ),
        (
            {"c": {}, "top": STACK},
            {"a": X, "b": X, "c": signature([column("a.p"), "x"])},
            "graph.nodes.top.by: 'c' takes nothing of 'b' (b.p); say with `inputs` of 'c' which input is which",
        ),
        (
            {"c": {"inputs": {"x": "a.p"}}, "top": {"kind": "fallback", "of": ["a", "b", "c"]}},
            {"a": X, "b": X, "c": X},
            "graph.nodes.c: it takes 'a.p', which only the node named by `by` of a stacked ensemble gets",
        ),
        (
            {"top": {"kind": "switch", "on": "region", "cases": [{"one_of": ["EU"], "use": "a"}], "default": "b"}},
            {"a": X, "b": X},
            "graph.nodes.top.on: no model takes a column 'region'; declare it with its dtype",
        ),
        (
            {"top": {"kind": "switch", "on": "a.q", "cases": [{"below": 1, "use": "a"}], "default": "b"}},
            {"a": X, "b": X},
            "graph.nodes.top.on: 'a' has no output 'q'; there are p",
        ),
        (
            {"top": {"kind": "switch", "on": "x", "cases": [{"below": 1, "use": "a"}], "default": "b"}},
            {"a": signature([STRING]), "b": signature([STRING])},
            "graph.nodes.top.cases.0: at_least and below are for numbers, and 'x' is a string",
        ),
        (
            {"top": {"kind": "switch", "on": "x", "cases": [{"one_of": ["1"], "use": "a"}], "default": "b"}},
            {"a": X, "b": X},
            "graph.nodes.top.cases.0: '1' is no value of 'x', a float64",
        ),
        (
            {"top": {"kind": "switch", "on": "x", "cases": [{"one_of": ["r", "b"], "use": "a"}], "default": "b"}},
            {name: signature([column("x", "string", categories=("r", "g"))]) for name in "ab"},
            "graph.nodes.top.cases.0: 'b' is no category of 'x'; its categories are r, g",
        ),
        (
            {"a": {"inputs": {"z": "x"}}, "top": ENSEMBLE},
            {"a": X, "b": X},
            "graph.nodes.a.inputs: models:/a/1 has no input 'z'; there are x",
        ),
        (
            {"a": {"outputs": {"q": "p"}}, "top": ENSEMBLE},
            {"a": X, "b": X},
            "graph.nodes.a.outputs: models:/a/1 has no output 'q'; there are p",
        ),
        ({"top": ENSEMBLE}, {"a": X}, "graph.nodes.b: the signature of models:/b/1 is not known"),
    ],
)
def test_nodes_that_do_not_fit_together_are_refused_by_name(
    nodes: dict[str, Any], interfaces: dict[str, Signature], sentence: str
) -> None:
    graph = settings("top", **({"a": {}, "b": {}} | nodes))
    with pytest.raises(ConfigError) as caught:
        plan(graph, interfaces, {})
    assert sentence in str(caught.value)


ORIGIN = column("origin", "string")
BINDING = FeatureBinding(service="s", views=(WEATHER,))


@pytest.mark.parametrize(
    ("nodes", "interfaces", "sentence"),
    [
        (
            {"top": ENSEMBLE},
            {"a": signature([ORIGIN, "wind"]), "b": signature([ORIGIN])},
            "graph.nodes.a: its input 'wind' comes from the feature store: it takes no missing values",
        ),
        (
            {"top": ENSEMBLE},
            {"a": signature([ORIGIN, column("wind", nullable=True, minimum=0)]), "b": signature([ORIGIN])},
            "its input 'wind' comes from the feature store: it has rules that nothing checks on features",
        ),
        (
            {"top": FLOW},
            {"a": signature(["x"], ["wind"]), "b": signature([ORIGIN])},
            "graph.nodes.b: features are read before the first node, and 'wind' is an output of 'a'",
        ),
        (
            {"top": FLOW},
            {"a": signature(["x"], [ORIGIN]), "b": signature([ORIGIN])},
            "graph.nodes.b: features are read before the first node, and 'origin' is an output of 'a'",
        ),
        (
            {"b": {"inputs": {"origin": "airport"}}, "top": ENSEMBLE},
            {"a": X, "b": signature([ORIGIN])},
            "graph.nodes.b.inputs: 'origin' belongs to the feature store and keeps its name",
        ),
        ({"top": ENSEMBLE}, {"a": X, "b": X}, "models:/b/1 reads features by 'origin', which is none of its inputs"),
    ],
)
def test_features_that_do_not_fit_together_are_refused_by_name(
    nodes: dict[str, Any], interfaces: dict[str, Signature], sentence: str
) -> None:
    graph = settings("top", **({"a": {}, "b": {}} | nodes))
    with pytest.raises(ConfigError) as caught:
        plan(graph, interfaces, {"b": BINDING})
    assert sentence in str(caught.value)


def test_the_example_file_is_valid() -> None:
    arguments = read_yaml("configs/flights/graph.yaml")["applications"][0]["args"]
    (endpoint,) = parse(arguments, ServeSettings, "graph.yaml").endpoints
    assert endpoint.graph is not None
    same = signature(["distance"], ["late_probability"])
    graph = plan(endpoint.graph, dict.fromkeys(endpoint.graph.models, same), {})
    assert [it.name for it in graph.signature.outputs] == ["late_probability"]
