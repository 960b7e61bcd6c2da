import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.tree import DecisionTreeClassifier

from serve.late import NodeThreads
from taxiway.errors import DeadlineExceeded, ModelFailed, VariantUnavailable
from taxiway.feature_binding import FeatureViewBinding
from taxiway.graph import GraphSettings, NodeOutcome
from taxiway.scoring import score
from taxiway.signature import Array, Columns, RejectCode, take
from tests.graphs import Function, X, build, column, settings, signature


def failing_on(bad: float) -> Callable[[Array], Array]:
    def predict(x: Array) -> Array:
        if (x == bad).any():
            raise ZeroDivisionError
        return x * 1.0

    return predict


def always_failing(x: Array) -> Array:
    raise ZeroDivisionError


def away(x: Array) -> Array:
    raise VariantUnavailable("nobody answers")


FALLBACK = settings("safe", first={}, second={}, safe={"kind": "fallback", "of": ["first", "second"]})
NUMBERS = st.floats(-1e6, 1e6)


# One model


def test_a_graph_of_one_model_answers_what_the_model_answers() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=200), random.normal(size=200)
    tree = DecisionTreeClassifier(max_depth=3).fit(np.column_stack([x, y]), x > y)

    def predict(x: Array, y: Array) -> Array:
        return np.asarray(tree.predict_proba(np.column_stack([x, y]))[:, 1])

    predictor, watching = build(settings("tree", tree={}), {"tree": (signature(["x", "y"]), Function(predict))})
    assert predictor.predict({"x": x, "y": y})["p"].tolist() == predict(x, y).tolist()
    assert watching.outcomes == [("tree", 200, NodeOutcome.ANSWERED)]


def test_a_model_sees_its_own_columns_under_its_own_names() -> None:
    graph = settings("a", a={"inputs": {"x": "length"}, "outputs": {"p": "probability"}})
    model = Function(lambda x: x * 2)
    predictor, _ = build(graph, {"a": (X, model)})
    answer = predictor.predict({"length": np.array([1.0, 2.0]), "width": np.array([9.0, 9.0])})
    assert answer["probability"].tolist() == [2, 4]
    assert model.calls == [(("x",), 2)]
    assert predictor.graph.signature.input_by_name.keys() == {"length"}


def test_a_model_that_answers_another_number_of_rows_is_refused() -> None:
    predictor, _ = build(settings("a", a={}), {"a": (X, Function(lambda x: x[1:]))})
    with pytest.raises(ValueError, match="a must answer 3 values as 'p', it answered 2 values"):
        predictor.predict({"x": np.arange(3.0)})


# Sequences

PREPARED = settings("flow", prepare={}, model={}, flow={"kind": "sequence", "steps": ["prepare", "model"]})


def test_a_step_takes_the_columns_of_the_request_and_of_the_steps_before_it() -> None:
    models = {
        "prepare": (signature(["x"], ["scaled"]), Function(lambda x: x / 10, "scaled")),
        "model": (signature(["scaled", "y"]), Function(lambda scaled, y: scaled + y)),
    }
    predictor, _ = build(PREPARED, models)
    answer = predictor.predict({"x": np.array([10.0, 20.0]), "y": np.array([1.0, 1.0])})
    assert {name: values.tolist() for name, values in answer.items()} == {"p": [2, 3]}
    assert [it.name for it in predictor.graph.signature.inputs] == ["x", "y"]


def test_a_step_may_replace_a_column_of_the_request() -> None:
    models = {
        "prepare": (signature(["x"], ["x"]), Function(lambda x: x - 1, "x")),
        "model": (X, Function(lambda x: x * 2)),
    }
    predictor, _ = build(PREPARED, models)
    assert predictor.predict({"x": np.array([3.0])})["p"].tolist() == [4]


def test_a_sequence_may_give_outputs_of_several_steps() -> None:
    flow = {"kind": "sequence", "steps": ["model", "explain"], "outputs": ["p", "why"]}
    models = {
        "model": (X, Function(lambda x: x)),
        "explain": (
            signature(["p"], [column("why", "string")]),
            Function(lambda p: np.array([f"because of {value:g}" for value in p]), "why"),
        ),
    }
    predictor, _ = build(settings("flow", model={}, explain={}, flow=flow), models)
    answer = predictor.predict({"x": np.array([1.0])})
    assert (answer["p"].tolist(), answer["why"].tolist()) == ([1], ["because of 1"])
    assert [(it.name, it.dtype) for it in predictor.graph.signature.outputs] == [("p", "float64"), ("why", "string")]


