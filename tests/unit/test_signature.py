import numpy as np
import pytest

from taxiway.errors import InvalidInput
from taxiway.signature import Column, RejectCode, Signature
from tests.tiny_model import SIGNATURE, parcels


def test_valid_rows_break_no_rule() -> None:
    assert SIGNATURE.rejects(parcels(100)) == []


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("color", "pink", RejectCode.UNKNOWN_CATEGORY),
        ("color", None, RejectCode.MISSING_VALUE),
        ("size", np.nan, RejectCode.MISSING_VALUE),
        ("size", np.inf, RejectCode.NOT_FINITE),
        ("size", -0.5, RejectCode.OUT_OF_RANGE),
        ("size", 1000.5, RejectCode.OUT_OF_RANGE),
        ("weight", -np.inf, RejectCode.NOT_FINITE),
    ],
)
def test_a_bad_value_is_rejected_with_its_row_code_and_column(name: str, value: object, code: RejectCode) -> None:
    columns = parcels(5)
    columns[name][3] = value
    first = SIGNATURE.rejects(columns)[0]
    assert (first.rows.tolist(), first.code, first.field) == ([3], code, name)


def test_each_rejected_row_has_a_reason_with_its_own_value() -> None:
    columns = parcels(4)
    columns["color"][1], columns["color"][2] = "pink", "grey"
    reasons = SIGNATURE.rejects(columns)[0].reasons
    assert ["'pink'" in reasons[0], "'grey'" in reasons[1], "'grey'" in reasons[0]] == [True, True, False]


def test_missing_values_of_a_nullable_column_are_fine() -> None:
    columns = parcels(3)
    columns["weight"][:] = np.nan
    assert SIGNATURE.rejects(columns) == []


def test_a_column_that_is_not_there_is_named() -> None:
    columns = parcels(3)
    del columns["size"]
    with pytest.raises(InvalidInput, match="size: this input is required") as caught:
        SIGNATURE.rejects(columns)
    assert caught.value.reject_code == RejectCode.MISSING_COLUMN


def test_a_very_long_value_is_not_repeated_whole() -> None:
    signature = Signature(inputs=(Column(name="c", dtype="string", categories=("a",)),), outputs=())
    reject = signature.rejects({"c": np.array(["x" * 10_000], dtype=object)})[0]
    assert len(reject.reasons[0]) < 200


@pytest.mark.parametrize("rules", [{"dtype": "string", "minimum": 0.0}, {"dtype": "int64", "categories": ("a",)}])
def test_a_rule_that_cannot_apply_is_refused(rules: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"c: .* are for"):
        Column.model_validate({"name": "c"} | rules)
