import numpy as np
import pytest

from taxiway.errors import InvalidInput
from taxiway.inference import InferRequest, JsonColumn, RequestColumns, datatype_of, join, layout, size_bytes
from taxiway.json_values import DATATYPE
from tests.interfaces import EVERYTHING, IMAGE, TABULAR


def test_requests_of_one_layout_become_one_batch_in_order() -> None:
    parts: list[RequestColumns] = [
        {"size": JsonColumn([1.0, 2.0], "FP32"), "color": JsonColumn(["red", "blue"], "BYTES")},
        {"size": JsonColumn([3.0], "FP32"), "color": JsonColumn([None], "BYTES")},
    ]
    assert layout(parts[0]) == layout(parts[1])
    joined = join(parts, TABULAR.inputs)
    assert {name: values.tolist() for name, values in joined.items()} == {
        "size": [1.0, 2.0, 3.0], "color": ["red", "blue", None]
    }  # fmt: skip
    assert joined["size"].dtype == np.float64


def test_tensors_are_joined_by_rows() -> None:
    one, two = np.zeros((1, 2, 3), np.float32), np.ones((2, 2, 3), np.float32)
    assert join([{"image": one}, {"image": two}], IMAGE.inputs)["image"][:, 0, 0].tolist() == [0, 1, 1]


@pytest.mark.parametrize(
    "other",
    [
        {"size": JsonColumn([1.0], "FP64")},
        {"size": np.ones(1)},
        {"count": JsonColumn([1], "FP32")},
        {"size": JsonColumn([1.0], "FP32"), "count": JsonColumn([1], "INT64")},
    ],
)
def test_what_can_not_be_joined_has_another_layout(other: RequestColumns) -> None:
    assert layout(other) != layout({"size": JsonColumn([1.0], "FP32")})
    assert layout({"x": np.ones((1, 2))}) != layout({"x": np.ones((1, 3))})


def test_a_request_alone_is_told_of_its_own_bad_value() -> None:
    request = InferRequest("a", {"count": JsonColumn([1.5], "INT64")}, 1)
    with pytest.raises(InvalidInput, match="count: expected values of INT64"):
        join([request.columns], TABULAR.inputs)


def test_a_model_says_what_may_be_declared_and_what_is_read_in_place() -> None:
    assert set(EVERYTHING.scalar_datatypes) == set(EVERYTHING.inputs) - {"pixels"}
    assert EVERYTHING.scalar_datatypes["fragile"] == {"BOOL"}
    assert EVERYTHING.readable_in_place == {
        "size": ("FP64", np.dtype("float64")), "count": ("INT64", np.dtype("int64")),
        "weight": ("FP32", np.dtype("float32")),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", DATATYPE)
def test_an_array_has_the_datatype_of_its_column(dtype: str) -> None:
    stored = "object" if dtype in ("string", "bytes") else dtype
    assert datatype_of(np.zeros(1, stored)) == DATATYPE[dtype]


def test_the_size_of_a_request_counts_every_column() -> None:
    assert size_bytes({"a": JsonColumn([1, 2]), "b": np.zeros((2, 3), np.float32)}) == 16 + 24