def test_a_step_that_breaks_the_rules_of_the_next_one_fails_for_the_guilty_row_alone() -> None:
    models = {
        "prepare": (signature(["x"], ["root"]), Function(lambda x: np.where(x < 0, np.nan, abs(x) ** 0.5), "root")),
        "model": (signature(["root"]), Function(lambda root: root * 1.0)),
    }
    predictor, _ = build(PREPARED, models)
    scored = score({"x": np.array([4.0, -4.0, 9.0])}, predictor.graph.signature, None, no_features, predictor)
    assert scored.outputs["p"].tolist() == [2, 3]
    assert [(it.rows.tolist(), it.code) for it in scored.rejects] == [([1], RejectCode.MODEL_FAILED)]


def no_features(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
    raise AssertionError


# Ensembles


@given(st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS), min_size=1, max_size=30))
def test_the_mean_of_an_ensemble_is_numpys(rows: list[tuple[float, float, float]]) -> None:
    graph = settings("all", a={}, b={}, c={}, all={"kind": "ensemble", "of": ["a", "b", "c"]})
    models = {name: (signature([name]), Function(lambda **it: next(iter(it.values())))) for name in "abc"}
    predictor, _ = build(graph, models)
    members = np.array(rows).T
    answer = predictor.predict(dict(zip("abc", members, strict=True)))["p"]
    np.testing.assert_allclose(answer, members.mean(axis=0), rtol=1e-12, atol=1e-9)


@given(st.lists(st.tuples(NUMBERS, NUMBERS), min_size=1, max_size=30), st.floats(0, 1))
def test_a_weighted_ensemble_is_numpys_average(rows: list[tuple[float, float]], share: float) -> None:
    weights = [share, 1 - share]
    both = {"kind": "ensemble", "of": ["a", "b"], "method": "weighted", "weights": weights}
    models = {name: (signature([name]), Function(lambda **it: next(iter(it.values())))) for name in "ab"}
    predictor, _ = build(settings("both", a={}, b={}, both=both), models)
    members = np.array(rows).T
    answer = predictor.predict(dict(zip("ab", members, strict=True)))["p"]
    np.testing.assert_allclose(answer, np.average(members, axis=0, weights=weights), rtol=1e-9, atol=1e-6)


@given(st.lists(st.lists(st.sampled_from(["late", "early", "never"]), min_size=5, max_size=5), min_size=1))
def test_a_vote_is_won_by_most_and_among_equals_by_the_earliest_member(ballots: list[list[str]]) -> None:
    names = [f"m{number}" for number in range(5)]
    nodes: dict[str, Any] = {name: {"inputs": {"x": name}} for name in names}
    graph = settings("all", **nodes, all={"kind": "ensemble", "of": names, "method": "vote"})
    label = signature([column("x", "string")], [column("p", "string")])
    predictor, _ = build(graph, {name: (label, Function(lambda x: x)) for name in names})
    answer = predictor.predict(dict(zip(names, np.array(ballots, dtype=object).T, strict=True)))["p"]
    assert answer.tolist() == [max(ballot, key=ballot.count) for ballot in ballots]


def test_a_stacked_ensemble_asks_a_model_what_to_make_of_its_members() -> None:
    random = np.random.default_rng(0)
    x, y = random.normal(size=300), random.normal(size=300)
    together = LogisticRegression().fit(np.column_stack([x, y]), x > y)

    def stack(first: Array, second: Array) -> Array:
        return np.asarray(together.predict_proba(np.column_stack([first, second]))[:, 1])

    graph = settings(
        "all",
        a={},
        b={},
        stacker={"inputs": {"first": "a.p", "second": "b.p"}},
        all={"kind": "ensemble", "of": ["a", "b"], "method": "stacked", "by": "stacker"},
    )
    models = {
        "a": (X, Function(lambda x: x)),
        "b": (signature(["y"]), Function(lambda y: y)),
        "stacker": (signature(["first", "second"]), Function(stack)),
    }
    predictor, _ = build(graph, models)
    assert predictor.predict({"x": x, "y": y})["p"].tolist() == stack(x, y).tolist()


