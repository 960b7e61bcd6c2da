"""The sequential test of sample ratio mismatch."""

from math import inf, log

import numpy as np
import pytest
from scipy import stats

from taxiway.rollout import evidence
from taxiway.rollout.ratio_mismatch import Assigned, log_evidence, ratio_mismatch

EVEN = {"champion": 50.0, "challenger": 50.0}


def test_evidence_is_the_dirichlet_multinomial_over_the_multinomial() -> None:
    counts, shares = np.array([12, 30, 8]), np.array([0.3, 0.5, 0.2])
    mixed = stats.dirichlet_multinomial(100 * shares, 50).logpmf(counts)
    plain = stats.multinomial(50, shares).logpmf(counts)
    assert float(evidence.shares(counts, shares, 100)) == pytest.approx(mixed - plain)


def test_two_variants_are_the_beta_binomial() -> None:
    found = log_evidence(Assigned({"a": 70, "b": 30}, {"a": 80, "b": 20}), 10)
    assert found == pytest.approx(float(evidence.proportion(70, 100, 0.8, (8.0, 2.0))))


def test_a_right_split_watched_all_the_time_rarely_alarms() -> None:
    random = np.random.default_rng(7)
    challenger = (random.random((300, 2_000)) < 0.1).cumsum(axis=1)
    counts = np.stack([challenger, np.arange(1, 2_001) - challenger], axis=-1)
    found = evidence.shares(counts, [0.1, 0.9], 1_000)
    assert (found.max(axis=1) >= log(20)).mean() <= 0.05


def test_a_wrong_split_is_found_and_said() -> None:
    found = ratio_mismatch(
        [Assigned({"champion": 8_700, "challenger": 1_300}, {"champion": 90, "challenger": 10})], 0.01
    )
    assert found.mismatched
    assert found.p_value < 0.01
    assert "challenger got 13.00% of 10,000 requests instead of 10.00%" in found.sentence


def test_steps_with_other_weights_are_judged_by_their_own() -> None:
    steps = [
        Assigned({"champion": 9_000, "challenger": 1_000}, {"champion": 90, "challenger": 10}),
        Assigned({"champion": 5_000, "challenger": 5_000}, {"champion": 1, "challenger": 1}),
    ]
    assert not ratio_mismatch(steps, 0.05).mismatched
    together = Assigned({"champion": 14_000, "challenger": 6_000}, EVEN)
    assert ratio_mismatch([together], 0.05).mismatched
    assert ratio_mismatch(steps, 0.05).log_evidence == pytest.approx(sum(map(log_evidence, steps)))


def test_small_mismatches_of_several_steps_add_up() -> None:
    step = Assigned({"champion": 5_130, "challenger": 4_870}, EVEN)
    assert not ratio_mismatch([step], 0.01).mismatched
    assert ratio_mismatch([step] * 4, 0.01).mismatched


def test_a_request_to_a_variant_without_weight_is_a_mismatch_at_once() -> None:
    assert log_evidence(Assigned({"a": 10, "b": 1}, {"a": 100, "b": 0})) == inf
    assert log_evidence(Assigned({"a": 10, "unheard of": 1}, {"a": 100})) == inf
    assert ratio_mismatch([Assigned({"a": 10, "b": 1}, {"a": 100, "b": 0})], 1e-9).p_value == 0


def test_nothing_assigned_and_a_single_variant_say_nothing() -> None:
    assert ratio_mismatch([], 0.05).p_value == 1
    assert ratio_mismatch([Assigned({}, EVEN)], 0.05).log_evidence == pytest.approx(0)
    assert log_evidence(Assigned({"a": 10_000, "b": 0}, {"a": 100, "b": 0})) == pytest.approx(0)


def test_what_is_no_split_is_refused() -> None:
    for weights in ({"a": -1.0, "b": 2.0}, {"a": 0.0}, {}):
        with pytest.raises(ValueError, match="weights"):
            Assigned({}, weights)
    with pytest.raises(ValueError, match="negative"):
        Assigned({"a": -1}, EVEN)
    with pytest.raises(ValueError, match="alpha"):
        ratio_mismatch([], 1.0)
