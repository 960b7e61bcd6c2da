"""The rank correlation of copies: beside scipy's, in parts that merge, in bounded memory, and judged at any moment."""

import warnings
from collections.abc import Sequence
from math import asin, pi

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import spearmanr

from taxiway.rollout.joint import CELLS, Cells, bounded, conformed, of_pairs, places, read_cells
from taxiway.rollout.judge_step import Seen, judge_step
from taxiway.rollout.ledger import Ledger
from taxiway.rollout.observations import Values
from taxiway.rollout.plan import ChecksSettings, RankCorrelationSettings, RolloutSettings, StepSettings
from taxiway.rollout.ranks import RankCorrelation, disorder, has_order, rank_correlation, ranks_of
from taxiway.rollout.tally import RANKED, Stream, Tally, grown, of_differences
from taxiway.rollout.verdict import Finding
from taxiway.rollout_sketch import sketch

numbers = st.floats(allow_nan=False) | st.integers(-3, 3).map(float)
pairs = st.lists(st.tuples(numbers, numbers), min_size=2, max_size=60)
COPIES = Stream("late", "challenger", "7", "shadow")


def columns(found: Sequence[tuple[float, float]]) -> tuple[Values, Values]:
    x, y = zip(*found, strict=True)
    return np.array(x), np.array(y)


def exact(x: Values, y: Values) -> float:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what never varies
        return float(spearmanr(x, y).statistic)


def counted(x: Values, y: Values, rows: int = 50) -> dict[str, float]:
    """As a replica counts them, some rows at a time."""
    total: dict[str, float] = {}
    for first in range(0, len(x), rows):
        part = slice(first, first + rows)
        total = grown(total, of_differences({"p": x[part]}, {"p": y[part]}))
    return total


def found_in(total: dict[str, float]) -> RankCorrelation:
    found = rank_correlation(Tally(total), "p")
    assert found is not None
    return found


def noisy(noise: float, rows: int, seed: int = 1) -> tuple[Values, Values]:
    random = np.random.default_rng(seed)
    x = random.normal(size=rows)
    return x, x + noise * random.normal(size=rows)


@given(st.lists(st.floats(allow_nan=False), min_size=2, max_size=50))
@settings(deadline=None)
def test_places_keep_the_order_of_all_numbers(values: list[float]) -> None:
    found = places(np.array(values))
    for one, other, low, high in zip(values, values[1:], found, found[1:], strict=False):
        assert (one < other) == (low < high)
        assert (one == other) == (low == high)


@given(pairs)
@settings(deadline=None)
def test_while_there_are_cells_for_all_pairs_it_is_scipys(found: list[tuple[float, float]]) -> None:
    x, y = columns(found)
    it = rank_correlation(Tally(of_differences({"p": x}, {"p": y})), "p")
    if it is None:
        assert len(set(x)) == 1 or len(set(y)) == 1
    else:
        assert it.estimate == it.low == it.high == pytest.approx(exact(x, y), abs=1e-9)


@given(pairs, st.integers(4, 40))
@settings(deadline=None)
def test_whatever_the_cells_are_scipys_lies_between_the_ends(found: list[tuple[float, float]], most: int) -> None:
    x, y = columns(found)
    it = ranks_of(Cells(0, places(x), places(y), np.ones(len(x))).within(most))
    if it is not None:
        assert it.low - 1e-9 <= exact(x, y) <= it.high + 1e-9
        assert it.low <= it.estimate <= it.high


@pytest.mark.parametrize("noise", [0.01, 0.3, 1.5, 20.0])
@pytest.mark.parametrize("scale", [lambda it: it, lambda it: 1e6 + it, lambda it: np.exp(3 * it)])
def test_in_bounded_memory_the_estimate_is_close(noise: float, scale: object) -> None:
    x, y = (scale(it) for it in noisy(noise, 4_000))  # type: ignore[operator]
    total = counted(x, y, 200)
    cells = read_cells(total, "difference/p")
    assert cells is not None
    assert len(cells.x) <= CELLS
    assert cells.n == 4_000
    it = found_in(total)
    assert it.low <= exact(x, y) <= it.high
    part_of_sampling = 0.6 * (it.variance / it.n) ** 0.5
    assert abs(it.estimate - exact(x, y)) <= 0.5 * it.coarse + part_of_sampling < 0.03


