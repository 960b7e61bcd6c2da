"""What a folder of one hour holds now: each record in exactly one file, whatever a compaction is doing.

A compacted file names in its own metadata the files that it replaces. The moment at which it appears is the moment
at which they count no more, and they are deleted afterwards, whenever. `Storage.files` says why a listing is not
enough; a file that is gone when it is to be read means: look again.
"""

import json
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from taxiway.predictions.ids import ID_TYPE
from taxiway.predictions.partitions import COMPACTED
from taxiway.predictions.storage import Storage, Vanished

REPLACES = "taxiway.replaces"
_AT_A_TIME = 8


def live_files(storage: Storage, listed: Mapping[str, int]) -> dict[str, int]:
    """Those of the listed files that no other one replaces, the oldest name first.

    Raises:
        Vanished: one has gone since it was listed.
    """
    compacted = [path for path in listed if _name(path).startswith(COMPACTED)]
    gone = {name for replaced in _each(storage, compacted, replaces) for name in replaced}
    return {path: size for path, size in sorted(listed.items()) if _name(path) not in gone}


def replaces(storage: Storage, path: str) -> list[str]:
    """The names of the files that a compacted one stands for."""
    metadata = read_schema(storage, path).metadata or {}
    names: list[str] = json.loads(metadata.get(REPLACES.encode(), b"[]"))
    return names


def read_schema(storage: Storage, path: str) -> pa.Schema:
    """Raises Vanished."""
    schema: pa.Schema = _reading(storage, path, lambda file: file.schema_arrow)
    return schema


def chosen(name: str, columns: Sequence[str] | None) -> bool:
    """Whether a column is among those that are wanted; `output.*` is all outputs."""
    return columns is None or any(name == it or (it.endswith(".*") and name.startswith(it[:-1])) for it in columns)


def read_file(storage: Storage, path: str, columns: Sequence[str] | None) -> pa.Table:
    """Those of the columns that the file has, all for None. Ids come as 16 bytes.

    Raises:
        Vanished: it is gone.
    """

    def read(file: pq.ParquetFile) -> pa.Table:
        names = [name for name in file.schema_arrow.names if chosen(name, columns)]
        return file.read(names, use_threads=False).replace_schema_metadata(None)

    return plain(_reading(storage, path, read))


def read_files(storage: Storage, paths: Sequence[str], columns: Sequence[str] | None = None) -> list[pa.Table]:
    return _each(storage, paths, lambda place, path: read_file(place, path, columns))


def rows_of(storage: Storage, paths: Sequence[str]) -> list[int]:
    """How many each file has. Raises Vanished."""
    return _each(storage, paths, lambda place, path: _reading(place, path, lambda file: file.metadata.num_rows))


def plain(table: pa.Table) -> pa.Table:
    """With ids as bytes: Arrow's functions do not know UUIDs."""
    fields = [it.with_type(ID_TYPE) if it.type == pa.uuid() else it.with_nullable(True) for it in table.schema]
    return table.cast(pa.schema(fields))


def together(tables: Sequence[pa.Table]) -> pa.Table:
    """One below the other: a column that one does not have is null there; numbers become wide enough for all.

    What has different kinds of values under one name, say a number in one version and text in the next, is text.
    """
    try:
        return pa.concat_tables(tables, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        target = unified([table.schema for table in tables])
        return pa.concat_tables([conform(table, target) for table in tables])


def unified(schemas: Sequence[pa.Schema]) -> pa.Schema:
    """The columns of all, each of a type that its values fit into."""
    schemas = [schema.remove_metadata() for schema in schemas]
    try:
        return pa.unify_schemas(schemas, promote_options="permissive")
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.schema({name: _type(name, schemas) for schema in schemas for name in schema.names})


def conform(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """With exactly these columns; what is missing is null."""
    columns = [_cast(table[it.name], it.type) if it.name in table.column_names else None for it in schema]
    filled = [
        pa.nulls(table.num_rows, it.type) if column is None else column
        for it, column in zip(schema, columns, strict=True)
    ]
    return pa.table(filled, schema=schema)


def _type(name: str, schemas: Sequence[pa.Schema]) -> Any:
    fields = [pa.schema([schema.field(name)]) for schema in schemas if name in schema.names]
    try:
        return pa.unify_schemas(fields, promote_options="permissive").field(name).type
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return pa.string()


def _cast(column: "pa.ChunkedArray[Any]", target: pa.DataType) -> Any:
    if pa.types.is_string(target) and (pa.types.is_nested(column.type) or pa.types.is_binary(column.type)):
        return pa.chunked_array([pa.array([None if it is None else str(it) for it in column.to_pylist()], target)])
    return pc.cast(column, target)


def _reading(storage: Storage, path: str, read: Any) -> Any:
    source = storage.open(path)
    try:
        with source, pq.ParquetFile(source) as file:
            return read(file)
    except OSError as error:
        # S3 says in many words that an object has gone while it was being read.
        if not storage.exists(path):
            raise Vanished(path) from error
        raise


def _each(storage: Storage, paths: Sequence[str], read: Any) -> list[Any]:
    if storage.is_local or len(paths) < 2:
        return [read(storage, path) for path in paths]
    with ThreadPoolExecutor(_AT_A_TIME) as pool:
        return list(pool.map(lambda path: read(storage, path), paths))


def _name(path: str) -> str:
    return path.rpartition("/")[2]
