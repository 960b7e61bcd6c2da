"""Where a feature view's history lies and how it is read: Feast's metadata become DuckDB's SQL."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import duckdb
from feast import FeatureStore, FeatureView, FileSource
from feast.data_format import ParquetFormat
from feast.feature_view import DUMMY_ENTITY_ID, FeatureViewState
from feast.infra.offline_stores.duckdb import DuckDBOfflineStoreConfig

_SERVABLE = (FeatureViewState.STATE_UNSPECIFIED, FeatureViewState.AVAILABLE_ONLINE)
_INTEGERS = {"TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"}
_NUMBERS = _INTEGERS | {"FLOAT", "DOUBLE"}
# DuckDB can hold these against a file's row group statistics.
_MAKE_MOMENT = {"TIMESTAMP": "make_timestamp", "TIMESTAMP WITH TIME ZONE": "make_timestamptz"}
_FIRST_US = -62_135_596_800_000_000  # year 1


@dataclass(frozen=True)
class HistoryView:
    """How a feature view's history is joined, as its own metadata say.

    Args:
        keys: a key column of the view, and the asked column that it is compared with.
        created: of rows of one moment, the one that was created last counts.
        ttl_us: age in microseconds up to which a feature is known; None: for ever.
        renamed: a column's name in the file and in the view, in the order in which Feast renames.
    """

    name: str
    path: str
    keys: tuple[tuple[str, str], ...]
    timestamp: str
    created: str | None
    ttl_us: int | None
    renamed: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Layout:
    """The columns of a history as DuckDB sees them: the view's name of each, its name in the file, its type."""

    columns: dict[str, str]
    types: dict[str, str]

    def key_kind(self, key: str) -> str:
        """`text`, `integer`, `number` or `bool`; empty for what is left to Feast."""
        found = self.types[key]
        if found in _NUMBERS:
            return "integer" if found in _INTEGERS else "number"
        return {"VARCHAR": "text", "BOOLEAN": "bool"}.get(found, "")

    def covers(self, view: HistoryView, features: Sequence[str]) -> bool:
        """Whether every column is there, in a type whose conversion is known to equal Feast's."""
        times = [view.timestamp, *([view.created] if view.created else [])]
        keys = [key for key, _ in view.keys]
        return (
            all(name in self.types for name in [*times, *keys, *features])
            and all(self.types[name].startswith("TIMESTAMP") for name in times)
            and all(self.key_kind(key) for key in keys)
            and all(self.types[name] in _NUMBERS | {"BOOLEAN"} for name in features)
        )


def history_view(store: FeatureStore, view: FeatureView) -> HistoryView | None:
    """The history of `view` with its projection's key names; None for what only Feast itself can join.

    That is: another offline store than DuckDB; on-demand and stream views; a source that is not Parquet, needs
    credentials of its own or another S3 endpoint; a view that is disabled or can't be served.
    """
    source: Any = view.batch_source
    if (
        not isinstance(store.config.offline_store, DuckDBOfflineStoreConfig)
        or type(view) is not FeatureView
        or type(source) is not FileSource
        or not view.enabled
        or view.state not in _SERVABLE
        or not _is_plain_parquet(source)
    ):
        return None
    keys = view.projection.join_key_map or {column.name: column.name for column in view.entity_columns}
    if not keys or DUMMY_ENTITY_ID in keys:
        return None
    return HistoryView(
        name=view.name,
        path=source.path,
        keys=tuple(keys.items()),
        timestamp=source.timestamp_field,
        created=source.created_timestamp_column or None,
        ttl_us=view.ttl // timedelta(microseconds=1) if view.ttl else None,
        renamed=tuple(source.field_mapping.items()),
    )


def _is_plain_parquet(source: FileSource) -> bool:
    parquet = isinstance(source.file_format, ParquetFormat) or (
        source.file_format is None and source.path.endswith(".parquet")
    )
    return parquet and not source.s3_endpoint_override and not source.resolve_credentials()


