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


@pytest.mark.parametrize("dtype", ["int8", "int16", "int32", "uint8", "uint16", "uint32", "uint64"])
def test_whole_numbers_that_do_not_fit_are_out_of_range(dtype):
    limits = np.iinfo(dtype)
    wide = pa.int64() if limits.max < 2**63 else pa.uint64()
    fitting, beyond = [max(limits.min, 0), limits.max], min(limits.max + 1, 2**64 - 1)
    numbers, rejects = _convert(pa.array([*fitting, beyond], wide), dtype)
    assert numbers.dtype == np.dtype(dtype)
    assert list(numbers[:2]) == fitting
    assert _refused(rejects) == ([] if dtype == "uint64" else [([2], "out_of_range")])


def test_a_negative_number_does_not_fit_an_unsigned_column():
    numbers, rejects = _convert(pa.array([3, -1]), "uint64")
    assert numbers[0] == 3
    assert _refused(rejects) == [([1], "out_of_range")]
    assert rejects[0].reasons == ["got -1, expected a number of 0 to 18446744073709551615"]


def test_fractions_and_numbers_that_do_not_fit_are_refused_beside_each_other():
    numbers, rejects = _convert(pa.array([7.0, 0.5, 300.0, None]), "uint8")
    assert numbers[0] == 7
    assert _refused(rejects) == [([3], "missing_value"), ([1], "wrong_type"), ([2], "out_of_range")]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_narrow_floats_round_as_numpy_does_and_null_becomes_nan(dtype):
    numbers, rejects = _convert(pa.array([0.1, None, 1e300]), dtype)
    assert rejects == []
    np.testing.assert_array_equal(numbers, np.array([0.1, np.nan, np.inf], dtype))
    assert numbers.dtype == np.dtype(dtype)


@pytest.mark.parametrize("kind", [pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(2), pa.string()])
def test_binary_and_texts_become_bytes(kind):
    assert is_convertible(kind, "bytes")
    values, rejects = _convert(pa.array([b"ab", None], pa.binary()).cast(kind), "bytes")
    assert list(values) == [b"ab", None]
    assert rejects == []


IMAGES = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
FIXED = pa.list_(pa.list_(pa.float32(), 4), 3)


@pytest.mark.parametrize(
    "values",
    [
        pa.array(IMAGES.tolist(), FIXED),
        pa.array(IMAGES.tolist()),
        pa.array(IMAGES.tolist(), pa.large_list(pa.list_view(pa.int16()))),
        pa.array(IMAGES.reshape(2, 12).tolist()),
        pa.FixedShapeTensorArray.from_numpy_ndarray(IMAGES),
    ],
    ids=lambda values: str(values.type),
)
def test_lists_nested_or_flat_become_one_array(values):
    column = Column(name="x", dtype="float32", shape=(3, 4))
    assert is_convertible(values.type, column.dtype, column.shape)
    found, rejects = convert(column, pa.chunked_array([values, values[1:]]))
    assert rejects == []
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.concatenate([IMAGES, IMAGES[1:]]))


def test_rows_of_another_shape_are_set_aside_and_leave_their_neighbours_alone():
    good = [[1, 2], [3, 4]]
    values = pa.array([good, [[1, 2], [3]], [[1, 2]], [], [[], []], [[1, 2], None], good])
    found, rejects = convert(Column(name="x", dtype="int64", shape=(2, 2)), pa.chunked_array([values]))
    assert _refused(rejects) == [([1, 2, 3, 4, 5], "wrong_shape")]
    assert rejects[0].reasons[0] == "expected a tensor of shape [2, 2]"
    np.testing.assert_array_equal(found[[0, 6]], [good, good])


def test_a_free_size_is_the_one_that_most_rows_have():
    values = pa.array([[1.0], [1.0, 2.0], [3.0, 4.0], []])
    found, rejects = convert(Column(name="x", dtype="float64", shape=(-1,)), pa.chunked_array([values]))
    assert found.shape == (4, 2)
    assert _refused(rejects) == [([0, 3], "wrong_shape")]
    np.testing.assert_array_equal(found[1:3], [[1, 2], [3, 4]])


def test_a_refused_element_refuses_its_row_once():
    values = pa.array([[1, 2], [300, 400], [None, 5], None, [6, 7]])
    found, rejects = convert(Column(name="x", dtype="uint8", shape=(2,)), pa.chunked_array([values]))
    assert _refused(rejects) == [([2], "missing_value"), ([1], "out_of_range"), ([3], "missing_value")]
    assert rejects[1].reasons == ["got 300, expected a number of 0 to 255"]
    np.testing.assert_array_equal(found[[0, 4]], [[1, 2], [6, 7]])


def test_missing_tensors_of_floats_are_nan_and_of_strings_none():
    floats, _ = convert(
        Column(name="x", dtype="float32", shape=(2,)), pa.chunked_array([pa.array([[1.5, None], None])])
    )
    np.testing.assert_array_equal(floats, [[1.5, np.nan], [np.nan, np.nan]])
    texts, _ = convert(Column(name="x", dtype="string", shape=(2,)), pa.chunked_array([pa.array([["a", None], None])]))
    assert texts.tolist() == [["a", None], [None, None]]


@pytest.mark.parametrize("shape", [(3,), (-1, 3)])
def test_a_tensor_column_of_nothing_but_nulls_is_converted(shape):
    nested = pa.list_(pa.int64()) if len(shape) == 1 else pa.list_(pa.list_(pa.int64()))
    for values in (pa.nulls(2), pa.nulls(2, nested)):
        found, rejects = convert(Column(name="x", dtype="int64", shape=shape), pa.chunked_array([values]))
        assert found.shape == (2, *(max(size, 1) for size in shape))
        assert _refused(rejects) == [([0, 1], "missing_value")]


@pytest.mark.parametrize(
    ("found", "dtype", "shape"),
    [
        (pa.float32(), "float32", (2,)),
        (pa.list_(pa.float32()), "float32", ()),
        (pa.list_(pa.float32()), "float32", (-1, 2)),
        (pa.list_(pa.list_(pa.float32())), "float32", (2,)),
        (pa.list_(pa.string()), "float32", (2,)),
        (pa.fixed_shape_tensor(pa.float32(), [3, 2]), "float32", (2, 3)),
    ],
)
def test_lists_of_another_depth_or_type_are_not_convertible(found, dtype, shape):
    assert not is_convertible(found, dtype, shape)
