"""The labels file: read the examples of both windows, leave out what has no label, set bad rows aside."""

from collections import Counter
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
from numpy.typing import NDArray

from retrain.dataset import Dataset
from retrain.relative import with_labels_by
from retrain.settings import RetrainSettings, WindowSettings
from retrain.source import labels_file
from taxiway.arrow_columns import convert, is_convertible
from taxiway.errors import ConfigError, JobError
from taxiway.signature import Array, Signature


@dataclass(frozen=True)
class LabelsRead:
    """The usable examples of the labels file, and how many rows of the windows are not among them."""

    examples: Dataset
    without_label: int
    set_aside: Counter[str]


def read_labels(settings: RetrainSettings, now: datetime, path: str | None = None) -> LabelsRead:
    """Reads the examples of the training and the evaluation window.

    Args:
        now: the date of the run: labels that were not known then are not read.
        path: of the file, where it is known already.

    Raises:
        ConfigError: the file can't be read, lacks a column, or a column has a wrong type.
        JobError: row ids are missing or not unique.
    """
    table = _read_windows(settings, path or labels_file(settings).path)
    task = settings.learning_task
    labels = task.labels(table.column(settings.label), settings.label)
    labelled = ~np.isnan(labels) & _arrived(table, settings, now)
    table = table.filter(pa.array(labelled))
    columns, rejects = {}, []
    for column in settings.inputs:
        if column.nullable and column.name not in table.column_names:
            table = table.append_column(column.name, pa.nulls(len(table)))
        values = table.column(column.name)
        if not is_convertible(values.type, column.dtype):
            raise ConfigError(f"labels: column {column.name} is {values.type}, expected {column.dtype}")
        columns[column.name], bad = convert(column, values)
        rejects += bad
    examples = Dataset(
        row_ids=_row_ids(table.column(settings.row_id), settings.row_id),
        moments=_moments(table.column(settings.event_timestamp)),
        labels=labels[labelled].astype(task.label_dtype),
        columns=columns,
    )
    rejects += Signature(inputs=settings.inputs, outputs=()).rejects(columns)
    good, set_aside = examples.without(rejects)
    return LabelsRead(good, int((~labelled).sum()), set_aside)


def _read_windows(settings: RetrainSettings, path: str) -> pa.Table:
    """The file's rows inside either window, ordered by moment and row id."""
    try:
        source = ds.dataset(path, format="parquet")
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"labels: {path} can't be read: {error}") from error
    required = [column.name for column in settings.inputs if not column.nullable]
    own = [settings.row_id, settings.event_timestamp, settings.label]
    own += [settings.label_arrived] if settings.label_arrived else []
    if absent := [name for name in [*own, *required] if name not in source.schema.names]:
        raise ConfigError(f"labels: {path} has no column {', '.join(absent)}")
    wanted = dict.fromkeys([*own, *(column.name for column in settings.inputs)])
    moment_type = source.schema.field(settings.event_timestamp).type
    if not pa.types.is_timestamp(moment_type):
        raise ConfigError(f"event_timestamp: {settings.event_timestamp} is {moment_type}, expected a timestamp")
    inside = _inside(settings.event_timestamp, settings.train, moment_type) | _inside(
        settings.event_timestamp, settings.evaluate, moment_type
    )
    table = source.to_table([name for name in wanted if name in source.schema.names], filter=inside)
    return table.sort_by([(settings.event_timestamp, "ascending"), (settings.row_id, "ascending")])


def _inside(name: str, window: WindowSettings, moment_type: Any) -> ds.Expression:
    """A filter for one window; a timestamp without a zone is UTC."""
    start, end = (
        pa.scalar(moment, pa.timestamp("us", "UTC")).cast(moment_type, safe=False)
        for moment in (window.start, window.end)
    )
    inside: ds.Expression = (ds.field(name) >= start) & (ds.field(name) < end)
    return inside


def _arrived(table: pa.Table, settings: RetrainSettings, now: datetime) -> NDArray[np.bool_]:
    """Which labels were known at the date of the run."""
    if settings.label_arrived is None:
        return np.ones(len(table), np.bool_)
    moments, arrived = (_moments(table.column(name)) for name in (settings.event_timestamp, settings.label_arrived))
    return with_labels_by(moments, arrived, now)


def _moments(values: "pa.ChunkedArray[Any]") -> NDArray[np.datetime64]:
    try:
        moments: NDArray[np.datetime64] = values.cast(pa.timestamp("us"), safe=False).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"label_arrived: the column is {values.type}, expected a timestamp") from error
    return moments


def _row_ids(values: "pa.ChunkedArray[Any]", name: str) -> Array:
    if values.null_count:
        raise JobError(f"row_id: {values.null_count} rows have no {name}")
    if pc.count_distinct(values).as_py() < len(values):
        raise JobError(f"row_id: {name} is not unique")
    row_ids: Array = values.to_numpy()
    return row_ids
