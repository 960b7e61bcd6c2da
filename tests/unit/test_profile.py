"""Profiles: what a window held, counted into the reference's bins; distances against scipy and known values."""

import math
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy.spatial.distance import jensenshannon
from scipy.stats import ks_2samp
from sklearn.linear_model import LogisticRegression

from taxiway.drift.distances import (
    Distance,
    distances,
    jensen_shannon_distance,
    kolmogorov_smirnov_statistic,
    population_stability_index,
    psi_by_chance,
)
from taxiway.errors import JobError
from taxiway.package import ModelPackage, load_package, log_package
from taxiway.profile import (
    BINS,
    NAMED_FROM_ROWS,
    SKETCH_SIZE,
    CategoryProfile,
    NumberProfile,
    OpaqueProfile,
    Profile,
    count,
    merge,
    profile,
)
from taxiway.signature import Column, Columns, Signature
from tests.plain_models import use_registry

NUMBER = Column(name="x", dtype="float64", nullable=True)
WHOLE = Column(name="x", dtype="int64")
TEXT = Column(name="x", dtype="string", nullable=True)
TRUTH = Column(name="x", dtype="bool", nullable=True)


def of(column: Column, *values: Any, dtype: Any = None, **options: Any) -> Profile:
    array = np.array(values, dtype or column.numpy_dtype)
    return profile({column.name: array}, Signature(inputs=(column,), outputs=()), **options)


def number(found: Profile) -> NumberProfile:
    entry = found.inputs["x"]
    assert isinstance(entry, NumberProfile)
    return entry


def category(found: Profile) -> CategoryProfile:
    entry = found.inputs["x"]
    assert isinstance(entry, CategoryProfile)
    return entry


def test_bins_of_a_reference_are_equally_full_and_its_outer_bins_empty() -> None:
    values = np.random.default_rng(0).normal(10.0, 2.0, 100_000)
    found = number(of(NUMBER, *values))
    assert len(found.edges) == BINS + 1
    assert (found.counts[0], found.counts[-1]) == (0, 0)
    np.testing.assert_allclose(found.counts[1:-1], 5_000, atol=1)
    np.testing.assert_allclose(found.edges[1:-1], np.quantile(values, np.linspace(0, 1, 21)[1:-1]), rtol=1e-3)
    assert (found.minimum, found.maximum) == (values.min(), values.max())
    assert found.mean == pytest.approx(values.mean())
    assert found.standard_deviation == pytest.approx(values.std())


def test_current_rows_are_counted_into_the_bins_of_the_reference() -> None:
    reference = of(NUMBER, *range(100), bins=4)
    current = number(count(reference, {"x": np.array([-1.0, 0.0, 30.0, 99.0, 99.5, 200.0, np.nan])}))
    assert current.edges == number(reference).edges
    assert current.counts == (1, 1, 1, 0, 1, 2)
    assert (current.rows, current.missing, current.missing_share) == (7, 1, 1 / 7)
    assert number(reference).counts == (0, 25, 25, 24, 26, 0)


def test_a_number_that_fills_a_bin_has_one_of_its_own() -> None:
    reference = of(NUMBER, *[0.0] * 600, *np.random.default_rng(1).normal(size=400))
    place = number(reference).edges.index(0.0)
    assert number(reference).counts[place + 1] == 600
    drifted = count(reference, {"x": np.full(600, 1e-9)})
    assert number(drifted).counts[place + 1] == 0
    assert distances(reference, drifted)[0].psi > 1


@pytest.mark.parametrize("value", [3.0, 0.0, -0.0, 1e308, -1.7976931348623157e308])
def test_a_constant_column_tells_below_equal_and_above_apart(value: float) -> None:
    reference = number(of(NUMBER, value, value))
    assert reference.counts == (0, 2, 0)
    assert (reference.mean, reference.standard_deviation) == (value, 0.0)
    above = math.nextafter(value, math.inf) if value else 1e-300
    below = math.nextafter(value, -math.inf) if value else -1e-300
    assert reference.counted(np.array([value, above, below])).counts == (1, 1, 1)