def test_members_of_different_float_types_average_to_the_widest() -> None:
    graph = settings("both", a={}, b={}, both={"kind": "ensemble", "of": ["a", "b"]})
    models = {
        "a": (signature(["x"], [column("p", "float32")]), Function(lambda x: x.astype(np.float32))),
        "b": (X, Function(lambda x: x + 1)),
    }
    predictor, _ = build(graph, models)
    answer = predictor.predict({"x": np.array([1.0])})["p"]
    assert (answer.dtype, answer.tolist()) == (np.float64, [1.5])


def test_a_row_of_an_ensemble_gets_the_same_bits_alone_and_among_others() -> None:
    names = [f"m{number}" for number in range(9)]
    nodes: dict[str, Any] = {name: {"inputs": {"x": name}} for name in names}
    graph = settings("all", **nodes, all={"kind": "ensemble", "of": names})
    predictor, _ = build(graph, {name: (X, Function(lambda x: x)) for name in names})
    columns = dict(zip(names, np.random.default_rng(0).normal(size=(9, 50)), strict=True))
    alone = [predictor.predict(take(columns, slice(row, row + 1)))["p"][0] for row in range(50)]
    assert predictor.predict(columns)["p"].tolist() == alone


def test_members_in_other_processes_are_asked_at_the_same_time() -> None:
    meeting = threading.Barrier(2, timeout=10)
    graph = settings(
        "both",
        a={"placement": "dedicated"},
        b={"placement": "dedicated"},
        both={"kind": "ensemble", "of": ["a", "b"]},
    )

    def predict(x: Array) -> Array:
        meeting.wait()
        return x

    models = {"a": (X, Function(predict)), "b": (X, Function(predict))}
    predictor, _ = build(graph, models, map_parallel=NodeThreads().map_parallel)
    assert predictor.predict({"x": np.array([1.0])})["p"].tolist() == [1]
    assert predictor.graph.blocks


# Switches


def switched(**switch: Any) -> GraphSettings:
    return settings("route", small={}, big={}, route={"kind": "switch", **switch})


BRANCHES = {"small": (X, Function(lambda x: -x)), "big": (X, Function(lambda x: x * 100))}
ON_X = switched(
    on="x", cases=[{"below": 10, "use": "small"}, {"at_least": 20, "below": 30, "use": "small"}], default="big"
)


@given(st.lists(NUMBERS | st.integers(0, 40).map(float), min_size=1, max_size=50))
def test_a_switch_answers_each_row_by_its_branch_and_keeps_their_order(values: list[float]) -> None:
    predictor, _ = build(ON_X, BRANCHES)
    answer = predictor.predict({"x": np.array(values)})["p"]
    assert answer.tolist() == [-x if x < 10 or 20 <= x < 30 else x * 100 for x in values]


def test_a_branch_gets_its_own_rows_only_and_one_without_rows_is_not_asked() -> None:
    small, big = Function(lambda x: -x), Function(lambda x: x)
    predictor, _ = build(ON_X, {"small": (X, small), "big": (X, big)})
    predictor.predict({"x": np.array([1.0, 50.0, 25.0])})
    predictor.predict({"x": np.array([1.0, 2.0])})
    assert ([rows for _, rows in small.calls], [rows for _, rows in big.calls]) == ([2, 2], [1])


def test_a_missing_value_goes_to_the_default() -> None:
    kind = {"name": "kind", "dtype": "string", "nullable": True}
    graph = switched(on=kind, cases=[{"one_of": ["parcel", "letter"], "use": "small"}], default="big")
    predictor, _ = build(graph, BRANCHES)
    kinds = np.array(["letter", None, "parcel", "pallet"], dtype=object)
    assert predictor.predict({"x": np.ones(4), "kind": kinds})["p"].tolist() == [-1, 100, -1, 100]


def test_the_first_case_that_holds_decides() -> None:
    cases = [{"below": 10, "use": "small"}, {"below": 20, "use": "big"}]
    predictor, _ = build(switched(on="x", cases=cases, default="big"), BRANCHES)
    assert predictor.predict({"x": np.array([5.0, 15.0])})["p"].tolist() == [-5, 1500]


def test_a_missing_number_is_in_no_range() -> None:
    nullable = signature([column("x", nullable=True)])
    zero, one = Function(lambda x: np.zeros(len(x))), Function(lambda x: np.ones(len(x)))
    predictor, _ = build(ON_X, {"small": (nullable, zero), "big": (nullable, one)})
    assert predictor.predict({"x": np.array([np.nan, 1.0])})["p"].tolist() == [1, 0]


