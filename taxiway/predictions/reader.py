"""The prediction log for notebooks, jobs and whoever judges a rollout: each record once, ids as text."""

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from functools import partial
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from taxiway.errors import JobError
from taxiway.predictions import ids
from taxiway.predictions.distinct import RECORD_KEY, distinct_records
from taxiway.predictions.keys import FieldKeys
from taxiway.predictions.partitions import endpoint_root, endpoints, hour_folder, hour_of_ms, hours
from taxiway.predictions.record import SCHEMA
from taxiway.predictions.snapshot import chosen, conform, live_files, plain, read_files, read_schema, together, unified
from taxiway.predictions.storage import Storage, until_nothing_vanishes

Keep = Callable[[pa.Table], pa.Table]
_BATCH_ROWS = 65_536
_BASE = plain(SCHEMA.empty_table()).schema


def read(
    location: str,
    endpoint: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    keys: FieldKeys | None = None,
) -> pa.Table:
    """The answers whose id was made in [start, end).

    Args:
        columns: as in the files, `output.delay` or `output.*`; None is all. One that no file has is null.
        keys: of encrypted fields, which come as text: texts as they were, other values as JSON. Without keys they come
            as they stand in the files.

    Raises:
        ConfigError: a moment has no time zone, the location is of no known kind, or a key is not there.
        JobError: an encrypted value was changed.
        OSError: the storage can't be read.
    """
    batches = list(window(Storage(location), endpoint, start, end, columns, keys))
    return public(together(batches or [_BASE.empty_table()]), endpoint, columns)


def scan(
    location: str,
    endpoint: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None = None,
    keys: FieldKeys | None = None,
) -> Iterator[pa.RecordBatch]:
    """As `read`, in batches of one schema. In memory is one hour of the columns at a time."""
    storage = Storage(location)
    schema = _schema(storage, endpoint, start, end)
    for table in window(storage, endpoint, start, end, columns, keys):
        known = [it for it in schema if chosen(it.name, columns) or it.name in table.column_names]
        shown = public(conform(table, pa.schema(known)), endpoint, columns)
        yield from shown.to_batches(max_chunksize=_BATCH_ROWS)


def by_ids(
    location: str,
    prediction_ids: Sequence[str],
    endpoint: str | None = None,
    columns: Sequence[str] | None = None,
    keys: FieldKeys | None = None,
) -> pa.Table:
    """The records of these answers; only the hours that their ids name are opened. None: of all endpoints.

    Raises:
        ValueError: an id is no UUID.
    """
    storage = Storage(location)
    found = []
    for name in endpoints(storage) if endpoint is None else [endpoint]:
        tables = list(records_of(storage, name, ids.parse(prediction_ids), columns, keys))
        if tables:
            found.append(public(together(tables), name, columns))
    return together(found) if found else public(_BASE.empty_table(), endpoint or "", columns)


def records_of(
    storage: Storage, endpoint: str, wanted: Any, columns: Sequence[str] | None, keys: FieldKeys | None = None
) -> Iterator[pa.Table]:
    """By hour the records of ids (bytes of shape [n, 16]); ids stay bytes, and key columns are there."""
    by_hour: dict[str, list[int]] = defaultdict(list)
    for position, unix_ms in enumerate(ids.milliseconds(wanted).tolist()):
        by_hour[hour_folder(endpoint_root(endpoint), hour_of_ms(unix_ms))].append(position)
    for folder, positions in sorted(by_hour.items()):
        mine = ids.to_arrow(wanted[positions])
        keep = partial(_about, wanted=mine)
        table = _hour(storage, folder, columns, _opening(keep, endpoint, keys))
        if table.num_rows:
            yield table


def _about(table: pa.Table, wanted: Any) -> pa.Table:
    return table.filter(pc.is_in(table["prediction_id"], value_set=wanted))


def _opening(keep: Keep, endpoint: str, keys: FieldKeys | None) -> Keep:
    """Decrypts what is kept, file by file: each says of its own columns whether they are encrypted."""
    if keys is None:
        return keep
    from taxiway.predictions.encryption import decrypted  # a reader without keys does not load OpenSSL

    return lambda table: decrypted(keep(table), endpoint, keys)


def window(
    storage: Storage,
    endpoint: str,
    start: datetime,
    end: datetime,
    columns: Sequence[str] | None,
    keys: FieldKeys | None = None,
) -> Iterator[pa.Table]:
    """As `records_of`, of all ids made in [start, end)."""
    first, last = start.timestamp() * 1000, end.timestamp() * 1000

    def keep(table: pa.Table) -> pa.Table:
        made = ids.milliseconds(ids.from_arrow(table["prediction_id"]))
        inside = (made >= first) & (made < last)
        return table if inside.all() else table.filter(pa.array(inside))

    for folder in hours(storage, endpoint_root(endpoint), start, end):
        table = _hour(storage, folder, columns, _opening(keep, endpoint, keys))
        if table.num_rows:
            yield table


def _hour(storage: Storage, folder: str, columns: Sequence[str] | None, keep: Keep) -> pa.Table:
    wanted = None if columns is None else [*RECORD_KEY, *columns]

    def read_all() -> pa.Table:
        paths = list(live_files(storage, storage.files(folder)))
        tables = [keep(table) for table in read_files(storage, paths, wanted)]
        return together(tables) if tables else _BASE.empty_table()

    return distinct_records(until_nothing_vanishes(read_all))


def _schema(storage: Storage, endpoint: str, start: datetime, end: datetime) -> pa.Schema:
    """The columns of all files of a window. A compacted file has those of the files that it replaces."""

    def read_all(folder: str) -> list[pa.Schema]:
        return [read_schema(storage, path) for path in live_files(storage, storage.files(folder))]

    schemas = {_BASE}
    for folder in hours(storage, endpoint_root(endpoint), start, end):
        found = until_nothing_vanishes(lambda folder=folder: read_all(folder))  # type: ignore[misc]
        schemas |= {plain(schema.remove_metadata().empty_table()).schema for schema in found}
    return unified(list(schemas))


def public(table: pa.Table, endpoint: str, columns: Sequence[str] | None) -> pa.Table:
    """Records with the endpoint, ids as text and the wanted columns in their order."""
    position = table.schema.get_field_index("prediction_id")
    if position < 0:
        raise JobError("a file of the prediction log has no prediction_id")
    table = table.set_column(position, "prediction_id", ids.text(ids.from_arrow(table["prediction_id"])))
    table = table.append_column("endpoint", pa.repeat(pa.scalar(endpoint), table.num_rows))
    base = [name for name in ("prediction_id", "endpoint", *SCHEMA.names) if name in table.column_names]
    every = [*dict.fromkeys(base), *sorted(set(table.column_names) - set(base))]
    if columns is None:
        return table.select(every)
    for name in columns:
        if name not in every and not name.endswith(".*"):
            table = table.append_column(name, pa.nulls(table.num_rows))
    wanted = [name for it in columns for name in ([it] if not it.endswith(".*") else every) if chosen(name, [it])]
    return table.select(list(dict.fromkeys(wanted)))