def test_infinite_numbers_lie_in_the_outer_bins_and_in_no_mean() -> None:
    reference = of(NUMBER, 1.0, 2.0, 3.0, np.inf, -np.inf, np.nan)
    found = number(reference)
    assert (found.rows, found.missing, found.infinite, found.finite) == (6, 1, 2, 3)
    assert (found.counts[0], found.counts[-1]) == (1, 1)
    assert (found.minimum, found.mean, found.maximum) == (1.0, 2.0, 3.0)
    assert Profile.model_validate_json(reference.model_dump_json()) == reference


def test_an_empty_column_has_a_profile() -> None:
    for found in (of(NUMBER), of(NUMBER, np.nan, np.nan), of(WHOLE)):
        assert number(found).edges == ()
        assert number(found).mean is None
        assert number(merge(found, found)).minimum is None
        assert distances(found, found)[0].psi is None
    assert number(count(of(NUMBER), {"x": np.array([1.0, 2.0])})).counts == (2,)
    assert category(of(TEXT)).distinct == 0
    assert category(of(TEXT, None, None)).missing_share == 1.0
    assert Profile().inputs == {}


def test_integers_that_a_float_cannot_tell_apart_are_told_apart() -> None:
    first = 2**60
    reference = of(WHOLE, *range(first, first + 1_000))
    found = number(reference)
    assert (found.minimum, found.maximum) == (first, first + 999)
    assert found.standard_deviation == pytest.approx(np.arange(1_000).std())
    assert sum(edge % 2 for edge in found.edges) > 0
    assert min(found.counts[1:-1]) >= 49
    shifted = count(reference, {"x": np.arange(first + 500, first + 1_500)})
    assert number(shifted).counts[-1] == 500
    assert distances(reference, shifted)[0].kolmogorov_smirnov == pytest.approx(0.5, abs=0.03)
    assert Profile.model_validate_json(reference.model_dump_json()) == reference


@pytest.mark.parametrize("dtype", ["int8", "int64", "uint64"])
def test_the_ends_of_an_integer_type_are_numbers_like_others(dtype: Any) -> None:
    low, high = np.iinfo(dtype).min, np.iinfo(dtype).max
    found = number(of(Column(name="x", dtype=dtype), low, high, high))
    assert (found.minimum, found.maximum) == (int(low), int(high))
    assert sum(found.counts) == 3
    assert found.standard_deviation == pytest.approx((float(high) - float(low)) * math.sqrt(2) / 3)


def test_integers_count_into_the_bins_of_floats_and_the_other_way() -> None:
    floats = of(NUMBER, 0.5, 1.5, 2.5, 3.5, bins=2)
    assert number(count(floats, {"x": np.array([0, 1, 2, 9])})).counts == (1, 2, 0, 1)
    whole = of(WHOLE, 1, 2, 3, 4, bins=2)
    assert sum(number(count(whole, {"x": np.array([-0.5, 1.5, np.nan])})).counts) == 2
    assert number(count(whole, {"x": np.array([2**64 - 1], np.uint64)})).counts[-1] == 1


def test_very_large_numbers_overflow_nothing() -> None:
    largest = 1.7976931348623157e308
    one, another = of(NUMBER, largest, largest), of(NUMBER, -largest, -largest)
    assert (number(one).mean, number(one).standard_deviation) == (largest, 0.0)
    both = number(merge(one, count(one, {"x": np.array([-largest, -largest])})))
    assert both.mean == pytest.approx(0.0, abs=1e295)
    assert both.standard_deviation == pytest.approx(largest)
    assert number(another).counts[1] == 2


def test_frequent_categories_have_names_and_the_rest_is_counted_together() -> None:
    words = [name for place in range(60) for name in [f"c{place:02}"] * (100 - place)]
    reference = of(TEXT, *words, None, categories=50)
    found = category(reference)
    assert list(found.counts)[:2] == ["c00", "c01"]
    assert len(found.counts) == 50
    assert found.other == sum(100 - place for place in range(50, 60))
    assert (found.missing, found.distinct) == (1, 60)
    current = category(count(reference, {"x": np.array(["c00", "new", "new", "c55", np.nan], object)}))
    assert (current.counts["c00"], current.other, current.missing, current.distinct) == (1, 3, 1, 3)