def test_a_switch_may_look_at_what_another_node_answers() -> None:
    graph = settings(
        "route",
        cheap={},
        dear={},
        route={"kind": "switch", "on": "cheap.p", "cases": [{"at_least": 0.9, "use": "cheap"}], "default": "dear"},
    )
    cheap, dear = Function(lambda x: x), Function(lambda x: x * 0)
    predictor, _ = build(graph, {"cheap": (X, cheap), "dear": (X, dear)})
    assert predictor.predict({"x": np.array([0.95, 0.5])})["p"].tolist() == [0.95, 0]
    cheap.calls.clear()
    assert predictor.predict({"x": np.array([0.95, 0.99])})["p"].tolist() == [0.95, 0.99]
    assert len(cheap.calls) == 1


# Fallbacks


@given(st.integers(1, 200), st.data())
def test_rows_on_which_a_node_fails_are_answered_by_the_next_and_the_others_keep_theirs(
    rows: int, data: st.DataObject
) -> None:
    bad = data.draw(st.integers(0, rows - 1))
    models = {"first": (X, Function(failing_on(bad))), "second": (X, Function(lambda x: -x - 1000))}
    predictor, _ = build(FALLBACK, models)
    answer = predictor.predict({"x": np.arange(float(rows))})["p"]
    assert answer.tolist() == [-row - 1000 if row == bad else row for row in range(rows)]


def test_a_node_that_fails_on_everything_is_not_called_for_every_row() -> None:
    first = Function(always_failing)
    predictor, watching = build(FALLBACK, {"first": (X, first), "second": (X, Function(lambda x: x))})
    assert predictor.predict({"x": np.arange(1000.0)})["p"].tolist() == list(range(1000))
    assert len(first.calls) < 50
    assert watching.outcomes[0] == ("first", 1000, NodeOutcome.FAILED)


def test_a_node_that_is_away_is_asked_once() -> None:
    first = Function(away)
    predictor, watching = build(FALLBACK, {"first": (X, first), "second": (X, Function(lambda x: x))})
    assert predictor.predict({"x": np.arange(100.0)})["p"].tolist() == list(range(100))
    assert watching.outcomes == [
        ("first", 100, NodeOutcome.UNAVAILABLE),
        ("second", 100, NodeOutcome.ANSWERED),
        ("safe", 100, NodeOutcome.ANSWERED),
    ]
    assert len(first.calls) == 1


def test_a_node_that_goes_away_while_guilty_rows_are_sought_is_not_asked_again() -> None:
    def predict(x: Array) -> Array:
        if len(x) == 100:
            raise ZeroDivisionError
        return away(x)

    first = Function(predict)
    predictor, _ = build(FALLBACK, {"first": (X, first), "second": (X, Function(lambda x: -x))})
    assert predictor.predict({"x": np.arange(100.0)})["p"].tolist() == [-row for row in range(100)]
    assert len(first.calls) == 2


@pytest.mark.parametrize(("predict", "error"), [(always_failing, ZeroDivisionError), (away, VariantUnavailable)])
def test_without_a_fallback_a_failure_is_the_failure_of_the_graph(
    predict: Callable[[Array], Array], error: type[Exception]
) -> None:
    graph = settings("both", a={}, b={}, both={"kind": "ensemble", "of": ["a", "b"]})
    predictor, _ = build(graph, {"a": (X, Function(lambda x: x)), "b": (X, Function(predict))})
    with pytest.raises(error):
        predictor.predict({"x": np.array([1.0])})


def test_when_the_last_of_a_fallback_is_away_too_that_is_what_is_raised() -> None:
    predictor, _ = build(FALLBACK, {"first": (X, Function(always_failing)), "second": (X, Function(away))})
    with pytest.raises(VariantUnavailable, match="nobody answers"):
        predictor.predict({"x": np.arange(5.0)})


def test_a_row_that_nobody_answers_fails_alone() -> None:
    models = {"first": (X, Function(failing_on(3))), "second": (X, Function(failing_on(3)))}
    predictor, _ = build(FALLBACK, models)
    scored = score({"x": np.arange(10.0)}, predictor.graph.signature, None, no_features, predictor)
    assert scored.rows.tolist() == [0, 1, 2, 4, 5, 6, 7, 8, 9]


