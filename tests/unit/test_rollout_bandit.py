"""Thompson sampling: posteriors against closed forms, probabilities by quadrature against samples, exact splits."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special, stats

from taxiway.rollout.bandit import (
    BetaPrior,
    NormalPrior,
    best_probabilities,
    mean_posterior,
    rate_posterior,
    sampled_probabilities,
    weights,
)
from taxiway.rollout.observations import Counts, Moments

RATES = {
    "a": rate_posterior(Counts(1_000, 100)),
    "b": rate_posterior(Counts(400, 48)),
    "c": rate_posterior(Counts(50, 5)),
}


def exact(one: Counts, other: Counts) -> float:
    """P(the second rate is higher), both Beta(1, 1) before: Evan Miller 2014, by a finite sum."""
    a, b = other.hits + 1, other.n - other.hits + 1
    c, d = one.hits + 1, one.n - one.hits + 1
    at = np.arange(a)
    terms = special.betaln(c + at, b + d) - np.log(b + at) - special.betaln(1 + at, b) - special.betaln(c, d)
    return float(np.exp(terms).sum())


def test_two_rates_equal_the_closed_form() -> None:
    one, other = Counts(1_000, 100), Counts(400, 48)
    found = best_probabilities({"a": rate_posterior(one), "b": rate_posterior(other)}, "higher")
    assert found["b"] == pytest.approx(exact(one, other), abs=3e-4)
    lower = best_probabilities({"a": rate_posterior(one), "b": rate_posterior(other)}, "lower")
    assert lower["a"] == pytest.approx(found["b"], abs=6e-4)


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_quadrature_equals_samples(better: str) -> None:
    found = best_probabilities(RATES, better)  # type: ignore[arg-type]
    drawn = sampled_probabilities(RATES, better, np.random.default_rng(0), 40_000)  # type: ignore[arg-type]
    assert found == pytest.approx(drawn, abs=0.01)
    assert sum(found.values()) == pytest.approx(1)


def test_equal_variants_are_equally_likely_the_best() -> None:
    found = best_probabilities({name: rate_posterior(Counts(90, 9)) for name in "abcd"}, "higher")
    assert found == pytest.approx(dict.fromkeys("abcd", 0.25))


def test_a_variant_far_ahead_is_the_best() -> None:
    far = {"a": rate_posterior(Counts(10**6, 10)), "b": rate_posterior(Counts(10**6, 500_000))}
    assert best_probabilities(far, "higher")["b"] == pytest.approx(1)
    assert best_probabilities(far, "lower")["b"] == pytest.approx(0)


def test_a_single_variant_is_the_best() -> None:
    assert best_probabilities({"a": rate_posterior(Counts())}, "higher") == {"a": 1}


def test_the_mean_has_the_student_posterior_of_the_textbook() -> None:
    values = np.array([1.0, 2.0, 4.0, 9.0])
    prior = NormalPrior(mean=2.0, rows=3.0, shape=2.0, scale=5.0)
    found = mean_posterior(Moments.of(values), prior)
    scale = 5 + ((values - 4) ** 2).sum() / 2 + 3 * 4 * (4 - 2) ** 2 / (2 * 7)
    wanted = stats.t(2 * 4, loc=(3 * 2 + 4 * 4) / 7, scale=np.sqrt(scale / (4 * 7)))
    assert found.ppf([0.1, 0.5, 0.9]) == pytest.approx(wanted.ppf([0.1, 0.5, 0.9]))


def test_many_values_leave_little_of_the_prior() -> None:
    values = np.random.default_rng(0).normal(7, 3, 20_000)
    found = mean_posterior(Moments.of(values))
    assert found.ppf([0.5])[0] == pytest.approx(values.mean(), abs=1e-3)
    assert found.ppf([0.8413])[0] - found.ppf([0.5])[0] == pytest.approx(3 / np.sqrt(20_000), rel=0.05)


def test_a_prior_counts_as_rows_already_seen() -> None:
    found = rate_posterior(Counts(10, 2), BetaPrior(3, 4))
    assert found.cdf([0.3]) == pytest.approx(stats.beta(5, 12).cdf(0.3))


@given(
    st.dictionaries(st.text("abc", min_size=1, max_size=3), st.floats(0.001, 1), min_size=1, max_size=5),
    st.floats(0, 20),
    st.sampled_from(["1", "0.1", "0.01"]),
)
@settings(deadline=None)
def test_weights_sum_to_100_and_keep_the_floors(shares: dict[str, float], floor: float, step: str) -> None:
    total = sum(shares.values())
    likely = {name: share / total for name, share in shares.items()}
    floors = dict.fromkeys(shares, min(floor, 100 / len(shares) - 1))
    found = weights(likely, floors, step)
    assert sum(found.values()) == pytest.approx(100, abs=1e-9)
    assert all(found[name] >= floors[name] for name in shares)
    assert all(abs(round(weight / float(step)) * float(step) - weight) < 1e-9 for weight in found.values())


def test_what_is_left_over_goes_by_probability() -> None:
    assert weights({"a": 0.9, "b": 0.1}, {"b": 5.0}) == {"a": 85.5, "b": 14.5}
    assert weights({"a": 1 / 3, "b": 1 / 3, "c": 1 / 3}, {}, "1") == {"a": 34.0, "b": 33.0, "c": 33.0}


def test_floors_that_leave_no_split_are_refused() -> None:
    for floors in ({"a": 60.0, "b": 50.0}, {"a": -1.0}, {"unknown": 1.0}):
        with pytest.raises(ValueError, match="floor"):
            weights({"a": 0.5, "b": 0.5}, floors)
    with pytest.raises(ValueError, match="step"):
        weights({"a": 1.0}, {}, "0.3")