@given(pairs, st.integers(1, 20), st.integers(4, 30))
@settings(max_examples=50, deadline=None)
def test_parts_of_other_widths_merge_to_the_whole(found: list[tuple[float, float]], cut: int, most: int) -> None:
    x, y = columns(found)
    parts = of_pairs("p", x[:cut], y[:cut], most), of_pairs("p", x[cut:], y[cut:], 4)
    merged = read_cells((Tally(parts[0]) + Tally(parts[1])).numbers, "p")
    assert merged is not None
    whole = Cells(0, places(x), places(y), np.ones(len(x))).widened(merged.shift)
    assert sorted(zip(merged.x, merged.y, merged.counts, strict=True)) == sorted(
        zip(whole.x, whole.y, whole.counts, strict=True)
    )


@given(pairs, st.integers(4, 12))
@settings(max_examples=50, deadline=None)
def test_a_process_never_has_more_cells_than_it_may_and_forgets_no_row(
    found: list[tuple[float, float]], most: int
) -> None:
    x, y = columns(found)
    total: dict[str, float] = {}
    for row in range(len(x)):
        numbers = conformed(total, of_pairs("p", x[row : row + 1], y[row : row + 1]))
        new = [name for name in numbers if name not in total]
        total = bounded(
            {name: total.get(name, 0.0) + numbers.get(name, 0.0) for name in {**total, **numbers}}, new, most
        )
        cells = read_cells(total, "p")
        assert cells is not None
        assert (len(cells.x) <= most, cells.n, len(total)) == (True, row + 1, len(cells.x) + 1)


def test_a_step_counts_its_own_rows_though_the_cells_have_become_wider_since() -> None:
    x, y = noisy(0.3, 3_000)
    before, after = counted(x[:500], y[:500]), counted(x, y)
    assert not before.keys() & {name for name in after if ":" in name}
    ledger = Ledger()
    ledger.take("one", 0.0, 1, {COPIES: before})
    ledger.begin(1.0)
    ledger.take("one", 0.0, 2, {COPIES: after})
    it = rank_correlation(ledger.observed(COPIES), "p")
    assert it is not None
    assert it.n == 2_500
    assert it.low <= exact(x[500:], y[500:]) <= it.high


def test_rows_without_an_answer_on_one_side_and_infinite_ones_are_ranked_as_they_can_be() -> None:
    x, y = np.array([1.0, 2.0, np.nan, 4.0, np.inf]), np.array([1.0, np.nan, 3.0, 4.0, np.inf])
    it = found_in(of_differences({"p": x}, {"p": y}))
    assert (it.n, it.estimate) == (3, pytest.approx(1.0))


def test_labels_and_several_numbers_a_row_have_no_order() -> None:
    texts, rows = np.array(["a", "b"], object), np.array([[0.1, 0.9], [0.4, 0.6]])
    tally = Tally(of_differences({"t": texts, "q": rows, "p": rows[:, 0]}, {"t": texts, "q": rows, "p": rows[:, 0]}))
    assert [has_order(tally, name) for name in ("t", "q", "p", "none")] == [False, False, True, False]


def test_of_many_outputs_the_first_are_ranked() -> None:
    outputs = {f"o{number:02}": np.arange(3.0) for number in range(20)}
    tally = Tally(of_differences(outputs, outputs))
    assert [name for name in tally.names("difference") if has_order(tally, name)] == sorted(outputs)[:RANKED]


def test_the_confidence_sequence_holds_the_true_value_all_the_time() -> None:
    """Of normal pairs Spearman's coefficient is 6/pi asin(r/2) (Kruskal 1958)."""
    r, alpha, missed = 0.8, 0.1, 0
    true = 1 - 6 / pi * asin(r / 2)
    random = np.random.default_rng(5)
    for _ in range(150):
        x, other = random.normal(size=(2, 1_600))
        y = r * x + np.sqrt(1 - r * r) * other
        looks = (ranks_of(Cells(0, places(x[:n]), places(y[:n]), np.ones(n))) for n in (100, 200, 400, 800, 1_600))
        intervals = [disorder(it, alpha) for it in looks if it is not None]
        missed += not all(it.low <= true <= it.high for it in intervals)
    assert missed <= 0.1 * 150
    assert intervals[-1].high - intervals[-1].low < 0.12


