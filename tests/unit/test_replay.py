"""The replay's order, its clock, and its candidates; no server."""

import json
import time
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from ray import cloudpickle
from sklearn.ensemble import HistGradientBoostingClassifier

from examples.flights import data
from examples.flights.candidates import Drifting, Failing, Slow, Swap, Wrapped
from examples.flights.prepare import REQUEST_COLUMNS
from examples.flights.replay_server import SERVE_FILE, settings
from examples.flights.replay_stream import NEVER, Stream, landings, of_flights, order
from serve.settings import ServeSettings
from taxiway.errors import ConfigError

BEGIN = datetime(2013, 11, 1, tzinfo=ZoneInfo("America/New_York"))
NUMBERS = ["distance", "departure_hour", "weekday"]


@pytest.fixture(scope="module")
def year() -> pd.DataFrame:
    return data.read_flights()


@pytest.fixture(scope="module")
def flights(year: pd.DataFrame) -> pd.DataFrame:
    return order(year, BEGIN, 3)


@pytest.fixture(scope="module")
def stream(flights: pd.DataFrame) -> Stream:
    return of_flights(flights, {name: flights[name].to_numpy() for name in REQUEST_COLUMNS})


@pytest.fixture(scope="module")
def rows(flights: pd.DataFrame) -> np.ndarray[Any, Any]:
    return flights[NUMBERS].to_numpy(dtype=np.float64)


@pytest.fixture(scope="module")
def model(flights: pd.DataFrame, rows: np.ndarray[Any, Any]) -> HistGradientBoostingClassifier:
    return HistGradientBoostingClassifier(max_iter=5, random_state=0).fit(rows, flights["late"].fillna(0.0))


def test_flights_are_asked_about_in_the_order_of_their_scheduled_departure(flights: pd.DataFrame) -> None:
    assert flights["scheduled_at"].is_monotonic_increasing
    days = flights["scheduled_at"].dt.tz_convert("America/New_York").dt.date.unique()
    assert [f"{day}" for day in days] == ["2013-11-01", "2013-11-02", "2013-11-03"]


def test_days_without_flights_are_refused(year: pd.DataFrame) -> None:
    with pytest.raises(ConfigError, match="no flight leaves"):
        order(year, datetime(2014, 3, 1, tzinfo=ZoneInfo("America/New_York")), 2)


def test_a_label_is_known_between_the_requests_between_which_the_flight_lands(
    flights: pd.DataFrame, stream: Stream
) -> None:
    asked = flights["asked_at"].to_numpy(dtype="datetime64[ns]")
    arrived = flights["arrived_at"].to_numpy(dtype="datetime64[ns]")
    known = np.flatnonzero(stream.landings != NEVER)
    assert len(known) > 2_000
    for position in known[::97]:
        landing = stream.landings[position]
        assert landing > position
        assert asked[landing - 1] < arrived[position]
        assert landing == len(stream) or asked[landing] >= arrived[position]


def test_a_flight_that_never_arrives_has_no_label(flights: pd.DataFrame, stream: Stream) -> None:
    never = flights["late"].isna().to_numpy()
    assert 0 < never.sum() < 100
    np.testing.assert_array_equal(stream.landings == NEVER, never)
    np.testing.assert_array_equal(np.isnan(stream.labels), never)


@given(st.lists(st.integers(0, 500), min_size=1, max_size=50), st.lists(st.integers(-10, 600), max_size=50))
def test_the_clock_counts_the_requests_before_a_moment(asked: list[int], moments: list[int]) -> None:
    asked_at = np.sort(np.array(asked)).astype("datetime64[s]")
    known = np.array(moments, dtype="int64").astype("datetime64[s]")
    expected = [sum(it < moment for it in asked) for moment in moments]
    assert landings(asked_at, known).tolist() == expected


def test_a_request_brings_one_flight_with_null_for_what_is_not_known(flights: pd.DataFrame) -> None:
    columns = {"origin": flights["origin"].to_numpy(), "distance": flights["distance"].to_numpy()}
    temp = np.array([np.nan, 41.5, *np.zeros(len(flights) - 2)])
    stream = of_flights(flights, {**columns, "temp": temp})
    first, second = (json.loads(stream.body(position))["inputs"] for position in (0, 1))
    assert [it["datatype"] for it in first] == ["BYTES", "INT64", "FP64"]
    assert [it["data"] for it in first] == [[flights["origin"][0]], [int(flights["distance"][0])], [None]]
    assert second[2] == {"name": "temp", "shape": [1], "datatype": "FP64", "data": [41.5]}


def test_a_swap_exchanges_two_columns_and_nothing_else(rows: np.ndarray[Any, Any]) -> None:
    swapped = Swap(0, 1).transform(rows)
    np.testing.assert_array_equal(swapped, rows[:, [1, 0, 2]])
    np.testing.assert_array_equal(Swap(0, 1).transform(swapped), rows)


def test_a_slow_model_answers_as_its_model_does_but_later(model: Any, rows: np.ndarray[Any, Any]) -> None:
    begun = time.monotonic()
    found = Slow(model, 0.05).predict_proba(rows[:20])
    assert time.monotonic() - begun >= 0.05
    np.testing.assert_allclose(found, model.predict_proba(rows[:20]), atol=1e-15)


def test_a_failing_model_raises_on_its_share_of_flights_and_answers_the_rest(
    model: Any, rows: np.ndarray[Any, Any]
) -> None:
    # A real request has features with fractions; three columns alone are too alike.
    wide = np.column_stack((rows, np.random.default_rng(3).normal(50, 20, len(rows))))
    failing = Failing(Wrapped(_Sees(model)), 0.01)
    refused = failing.refused(wide)
    assert 0.003 < refused.mean() < 0.02
    assert not failing.refused(np.zeros((1, 4))).any(), "a replica that warms up asks about such a row"
    with pytest.raises(RuntimeError):
        failing.predict_proba(wide[refused][:1])
    np.testing.assert_allclose(failing.predict_proba(wide[~refused]), model.predict_proba(rows[~refused]), atol=1e-15)


class _Sees:
    """A model of the first three columns."""

    def __init__(self, model: Any) -> None:
        self._model = model

    def predict_proba(self, rows: np.ndarray[Any, Any]) -> Any:
        return self._model.predict_proba(rows[:, :3])


def test_a_drifting_model_begins_right_and_drifts_with_each_answer_up_to_its_most(
    model: Any, rows: np.ndarray[Any, Any]
) -> None:
    drifting, right = Drifting(model, 0.001, 0.05), model.predict_proba(rows)[:, 1]
    assert right.max() < 0.9
    first = drifting.positive(rows[:10]) - right[:10]
    np.testing.assert_allclose(first, 0.001 * np.arange(10), atol=1e-12)
    np.testing.assert_allclose(drifting.positive(rows[10:11]) - right[10:11], 0.01, atol=1e-12)
    np.testing.assert_allclose(drifting.positive(rows[:100])[-1] - right[99], 0.05, atol=1e-12)


def test_candidates_travel_to_a_replica_by_their_import_path(model: Any, rows: np.ndarray[Any, Any]) -> None:
    sent = cloudpickle.dumps(Drifting(model, 0.001, 0.05))
    assert b"examples.flights.candidates" in sent
    assert cloudpickle.loads(sent).answers == 0


def test_the_serve_file_is_valid_and_begins_with_copies_only() -> None:
    name, served = settings()
    assert (name, isinstance(served, ServeSettings)) == ("flights-rollout", True), SERVE_FILE
    plan = served.endpoints[0].rollout
    assert plan is not None
    assert (plan.start, plan.steps[0].weight) == ("automatic", 0)