def layout(connection: duckdb.DuckDBPyConnection, view: HistoryView) -> Layout | None:
    """What stands in the file; None where Feast's renaming would make two columns of one name."""
    query = f"DESCRIBE SELECT * FROM {_file(view)}"  # noqa: S608 - quoted
    described = connection.execute(query).fetchall()
    columns = {str(row[0]): str(row[0]) for row in described}
    types = {str(row[0]): str(row[1]) for row in described}
    for old, new in view.renamed:
        if old in columns and old != new:
            if new in columns:
                return None
            columns[new], types[new] = columns.pop(old), types.pop(old)
    return Layout(columns, types)


def rows_in(connection: duckdb.DuckDBPyConnection, view: HistoryView) -> int:
    """How many rows the history has, by the footers of its files."""
    query = f"SELECT count(*) FROM {_file(view)}"  # noqa: S608 - quoted
    return int(connection.execute(query).fetchall()[0][0])


def scan(view: HistoryView, found: Layout, features: Sequence[str], between_us: tuple[int, int] | None = None) -> str:
    """A query for the needed columns alone: `key_0`..., `moment`, `created`, then `feature_0`... as doubles.

    Moments are microseconds since 1970, cast as Feast casts them. Rows without a moment are left out.

    Args:
        between_us: the moments that can count, both inclusive.
    """
    moment = _moment(found, view.timestamp)
    chosen = [f"{_name(found.columns[key])} AS key_{place}" for place, (key, _) in enumerate(view.keys)]
    chosen.append(f"{moment} AS moment")
    if view.created:
        chosen.append(f"{_moment(found, view.created)} AS created")
    chosen += [
        f"CAST({_name(found.columns[name])} AS DOUBLE) AS feature_{place}" for place, name in enumerate(features)
    ]
    where = f"{moment} IS NOT NULL" if between_us is None else _between(found, view.timestamp, between_us)
    return f"SELECT {', '.join(chosen)} FROM {_file(view)} WHERE {where}"  # noqa: S608 - quoted


def asof(view: HistoryView, found: Layout, features: Sequence[str], between_us: tuple[int, int]) -> str:
    """A query that joins the registered table `asked` (`row`, `moment`, `key_0`...); rows without a match are left out.

    Of rows of one key and moment the last created counts, then the one that stands last.
    """
    keys = [f"key_{place}" for place in range(len(view.keys))]
    order = ["created DESC NULLS LAST"] if view.created else []
    order += ["filename DESC", "file_row_number DESC"]
    history = scan(view, found, features, between_us)
    history = history.replace("SELECT ", "SELECT filename, file_row_number, ", 1)
    alive = f"WHERE asked.moment - latest.moment <= {view.ttl_us}" if view.ttl_us is not None else ""
    window = f"PARTITION BY {', '.join(keys)}, moment ORDER BY {', '.join(order)}"
    # Most of a history is of keys that nobody asks for: to sort it would be most of the work.
    wanted = f"SELECT history.* FROM ({history}) AS history SEMI JOIN asked USING ({', '.join(keys)})"  # noqa: S608
    latest = f"SELECT * FROM ({wanted}) QUALIFY row_number() OVER ({window}) = 1"  # noqa: S608 - quoted
    same = " AND ".join(f"asked.{key} = latest.{key}" for key in keys)
    values = ", ".join(f"feature_{place}" for place in range(len(features)))
    joined = f"asked ASOF JOIN ({latest}) AS latest ON {same} AND asked.moment >= latest.moment"
    return f"SELECT asked.row, {values} FROM {joined} {alive}"  # noqa: S608 - quoted


def _moment(found: Layout, column: str) -> str:
    return f"epoch_us(CAST({_name(found.columns[column])} AS TIMESTAMPTZ))"


def _between(found: Layout, column: str, between_us: tuple[int, int]) -> str:
    first, last = between_us
    make = _MAKE_MOMENT.get(found.types[column])
    value = _name(found.columns[column]) if make else _moment(found, column)
    bounds = [f"{value} <= {make or ''}({last})"]
    if first > _FIRST_US:
        bounds.append(f"{value} >= {make or ''}({first})")
    return " AND ".join(bounds)


def _file(view: HistoryView) -> str:
    return f"read_parquet([{_text(view.path)}])"


def _name(identifier: str) -> str:
    return '"' + identifier.replace('"', '""') + '"'


def _text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"
