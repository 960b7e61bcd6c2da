"""What an unknown entity and a store that is away mean for the rows of a batch."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
import pytest
from pydantic import ValidationError

from taxiway.errors import FeatureStoreFailed
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding, OnMissing, apply_policies
from taxiway.scoring import Scored, score
from taxiway.settings import OnFailure
from taxiway.signature import Array, Column, Columns, RejectCode, Signature

NAN = np.nan
DEFAULTS = {"sold": 7.0}
SIGNATURE = Signature(inputs=(Column(name="shop", dtype="string"),), outputs=(Column(name="y", dtype="float64"),))
SHOPS: Columns = {"shop": np.array(["north", "nowhere", "south"], dtype=object)}
READ: Columns = {"sold": np.array([1.0, NAN, NAN]), "returned": np.array([0.0, NAN, 2.0])}


def sales(on_missing: OnMissing, defaults: dict[str, float] | None = None) -> FeatureViewBinding:
    return FeatureViewBinding(
        name="sales",
        entity_keys=("shop",),
        columns=("sold", "returned"),
        on_missing=on_missing,
        defaults=defaults or {},
    )


def test_an_unknown_entity_is_refused_by_its_key_and_a_known_one_with_a_null_is_not() -> None:
    completed, [reject] = apply_policies([sales("refuse")], READ, SHOPS)
    assert (reject.rows.tolist(), reject.code) == ([1], RejectCode.UNKNOWN_ENTITY)
    assert reject.reasons == ["the feature view 'sales' knows no shop='nowhere'"]
    np.testing.assert_array_equal(completed["sold"], READ["sold"])


def test_under_null_an_unknown_entity_has_nulls() -> None:
    completed, rejects = apply_policies([sales("null", DEFAULTS)], READ, SHOPS)
    assert rejects == []
    np.testing.assert_array_equal(completed["sold"], [1.0, NAN, NAN])


def test_under_default_only_an_unknown_entity_has_the_defaults_and_null_where_there_is_none() -> None:
    completed, rejects = apply_policies([sales("default", DEFAULTS)], READ, SHOPS)
    assert rejects == []
    np.testing.assert_array_equal(completed["sold"], [1.0, 7.0, NAN])
    np.testing.assert_array_equal(completed["returned"], [0.0, NAN, 2.0])


def test_what_was_read_is_left_as_it_was() -> None:
    apply_policies([sales("default", DEFAULTS)], READ, SHOPS)
    np.testing.assert_array_equal(READ["sold"], [1.0, NAN, NAN])


def test_defaults_travel_with_the_package() -> None:
    binding = FeatureBinding(service="shops", views=(sales("default", DEFAULTS),))
    assert FeatureBinding.model_validate_json(binding.model_dump_json()) == binding


def test_a_package_of_before_there_were_defaults_is_read() -> None:
    old = '{"name": "sales", "entity_keys": ["shop"], "columns": ["sold"], "on_missing": "null"}'
    assert FeatureViewBinding.model_validate_json(old).defaults == {}


@pytest.mark.parametrize(
    ("defaults", "sentence"),
    [({}, "'sales' has no defaults"), ({"sold_": 1.0}, r"\['sold_'\] not among"), ({"sold": NAN}, "finite number")],
)
def test_defaults_that_help_nobody_are_refused(defaults: dict[str, float], sentence: str) -> None:
    with pytest.raises(ValidationError, match=sentence):
        sales("default", defaults)


class _Sum:
    def predict(self, columns: Columns) -> dict[str, Array]:
        return {"y": np.nansum([columns["sold"], columns["returned"]], axis=0)}


def _away(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
    raise FeatureStoreFailed("away")


def _score(on_failure: OnFailure, on_missing: OnMissing = "refuse", columns: Columns = SHOPS) -> Scored:
    features = FeatureBinding(service="shops", views=(sales(on_missing, DEFAULTS),))
    return score(columns, SIGNATURE, features, _away, _Sum(), on_failure)


def test_a_store_that_is_away_refuses_unless_told_otherwise() -> None:
    with pytest.raises(FeatureStoreFailed):
        _score("refuse")


@pytest.mark.parametrize(("on_failure", "expected"), [("null", 0.0), ("default", 7.0)])
@pytest.mark.parametrize("on_missing", ["refuse", "null", "default"])
def test_a_fallback_answers_every_row_and_says_so(
    on_failure: Literal["null", "default"], expected: float, on_missing: OnMissing
) -> None:
    scored = _score(on_failure, on_missing)
    assert scored.outputs["y"].tolist() == [expected] * 3
    assert (scored.fallback, scored.rejects) == (("sales",), [])


def test_a_feature_that_the_request_brought_outlives_the_store() -> None:
    scored = _score("null", columns={**SHOPS, "sold": np.array([1.0, 2.0, 3.0])})
    assert scored.outputs["y"].tolist() == [1.0, 2.0, 3.0]


def test_a_store_that_answers_leaves_no_mark() -> None:
    features = FeatureBinding(service="shops", views=(sales("null"),))
    scored = score(SHOPS, SIGNATURE, features, lambda views, columns: dict(READ), _Sum(), "default")
    assert (scored.outputs["y"].tolist(), scored.fallback) == ([1.0, 0.0, 2.0], ())
