"""Feast: bind a feature service, read it online, join it as of a moment, materialize it."""

import atexit
import logging
import os
import sys
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from feast import FeatureStore, FeatureView
from feast.errors import FeastObjectNotFoundException
from feast.feature_view_projection import FeatureViewProjection
from pydantic import ValidationError

from taxiway.errors import ConfigError, FeatureStoreFailed
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding, OnMissing, entity_values
from taxiway.feature_rows import ViewReader, ViewRows
from taxiway.point_in_time import KEEP_BYTES, PointInTimeJoin
from taxiway.point_in_time_source import HistoryView, history_view
from taxiway.settings import FeatureStoreSettings, OnlineReadSettings, home
from taxiway.signature import Array, Columns, concatenate, row_count, take
from taxiway.timed_calls import Overdue, TimedCalls

_log = logging.getLogger(__name__)
_ROW = "__taxiway_row"
_NUMBERS = {"Float32", "Float64", "Int32", "Int64", "Bool"}
_MOMENT = "event_timestamp"
_FEAST_ROWS = 65_536
_BEGINNING = datetime(1970, 1, 2, tzinfo=UTC)


def open_store(settings: FeatureStoreSettings) -> FeatureStore:
    """Opens the store that `feature_store.yaml` in the settings' folder describes.

    Raises:
        ConfigError: there is none, or Feast refuses it.
    """
    if not (Path(settings.repository) / "feature_store.yaml").is_file():
        raise ConfigError(f"feature_store.repository: no feature_store.yaml in {settings.repository}")
    # Feast fills ${TAXIWAY_HOME} in by itself, from the environment, and takes a relative path from its own folder.
    os.environ["TAXIWAY_HOME"] = str(home())
    # Ibis 12 calls a name that DuckDB 2 renamed; one warning for every query of every actor.
    warnings.filterwarnings("ignore", message="fetch_arrow_table", category=DeprecationWarning)
    try:
        return FeatureStore(settings.repository)
    except Exception as error:
        raise ConfigError(f"feature_store.repository: Feast can't open {settings.repository}: {error}") from error


@atexit.register
def _let_go_of_duckdb() -> None:
    """Ibis keeps the connection of Feast's joins for good; DuckDB's binding reports it as a leak on stderr."""
    if (ibis := sys.modules.get("ibis")) is not None:
        ibis.options.default_backend = None


def bind(
    store: FeatureStore,
    service: str,
    on_missing: Mapping[str, OnMissing],
    defaults: Mapping[str, Mapping[str, float]] | None = None,
) -> FeatureBinding:
    """What a model needs to know of a feature service; `on_missing` and `defaults` are for each view.

    Raises:
        ConfigError: there is no such service, a policy or a default names what is not in it, a feature is
            no number, or two views have a feature of one name.
    """
    defaults = defaults or {}
    try:
        projections = store.get_feature_service(service).feature_view_projections
    except FeastObjectNotFoundException as error:
        known = ", ".join(found.name for found in store.list_feature_services()) or "none"
        raise ConfigError(f"features.service: {service!r} is not in the feature store; known: {known}") from error
    names = [projection.name for projection in projections]
    for key, given in (("on_missing", on_missing), ("defaults", defaults)):
        if strangers := set(given) - set(names):
            raise ConfigError(f"features.{key}: {sorted(strangers)} not among the views {names} of {service!r}")
    features = [feature for projection in projections for feature in projection.features]
    for feature in features:
        if str(feature.dtype) not in _NUMBERS:
            raise ConfigError(f"features.service: the feature {feature.name!r} is a {feature.dtype}, expected a number")
    columns = [feature.name for feature in features]
    if twice := {name for name in columns if columns.count(name) > 1}:
        raise ConfigError(f"features.service: two views of {service!r} have a feature named {min(twice)!r}")
    views = (
        _bind_view(store, projection, on_missing.get(projection.name, "refuse"), defaults.get(projection.name, {}))
        for projection in projections
    )
    return FeatureBinding(service=service, views=tuple(views))


