"""Arrow columns become the numpy columns of a signature."""

from datetime import date, datetime

import numpy as np
import pyarrow as pa
import pytest

from taxiway.arrow_columns import convert, is_convertible, is_moment, moments
from taxiway.signature import Column


def _convert(values, dtype, nullable=False):
    return convert(Column(name="x", dtype=dtype, nullable=nullable), pa.chunked_array([values]))


def _refused(rejects):
    return [(list(reject.rows), str(reject.code)) for reject in rejects]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([1, 2, 3], pa.int8()),
        pa.array([1, 2, 3], pa.int32()),
        pa.array([1, 2, 3], pa.uint64()),
        pa.array([1.0, 2.0, 3.0], pa.float32()),
        pa.array([1, 2, 3]).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_whole_numbers_of_any_width_become_int64(values):
    numbers, rejects = _convert(values, "int64")
    assert numbers.dtype == np.int64
    assert list(numbers) == [1, 2, 3]
    assert rejects == []


def test_a_null_where_an_int64_is_required_is_a_missing_value():
    numbers, rejects = _convert(pa.array([1, None, 3]), "int64")
    assert numbers.dtype == np.int64
    assert _refused(rejects) == [([1], "missing_value")]


def test_nan_where_an_int64_is_required_is_a_missing_value():
    assert _refused(_convert(pa.array([1.0, float("nan"), None]), "int64")[1]) == [([1, 2], "missing_value")]


def test_numbers_that_are_no_int64_are_of_a_wrong_type():
    values = pa.array([1.0, 2.5, float("inf"), 2.0**63, -(2.0**63)])
    _, rejects = _convert(values, "int64")
    assert _refused(rejects) == [([1, 2, 3], "wrong_type")]
    assert rejects[0].reasons[0] == "got 2.5, expected a whole number of 64 bits"
    assert _refused(_convert(pa.array([1, 2**63], pa.uint64()), "int64")[1]) == [([1], "wrong_type")]


def test_a_nullable_int64_is_float64_whether_it_has_nulls_or_not():
    numbers, rejects = _convert(pa.array([1, None]), "int64", nullable=True)
    assert rejects == []
    np.testing.assert_array_equal(numbers, [1.0, np.nan])
    assert _convert(pa.array([1, 2]), "int64", nullable=True)[0].dtype == np.float64


def test_a_nullable_int64_refuses_fractions_but_not_nan():
    numbers, rejects = _convert(pa.array([1.0, float("nan"), 0.5]), "int64", nullable=True)
    assert _refused(rejects) == [([2], "wrong_type")]
    assert np.isnan(numbers[1])


def test_booleans_stay_booleans():
    flags, rejects = _convert(pa.array([True, None, False]), "bool")
    assert flags.dtype == np.bool_
    assert _refused(rejects) == [([1], "missing_value")]
    np.testing.assert_array_equal(_convert(pa.array([True, None]), "bool", nullable=True)[0], [1.0, np.nan])


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0.5, None], pa.float32()),
        pa.array(np.array([0.5, np.nan], np.float16)),
        pa.array([0.5, None]).cast(pa.decimal128(10, 3)),
        pa.array([0.5, None]).dictionary_encode(),
    ],
    ids=lambda values: str(values.type),
)
def test_fractions_of_any_width_become_float64_and_null_becomes_nan(values):
    numbers, rejects = _convert(values, "float64")
    assert numbers.dtype == np.float64
    np.testing.assert_array_equal(numbers, [0.5, np.nan])
    assert rejects == []


@pytest.mark.parametrize(
    "kind", [pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string())]
)
def test_strings_of_any_encoding_become_objects_and_null_becomes_none(kind):
    texts, rejects = _convert(pa.array(["a", None, "a"]).cast(kind), "string")
    assert texts.dtype == np.object_
    assert list(texts) == ["a", None, "a"]
    assert rejects == []


@pytest.mark.parametrize("dtype", ["bool", "int64", "float64", "string"])
def test_a_column_of_nothing_but_nulls_is_converted(dtype):
    values, rejects = _convert(pa.nulls(2), dtype)
    assert len(values) == 2
    assert _refused(rejects) == ([([0, 1], "missing_value")] if dtype in ("bool", "int64") else [])


@pytest.mark.parametrize("dtype", ["bool", "int64", "float64", "string"])
def test_a_column_without_rows_is_converted(dtype):
    kind = {"bool": pa.bool_(), "int64": pa.int32(), "float64": pa.float32(), "string": pa.string()}[dtype]
    values, rejects = convert(Column(name="x", dtype=dtype), pa.chunked_array([], kind))
    assert len(values) == 0
    assert rejects == []


@pytest.mark.parametrize(
    ("found", "dtype"),
    [
        (pa.string(), "int64"),
        (pa.int64(), "string"),
        (pa.int8(), "bool"),
        (pa.bool_(), "float64"),
        (pa.binary(), "string"),
    ],
)
def test_types_that_mean_something_else_are_not_convertible(found, dtype):
    assert not is_convertible(found, dtype)
    assert not is_convertible(pa.dictionary(pa.int8(), found), dtype)


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_moments_of_any_unit_are_utc(unit):
    noon = datetime(2013, 11, 1, 12)
    naive = pa.array([noon, None], pa.timestamp(unit))
    zoned = (
        pa.array([noon, None], pa.timestamp(unit))
        .cast(pa.timestamp(unit, "UTC"))
        .cast(pa.timestamp(unit, "Asia/Tokyo"))
    )
    for values in (naive, zoned):
        found, rejects = moments("when", pa.chunked_array([values]))
        assert found[0] == np.datetime64("2013-11-01T12:00")
        assert _refused(rejects) == [([1], "missing_value")]


def test_dates_are_moments_and_texts_are_not():
    found, _ = moments("when", pa.chunked_array([pa.array([date(2013, 11, 1)])]))
    assert found[0] == np.datetime64("2013-11-01")
    assert is_moment(pa.date32())
    assert not is_moment(pa.string())
