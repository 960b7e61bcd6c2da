"""The tables behind the feature views: each row carries only what was known at its timestamp."""

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from examples.flights.data import GIVEN_UP_AFTER, LATE_MINUTES

Floats = NDArray[np.float64]

TIMESTAMP = "event_timestamp"
GRID = pd.Timedelta(minutes=10)
WINDOW = pd.Timedelta(hours=2)
CANCELLATION_WINDOW = pd.Timedelta(hours=4)
HISTORY_DAYS = 30
_BEFORE_THE_YEAR = pd.Timestamp("2012-12-31", tz="UTC")


def weather(observations: pd.DataFrame) -> pd.DataFrame:
    """Hourly weather at the origin; wind direction becomes two components of the wind."""
    angle = np.deg2rad(observations["wind_dir"].fillna(0.0))
    table = observations.rename(columns={"known_at": TIMESTAMP})
    table["wind_east"] = observations["wind_speed"] * np.sin(angle)
    table["wind_north"] = observations["wind_speed"] * np.cos(angle)
    columns = ["temp", "dewp", "humid", "wind_speed", "wind_east", "wind_north", "wind_gust"]
    return table[[TIMESTAMP, "origin", *columns, "precip", "pressure", "visib"]]


def planes(registry: pd.DataFrame, flights: pd.DataFrame) -> pd.DataFrame:
    """The aircraft: age in 2013, seats, engines; known before the year, or if built in it from its first departure."""
    first_departure = registry["tailnum"].map(flights.groupby("tailnum")["departed_at"].min())
    known_at = first_departure.where(registry["year"] >= 2013, _BEFORE_THE_YEAR)
    table = registry.assign(**{TIMESTAMP: known_at}, age_years=2013.0 - registry["year"])[known_at.notna()]
    return table[[TIMESTAMP, "tailnum", "age_years", "seats", "engines"]]


def congestion(flights: pd.DataFrame) -> pd.DataFrame:
    """How departures at an origin go, every ten minutes, from what has happened by then."""
    begin, end = flights["scheduled_at"].min().floor("h"), flights["scheduled_at"].max().ceil("h")
    grid = _seconds(pd.Series(pd.date_range(begin, end, freq=GRID)))
    tables = [
        pd.DataFrame({TIMESTAMP: pd.to_datetime(grid, unit="s", utc=True), "origin": origin}).assign(
            **_congestion_at(grid, group)
        )
        for origin, group in flights.groupby("origin")
    ]
    return pd.concat(tables, ignore_index=True)


def _congestion_at(grid: Floats, flights: pd.DataFrame) -> dict[str, Floats]:
    window, cancellation_window = WINDOW.total_seconds(), CANCELLATION_WINDOW.total_seconds()
    departed = flights[flights["departed_at"].notna()]
    arrived = flights[flights["arrived_at"].notna()]
    given_up_at = flights["scheduled_at"] + GIVEN_UP_AFTER
    given_up = ~(flights["departed_at"] <= given_up_at)
    delays = Rolling(departed["departed_at"], departed["departure_delay_min"])
    late = Rolling(departed["departed_at"], departed["departure_delay_min"] > LATE_MINUTES)
    landings = Rolling(arrived["arrived_at"], arrived["arrival_delay_min"])
    cancellations = Rolling(given_up_at[given_up], np.ones(given_up.sum()))
    ahead = Rolling(flights["scheduled_at"], np.ones(len(flights)))
    overdue, overdue_minutes = _overdue(
        grid, flights["scheduled_at"], flights["departed_at"].mask(given_up, given_up_at)
    )
    return {
        "departures_2h": delays.count(grid, window),
        "departure_delay_2h": delays.mean(grid, window),
        "departure_delay_30m": delays.mean(grid, window / 4),
        "late_departures_2h": late.mean(grid, window),
        "arrival_delay_2h": landings.mean(grid, window),
        "cancellations_4h": cancellations.count(grid, cancellation_window),
        "overdue": overdue,
        "overdue_minutes": overdue_minutes,
        "scheduled_next_2h": ahead.count(grid + window, window),
    }


def _overdue(grid: Floats, scheduled: pd.Series, left: pd.Series) -> tuple[Floats, Floats]:
    """Flights past their time that have neither left nor been given up, and the sum of their waits in minutes."""
    start, stop = _seconds(scheduled), _seconds(left)
    waits = stop > start
    start, stop = start[waits], stop[waits]
    begun = Rolling.from_seconds(start, start)
    ended = Rolling.from_seconds(stop, start[np.argsort(stop, kind="stable")])
    count = begun.total_count(grid) - ended.total_count(grid)
    minutes = (count * grid - (begun.total(grid) - ended.total(grid))) / 60.0
    return count, np.where(count > 0, minutes, 0.0)


def route_history(flights: pd.DataFrame) -> pd.DataFrame:
    """A carrier's last thirty days on a route, at every midnight UTC, from flights that had arrived."""
    days = pd.date_range(flights["scheduled_at"].min().floor("D"), flights["scheduled_at"].max().ceil("D"), freq="D")
    grid, window = _seconds(pd.Series(days)), HISTORY_DAYS * 86_400.0
    arrived = flights[flights["arrived_at"].notna()]
    tables = []
    keys = ["carrier", "origin", "dest"]
    for key, group in arrived.groupby(keys):
        delays = Rolling(group["arrived_at"], group["arrival_delay_min"])
        late = Rolling(group["arrived_at"], group["late"])
        table = pd.DataFrame(index=days).rename_axis(TIMESTAMP).reset_index()
        table = table.assign(**dict(zip(keys, map(str, key), strict=True)))
        table["route_flights_30d"] = delays.count(grid, window)
        table["route_delay_30d"] = delays.mean(grid, window)
        table["route_late_30d"] = late.mean(grid, window)
        # Before its first landing nobody knows that there will be such a route.
        tables.append(table[delays.total_count(grid) > 0])
    return pd.concat(tables, ignore_index=True)


class Rolling:
    """Counts and means of timed values over (t - window, t], for many t at once."""

    def __init__(self, times: pd.Series, values: pd.Series | Floats) -> None:
        seconds = _seconds(times)
        order = np.argsort(seconds, kind="stable")
        self._set(seconds[order], np.asarray(values, dtype=np.float64)[order])

    @classmethod
    def from_seconds(cls, seconds: Floats, values_by_time: Floats) -> "Rolling":
        rolling = cls.__new__(cls)
        rolling._set(np.sort(seconds, kind="stable"), values_by_time)
        return rolling

    def _set(self, seconds: Floats, values: Floats) -> None:
        self._seconds = seconds
        self._sums: Floats = np.concatenate([[0.0], np.cumsum(values)])

    def total_count(self, t: Floats) -> Floats:
        return np.searchsorted(self._seconds, t, side="right").astype(np.float64)

    def total(self, t: Floats) -> Floats:
        total: Floats = self._sums[np.searchsorted(self._seconds, t, side="right")]
        return total

    def count(self, t: Floats, window_s: float) -> Floats:
        return self.total_count(t) - self.total_count(t - window_s)

    def mean(self, t: Floats, window_s: float) -> Floats:
        count = self.count(t, window_s)
        total = self.total(t) - self.total(t - window_s)
        mean: Floats = np.divide(total, count, out=np.full_like(count, np.nan), where=count > 0)
        return mean


def _seconds(times: pd.Series) -> Floats:
    return times.to_numpy(dtype="datetime64[s]").astype(np.int64).astype(np.float64)
