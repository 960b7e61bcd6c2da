"""Nothing that becomes known after the asking may change a feature: the promise of the example's feature tables."""

import numpy as np
import pandas as pd
import pytest

from examples.flights import data, views
from examples.flights.prepare import view_tables

T = pd.Timestamp("2013-02-03T17:00", tz="UTC")
UNTIL = pd.Timestamp("2013-02-12", tz="UTC")


@pytest.fixture(scope="module")
def flights() -> pd.DataFrame:
    every = data.read_flights()
    return every[every["scheduled_at"] < UNTIL].reset_index(drop=True)


@pytest.fixture(scope="module")
def weather() -> pd.DataFrame:
    observations = data.read_weather()
    return observations[observations["known_at"] < UNTIL].reset_index(drop=True)


def with_another_future(flights: pd.DataFrame, seed: int) -> pd.DataFrame:
    """The same schedule, but everything that happened after T happened otherwise."""
    random = np.random.default_rng(seed)
    other = flights.copy()
    delay = pd.Series(random.integers(-20, 500, len(other)).astype(float))
    not_yet_left = ~(other["departed_at"] <= T)
    never_leaves = not_yet_left & (random.random(len(other)) < 0.3)
    leaves = (other["scheduled_at"] + pd.to_timedelta(delay, unit="min")).clip(lower=T + pd.Timedelta("1min"))
    other["departed_at"] = other["departed_at"].mask(not_yet_left, leaves).mask(never_leaves, pd.NaT)
    other["departure_delay_min"] = other["departure_delay_min"].mask(not_yet_left, delay).mask(never_leaves, np.nan)
    not_yet_landed = ~(other["arrived_at"] <= T)
    lands = other["departed_at"].clip(lower=T) + pd.Timedelta("2h")
    other["arrived_at"] = other["arrived_at"].mask(not_yet_landed, lands)
    other["arrival_delay_min"] = other["arrival_delay_min"].mask(not_yet_landed, delay + 7)
    other["late"] = other["late"].mask(not_yet_landed, (delay > 15).astype(float))
    return other


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_another_future_leaves_every_feature_known_by_now_as_it_is(
    flights: pd.DataFrame, weather: pd.DataFrame, seed: int
) -> None:
    other_weather = weather.copy()
    later = other_weather["known_at"] > T
    other_weather.loc[later, ["temp", "wind_speed", "visib", "pressure"]] += 100.0
    planes = data.read_planes()
    now = view_tables(flights, weather, planes)
    otherwise = view_tables(with_another_future(flights, seed), other_weather, planes)
    for name, table in now.items():
        known = table[table[views.TIMESTAMP] <= T]
        known_otherwise = otherwise[name][otherwise[name][views.TIMESTAMP] <= T]
        assert len(known) > 0
        keys = [column for column in ("origin", "carrier", "dest", "tailnum") if column in table]
        one, other = (
            part.sort_values([views.TIMESTAMP, *keys], ignore_index=True) for part in (known, known_otherwise)
        )
        pd.testing.assert_frame_equal(one, other)


@pytest.mark.parametrize("name", ["congestion", "weather", "route_history"])
def test_another_future_does_change_later_features(flights: pd.DataFrame, weather: pd.DataFrame, name: str) -> None:
    """The test above can fail: what it changes matters."""
    other_weather = weather.assign(temp=weather["temp"].mask(weather["known_at"] > T, 0.0))
    planes = data.read_planes()
    now = view_tables(flights, weather, planes)[name]
    otherwise = view_tables(with_another_future(flights, 1), other_weather, planes)[name]
    assert not now.equals(otherwise)


def test_features_of_an_hour_are_counted_by_hand(flights: pd.DataFrame) -> None:
    table = views.congestion(flights)
    row = table[(table["origin"] == "JFK") & (table[views.TIMESTAMP] == T)].iloc[0]
    jfk = flights[flights["origin"] == "JFK"]
    left = jfk[(jfk["departed_at"] > T - pd.Timedelta("2h")) & (jfk["departed_at"] <= T)]
    assert row["departures_2h"] == len(left)
    given_up = (
        jfk[~(jfk["departed_at"] - jfk["scheduled_at"] <= data.GIVEN_UP_AFTER)]["scheduled_at"] + data.GIVEN_UP_AFTER
    )
    assert row["cancellations_4h"] == ((given_up > T - views.CANCELLATION_WINDOW) & (given_up <= T)).sum()
    assert row["departure_delay_2h"] == pytest.approx(left["departure_delay_min"].mean())
    waiting = jfk[
        (jfk["scheduled_at"] <= T) & ~(jfk["departed_at"] <= T) & (jfk["scheduled_at"] > T - data.GIVEN_UP_AFTER)
    ]
    assert row["overdue"] == len(waiting)
    assert row["overdue_minutes"] == pytest.approx(((T - waiting["scheduled_at"]).dt.total_seconds() / 60).sum())


def test_a_cancelled_flight_has_no_label(flights: pd.DataFrame) -> None:
    assert flights.loc[flights["cancelled"], "late"].isna().all()
    assert flights.loc[flights["arrived_at"].notna(), "late"].notna().all()


def test_every_flight_is_asked_about_one_hour_before_its_scheduled_departure(flights: pd.DataFrame) -> None:
    assert ((flights["scheduled_at"] - flights["asked_at"]) == pd.Timedelta("1h")).all()


def test_an_aircraft_built_in_the_year_is_known_from_its_first_departure(flights: pd.DataFrame) -> None:
    registry = data.read_planes()
    table = views.planes(registry, flights).set_index("tailnum")
    new = registry[(registry["year"] == 2013) & registry["tailnum"].isin(flights["tailnum"])]["tailnum"]
    first = flights.groupby("tailnum")["departed_at"].min()
    assert len(new) > 0
    assert (table.loc[new, views.TIMESTAMP] == first[new]).all()
