"""The point-in-time join over Parquet histories: of each key the last row that was known at the asked moment."""

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taxiway.point_in_time_kept import SortedHistory, comparable
from taxiway.point_in_time_source import HistoryView, Layout, asof, layout, rows_in, scan
from taxiway.signature import Array, Columns

ArrowArray = Any
Ints = NDArray[np.int64]
Identity = tuple[tuple[str, int, int], ...]
KEEP_BYTES = 512 * 2**20
_MEMORY = "4GB"
_SLICE = 2**20
_MATCHES = {"text": {"text"}, "integer": {"integer", "number"}, "number": {"integer", "number"}, "bool": {"bool"}}


@dataclass(frozen=True)
class _Opened:
    """A history as it was at one time.

    Args:
        bytes: what it takes in memory; 0 while it is not kept.
    """

    identity: Identity
    layout: Layout | None
    bytes: int = 0
    kept: SortedHistory | None = None


class PointInTimeJoin:
    """Joins features as of each row's moment, to the microsecond, with the answers of Feast's own join on DuckDB.

    Histories that fit `keep_bytes` together stay in memory, sorted, while their files stay the same. For the others
    DuckDB reads the needed columns between the first moment less the time to live and the last, and makes an ASOF
    join; what does not fit its memory goes to the temporary folder.

    Of rows of one key and moment the last created counts, then the one that stands last, where Feast takes any.
    """

    def __init__(self, keep_bytes: int = KEEP_BYTES) -> None:
        self._keep_bytes = keep_bytes
        self._opened: dict[tuple[HistoryView, tuple[str, ...]], _Opened] = {}

    def read(
        self, view: HistoryView, features: Sequence[str], columns: Columns, moments: NDArray[np.datetime64]
    ) -> dict[str, Array] | None:
        """Every feature for each row, NaN where there is none; None for types that are left to Feast.

        Args:
            columns: the asked key columns, one value a row; a missing key is nobody's.
            moments: datetime64 in UTC; NaT knows nothing.

        Raises:
            duckdb.Error: the history can't be read.
        """
        keys = [_arrow(np.asarray(columns[asked])) for _, asked in view.keys]
        opened = self._open(view, tuple(features))
        if opened.layout is None or not _comparable(view, opened.layout, keys):
            return None
        rows = np.flatnonzero(np.logical_and.reduce([~np.isnat(moments), *(_present(key) for key in keys)]))
        when = moments.astype("datetime64[us]").astype(np.int64)
        answer = {name: np.full(len(moments), np.nan) for name in features}
        if not len(rows):
            return answer
        alike = None if opened.kept is None else [comparable(key) for key in keys]
        if opened.kept is None or alike is None or any(key is None for key in alike):
            parts = iter([self._asof(view, opened.layout, features, keys, rows, when)])
        else:
            parts = _look_up(opened.kept, alike, rows, when, view.ttl_us)
        for found, values in parts:
            for name, column in zip(features, values, strict=True):
                answer[name][found] = column
        return answer

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        connection = duckdb.connect()
        # A time without a zone is UTC, wherever the machine stands, as it is for Feast.
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute(f"SET memory_limit = '{_MEMORY}'")
        connection.execute("SET temp_directory = ?", [str(Path(tempfile.gettempdir()) / "taxiway-join")])
        return connection

    def _open(self, view: HistoryView, features: tuple[str, ...]) -> _Opened:
        if "://" in view.path:
            _load_remote(self._connection)
        identity = _identity(self._connection, view.path)
        known = self._opened.get((view, features))
        if known is not None and known.identity == identity and identity:
            return known
        self._opened.pop((view, features), None)
        self._opened[view, features] = self._load(view, features, identity)
        return self._opened[view, features]

    def _load(self, view: HistoryView, features: tuple[str, ...], identity: Identity) -> _Opened:
        found = layout(self._connection, view)
        if found is None or not found.covers(view, features):
            return _Opened(identity, None)
        wanted = rows_in(self._connection, view) * (16 + 8 * len(features) + _key_bytes(view, found))
        free = self._keep_bytes - sum(it.bytes for it in self._opened.values())
        if not identity or not _keepable(view, found) or wanted > free:
            return _Opened(identity, found)
        table = self._connection.sql(scan(view, found, features)).to_arrow_table()
        return _Opened(identity, found, wanted, SortedHistory(table, len(view.keys)))

    def _asof(
        self,
        view: HistoryView,
        found: Layout,
        features: Sequence[str],
        keys: Sequence[ArrowArray],
        rows: Array,
        when: Ints,
    ) -> tuple[Array, list[Array]]:
        asked = {"row": pa.array(rows), "moment": pa.array(when[rows])}
        asked |= {f"key_{place}": key.take(asked["row"]) for place, key in enumerate(keys)}
        between = int(when[rows].min()) - (view.ttl_us or 2**62), int(when[rows].max())
        self._connection.register("asked", pa.table(asked))
        try:
            answer = self._connection.sql(asof(view, found, features, between)).to_arrow_table()
        finally:
            self._connection.unregister("asked")
        return answer.column("row").to_numpy(), [
            answer.column(f"feature_{place}").to_numpy() for place in range(len(features))
        ]


