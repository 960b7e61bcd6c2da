"""Entities, feature views and the one feature service of the flights example (`feast apply` reads this)."""

import os
from datetime import timedelta
from pathlib import Path

from feast import Entity, FeatureService, FeatureView, Field, FileSource, ValueType
from feast.types import Float64

_TABLES = Path(os.environ["TAXIWAY_HOME"]).resolve() / "flights" / "tables"

origin = Entity(name="origin", value_type=ValueType.STRING, description="one of New York's three airports")
dest = Entity(name="dest", value_type=ValueType.STRING, description="where the flight goes")
carrier = Entity(name="carrier", value_type=ValueType.STRING, description="two-letter code of the airline")
tailnum = Entity(name="tailnum", value_type=ValueType.STRING, description="registration of the aircraft")


def _view(name: str, entities: list[Entity], columns: str, ttl: timedelta, description: str) -> FeatureView:
    return FeatureView(
        name=name,
        entities=entities,
        ttl=ttl,
        schema=[Field(name=column, dtype=Float64) for column in columns.split()],
        source=FileSource(path=str(_TABLES / f"{name}.parquet"), timestamp_field="event_timestamp"),
        description=description,
    )


weather = _view(
    "weather",
    [origin],
    "temp dewp humid wind_speed wind_east wind_north wind_gust precip pressure visib",
    timedelta(hours=6),
    "hourly weather at the origin, known an hour after the hour's label",
)
planes = _view("planes", [tailnum], "age_years seats engines", timedelta(0), "the aircraft")
congestion = _view(
    "congestion",
    [origin],
    "departures_2h departure_delay_2h departure_delay_30m late_departures_2h arrival_delay_2h "
    "cancellations_4h overdue overdue_minutes scheduled_next_2h",
    timedelta(hours=1),
    "how departures at the origin go, every ten minutes",
)
route_history = _view(
    "route_history",
    [carrier, origin, dest],
    "route_flights_30d route_delay_30d route_late_30d",
    timedelta(days=7),
    "a carrier's last thirty days on a route, daily",
)

flight_delay = FeatureService(
    name="flight_delay",
    features=[weather, planes, congestion, route_history],
    description="what the flight-delay model reads from the store",
)
