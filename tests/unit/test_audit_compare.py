"""Two columns side by side: what differs, how and by how much."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.audit.compare import compare, quantiles
from batch.audit.replay import Skew
from batch.audit.report import broken, duration
from batch.audit.settings import SkewLimits

NUMBERS = st.lists(st.tuples(*[st.one_of(st.just(np.nan), st.floats())] * 2), min_size=1)
TEXTS = st.lists(st.tuples(*[st.one_of(st.none(), st.sampled_from("ab"))] * 2), min_size=1)


def array(values, dtype=np.float64):
    return np.array(values, dtype)


@given(NUMBERS)
def test_a_column_does_not_differ_from_itself(pairs):
    values = array([one for one, _ in pairs])
    found = compare("x", values, values.copy(), 0.0).skew()
    assert (found.differing, found.not_bit_equal, found.difference) == (0, 0, None)


@given(NUMBERS, st.sampled_from([0.0, 1e-6, 0.1]))
def test_each_row_that_differs_has_one_cause(pairs, tolerance):
    served, offline = (array(values) for values in zip(*pairs, strict=True))
    found = compare("x", served, offline, tolerance).skew()
    assert found.differing == found.missing_online + found.missing_offline + found.unequal
    assert found.missing_online == (np.isnan(served) & ~np.isnan(offline)).sum()
    assert found.not_bit_equal >= found.differing
    assert compare("x", offline, served, tolerance).skew().differing == found.differing


@given(TEXTS)
def test_texts_differ_where_they_are_not_the_same(pairs):
    served, offline = (array(values, np.object_) for values in zip(*pairs, strict=True))
    found = compare("x", served, offline, 0.1).skew()
    assert found.differing == sum(one != another for one, another in pairs)
    assert found.missing_offline == sum(one is not None and another is None for one, another in pairs)


def test_a_tolerance_is_a_share_of_the_larger_number():
    served, offline = array([100.0, 100.0, 1e-9, -1.0]), array([100.9, 102.0, 2e-9, 1.0])
    found = compare("x", served, offline, 0.01)
    assert found.differs.tolist() == [False, True, True, True]
    assert found.skew().not_bit_equal == 4
    assert found.difference.tolist() == pytest.approx([0.9, 2.0, 1e-9, 2.0])


def test_an_infinite_number_equals_itself_only():
    served, offline = array([np.inf, np.inf, np.inf]), array([np.inf, -np.inf, 1.0])
    found = compare("x", served, offline, 0.0)
    assert found.differs.tolist() == [False, True, True]
    assert found.skew().difference is None


def test_a_default_counts_as_a_missing_value():
    served, offline = array([-1.0, 3.0, -1.0, 2.0]), array([3.0, -1.0, -1.0, 3.0])
    found = compare("x", served, offline, 0.0, stand_in=-1.0).skew()
    assert (found.missing_online, found.missing_offline, found.unequal) == (1, 1, 1)


def test_a_tensor_differs_where_one_element_does():
    served = np.zeros((3, 2, 2))
    offline = served.copy()
    offline[1, 0, 1], offline[1, 1, 1] = 3.0, -4.0
    found = compare("x", served, offline, 0.0)
    assert found.differs.tolist() == [False, True, False]
    assert found.difference.tolist() == [0.0, 4.0, 0.0]


def test_quantiles_are_of_the_finite_numbers():
    found = quantiles(array([*range(101), np.inf, np.nan]))
    assert found is not None
    assert (found.median, found.p90, found.p99, found.maximum) == (50.0, 90.0, 99.0, 100.0)


def test_only_a_limit_that_is_set_and_passed_is_broken():
    skew = Skew(
        rows=100,
        unreadable=0,
        features=(compare("wind", array([0.0] * 100), array([1.0] * 2 + [0.0] * 98), 0.0).skew(),),
        outputs=(compare("y", array([0.0] * 100), array([1.0] * 100), 0.0).skew(),),
        refused={"unknown_entity": 3},
    )
    told = broken(skew, SkewLimits(output_share=None))
    assert told == (
        "feature wind: 2.00% of 100 rows differ, allowed are 1.00% (2 unequal)",
        "batch refuses 3.00% of the answered rows (3 unknown_entity), allowed are 1.00%",
    )
    assert broken(skew, SkewLimits(feature_share=0.02, output_share=1.0, refused_share=0.03)) == ()


def test_a_duration_is_told_in_the_largest_unit():
    assert [duration(it) for it in (0.5, 90, 5400, 172_800)] == ["0.5 s", "1.5 min", "1.5 h", "2.0 d"]
