"""Records as Parquet files: how they are encoded, and into which files the rows of a batch go."""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from taxiway.predictions import ids
from taxiway.predictions.backlog import EncodedFile
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.partitions import FileNames, endpoint_root, hour_folder, hour_of_ms
from taxiway.predictions.record import LoggedBatch, records

_log = logging.getLogger(__name__)

_BATCHES_AT_ONCE = 2_048
"""Joining more would keep the event loop waiting for the interpreter's lock."""
_BYTES_AT_ONCE = 64 << 20
_ROW_GROUP = 65_536
Taken = tuple[LoggedBatch, Sequence[bool] | None]


def parquet(table: pa.Table, metadata: Mapping[str, str] | None = None) -> Any:
    """The bytes of a file; `metadata` is kept beside the schema."""
    if metadata:
        table = table.replace_schema_metadata(dict(metadata))
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd", row_group_size=_ROW_GROUP)
    return sink.getvalue()


def encode(taken: Iterable[Taken], rules: FieldRules, names: FileNames) -> list[EncodedFile]:
    """Files for batches: one for each endpoint, hour and set of columns. What can't be encoded is logged, not there."""
    groups: dict[tuple[str, pa.Schema], list[pa.Table]] = {}
    for batches in _alike(taken):
        try:
            table = records(batches, rules)
        except Exception:  # noqa: BLE001 - one bad batch must not keep the others out of the log
            _log.exception("%d batches of %s can't be logged", len(batches), batches[0].source.endpoint)
            continue
        groups.setdefault((batches[0].source.endpoint, table.schema), []).append(table)
    return [
        file for (endpoint, _), tables in groups.items() for file in _files(endpoint, pa.concat_tables(tables), names)
    ]


def _alike(taken: Iterable[Taken]) -> Iterator[list[LoggedBatch]]:
    """Batches of one source with the same columns, not too many at once."""
    waiting: dict[tuple[Any, ...], list[LoggedBatch]] = {}
    sizes: dict[tuple[Any, ...], int] = {}
    for batch, kept in taken:
        key = (id(batch.source), tuple(batch.inputs), tuple(batch.outputs))
        group = waiting.setdefault(key, [])
        group.append(batch if kept is None else batch.only(kept))
        sizes[key] = sizes.get(key, 0) + batch.size_bytes()
        if len(group) >= _BATCHES_AT_ONCE or sizes[key] >= _BYTES_AT_ONCE:
            sizes[key] = 0
            yield waiting.pop(key)
    yield from waiting.values()


def _files(endpoint: str, table: pa.Table, names: FileNames) -> Iterator[EncodedFile]:
    storage: Any = table["prediction_id"].cast(ids.ID_TYPE)
    hours = ids.milliseconds(ids.from_arrow(storage)) // ids.HOUR_MS
    for hour in np.unique(hours):
        mine = (
            table if hours[0] == hours[-1] == hour and (hours == hour).all() else table.filter(pa.array(hours == hour))
        )
        folder = hour_folder(endpoint_root(endpoint), hour_of_ms(int(hour) * ids.HOUR_MS))
        yield EncodedFile(names.next(folder), parquet(mine), mine.num_rows)
