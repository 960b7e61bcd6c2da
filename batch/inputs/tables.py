"""Delta and Iceberg tables: the Parquet files of their current version."""

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from batch.inputs.listing import FoundFile, Listing, list_files, partition_types
from batch.inputs.storage import below, locate
from taxiway.errors import ConfigError
from taxiway.storage import s3_options

_TABLES = ("delta", "iceberg")


def find_input(path: str, wanted_format: str) -> Listing:
    """The files of an input, whatever it is.

    Raises:
        ConfigError: it can't be read, or the package that reads it is not installed.
    """
    kind = _table_kind(path) if wanted_format == "auto" else wanted_format
    if kind == "delta":
        return _delta(path)
    if kind == "iceberg":
        return _iceberg(path)
    return list_files(path, wanted_format)


def _table_kind(path: str) -> str | None:
    system, inside = locate(path)
    try:
        log, metadata = system.get_file_info([f"{inside}/_delta_log", f"{inside}/metadata"])
        if log.type == fs.FileType.Directory:
            return "delta"
        if path.partition("?")[0].endswith(".metadata.json"):
            return "iceberg"
        return "iceberg" if metadata.type == fs.FileType.Directory and _newest_metadata(path) else None
    except OSError:
        return None


def _delta(path: str) -> Listing:
    try:
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError
    except ImportError as error:
        raise ConfigError(
            f"input: {path} is a Delta table; reading it needs deltalake: pip install 'taxiway[delta]'"
        ) from error
    try:
        table = DeltaTable(_plain_uri(path), storage_options=_delta_storage(path))
        features = set(table.protocol().reader_features or ())
        actions = pa.table(table.get_add_actions(flatten=False)).to_pylist()
        declared: Mapping[str, pa.DataType] = {
            field.name: field.type for field in pa.schema(cast("Any", table.schema().to_arrow()))
        }
        keys = list(table.metadata().partition_columns)
    except (DeltaError, OSError) as error:
        raise ConfigError(f"input: the Delta table {path} can't be read: {error}") from error
    if refused := sorted(features & {"deletionVectors", "columnMapping"}):
        raise ConfigError(
            f"input: the Delta table {path} uses {', '.join(refused)}, which is not supported; rewrite it"
        )
    files = tuple(
        FoundFile(
            path=below(path, unquote(action["path"])),
            size=action["size_bytes"],
            changed=_nanoseconds(action["modification_time"]),
            partition={key: _text((action.get("partition") or {}).get(key)) for key in keys},
        )
        for action in sorted(actions, key=lambda action: str(action["path"]))
    )
    return _listing(path, files, {key: declared[key] for key in keys})


def _nanoseconds(moment: Any) -> int:
    return int(moment.timestamp() * 1e9) if hasattr(moment, "timestamp") else int(moment) * 1_000_000


def _delta_storage(path: str) -> dict[str, str] | None:
    if not path.startswith("s3://"):
        return None
    options = s3_options(path)
    endpoint = options.get("endpoint", "")
    scheme = options.get("scheme", "https")
    storage = {"AWS_REGION": options.get("region", "us-east-1")}
    if endpoint:
        storage["AWS_ENDPOINT_URL"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
        storage["AWS_ALLOW_HTTP"] = "true" if storage["AWS_ENDPOINT_URL"].startswith("http:") else "false"
    return storage


def _iceberg(path: str) -> Listing:
    try:
        from pyiceberg.exceptions import NotInstalledError
        from pyiceberg.table import StaticTable
    except ImportError as error:
        raise ConfigError(
            f"input: {path} is an Iceberg table; reading it needs pyiceberg: pip install 'taxiway[iceberg]'"
        ) from error
    metadata = path if path.partition("?")[0].endswith(".metadata.json") else _newest_metadata(path)
    if metadata is None:
        raise ConfigError(f"input: {path} holds no metadata/*.metadata.json of an Iceberg table")
    try:
        table = StaticTable.from_metadata(_plain_uri(metadata), properties=_iceberg_properties(path))
        tasks = sorted(table.scan().plan_files(), key=lambda task: str(task.file.file_path))
    except (OSError, ValueError, NotInstalledError) as error:
        raise ConfigError(f"input: the Iceberg table {path} can't be read: {error}") from error
    if any(task.delete_files for task in tasks):
        raise ConfigError(f"input: the Iceberg table {path} has delete files; compact it (rewrite_data_files) first")
    query = path.partition("?")[2]
    files = tuple(
        FoundFile(path=_as_input(str(task.file.file_path), query), size=task.file.file_size_in_bytes, changed=0)
        for task in tasks
    )
    return _listing(path, files, {})


def _as_input(path: str, query: str) -> str:
    if path.startswith("file:"):
        return unquote(urlsplit(path).path)
    path = f"s3://{path.partition('://')[2]}" if path.startswith(("s3a://", "s3n://")) else path
    return f"{path}?{query}" if query and "://" in path else path


def _iceberg_properties(path: str) -> dict[str, str]:
    options = s3_options(path)
    endpoint, scheme = options.get("endpoint"), options.get("scheme", "https")
    properties = {"s3.region": options["region"]} if "region" in options else {}
    if endpoint:
        properties["s3.endpoint"] = endpoint if "://" in endpoint else f"{scheme}://{endpoint}"
    return properties


def _newest_metadata(path: str) -> str | None:
    """By the version that its name begins with (00003-….metadata.json, v3.metadata.json)."""
    system, inside = locate(path)
    infos = system.get_file_info(fs.FileSelector(f"{inside}/metadata", allow_not_found=True))
    found = [info for info in infos if info.base_name.endswith(".metadata.json")]
    if not found:
        return None
    newest = max(found, key=lambda info: (_version(info.base_name), info.mtime_ns or 0))
    return below(path, f"metadata/{newest.base_name}")


def _version(name: str) -> int:
    digits = name.removeprefix("v").partition("-")[0].partition(".")[0]
    return int(digits) if digits.isdigit() else -1


def _listing(path: str, files: tuple[FoundFile, ...], declared: Mapping[str, pa.DataType]) -> Listing:
    if not files:
        raise ConfigError(f"input: the table {path} has no files")
    return Listing("parquet", files, {**partition_types([file.partition for file in files]), **declared})


def _plain_uri(path: str) -> str:
    return path.partition("?")[0] if "://" in path else path


def _text(value: Any) -> str | None:
    return None if value is None else str(value)
