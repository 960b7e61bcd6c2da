"""The flights as a stream: requests in the order of scheduled departure, labels when the flight has landed.

The replay's clock counts requests: a flight's landing lies between two of them. So the time that passes for the
flights is as long as it takes to ask about them, nights take no time, and a slow machine delays both alike.
"""

import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pandas as pd
from numpy.typing import NDArray

from examples.flights import data
from examples.flights.prepare import REQUEST_COLUMNS
from retrain.features import open_features
from retrain.settings import load_retraining
from taxiway.errors import ConfigError
from taxiway.signature import Columns

NEVER = -1
_DATATYPES = {"distance": "INT64", "weekday": "INT64"}
_TEXTS = ("carrier", "origin", "dest", "tailnum")


@dataclass(frozen=True)
class Stream:
    """Flights in the order in which they are asked about.

    Args:
        columns: what a request brings: the signature's columns and the features of the moment.
        labels: 1.0 late, 0.0 not, NaN for one that never arrives.
        landings: how many requests have been made when its label is known; `NEVER` for one without.
    """

    columns: Columns
    labels: NDArray[np.float64]
    landings: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    def body(self, position: int) -> bytes:
        """An Open Inference Protocol request about one flight."""
        return orjson.dumps({"inputs": [_tensor(name, values[position]) for name, values in self.columns.items()]})


def landings(asked: NDArray[np.datetime64], known: NDArray[np.datetime64]) -> NDArray[np.int64]:
    """How many flights have been asked about when each label becomes known; `NEVER` for NaT.

    Args:
        asked: in order.
    """
    found = np.searchsorted(asked, known, side="left").astype(np.int64)
    return np.where(np.isnat(known), NEVER, found)


def order(flights: pd.DataFrame, begin: datetime, days: int) -> pd.DataFrame:
    """The flights that are scheduled to leave in so many days from `begin`, by scheduled departure.

    Raises:
        ConfigError: there are none.
    """
    begins = pd.Timestamp(begin)
    inside = flights["scheduled_at"].between(begins, begins + pd.Timedelta(days=days), inclusive="left")
    found = flights[inside].sort_values(["scheduled_at", "flight_id"], ignore_index=True)
    if not len(found):
        raise ConfigError(f"no flight leaves in {days} days from {begins:%Y-%m-%d}; the data is of 2013")
    return found


def stream(begin: datetime, days: int, retrain_file: str) -> Stream:
    """The flights of so many days with the features that were known one hour before each one's departure.

    Raises:
        ConfigError: there are no flights, or the feature store can't be opened.
    """
    flights = order(data.read_flights(), begin, days)
    binding, history = open_features(load_retraining(retrain_file, datetime.now(UTC)))
    if binding is None or history is None:
        raise ConfigError(f"{retrain_file} names no feature service; the replay joins its features beforehand")
    keys = {name: _values(flights, name) for name in REQUEST_COLUMNS}
    features = history.read(binding.views, keys, flights["asked_at"].to_numpy())
    return of_flights(flights, {**keys, **features})


def of_flights(flights: pd.DataFrame, columns: Columns) -> Stream:
    """Flights in their order, and what is asked of each."""
    known = flights["arrived_at"].where(flights["late"].notna())
    asked, known_at = (it.to_numpy(dtype="datetime64[ns]") for it in (flights["asked_at"], known))
    return Stream(columns, flights["late"].to_numpy(dtype=np.float64), landings(asked, known_at))


def _values(flights: pd.DataFrame, name: str) -> NDArray[Any]:
    return flights[name].to_numpy(dtype=object) if name in _TEXTS else flights[name].to_numpy()


def _tensor(name: str, value: Any) -> dict[str, Any]:
    plain = value.item() if hasattr(value, "item") else value
    if isinstance(plain, float) and math.isnan(plain):
        plain = None
    datatype = "BYTES" if name in _TEXTS else _DATATYPES.get(name, "FP64")
    return {"name": name, "shape": [1], "datatype": datatype, "data": [plain]}
