"""P-values of counts against scipy, Holm's procedure, and false alarms at the declared rate."""

from datetime import UTC, datetime

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2_contingency, false_discovery_control, fisher_exact, ks_2samp, kstest

from taxiway.drift.counts import ColumnCounts, of_numbers, of_profile, of_rows
from taxiway.drift.judgement import judge
from taxiway.drift.settings import DriftSettings, EffectSettings
from taxiway.drift.significance import chi_square_p, holm, kolmogorov_smirnov_p, missing_p
from taxiway.profile import Profile, profile
from taxiway.signature import Array, Column, Signature

NOW = datetime(2026, 3, 1, tzinfo=UTC)
ANY_SIZE = EffectSettings(psi=0, jensen_shannon=0, kolmogorov_smirnov=0, missing=0)
FULL = st.lists(st.tuples(st.integers(20, 500), st.integers(20, 500)), min_size=2, max_size=12)


@given(FULL)
def test_chi_square_is_that_of_scipy_where_every_bin_is_full(pairs: list[tuple[int, int]]) -> None:
    before, after = zip(*pairs, strict=True)
    scale = max(1, round(sum(before) / 100))
    smaller = [max(it // scale, 1) for it in after]
    small = min(sum(before), sum(smaller))
    expected = (np.add(before, smaller) * small / (sum(before) + sum(smaller))).min()
    found = chi_square_p(before, smaller)
    if expected >= 5:
        assert found == pytest.approx(
            chi2_contingency([before, smaller], correction=False).pvalue, rel=1e-9, abs=1e-300
        )
    assert 0 <= found <= 1


def test_bins_that_are_nearly_empty_are_joined_with_their_neighbours() -> None:
    before, after = [500, 1, 2, 1, 500], [500, 2, 1, 2, 500]
    joined = chi2_contingency([[500, 504], [500, 505]], correction=False).pvalue
    assert chi_square_p(before, after) == pytest.approx(joined)
    assert chi_square_p([10, 0], [0, 0]) == chi_square_p([7], [9]) == 1.0


def test_rare_categories_are_joined_with_each_other() -> None:
    before, after = [1, 500, 2, 500, 3, 2], [2, 400, 1, 600, 2, 3]
    assert chi_square_p(before, after, in_order=False) == pytest.approx(
        chi2_contingency([[6, 502, 500], [5, 403, 600]], correction=False).pvalue
    )


def test_the_kolmogorov_smirnov_p_is_that_of_scipy_on_the_bins() -> None:
    before, after = [300, 300, 400], [120, 90, 90]
    values = np.arange(3)
    wanted = ks_2samp(np.repeat(values, before), np.repeat(values, after), method="asymp").pvalue
    assert wanted <= kolmogorov_smirnov_p(before, after) == pytest.approx(wanted, rel=0.1)
    assert kolmogorov_smirnov_p([0, 0], after[:2]) == 1.0


def test_missing_values_are_compared_exactly_where_they_are_few() -> None:
    assert missing_p((1_000, 2), (500, 4)) == pytest.approx(fisher_exact([[2, 998], [4, 496]])[1])
    plain = chi2_contingency([[100, 900], [80, 420]], correction=False).pvalue
    assert missing_p((1_000, 100), (500, 80)) == pytest.approx(plain)
    assert missing_p((1_000, 0), (500, 0)) == missing_p((0, 0), (5, 1)) == 1.0


def test_holm_adjusts_as_in_its_textbook_example() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_holm_is_never_stricter_than_bonferroni_and_keeps_the_order(p_values: list[float]) -> None:
    found = holm(p_values)
    assert all(p <= it <= min(p * len(p_values), 1.0) + 1e-12 for p, it in zip(p_values, found, strict=True))
    assert np.all(np.diff(np.array(found)[np.argsort(p_values, kind="stable")]) >= 0)


def test_p_values_without_drift_are_uniform_though_the_bins_come_from_the_reference() -> None:
    random = np.random.default_rng(1)
    found = []
    for _ in range(400):
        reference = profile({"x": random.normal(size=4_000)}, Signature(inputs=(NUMBER,), outputs=()))
        (before,) = of_profile(reference)
        (after,) = of_numbers((before,), of_rows(reference, {"x": random.normal(size=1_000)}, {}))
        found.append(chi_square_p(before.bins, after.bins))
    assert kstest(found, "uniform").pvalue > 0.001


NUMBER = Column(name="x", dtype="float64")
COLUMNS = (
    *(Column(name=f"x{place}", dtype="float64", nullable=True) for place in range(6)),
    *(Column(name=f"t{place}", dtype="string") for place in range(3)),
)
SIGNATURE = Signature(inputs=COLUMNS, outputs=(Column(name="y", dtype="float64"),))


def world(random: np.random.Generator, rows: int) -> tuple[dict[str, Array], dict[str, Array]]:
    """Columns that depend on each other, some with gaps."""
    common = random.normal(size=rows)
    columns: dict[str, Array] = {}
    for place in range(6):
        values = common * (place % 2) + random.exponential(size=rows)
        columns[f"x{place}"] = np.where(random.random(rows) < 0.02 * place, np.nan, values)
    for place in range(3):
        columns[f"t{place}"] = random.choice(np.array(["a", "b", "c", "d"], object), rows, p=[0.6, 0.3, 0.09, 0.01])
    return columns, {"y": 1 / (1 + np.exp(-common))}


def reference(random: np.random.Generator, rows: int = 5_000) -> Profile:
    columns, outputs = world(random, rows)
    return profile(columns, SIGNATURE, (), outputs)


def test_without_drift_windows_are_called_different_at_the_declared_rate() -> None:
    """Ten columns, alpha 0.1: at most three standard errors above it, and the tests are not idle."""
    random = np.random.default_rng(4)
    alpha, tries, wrong, with_effect = 0.1, 200, 0, 0
    strict, plain = DriftSettings(alpha=alpha, effects=ANY_SIZE), DriftSettings(alpha=alpha)
    for attempt in range(tries):
        if attempt % 20 == 0:
            known = reference(random)
            counts = of_profile(known)
        current = of_numbers(counts, of_rows(known, *world(random, 600)))
        wrong += bool(judge(strict, counts, current, NOW, NOW).drifting)
        with_effect += bool(judge(plain, counts, current, NOW, NOW).drifting)
    assert 0.02 <= wrong / tries <= alpha + 3 * (alpha * (1 - alpha) / tries) ** 0.5
    assert with_effect < wrong


def test_a_shift_of_half_a_deviation_is_found_in_its_column_alone() -> None:
    random = np.random.default_rng(5)
    known = reference(random)
    columns, outputs = world(random, 2_000)
    columns["x0"] = columns["x0"] + 0.5
    counts = of_profile(known)
    window = judge(DriftSettings(), counts, of_numbers(counts, of_rows(known, columns, outputs)), NOW, NOW)
    assert [it.key for it in window.drifting] == ["inputs/x0"]
    assert set(window.drifting[0].because) == {"chi_square", "kolmogorov_smirnov"}
    assert window.rows == 2_000


def test_a_difference_that_is_significant_but_small_is_no_drift() -> None:
    before = ColumnCounts("inputs", "x", True, 1_000_000, 0, (500_000, 500_000))
    after = ColumnCounts("inputs", "x", True, 1_000_000, 0, (510_000, 490_000))
    (found,) = judge(DriftSettings(), (before,), (after,), NOW, NOW).columns
    assert found.p < 1e-30
    assert not found.drifts


def test_a_difference_that_is_large_but_may_be_chance_is_no_drift() -> None:
    before = ColumnCounts("inputs", "x", True, 20, 0, (10, 10))
    after = ColumnCounts("inputs", "x", True, 20, 0, (14, 6))
    (found,) = judge(DriftSettings(), (before,), (after,), NOW, NOW).columns
    assert found.kolmogorov_smirnov == pytest.approx(0.2)
    assert not found.drifts


def test_values_that_are_suddenly_missing_are_drift() -> None:
    before = ColumnCounts("features", "wind", True, 1_000, 10, (500, 490))
    after = ColumnCounts("features", "wind", True, 1_000, 1_000, (0, 0))
    (found,) = judge(DriftSettings(), (before,), (after,), NOW, NOW).columns
    assert found.because == ("missing",)
    assert found.sentence == "features/wind (missing 0.99)"


def test_an_ignored_column_is_not_tested_and_costs_no_alpha() -> None:
    counts = tuple(ColumnCounts("inputs", name, True, 1_000, 0, (500, 500)) for name in ("day", "x"))
    far = tuple(ColumnCounts("inputs", name, True, 1_000, 0, (900, 100)) for name in ("day", "x"))
    window = judge(DriftSettings(ignore=("day",)), counts, far, NOW, NOW)
    assert [it.column for it in window.columns] == ["x"]


def test_benjamini_and_yekutieli_would_need_smaller_p_values_for_the_first_column() -> None:
    """Why Holm: under no drift both promise the same, and one column that drifts alone is found sooner."""
    one = [1e-4, *np.linspace(0.2, 1.0, 49)]
    assert holm(one)[0] < false_discovery_control(one, method="by")[0]