def test_a_rare_text_is_not_named_unless_the_signature_lists_it() -> None:
    rare = ["someone"] * (NAMED_FROM_ROWS - 1) + ["often"] * NAMED_FROM_ROWS
    assert list(category(of(TEXT, *rare)).counts) == ["often"]
    listed = Column(name="x", dtype="string", categories=("someone", "never"))
    assert category(of(listed, *rare)).counts == {"someone": 4, "never": 0}


def test_long_texts_are_cut_and_still_told_apart() -> None:
    one, another = "x" * 1_000, "x" * 999 + "y"
    found = category(of(TEXT, *[one] * 6, *[another] * 5, *["\ud800"] * 5))
    assert sorted(found.counts.values()) == [5, 5, 6]
    assert max(map(len, found.counts)) <= 48
    found.model_dump_json()


@pytest.mark.parametrize("size", [SKETCH_SIZE - 1, 1_000, 50_000])
def test_the_number_of_distinct_categories_is_estimated_within_three_standard_errors(size: int) -> None:
    found = category(of(TEXT, *[f"customer-{place}" for place in range(size)])).distinct
    exact = size < SKETCH_SIZE
    assert found == (size if exact else pytest.approx(size, rel=3 / math.sqrt(SKETCH_SIZE - 2)))


def test_truth_values_are_counted_whatever_their_array() -> None:
    wanted = {"false": 1, "true": 2}
    for values in ([True, False, True], [1.0, 0.0, 1.0, np.nan], [True, None, False, True]):
        array = np.array(values, object if None in values else None)
        found = category(profile({"x": array}, Signature(inputs=(TRUTH,), outputs=())))
        assert found.counts == wanted
        assert (found.missing, found.distinct) == (len(values) - 3, 2)


def test_tensors_and_bytes_have_rows_and_missing_values_only() -> None:
    columns = (Column(name="t", dtype="float32", shape=(2,), nullable=True), Column(name="b", dtype="bytes"))
    values = {"t": np.array([[1, 2], [np.nan, 2]], np.float32), "b": np.array([b"x", None], object)}
    found = profile(values, Signature(inputs=columns, outputs=()))
    assert found.inputs == {name: OpaqueProfile(rows=2, missing=1) for name in values}
    assert distances(found, found)[0] == Distance("inputs", "t", 1, 1, 0.0)


def test_a_column_that_is_not_there_is_missing_in_every_row() -> None:
    signature = Signature(
        inputs=(Column(name="a", dtype="int64"), NUMBER), outputs=(Column(name="p", dtype="float64"),)
    )
    feature = Column(name="f", dtype="float64", nullable=True)
    columns = {"a": np.arange(10), "f": np.full(10, 0.5)}
    reference = profile(columns, signature, (feature,), {"p": np.linspace(0, 1, 10)})
    assert reference.inputs["x"].missing_share == 1.0
    assert reference.features["f"].present == 10
    assert number(count(reference, {"a": np.arange(3)})).missing == 3
    without_answers = count(reference, columns)
    assert without_answers.outputs["p"].rows == 0
    assert merge(without_answers, without_answers).inputs["a"].rows == 20


def test_values_of_another_type_are_an_error_that_names_the_column() -> None:
    with pytest.raises(JobError, match=r"x: .*number"):
        of(NUMBER, "a", dtype=object)
    with pytest.raises(JobError, match="x: its profile counts a number"):
        count(of(NUMBER, 1.0), {"x": np.array(["a"], object)})


def test_profiles_with_other_bins_or_columns_do_not_merge() -> None:
    one = of(NUMBER, 1.0, 2.0)
    with pytest.raises(JobError, match="x: the two profiles have different bins"):
        merge(one, of(NUMBER, 1.0, 3.0))
    with pytest.raises(JobError, match="x: the two profiles have different bins"):
        distances(one, of(TEXT, "a"))
    with pytest.raises(JobError, match="only one of the two profiles has x"):
        merge(one, Profile())


def test_counts_that_contradict_their_rows_are_refused() -> None:
    with pytest.raises(ValidationError, match="one more bin than edges"):
        NumberProfile(rows=3, edges=(1.0,), counts=(1, 1))
    with pytest.raises(ValidationError, match="hold the rows"):
        CategoryProfile(rows=3, counts={"a": 1})


