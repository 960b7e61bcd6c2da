"""Summaries of outputs have a fixed size and merge to what one summary of all values is."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.summaries import MAX_BINS, MAX_LABELS, LabelSummary, NumberSummary, merge, summarize

FINITE = st.floats(-1e12, 1e12, allow_subnormal=False)
NUMBERS = st.lists(FINITE | st.sampled_from([np.nan, np.inf, -np.inf]), max_size=50)


@given(NUMBERS, NUMBERS)
def test_merged_summaries_are_those_of_all_numbers(left, right):
    both = summarize(np.array(left + right))
    merged = summarize(np.array(left)).merged(summarize(np.array(right)))
    assert isinstance(both, NumberSummary)
    assert (merged.count, merged.missing) == (both.count, both.missing)
    assert (merged.minimum, merged.maximum) == (both.minimum, both.maximum)
    if merged.histogram is not None:
        assert sum(merged.histogram.counts) == merged.count
        assert len(merged.histogram.counts) <= MAX_BINS
        assert merged.histogram.counts == both.histogram.counts
        assert merged.histogram.exponent == both.histogram.exponent


def test_bins_hold_the_values_between_their_edges():
    values = np.random.default_rng(0).beta(2, 5, 10_000)
    summary = summarize(values)
    counts, _ = np.histogram(values, bins=summary.histogram.edges)
    assert summary.histogram.counts == tuple(counts)
    assert 32 <= len(summary.histogram.counts) <= MAX_BINS
    assert summary.mean == pytest.approx(values.mean())


def test_a_single_value_and_none_at_all_have_summaries():
    assert summarize(np.array([3.0, 3.0])).histogram.counts == (2,)
    assert summarize(np.array([np.nan, np.inf])).histogram is None
    assert summarize(np.array([True, False])).count == 2


def test_rare_labels_are_counted_together():
    words = np.array([f"w{number % 100}" for number in range(1_000)] + ["often"] * 50 + [None], dtype=object)
    summary = summarize(words)
    assert isinstance(summary, LabelSummary)
    assert len(summary.counts) == MAX_LABELS
    assert summary.counts["often"] == 50
    assert sum(summary.counts.values()) + summary.others == 1_050
    assert summary.missing == 1
    assert merge({"x": summary}, {"x": summary})["x"].counts["often"] == 100


def test_numbers_with_gaps_are_numbers():
    summary = summarize(np.array([1.0, None, 2.0], dtype=object))
    assert (summary.kind, summary.count, summary.missing) == ("numbers", 2, 1)


def test_the_sum_of_piece_summaries_survives_json():
    summary = summarize(np.array([0.25, 0.5]))
    assert NumberSummary.model_validate_json(summary.model_dump_json()) == summary
    assert Counter(summarize(np.array(["a"], dtype=object)).counts) == Counter("a")