def _look_up(
    history: SortedHistory, keys: Sequence[ArrowArray], rows: Array, when: Ints, ttl_us: int | None
) -> Iterator[tuple[Array, list[Array]]]:
    """In slices, which bound the memory between the steps."""
    for first in range(0, len(rows), _SLICE):
        some = rows[first : first + _SLICE]
        chosen = pa.array(some)
        yield some, history.join([key.take(chosen) for key in keys], when[some], ttl_us)


def _arrow(keys: Array) -> ArrowArray | None:
    """None for what is neither text nor numbers nor truth values."""
    if keys.dtype.kind not in "OUiufb" or keys.dtype == np.float16:
        return None
    try:
        made = pa.array(keys, from_pandas=True)
    except pa.ArrowException:
        return None
    return made.cast(pa.string()) if pa.types.is_null(made.type) else made


def _present(keys: ArrowArray) -> Array:
    return np.asarray(keys.is_valid().to_numpy(zero_copy_only=False))


def _kind(keys: ArrowArray) -> str:
    kind = keys.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return "text"
    if pa.types.is_integer(kind):
        return "integer"
    return "number" if pa.types.is_floating(kind) else "bool" if pa.types.is_boolean(kind) else ""


def _comparable(view: HistoryView, found: Layout, keys: Sequence[ArrowArray | None]) -> bool:
    """Whether DuckDB compares the asked keys with the view's as it does for Feast."""
    return all(
        asked is not None and (asked.null_count == len(asked) or _kind(asked) in _MATCHES[found.key_kind(key)])
        for (key, _), asked in zip(view.keys, keys, strict=True)
    )


def _keepable(view: HistoryView, found: Layout) -> bool:
    return all(found.key_kind(key) in ("text", "integer") and found.types[key] != "UBIGINT" for key, _ in view.keys)


def _key_bytes(view: HistoryView, found: Layout) -> int:
    """What the keys of a row take at most, about, while a history is loaded."""
    return sum(40 if found.key_kind(key) == "text" else 8 for key, _ in view.keys)


def _identity(connection: duckdb.DuckDBPyConnection, path: str) -> Identity:
    """Path, size and time of the last change of each file of a history; empty where that can't be told."""
    if "://" not in path and Path(path).exists():
        files = [Path(path)] if Path(path).is_file() else sorted(it for it in Path(path).rglob("*") if it.is_file())
        return tuple((str(it), it.stat().st_size, it.stat().st_mtime_ns) for it in files)
    query = "SELECT filename, size, epoch_us(last_modified) FROM read_blob([?]) ORDER BY filename"
    return tuple((str(name), int(size), int(time)) for name, size, time in connection.execute(query, [path]).fetchall())


def _load_remote(connection: duckdb.DuckDBPyConnection) -> None:
    """The extension that Ibis loads too; once for a connection."""
    connection.execute("INSTALL httpfs")
    connection.execute("LOAD httpfs")
