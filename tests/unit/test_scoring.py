from collections.abc import Sequence

import numpy as np
import pytest

from taxiway.errors import InvalidInput
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding
from taxiway.scoring import score
from taxiway.signature import Array, Column, Columns, RejectCode, Signature

SIGNATURE = Signature(
    inputs=(Column(name="shop", dtype="string"), Column(name="price", dtype="float64", minimum=0.0)),
    outputs=(Column(name="sum", dtype="float64"),),
)
SALES = FeatureViewBinding(name="sales", entity_keys=("shop",), columns=("sold", "returned"))
FEATURES = FeatureBinding(service="shops", views=(SALES,))
STORE = {"north": (10.0, 1.0), "south": (20.0, np.nan)}


class Adding:
    """Adds price and sold; raises on a price of 13."""

    def __init__(self) -> None:
        self.calls: list[int] = []

    def predict(self, columns: Columns) -> dict[str, Array]:
        self.calls.append(len(columns["price"]))
        if (columns["price"] == 13).any():
            raise ZeroDivisionError
        return {"sum": columns["price"] + columns["sold"]}


def read(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
    found = np.array([STORE.get(shop, (np.nan, np.nan)) for shop in columns["shop"]])
    return {"sold": found[:, 0], "returned": found[:, 1]}


def rows(shops: list[str], prices: list[float]) -> dict[str, Array]:
    return {"shop": np.array(shops, dtype=object), "price": np.array(prices)}


def test_what_the_request_does_not_bring_comes_from_the_store() -> None:
    scored = score(rows(["south", "north"], [1, 2]), SIGNATURE, FEATURES, read, Adding())
    assert scored.outputs["sum"].tolist() == [21, 12]


def test_a_feature_that_the_request_brings_wins_over_the_store() -> None:
    columns = rows(["north"], [1]) | {"sold": np.array([100.0])}
    assert score(columns, SIGNATURE, FEATURES, read, Adding()).outputs["sum"].tolist() == [101]


def test_the_store_is_not_asked_when_the_request_brings_every_feature() -> None:
    def fail(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
        raise AssertionError

    columns = rows(["nowhere"], [1]) | {"sold": np.array([5.0]), "returned": np.array([0.0])}
    assert score(columns, SIGNATURE, FEATURES, fail, Adding()).outputs["sum"].tolist() == [6]


def test_bad_rows_are_set_aside_and_their_neighbours_answered() -> None:
    columns = rows(["north", "nowhere", "south", "north"], [1, 2, 3, -4])
    scored = score(columns, SIGNATURE, FEATURES, read, Adding())
    assert scored.rows.tolist() == [0, 2]
    assert scored.outputs["sum"].tolist() == [11, 23]
    assert [(reject.code, reject.rows.tolist()) for reject in scored.rejects] == [
        (RejectCode.OUT_OF_RANGE, [3]),
        (RejectCode.UNKNOWN_ENTITY, [1]),
    ]
    assert scored.rejects[1].reasons == ["the feature view 'sales' knows no shop='nowhere'"]


def test_an_unknown_entity_may_be_null_by_policy() -> None:
    features = FeatureBinding(service="shops", views=(SALES.model_copy(update={"on_missing": "null"}),))
    scored = score(rows(["nowhere"], [1]), SIGNATURE, features, read, Adding())
    assert scored.rejects == []
    assert np.isnan(scored.outputs["sum"]).all()


def test_an_entity_with_one_null_feature_is_known() -> None:
    assert score(rows(["south"], [1]), SIGNATURE, FEATURES, read, Adding()).rejects == []


def test_rows_on_which_the_model_raises_are_found_by_halving() -> None:
    model = Adding()
    prices = [float(price) for price in range(100)]
    scored = score(rows(["north"] * 100, prices), SIGNATURE, FEATURES, read, model)
    assert scored.rows.tolist() == [row for row in range(100) if row != 13]
    assert scored.outputs["sum"].tolist() == [price + 10 for price in prices if price != 13]
    assert [(reject.code, reject.rows.tolist()) for reject in scored.rejects] == [(RejectCode.MODEL_FAILED, [13])]
    assert len(model.calls) < 20


def test_when_every_row_is_bad_the_model_is_not_called() -> None:
    model = Adding()
    scored = score(rows(["north"], [-1]), SIGNATURE, FEATURES, read, model)
    assert (scored.rows.tolist(), model.calls) == ([], [])


def test_a_missing_entity_key_is_named() -> None:
    features = FeatureBinding(
        service="shops", views=(FeatureViewBinding(name="tills", entity_keys=("till",), columns=("open",)),)
    )
    with pytest.raises(InvalidInput, match="till: this input is required: it is a key of the feature view 'tills'"):
        score(rows(["north"], [1]), SIGNATURE, features, read, Adding())


@pytest.mark.parametrize("answer", [np.zeros(2), np.zeros(4), np.zeros(0)])
def test_a_model_that_answers_another_number_of_rows_fails_and_mixes_nothing(answer: Array) -> None:
    class Wrong:
        def predict(self, columns: Columns) -> dict[str, Array]:
            return {"sum": answer if len(columns["price"]) == 3 else columns["price"][1:]}

    scored = score(rows(["north"] * 3, [1, 2, 3]), SIGNATURE, FEATURES, read, Wrong())
    assert (scored.rows.tolist(), {reject.code for reject in scored.rejects}) == ([], {RejectCode.MODEL_FAILED})


def test_a_model_without_the_promised_output_fails() -> None:
    class Wrong:
        def predict(self, columns: Columns) -> dict[str, Array]:
            return {"total": columns["price"]}

    scored = score(rows(["north"], [1]), SIGNATURE, FEATURES, read, Wrong())
    assert [reject.code for reject in scored.rejects] == [RejectCode.MODEL_FAILED]


def test_a_feature_that_the_request_brings_obeys_rules_too() -> None:
    columns = rows(["north", "north"], [1, 2]) | {"sold": np.array([np.inf, 1.0])}
    scored = score(columns, SIGNATURE, FEATURES, read, Adding())
    assert scored.rows.tolist() == [1]
    assert [(reject.code, reject.field) for reject in scored.rejects] == [(RejectCode.NOT_FINITE, "sold")]