FLOATS = st.floats(-1e12, 1e12) | st.sampled_from([np.nan, np.inf, -np.inf, 0.0])
WINDOW = st.lists(st.tuples(FLOATS, st.integers(-(2**63), 2**63 - 1), st.sampled_from(["a", "b", "c", None])))
SIGNATURE = Signature(
    inputs=(NUMBER, Column(name="n", dtype="int64"), Column(name="t", dtype="string", nullable=True)), outputs=()
)


def columns(rows: list[tuple[float, int, str | None]]) -> Columns:
    return {
        "x": np.array([row[0] for row in rows], np.float64),
        "n": np.array([row[1] for row in rows], np.int64),
        "t": np.array([row[2] for row in rows], object),
    }


def assert_same(one: Profile, another: Profile) -> None:
    """Equal but for the last digits of means and deviations, which depend on the order of additions."""
    for name, left in one.inputs.items():
        right = another.inputs[name]
        loose = {"mean", "standard_deviation"}
        assert left.model_dump(exclude=loose) == right.model_dump(exclude=loose)
        if isinstance(left, NumberProfile) and isinstance(right, NumberProfile) and left.finite:
            size = max(abs(float(left.minimum or 0)), abs(float(left.maximum or 0)))
            assert left.mean == pytest.approx(right.mean, rel=1e-9, abs=max(1e-9 * size, 1e-300))
            assert left.standard_deviation == pytest.approx(
                right.standard_deviation, rel=1e-6, abs=max(1e-7 * size, 1e-150)
            )


@settings(deadline=None)
@given(WINDOW, st.lists(WINDOW, min_size=3, max_size=3))
def test_merged_counts_are_those_of_all_rows_whatever_the_order(reference_rows: Any, windows: Any) -> None:
    reference = profile(columns(reference_rows), SIGNATURE)
    a, b, c = (count(reference, columns(rows)) for rows in windows)
    assert merge(a, b) == merge(b, a)
    assert_same(merge(merge(a, b), c), merge(a, merge(b, c)))
    assert_same(merge(merge(a, b), c), count(reference, columns([row for rows in windows for row in rows])))


@settings(deadline=None)
@given(WINDOW)
def test_a_profile_survives_json_and_counts_its_own_window_alike(rows: Any) -> None:
    reference = profile(columns(rows), SIGNATURE)
    restored = Profile.model_validate_json(reference.model_dump_json())
    assert restored == reference
    assert count(restored, columns(rows)) == reference
    outer = [entry for entry in reference.inputs.values() if isinstance(entry, NumberProfile) and entry.edges]
    assert all(entry.counts[0] + entry.counts[-1] >= entry.infinite for entry in outer)


def test_fifty_columns_take_less_than_100_kb() -> None:
    random = np.random.default_rng(0)
    names = [f"a_rather_long_name_of_a_column_{place}" for place in range(50)]
    for dtype in ("float64", "string"):
        values = {
            name: random.lognormal(size=2_000)
            if dtype == "float64"
            else np.array([f"type{place}" for place in random.integers(0, 200, 2_000)], object)
            for name in names
        }
        signature = Signature(inputs=tuple(Column(name=name, dtype=dtype) for name in names), outputs=())
        assert 10_000 < len(profile(values, signature).model_dump_json()) < 100_000


COUNTS = st.lists(st.tuples(st.integers(0, 1_000), st.integers(0, 1_000)), min_size=2, max_size=30).filter(
    lambda pairs: all(sum(side) for side in zip(*pairs, strict=True))
)


def test_the_stability_index_has_its_textbook_value() -> None:
    wanted = 0.1 * math.log(2) + 0.1 * math.log(1.5) - 0.2 * math.log(5 / 7)
    assert population_stability_index([10, 20, 70], [20, 30, 50]) == pytest.approx(wanted)
    assert population_stability_index([1, 2, 7], [20, 30, 50]) == pytest.approx(wanted)
    assert population_stability_index([5, 5, 0], [5, 5, 0]) == 0.0
    assert population_stability_index([100, 0], [0, 100]) == pytest.approx(2 * 0.995 * math.log(200))