def test_the_variance_is_that_of_repeated_samples() -> None:
    random = np.random.default_rng(9)
    found = []
    for _ in range(300):
        x = np.round(random.normal(size=400))  # with ties, which change both ranks' own spread
        y = np.round(x + random.normal(size=400))
        found.append(ranks_of(Cells(0, places(x), places(y), np.ones(400))))
    known = [it for it in found if it is not None]
    assert np.mean([it.variance for it in known]) / 400 == pytest.approx(
        np.var([it.estimate for it in known]), rel=0.25
    )


def judged(x: Values, y: Values, at_least: float = 0.9, **others: object) -> Finding:
    checks = ChecksSettings(
        errors=None,
        slow=None,
        missing=None,
        rank_correlation=RankCorrelationSettings(min=at_least, **others),  # type: ignore[arg-type]
    )
    plan = RolloutSettings(steps=(StepSettings(shadow=100, min_s=60, max_s=600),), checks=checks)
    copies = Tally({"requests": float(len(x))}) + Tally(of_differences({"p": x}, {"p": y}))
    (found,) = judge_step(plan, 0, Seen(Tally(), Tally(), copies), 100).findings
    return found


def test_a_challenger_that_orders_rows_alike_passes_and_another_one_fails() -> None:
    assert judged(*noisy(0.2, 3_000)).state == "passed"
    worse = judged(*noisy(1.0, 3_000))
    assert (worse.state, worse.estimate) == ("failed", pytest.approx(0.31, abs=0.03))
    assert judged(*noisy(0.2, 50)).state == "waiting"


def test_a_challenger_that_only_scales_its_answers_passes() -> None:
    x, _ = noisy(0, 3_000)
    found = judged(x, np.exp(5 * x))
    assert (found.state, found.estimate) == ("passed", pytest.approx(0, abs=1e-3))


def test_it_is_refused_for_labels_and_says_what_to_do() -> None:
    texts = np.array(["a", "b"] * 200, object)
    found = judged(texts, texts)  # type: ignore[arg-type]
    assert found.state == "could_not_measure"
    assert "p: labels and rows of several numbers have no order; use `disagreement`" in found.sentence
    assert judged(*noisy(0.1, 500), output="other").state == "could_not_measure"


def test_an_answer_that_never_varies_is_waited_for() -> None:
    assert judged(np.zeros(500), np.zeros(500)).state == "waiting"


def test_a_plan_without_copies_can_not_ask_for_it() -> None:
    with pytest.raises(ValueError, match="give a step a `shadow`"):
        RolloutSettings(
            steps=(StepSettings(weight=50),), checks=ChecksSettings(rank_correlation=RankCorrelationSettings(min=0.9))
        )


def classes(live: Sequence[int], copy: Sequence[int]) -> Tally:
    return Tally(of_differences({"k": np.array(live)}, {"k": np.array(copy)}))


def test_of_whole_numbers_it_is_kept_which_class_stood_for_which() -> None:
    tally = classes([0, 0, 1, 70], [0, 1, 1, 2])
    assert tally.below("difference/k/pair/") == {"0→0": 1, "0→1": 1, "1→1": 1, "(other)→2": 1}
    assert tally.moments("difference/k")[0] == 4


def test_classes_without_a_name_of_their_own_make_no_matrix_when_they_are_many() -> None:
    few, many = classes([0] * 99 + [70], [0] * 99 + [71]), classes(range(200), range(200))
    for tally, shown in ((few, {"0→0": 99, "(other)→(other)": 1}), (many, {})):
        assert sketch(0, Tally(), Tally(), tally).apart["k"].pairs == shown


@pytest.mark.parametrize("kind", [np.int8, np.uint64, np.int64])
def test_the_largest_and_smallest_numbers_of_a_type_are_no_small_class(kind: type) -> None:
    ends = np.array([np.iinfo(kind).min, np.iinfo(kind).max, 3], kind)
    found = Tally(of_differences({"k": ends}, {"k": ends})).below("difference/k/pair/")
    small = {"0→0": 1.0} if np.iinfo(kind).min == 0 else {}
    assert found == {"3→3": 1.0, "(other)→(other)": 2.0 - len(small)} | small