def _bind_view(
    store: FeatureStore, projection: FeatureViewProjection, on_missing: OnMissing, defaults: Mapping[str, float]
) -> FeatureViewBinding:
    keys = tuple(column.name for column in _feature_view(store, projection.name).entity_columns)
    columns = tuple(feature.name for feature in projection.features)
    try:
        return FeatureViewBinding(
            name=projection.name, entity_keys=keys, columns=columns, on_missing=on_missing, defaults=dict(defaults)
        )
    except ValidationError as error:
        reasons = "; ".join(entry["msg"].removeprefix("Value error, ") for entry in error.errors())
        raise ConfigError(f"features.{reasons}") from error


def _feature_view(store: FeatureStore, name: str) -> FeatureView:
    try:
        return store.get_feature_view(name)
    except FeastObjectNotFoundException as error:
        raise ConfigError(f"feature_store: the store has no feature view {name!r}; run `feast apply`") from error


ReadOutcome = Literal["ok", "failed", "timeout"]


@dataclass(frozen=True)
class FeatureRead:
    """One read of the online store, for whoever counts.

    Args:
        rows: of the batch.
        entities: keys that were read, of all views together.
        expired: those of them whose features were too old to be used.
        outcome: `timeout` also while an earlier read has not come back.
    """

    views: tuple[str, ...]
    rows: int
    entities: int
    expired: int
    seconds: float
    outcome: ReadOutcome