def test_the_stability_index_without_drift_is_what_chance_gives() -> None:
    random = np.random.default_rng(2)
    shares = random.dirichlet(np.full(20, 5.0))
    pairs = [(random.multinomial(5_000, shares), random.multinomial(2_000, shares)) for _ in range(400)]
    mean = np.mean([population_stability_index(*pair) for pair in pairs])
    assert mean == pytest.approx(psi_by_chance(*pairs[0]), rel=0.05)
    assert psi_by_chance([1, 2, 0, 4], [1, 2, 0, 4]) == pytest.approx(2 * (2 / 7))


@settings(deadline=None)
@given(COUNTS)
def test_the_jensen_shannon_distance_is_that_of_scipy(pairs: list[tuple[int, int]]) -> None:
    before, after = zip(*pairs, strict=True)
    found = jensen_shannon_distance(before, after)
    assert found**2 == pytest.approx(float(jensenshannon(before, after, base=2)) ** 2, abs=1e-12)
    assert found == jensen_shannon_distance(after, before)
    assert jensen_shannon_distance([3, 0], [0, 5]) == 1.0


@settings(deadline=None)
@given(COUNTS)
def test_the_kolmogorov_smirnov_statistic_is_that_of_the_binned_values(pairs: list[tuple[int, int]]) -> None:
    before, after = zip(*pairs, strict=True)
    bins = np.arange(len(pairs))
    wanted = ks_2samp(np.repeat(bins, before), np.repeat(bins, after), method="asymp").statistic
    assert kolmogorov_smirnov_statistic(before, after) == pytest.approx(wanted, abs=1e-12)


def test_distances_tell_drift_from_none() -> None:
    random = np.random.default_rng(3)

    def window(shift: float, share: float, gaps: int) -> dict[str, NDArray[Any]]:
        numbers = random.normal(shift, 1.0, 20_000)
        numbers[:gaps] = np.nan
        kinds = random.choice(["a", "b", "new"], 20_000, p=[share, 1 - share - 0.01, 0.01]).astype(object)
        return {"x": numbers, "t": kinds, "n": np.arange(20_000)}

    first = window(0.0, 0.5, 0)
    reference = profile(first, SIGNATURE)
    quiet = {it.column: it for it in distances(reference, count(reference, window(0.0, 0.5, 0)))}
    loud_window = window(0.5, 0.7, 2_000)
    loud = {it.column: it for it in distances(reference, count(reference, loud_window))}
    assert quiet["x"].psi < 3 * quiet["x"].psi_by_chance
    assert loud["x"].psi == pytest.approx(0.25, rel=0.1)
    exact = ks_2samp(first["x"], loud_window["x"][2_000:]).statistic
    assert exact - 0.02 < loud["x"].kolmogorov_smirnov <= exact
    assert loud["x"].missing_difference == pytest.approx(0.1)
    assert quiet["t"].jensen_shannon < 0.02 < 0.1 < loud["t"].jensen_shannon
    assert loud["t"].kolmogorov_smirnov is None


def test_an_older_package_without_a_profile_is_read() -> None:
    package = ModelPackage(signature=SIGNATURE)
    old = package.model_dump(mode="json")
    assert (old["format"], old["reference_profile"]) == (1, None)
    assert ModelPackage.model_validate(old) == package
    del old["reference_profile"]
    assert ModelPackage.model_validate(old) == package


def test_the_profile_travels_with_the_registered_model(tmp_path: Path) -> None:
    use_registry(tmp_path)
    random = np.random.default_rng(4)
    values = {"x": random.normal(size=200), "n": random.integers(2**60, 2**61, 200)}
    signature = Signature(inputs=SIGNATURE.inputs[:2], outputs=(Column(name="p", dtype="float64"),))
    reference = profile(values, signature, outputs={"p": random.random(200)})
    model = LogisticRegression().fit(np.column_stack([values["x"], values["x"]]), values["x"] > 0)
    package = ModelPackage(signature=signature, reference_profile=reference)
    with mlflow.start_run():
        uri = log_package(model, package, {})
    loaded, _ = load_package(Path(mlflow.artifacts.download_artifacts(uri)))
    assert loaded.reference_profile == reference
