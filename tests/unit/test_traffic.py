import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from taxiway.errors import ConfigError
from taxiway.traffic import (
    Override,
    TrafficSettings,
    check,
    digest,
    effective,
    only,
    parse_override,
    parse_traffic,
    route_table,
    state,
    tag_name,
)

DECLARED = TrafficSettings(weights={"champion": 90.0, "challenger": 10.0})
OTHER = TrafficSettings(weights={"champion": 50.0, "challenger": 50.0}, shadows={"candidate": 20.0})
VARIANTS = ("champion", "challenger", "candidate")


def override(traffic: TrafficSettings, over: TrafficSettings) -> Override:
    return Override(traffic=traffic, over=digest(over), set_at="2026-03-01T12:00:00+00:00", by="ada")


@pytest.mark.parametrize(
    ("weights", "complaint"),
    [
        ({"champion": 90, "challenger": 5}, r"traffic: the weights sum to 95 \(champion 90, challenger 5\); they must"),
        ({"champion": 110, "challenger": -10}, r"key 'weights\.champion': input should be less than or equal to 100"),
        (
            {"champion": 110, "challenger": -10},
            r"key 'weights\.challenger': input should be greater than or equal to 0",
        ),
        ({"champion": "most"}, r"key 'weights\.champion': input should be a valid number"),
        ({"champion": float("nan")}, r"key 'weights\.champion': input should be a finite number"),
        ({}, r"key 'weights': dictionary should have at least 1 item"),
    ],
)
def test_weights_that_are_no_split_are_refused_with_the_reason(weights: dict[str, object], complaint: str) -> None:
    with pytest.raises(ConfigError, match=complaint):
        parse_traffic(weights)


def test_a_sum_that_is_100_but_for_rounding_is_accepted() -> None:
    assert parse_traffic({"a": 33.3333333, "b": 33.3333333, "c": 33.3333334}).weights["c"] == 33.3333334
    with pytest.raises(ConfigError, match="must sum to 100"):
        parse_traffic({"a": 99.99999})


def test_a_shadow_of_more_than_everything_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"key 'shadows\.candidate': input should be less than or equal to 100"):
        parse_traffic({"champion": 100}, {"candidate": 120})


@pytest.mark.parametrize("shares", [{"weights": {"x": 100.0}}, {"weights": {"champion": 100.0}, "shadows": {"x": 1.0}}])
def test_a_name_that_is_no_variant_is_refused_with_those_that_are(shares: dict[str, dict[str, float]]) -> None:
    traffic = TrafficSettings(**shares)
    with pytest.raises(ConfigError, match="'x' is no variant of this endpoint; its variants are champion, challenger"):
        check(traffic, VARIANTS)


def test_an_override_wins_until_the_declared_traffic_changes() -> None:
    found = override(OTHER, over=DECLARED)
    assert effective(DECLARED, None) == DECLARED
    assert effective(DECLARED, found) == OTHER
    assert effective(only("champion"), found) == only("champion")
    assert state(DECLARED, found).effective == OTHER


def test_a_declaration_that_routes_alike_leaves_the_override_in_force() -> None:
    reordered = TrafficSettings(weights={"candidate": 0.0, "challenger": 10.0, "champion": 90.0}, shadows={"a": 0.0})
    assert effective(reordered, override(OTHER, over=DECLARED)) == OTHER


@given(st.floats(0, 100), st.floats(0, 100))
def test_tables_that_route_differently_have_different_digests(one: float, other: float) -> None:
    tables = [TrafficSettings(weights={"a": share, "b": 100 - share}) for share in (one, other)]
    assert (digest(tables[0]) == digest(tables[1])) == (tables[0] == tables[1])


def test_a_shadow_is_no_weight_to_the_digest() -> None:
    copies = TrafficSettings(weights={"champion": 100.0}, shadows={"champion": 100.0})
    assert digest(copies) != digest(only("champion"))


def test_an_override_is_read_back_as_it_was_written() -> None:
    found = override(OTHER, over=DECLARED)
    text = found.model_dump_json()
    assert set(json.loads(text)) == {"traffic", "over", "set_at", "by"}
    assert parse_override(text) == found
    assert parse_override(None) is None


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"traffic": {"weights": {"a": 5}}, "over": "", "set_at": "", "by": ""}']
)
def test_a_tag_that_is_no_override_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="the traffic override in the registry can't be read: "):
        parse_override(text)


def test_the_order_in_which_a_table_names_its_variants_moves_no_key() -> None:
    shares = {"champion": 30.0, "challenger": 60.0, "candidate": 10.0}
    tables = [
        route_table(TrafficSettings(weights=dict(order)), VARIANTS)
        for order in (shares.items(), reversed(shares.items()), sorted(shares.items()))
    ]
    assert tables[0].segments == tables[1].segments == tables[2].segments


def test_a_variant_that_the_table_does_not_name_gets_nothing() -> None:
    table = route_table(TrafficSettings(weights={"challenger": 100.0}, shadows={"candidate": 0.0}), VARIANTS)
    assert table.segments == ((0.0, "challenger"),)
    assert table.shadows_of(0.0) == ()


def test_two_endpoints_never_share_a_tag() -> None:
    assert tag_name("a.b", "c") != tag_name("a", "b.c")
