"""Tallies add up, and a ledger counts each answer once whatever happens to its messages."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.rollout.ledger import Ledger
from taxiway.rollout.tally import (
    Stream,
    Tally,
    added,
    bin_of,
    correlation,
    grown,
    of_answers,
    of_differences,
    of_requests,
    quantile_apart,
)

LIVE = Stream("late", "challenger", "7", "live")
CODES = ("ok", "model_failed", "deadline_exceeded", "shape", "overloaded")


def test_requests_are_counted_by_code_and_answers_by_latency() -> None:
    tally = Tally(of_requests(["ok", "ok", "model_failed", "shape"], np.array([0.001, 0.2, 0.5, 0.0001])))
    assert tally.requests == 4
    assert tally.codes == {"ok": 2, "model_failed": 1, "shape": 1}
    assert tally.faults == 1
    assert tally.latencies.sum() == 2
    assert (tally.slower_than(0.1), tally.slower_than(0.3)) == (1, 0)


@given(st.lists(st.floats(0.0002, 100.0), min_size=1, max_size=200), st.floats(0.01, 0.99))
def test_a_quantile_is_at_most_ten_percent_too_much(seconds: list[float], share: float) -> None:
    tally = Tally(of_requests(["ok"] * len(seconds), np.array(seconds)))
    found, exact = tally.quantile_s(share), float(np.quantile(seconds, share, method="inverted_cdf"))
    assert found is not None
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 1.1 * (1 + 1e-9)


def test_without_answers_there_is_no_quantile() -> None:
    assert Tally().quantile_s(0.99) is None
    assert Tally(of_requests(["model_failed"], np.array([1.0]))).quantile_s(0.5) is None


@given(st.floats(0.0002, 100.0))
def test_what_is_slower_than_a_bound_lies_above_it(bound: float) -> None:
    seconds = np.geomspace(1e-4, 300, 500)
    counted = Tally(of_requests(["ok"] * 500, seconds)).slower_than(bound)
    exact = int((seconds > bound).sum())
    in_the_same_bucket = int(((seconds > bound) & (seconds <= bound * 1.1 * (1 + 1e-9))).sum())
    assert exact - in_the_same_bucket <= counted <= exact


requests = st.lists(st.tuples(st.sampled_from(CODES), st.floats(0.0001, 10)), max_size=30)


@given(st.lists(requests, min_size=1, max_size=5))
def test_parts_merge_to_the_whole(parts: list[list[tuple[str, float]]]) -> None:
    def tally(part: list[tuple[str, float]]) -> Tally:
        return Tally(of_requests([code for code, _ in part], np.array([it for _, it in part])))

    total = Tally()
    for part in parts:
        total += tally(part)
    everything = tally([it for part in parts for it in part])
    assert total.numbers == everything.numbers
    again = total - tally(parts[0]) + tally(parts[0])
    assert {name: it for name, it in again.numbers.items() if it} == {k: v for k, v in total.numbers.items() if v}


def test_missing_inputs_and_outputs_are_counted_by_row() -> None:
    inputs = {
        "wind": np.array([1.0, np.nan, np.nan]),
        "tail": np.array(["N1", None, "N2"], dtype=object),
        "image": np.array([[1.0, np.nan], [1.0, 2.0], [3.0, 4.0]]),
        "hour": np.array([1, 2, 3]),
    }
    tally = Tally(of_answers(inputs, {"p": np.array([0.1, 0.2, np.nan])}))
    assert tally.below("missing/") == {"wind": 2, "tail": 1, "image": 1}
    assert tally["rows"] == 3
    assert tally.moments("output/p") == (2, pytest.approx(0.3), pytest.approx(0.05))
    assert tally["output/p/missing"] == 1
    assert sum(tally.below("output/p/bin/").values()) == 2


def test_labels_and_classes_are_counted_by_value() -> None:
    outputs = {
        "label": np.array(["yes", "no", "yes"], dtype=object),
        "probabilities": np.array([[0.1, 0.9], [0.8, 0.2], [0.3, 0.7]]),
    }
    tally = Tally(of_answers({}, outputs))
    assert tally.below("output/label/bin/") == {"no": 1, "yes": 2}
    assert tally.below("output/probabilities/bin/") == {"0": 1, "1": 2}


def test_labels_without_end_are_bounded() -> None:
    tally = Tally(of_answers({}, {"label": np.array([f"label {it}" for it in range(500)], dtype=object)}))
    assert len(tally.below("output/label/bin/")) == 51
    assert sum(tally.below("output/label/bin/").values()) == 500


@given(st.lists(st.tuples(st.floats(0, 1), st.floats(0, 1)), min_size=3, max_size=100))
def test_differences_are_those_of_numpy(pairs: list[tuple[float, float]]) -> None:
    one, other = (np.array(values) for values in zip(*pairs, strict=True))
    tally = Tally(of_differences({"p": one}, {"p": other}))
    count, total, squares = tally.moments("difference/p")
    assert count == len(pairs)
    assert total == pytest.approx(np.abs(one - other).sum())
    assert squares == pytest.approx(((one - other) ** 2).sum())
    found = correlation(tally, "p")
    if found is not None and one.std() > 1e-3 and other.std() > 1e-3:
        assert found == pytest.approx(np.corrcoef(one, other)[0, 1], abs=1e-6)


def test_an_answer_that_is_missing_on_one_side_differs() -> None:
    tally = Tally(of_differences({"p": np.array([np.nan, np.nan, 0.5])}, {"p": np.array([np.nan, 0.5, 0.5])}))
    assert tally.moments("difference/p") == (3, 1.0, 1.0)


def test_of_labels_it_is_kept_which_stood_for_which() -> None:
    live = np.array(["a", "a", "b", "a"], dtype=object)
    tally = Tally(of_differences({"label": live}, {"label": np.array(["a", "b", "c", "a"], dtype=object)}))
    assert tally.moments("difference/label") == (4, 2.0, 2.0)
    assert tally.below("difference/label/pair/") == {"a→a": 2, "a→b": 1, "b→c": 1}


@given(st.lists(st.floats(0, 1e6), min_size=1, max_size=100), st.floats(0.01, 0.99))
def test_a_quantile_of_differences_is_at_most_nineteen_percent_too_much(apart: list[float], share: float) -> None:
    values = np.array([0.0 if it < 1e-9 else it for it in apart])
    tally = Tally(of_differences({"p": np.zeros(len(values))}, {"p": values}))
    bins = {int(place): count for place, count in tally.below("difference/p/bin/").items()}
    found, exact = quantile_apart(bins, share), float(np.quantile(values, share, method="inverted_cdf"))
    assert found is not None
    assert exact <= found * (1 + 1e-9)
    assert found <= exact * 2**0.25 * (1 + 1e-9)


def test_of_no_differences_there_is_no_quantile() -> None:
    assert quantile_apart({}, 0.5) is None


def test_texts_that_never_come_twice_fill_no_memory_and_are_counted() -> None:
    total: dict[str, float] = {}
    for batch in range(30):
        texts = np.array([f"text {batch} {row}" for row in range(40)], dtype=object)
        total = grown(total, of_answers({}, {"text": texts}) | of_differences({"text": texts}, {"text": texts}))
    tally = Tally(total)
    for prefix in ("output/text/bin/", "difference/text/pair/"):
        found = tally.below(prefix)
        assert len(found) == 401
        assert sum(found.values()) == 1_200
        assert found["(other)"] == 800
    assert grown(total, {"output/text/bin/text 0 0": 1.0, "requests": 1.0})["output/text/bin/text 0 0"] == 2.0


def test_outputs_of_another_shape_are_not_compared() -> None:
    assert of_differences({"p": np.zeros((2, 3))}, {"p": np.zeros((2, 4))}) == {}
    assert of_differences({"p": np.zeros(2)}, {"q": np.zeros(2)}) == {}


@given(st.floats(0, 1e9), st.floats(0, 1e9))
def test_bins_keep_the_order(one: float, other: float) -> None:
    low, high = bin_of(np.array(sorted((one, other))))
    assert low <= high


def told(requests: int) -> dict[Stream, dict[str, float]]:
    return {LIVE: {"requests": float(requests)}}


@given(st.lists(st.integers(0, 5), min_size=1, max_size=20), st.data())
def test_lost_repeated_and_late_messages_count_once(growth: list[int], data: st.DataObject) -> None:
    totals = np.cumsum(growth)
    messages = [(number, int(total)) for number, total in enumerate(totals)]
    sent = [*data.draw(st.lists(st.sampled_from(messages), max_size=40)), messages[-1]]
    ledger = Ledger()
    ledger.begin(100.0)
    for number, total in sent:
        ledger.take("one", 200.0, number, told(total))
    assert ledger.observed(LIVE).requests == totals[-1]


def test_a_step_counts_what_came_since_it_began() -> None:
    ledger = Ledger()
    ledger.take("one", 0.0, 1, told(10))
    ledger.begin(100.0)
    ledger.take("one", 0.0, 2, told(25))
    ledger.take("two", 150.0, 1, told(5))
    assert ledger.observed(LIVE).requests == 20


def test_a_replica_that_dies_leaves_what_it_has_told() -> None:
    ledger = Ledger()
    ledger.begin(0.0)
    ledger.take("dead", 10.0, 1, told(10))
    ledger.take("new", 20.0, 1, told(1))
    assert ledger.observed(LIVE).requests == 11


def test_a_saved_ledger_goes_on_and_counts_nothing_twice() -> None:
    ledger = Ledger()
    ledger.take("one", 0.0, 1, told(10))
    ledger.begin(100.0)
    ledger.take("one", 0.0, 2, told(14))
    again = Ledger.parse(ledger.dump())
    again.take("one", 0.0, 2, told(14))
    again.take("one", 0.0, 3, told(16))
    assert again.observed(LIVE).requests == 6


def test_a_lost_ledger_does_not_count_what_came_before_the_step() -> None:
    ledger = Ledger()
    ledger.begin(100.0)
    ledger.take("one", 50.0, 7, told(1_000))
    ledger.take("one", 50.0, 8, told(1_003))
    assert ledger.observed(LIVE).requests == 3


@pytest.mark.parametrize("text", ["", "[]", '{"told": {}}', '{"told": [], "before": {}, "began_s": 0}'])
def test_a_broken_ledger_is_said_to_be_one(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json's own for what is no JSON
        Ledger.parse(text)


def test_adding_changes_neither_part() -> None:
    one = {"requests": 1.0}
    assert added(one, {"requests": 2.0, "rows": 1.0}) == {"requests": 3.0, "rows": 1.0}
    assert one == {"requests": 1.0}
