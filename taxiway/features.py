"""Feast: bind a feature service, read it online, join it as of a moment, materialize it."""

import logging
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path

import numpy as np
import pandas as pd
from feast import FeatureStore
from feast.errors import FeastObjectNotFoundException

from taxiway.errors import ConfigError, FeatureStoreFailed
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding, OnMissing, entity_values
from taxiway.settings import FeatureStoreSettings, home
from taxiway.signature import Array, Columns, row_count

_log = logging.getLogger(__name__)
_ROW = "__taxiway_row"
_NUMBERS = {"Float32", "Float64", "Int32", "Int64", "Bool"}
_MOMENT = "event_timestamp"


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


def bind(store: FeatureStore, service: str, on_missing: Mapping[str, OnMissing]) -> FeatureBinding:
    """What a model needs to know of a feature service.

    Raises:
        ConfigError: there is no such service, `on_missing` names a view that is not in it, a feature is
            no number, or two views have a feature of one name.
    """
    try:
        projections = store.get_feature_service(service).feature_view_projections
    except FeastObjectNotFoundException as error:
        known = ", ".join(found.name for found in store.list_feature_services()) or "none"
        raise ConfigError(f"features.service: {service!r} is not in the feature store; known: {known}") from error
    names = [projection.name for projection in projections]
    if strangers := set(on_missing) - set(names):
        raise ConfigError(f"features.on_missing: {sorted(strangers)} not among the views {names} of {service!r}")
    features = [feature for projection in projections for feature in projection.features]
    for feature in features:
        if str(feature.dtype) not in _NUMBERS:
            raise ConfigError(f"features.service: the feature {feature.name!r} is a {feature.dtype}, expected a number")
    columns = [feature.name for feature in features]
    if twice := {name for name in columns if columns.count(name) > 1}:
        raise ConfigError(f"features.service: two views of {service!r} have a feature named {min(twice)!r}")
    return FeatureBinding(
        service=service,
        views=tuple(
            FeatureViewBinding(
                name=projection.name,
                entity_keys=tuple(column.name for column in store.get_feature_view(projection.name).entity_columns),
                columns=tuple(feature.name for feature in projection.features),
                on_missing=on_missing.get(projection.name, "refuse"),
            )
            for projection in projections
        ),
    )


class OnlineFeatures:
    """Reads the latest features of entities, many rows in one call."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def read(self, views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
        """Every feature of `views` for each row of `columns`; NaN where the store has nothing.

        Raises:
            FeatureStoreFailed: the store does not answer.
        """
        keys = {key: list(entity_values(columns[key])) for view in views for key in view.entity_keys}
        references = [reference for view in views for reference in view.references]
        try:
            answer = self._store.get_online_features(features=references, entity_rows=keys).to_dict()
        except Exception as error:
            _log.exception("online feature read failed")
            raise FeatureStoreFailed("the online feature store did not answer; try again") from error
        return {column: np.array(answer[column], dtype=np.float64) for view in views for column in view.columns}


class HistoricalFeatures:
    """Joins features as they were known at each row's own moment."""

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def read(self, views: Sequence[FeatureViewBinding], columns: Columns, moments: Array) -> dict[str, Array]:
        """Every feature of `views` for each row of `columns` as of `moments` (datetime64, UTC)."""
        rows = row_count(columns)
        keys = {key: entity_values(columns[key]) for view in views for key in view.entity_keys}
        asked = pd.DataFrame(keys | {_ROW: np.arange(rows), _MOMENT: pd.to_datetime(moments, utc=True)})
        references = [reference for view in views for reference in view.references]
        # Feast promises neither the order nor, for equal keys, the number of the rows: join back by id.
        joined = self._store.get_historical_features(entity_df=asked, features=references).to_df()
        joined = joined.drop_duplicates(_ROW).set_index(_ROW).reindex(np.arange(rows))
        return {
            column: joined[column].to_numpy(dtype=np.float64, na_value=np.nan)
            for view in views
            for column in view.columns
        }


def materialize(store: FeatureStore, start: datetime, end: datetime) -> None:
    """Copies the latest features between two moments to the online store."""
    store.materialize(start, end)
