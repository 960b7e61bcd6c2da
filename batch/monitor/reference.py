"""What a window is compared with: rows of a data set that was logged with the version, or its profile."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from mlflow.exceptions import MlflowException

from batch.monitor.settings import MonitorSettings, Snapshot
from taxiway.arrow_columns import convert, is_convertible
from taxiway.errors import ConfigError, InvalidInput, PackageError, RegistryError
from taxiway.profile import Profile, profile
from taxiway.registry import LoadedModel, ModelVersion, Registry
from taxiway.scoring import score
from taxiway.signature import Array, Columns, take

_LABEL_PLACE = 2
"""Of the label's column in a data set, as `retrain.dataset.Dataset.table` writes it: after row id and moment."""


@dataclass(frozen=True)
class Reference:
    """The reference window.

    Args:
        source: `evaluation`, `training` or `profile`.
        columns: of its rows, the model's inputs and features; empty without rows, as `outputs`.
        labels: [rows], None where they are no numbers.
    """

    source: str
    profile: Profile
    columns: Columns = field(default_factory=dict)
    outputs: Columns = field(default_factory=dict)
    labels: Array | None = None

    @property
    def has_rows(self) -> bool:
        return bool(self.columns)


def reference_of(registry: Registry, model: LoadedModel, settings: MonitorSettings) -> Reference:
    """
    Raises:
        RegistryError: the registry's storage does not answer.
        ConfigError: there is neither a data set nor a profile, or the data set can't be used.
    """
    if settings.reference != "profile":
        found = _data_set(registry, model.version, settings.reference)
        if found is not None:
            return _of_rows(found, model, settings)
    if model.package.reference_profile is None:
        raise ConfigError(
            f"reference: {model.version.uri} has no logged data set {settings.reference!r} and no reference profile; "
            "monitor a version that `python -m retrain` has registered"
        )
    return Reference("profile", model.package.reference_profile)


def _data_set(registry: Registry, version: ModelVersion, name: Snapshot) -> pa.Table | None:
    """The artifact `dataset/NAME.parquet` of the version's run; None where there is none."""
    if not version.run_id:
        return None
    path = f"dataset/{name}.parquet"
    try:
        listed = mlflow.MlflowClient(registry.tracking_uri).list_artifacts(version.run_id, "dataset")
        if path not in [str(it.path) for it in listed]:
            return None
        local = mlflow.artifacts.download_artifacts(
            run_id=version.run_id, artifact_path=path, tracking_uri=registry.tracking_uri
        )
        return pq.read_table(Path(local))
    except (MlflowException, OSError, pa.ArrowException) as error:
        raise RegistryError(f"the data set {name!r} of {version.uri} can't be had: {error}") from error


def _of_rows(table: pa.Table, model: LoadedModel, settings: MonitorSettings) -> Reference:
    """A drawn part of a data set, with what the model answers to it."""
    if table.num_rows > settings.reference_rows:
        random = np.random.default_rng(settings.seed)
        table = table.take(np.sort(random.choice(table.num_rows, settings.reference_rows, replace=False)))
    columns, good = _columns(table, model)
    if not len(good):
        raise ConfigError("reference: no row of the data set is of the model's types; use reference: profile")
    package = model.package
    try:
        # The data set brings every feature itself.
        rows = take(columns, good)
        scored = score(rows, package.signature, package.features, lambda views, keys: {}, model.predictor)
    except InvalidInput as error:
        raise PackageError(f"the data set of {model.version.uri} lacks a column of its signature: {error}") from error
    features = package.features.optional_inputs if package.features else ()
    return Reference(
        settings.reference,
        profile(scored.inputs, package.signature, features, scored.outputs),
        scored.inputs,
        scored.outputs,
        _labels(table, good[scored.rows]),
    )


def _columns(table: pa.Table, model: LoadedModel) -> tuple[dict[str, Array], Array]:
    """The model's columns, and the rows that are of their types."""
    found: dict[str, Array] = {}
    bad = np.zeros(table.num_rows, np.bool_)
    for column in model.package.model_columns:
        if column.name not in table.column_names:
            continue
        kind = table.schema.field(column.name).type
        if not is_convertible(kind, column.dtype, column.shape):
            raise ConfigError(f"reference: {column.name} is {kind} in the data set; use reference: profile")
        found[column.name], refused = convert(column, table[column.name])
        for reject in refused:
            bad[reject.rows] = True
    return found, np.flatnonzero(~bad)


def _labels(table: pa.Table, rows: Array) -> Array | None:
    labels: Any = table.column(_LABEL_PLACE)
    if not (pa.types.is_integer(labels.type) or pa.types.is_floating(labels.type)):
        return None
    return np.asarray(labels.to_numpy(), np.float64)[rows]