class OnlineFeatures:
    """Reads the latest features of entities: all views of a batch in one pass, each entity once.

    A feature that is older than its view's time to live at `settings.as_of` (or now) is missing, as it is in
    the historical join. Views are looked up in the registry once: what `feast apply` changes later takes
    effect with the next process.

    Args:
        observe: told of every read.
    """

    def __init__(
        self,
        store: FeatureStore,
        settings: OnlineReadSettings | None = None,
        observe: Callable[[FeatureRead], None] | None = None,
    ) -> None:
        self._store = store
        self._settings = settings or OnlineReadSettings()
        self._observe = observe
        self._calls = TimedCalls(self._settings.timeout_s)
        self._readers: dict[tuple[str, tuple[str, ...]], ViewReader] = {}

    def read(self, views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
        """Every feature of `views` for each row of `columns`; NaN where the store has nothing.

        Raises:
            FeatureStoreFailed: the store does not answer, or not in time.
            ConfigError: the store has no such view.
        """
        start = time.perf_counter()
        outcome: ReadOutcome = "failed"
        read: list[ViewRows] = []
        try:
            readers = [self._reader(view) for view in views]
            now = self._settings.as_of or datetime.now(UTC)
            read = self._calls(lambda: [reader.read(columns, now) for reader in readers])
            outcome = "ok"
        except ConfigError:
            raise
        except Overdue as error:
            outcome = "timeout"
            raise FeatureStoreFailed(f"the online feature store: {error}; try again") from error
        except Exception as error:
            _log.exception("online feature read failed")
            raise FeatureStoreFailed("the online feature store did not answer; try again") from error
        finally:
            self._tell(views, row_count(columns), read, time.perf_counter() - start, outcome)
        return {name: values for rows in read for name, values in rows.columns.items()}

    def _reader(self, view: FeatureViewBinding) -> ViewReader:
        key = (view.name, view.columns)
        if key not in self._readers:
            self._readers[key] = ViewReader(self._store, _feature_view(self._store, view.name), view)
        return self._readers[key]

    def _tell(
        self,
        views: Sequence[FeatureViewBinding],
        rows: int,
        read: Sequence[ViewRows],
        seconds: float,
        outcome: ReadOutcome,
    ) -> None:
        if self._observe is None:
            return
        names = tuple(view.name for view in views)
        entities, expired = sum(part.distinct for part in read), sum(part.expired for part in read)
        try:
            self._observe(FeatureRead(names, rows, entities, expired, seconds, outcome))
        except Exception:  # noqa: BLE001 - counting must not fail a prediction
            _log.exception("a feature read could not be counted")


class HistoricalFeatures:
    """Joins features as they were known at each row's own moment.

    Views whose history is Parquet below Feast's DuckDB store are joined by `PointInTimeJoin`, all others by Feast
    itself; the answers are the same. Views are looked up in the registry once, as `OnlineFeatures` does.

    Args:
        keep_bytes: how much of the histories may stay in memory between two reads.
    """

    def __init__(self, store: FeatureStore, keep_bytes: int = KEEP_BYTES) -> None:
        self._store = store
        self._join = PointInTimeJoin(keep_bytes)
        self._histories: dict[str, HistoryView | None] = {}

    def read(self, views: Sequence[FeatureViewBinding], columns: Columns, moments: Array) -> dict[str, Array]:
        """Every feature of `views` for each row of `columns` as of `moments` (datetime64, UTC), as float64.

        Raises:
            ConfigError: the store has no such view.
        """
        when = pd.to_datetime(moments, utc=True).tz_localize(None).to_numpy().astype("datetime64[us]")
        answer: dict[str, Array] = {}
        left: list[FeatureViewBinding] = []
        for view in views:
            history = self._history(view.name)
            found = None if history is None else self._join.read(history, view.columns, columns, when)
            if found is None:
                left.append(view)
            else:
                answer |= found
        answer |= join_by_feast(self._store, left, columns, when)
        return {column: answer[column] for view in views for column in view.columns}

    def _history(self, name: str) -> HistoryView | None:
        if name not in self._histories:
            self._histories[name] = history_view(self._store, _feature_view(self._store, name))
        return self._histories[name]


def join_by_feast(
    store: FeatureStore, views: Sequence[FeatureViewBinding], columns: Columns, moments: Array
) -> dict[str, Array]:
    """What `HistoricalFeatures.read` answers, by Feast's own join of any store.

    Some rows at a time: Feast holds each of them several times over while it works on it.
    """
    parts = [
        _join_some(store, views, take(columns, rows), moments[rows])
        for first in range(0, len(moments), _FEAST_ROWS)
        for rows in [slice(first, first + _FEAST_ROWS)]
        if views
    ]
    return concatenate(parts) if parts else {column: np.empty(0) for view in views for column in view.columns}


def _join_some(
    store: FeatureStore, views: Sequence[FeatureViewBinding], columns: Columns, moments: Array
) -> dict[str, Array]:
    rows = len(moments)
    keys = {key: entity_values(columns[key]) for view in views for key in view.entity_keys}
    asked = pd.DataFrame(keys | {_ROW: np.arange(rows), _MOMENT: pd.to_datetime(moments, utc=True)})
    references = [reference for view in views for reference in view.references]
    # Feast promises neither the order nor, for equal keys, the number of the rows: join back by id.
    joined = store.get_historical_features(entity_df=asked, features=references).to_df()
    joined = joined.drop_duplicates(_ROW).set_index(_ROW).reindex(np.arange(rows))
    return {
        column: joined[column].to_numpy(dtype=np.float64, na_value=np.nan) for view in views for column in view.columns
    }


def materialize(store: FeatureStore, start: datetime, end: datetime) -> None:
    """Copies the latest features between two moments to the online store."""
    store.materialize(start, end)


@dataclass(frozen=True)
class Freshness:
    """Up to when the online store knows a view; None while it was never filled. `ttl` is None for what stays true."""

    view: str
    until: datetime | None
    ttl: timedelta | None

    def is_stale(self, now: datetime) -> bool:
        """Whether every feature of the view has outlived its time by now, whatever rows there are."""
        return self.until is None or (self.ttl is not None and now - self.until > self.ttl)


def freshness(store: FeatureStore, names: Sequence[str]) -> list[Freshness]:
    """Raises ConfigError when there is no such view."""
    found = []
    for name in names:
        view = _feature_view(store, name)
        until = view.most_recent_end_time
        found.append(Freshness(name, until.astimezone(UTC) if until else None, view.ttl or None))
    return found


def refresh(store: FeatureStore, names: Sequence[str], until: datetime, overlap: timedelta) -> list[Freshness]:
    """Copies to the online store what has come since the last time; returns how fresh each view was before.

    A view that was never filled begins its time to live before `until`, one whose features stay true at the very
    beginning. Feast itself would count from the clock of the machine, and leave out what is older than a year.

    Args:
        overlap: how long before the last time it begins, for rows that came late.

    Raises:
        ConfigError: there is no such view, or the store can't be read or written.
    """
    before = freshness(store, names)
    for view in before:
        start = view.until - overlap if view.until else until - view.ttl if view.ttl else _BEGINNING
        if start >= until:
            continue
        try:
            store.materialize(start, until, feature_views=[view.view])
        except Exception as error:
            told = f"{type(error).__name__}: {error}"
            raise ConfigError(f"feature_store: the view {view.view!r} can't be materialized: {told}") from error
    return before