def test_a_row_that_needs_a_node_that_is_away_does_not_take_the_others_with_it() -> None:
    predictor, _ = build(FALLBACK, {"first": (X, Function(failing_on(3))), "second": (X, Function(away))})
    with pytest.raises(ModelFailed, match="no node of 'safe' answers these rows"):
        predictor.predict({"x": np.arange(10.0)})
    with pytest.raises(VariantUnavailable):
        predictor.predict({"x": np.array([3.0])})


def test_a_model_that_has_answered_these_rows_is_not_asked_again_by_the_fallback() -> None:
    graph = settings(
        "safe",
        trees={},
        linear={},
        both={"kind": "ensemble", "of": ["trees", "linear"]},
        safe={"kind": "fallback", "of": ["both", "trees"]},
    )
    trees = Function(lambda x: x)
    predictor, _ = build(graph, {"trees": (X, trees), "linear": (X, Function(away))})
    assert predictor.predict({"x": np.arange(10.0)})["p"].tolist() == list(range(10))
    assert len(trees.calls) == 1


# Late nodes

HURRIED = settings("safe", first={"timeout_s": 0.05}, second={}, safe={"kind": "fallback", "of": ["first", "second"]})


def hanging(until: threading.Event) -> Callable[[Array], Array]:
    def predict(x: Array) -> Array:
        until.wait(30)
        return x

    return predict


def test_a_late_node_is_left_behind_within_its_time() -> None:
    released, threads = threading.Event(), NodeThreads()
    models = {"first": (X, Function(hanging(released))), "second": (X, Function(lambda x: -x))}
    predictor, watching = build(HURRIED, models, run_with_timeout=threads.run_with_timeout)
    begin = time.monotonic()
    assert predictor.predict({"x": np.array([1.0])})["p"].tolist() == [-1]
    assert 0.05 <= time.monotonic() - begin < 1
    assert watching.outcomes[0] == ("first", 1, NodeOutcome.LATE)
    released.set()


def test_a_node_in_time_answers_through_its_thread() -> None:
    models = {"first": (X, Function(lambda x: x * 2)), "second": (X, Function(lambda x: -x))}
    predictor, _ = build(HURRIED, models, run_with_timeout=NodeThreads().run_with_timeout)
    before = threading.active_count()
    for _ in range(100):
        assert predictor.predict({"x": np.array([1.0])})["p"].tolist() == [2]
    assert threading.active_count() <= before + 1


def test_a_node_with_too_many_late_calls_is_not_called_until_they_end() -> None:
    released, threads = threading.Event(), NodeThreads(late_calls=2)
    hung = Function(hanging(released))
    predictor, watching = build(
        HURRIED, {"first": (X, hung), "second": (X, Function(lambda x: -x))}, run_with_timeout=threads.run_with_timeout
    )
    before = threading.active_count()
    for _ in range(20):
        assert predictor.predict({"x": np.array([1.0])})["p"].tolist() == [-1]
    assert (len(hung.calls), threading.active_count() - before) == (2, 2)
    first = [outcome for node, _, outcome in watching.outcomes if node == "first"]
    assert first == [NodeOutcome.LATE] * 2 + [NodeOutcome.UNAVAILABLE] * 18
    released.set()
    deadline = time.monotonic() + 10
    while predictor.predict({"x": np.array([1.0])})["p"].tolist() != [1]:
        assert time.monotonic() < deadline
    assert threading.active_count() - before == 2


def test_a_late_node_outside_a_fallback_is_a_deadline_exceeded() -> None:
    released = threading.Event()
    graph = settings("a", a={"timeout_s": 0.02})
    predictor, _ = build(
        graph, {"a": (X, Function(hanging(released)))}, run_with_timeout=NodeThreads().run_with_timeout
    )
    with pytest.raises(DeadlineExceeded, match=r"the node 'a' did not answer within 0\.02 s"):
        predictor.predict({"x": np.array([1.0])})
    released.set()


def test_what_a_call_raises_comes_out_of_its_thread_even_a_timeout_of_its_own() -> None:
    def fail() -> None:
        raise TimeoutError("of the model's own database")

    with pytest.raises(TimeoutError, match="own database"):
        NodeThreads().run_with_timeout("a", fail, 5.0)


def test_parallel_calls_all_end_before_one_of_them_raises() -> None:
    ended = []

    def slow() -> None:
        time.sleep(0.05)
        ended.append(True)

    with pytest.raises(ZeroDivisionError):
        NodeThreads().map_parallel([slow, lambda: 1 // 0])
    assert ended == [True]
