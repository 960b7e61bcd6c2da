"""Which columns a job takes out of its input, and the schema of what it writes."""

from collections.abc import Collection, Sequence
from typing import Any

import pyarrow as pa

from batch.files import InputFile
from batch.settings import ScoreSettings
from taxiway.arrow_columns import is_convertible, is_moment, natural_dtype, plain_type
from taxiway.errors import ConfigError
from taxiway.package import ModelPackage
from taxiway.signature import Column

_ARROW_TYPE = {"bool": pa.bool_(), "int64": pa.int64(), "float64": pa.float64(), "string": pa.string()}
STAMPS = ("model_name", "model_version", "job_id")
_DESCRIPTION = ("code", "field", "reason", "original")


def needs_moments(package: ModelPackage, names: Collection[str]) -> bool:
    """Whether a file with these columns leaves features to the store."""
    return package.features is not None and bool(package.features.views_to_read(names))


def wanted_columns(package: ModelPackage, schema: pa.Schema) -> tuple[Column, ...]:
    """What the model takes out of a file: signature, features that the file brings itself, other keys.

    A column that the file lacks is wanted nevertheless unless it is nullable.
    """
    signature = package.signature
    wanted = {column.name: column for column in signature.inputs if column.name in schema.names or not column.nullable}
    for column in package.model_columns:
        if column.name in schema.names:
            wanted.setdefault(column.name, column)
    for key in _keys(package, schema.names):
        if key not in signature.input_by_name:
            dtype = natural_dtype(schema.field(key).type) if key in schema.names else "string"
            wanted.setdefault(key, Column(name=key, dtype=dtype or "string"))
    return tuple(wanted.values())


def read_names(package: ModelPackage, schema: pa.Schema, settings: ScoreSettings) -> list[str]:
    """The names of all columns that a scorer reads from a file."""
    moment = [settings.event_timestamp] if needs_moments(package, schema.names) else []
    wanted = [column.name for column in wanted_columns(package, schema)]
    return [name for name in dict.fromkeys([settings.row_id, *settings.keep, *moment, *wanted]) if name in schema.names]


def _keys(package: ModelPackage, names: Collection[str]) -> list[str]:
    views = package.features.views_to_read(names) if package.features else ()
    return [key for view in views for key in view.entity_keys]


def check_inputs(files: Sequence[InputFile], package: ModelPackage, settings: ScoreSettings) -> None:
    """Refuses what is wrong with whole files, before anything starts.

    Raises:
        ConfigError: a file lacks a column, or has it in a type that can't be converted.
    """
    for file in files:
        for column in wanted_columns(package, file.schema):
            found = _field(file, column.name, "the model").type
            if not is_convertible(found, column.dtype):
                raise ConfigError(f"input: {file.path}: column {column.name!r}: expected {column.dtype}, found {found}")
        for name in settings.keep:
            _field(file, name, "keep")
        if needs_moments(package, file.schema.names):
            _check_moments(file, settings)


def _check_moments(file: InputFile, settings: ScoreSettings) -> None:
    if settings.feature_store is None:
        raise ConfigError("feature_store: the model reads features; set `repository` below this key")
    found = _field(file, settings.event_timestamp, "event_timestamp").type
    if not is_moment(found):
        name = settings.event_timestamp
        raise ConfigError(f"input: {file.path}: column {name!r}: expected a timestamp, found {found}")


def _field(file: InputFile, name: str, needed_by: str) -> "pa.Field[Any]":
    positions = file.schema.get_all_field_indices(name)
    if len(positions) == 1:
        return file.schema.field(positions[0])
    if positions:
        raise ConfigError(f"input: {file.path}: {len(positions)} columns have the name {name!r}")
    present = ", ".join(file.schema.names)
    raise ConfigError(f"input: {file.path}: no column {name!r}, which {needed_by} needs; it has {present}")


def part_schema(files: Sequence[InputFile], package: ModelPackage, settings: ScoreSettings) -> pa.Schema:
    """Row id, kept columns, the model's outputs, and where they come from.

    Raises:
        ConfigError: files disagree about a column's type, or two columns would have one name.
    """
    fields = [_row_id_field(files, settings.row_id)]
    fields += [_common_field(files, name) for name in settings.keep if name != settings.row_id]
    fields += [pa.field(column.name, _ARROW_TYPE[column.dtype]) for column in package.signature.outputs]
    fields += [pa.field(name, pa.string()) for name in STAMPS]
    if settings.row_id in _DESCRIPTION:
        raise ConfigError(f"row_id: the quarantine has a column {settings.row_id!r} of its own")
    names = [field.name for field in fields]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"keep: the output would have two columns with the name {doubled[0]!r}")
    return pa.schema(fields)


def _row_id_field(files: Sequence[InputFile], row_id: str) -> "pa.Field[Any]":
    if not any(row_id in file.schema.names for file in files):
        return pa.field(row_id, pa.int64())
    return _common_field(files, row_id)


def _common_field(files: Sequence[InputFile], name: str) -> "pa.Field[Any]":
    types = [pa.field(name, plain_type(_field(file, name, "the output").type)) for file in files]
    try:
        merged = pa.unify_schemas([pa.schema([field]) for field in types], promote_options="permissive")
    except pa.ArrowException as error:
        found = ", ".join(sorted({str(field.type) for field in types}))
        raise ConfigError(f"input: the files disagree about the type of column {name!r}: {found}") from error
    return merged.field(0)


def quarantine_schema(parts: pa.Schema) -> pa.Schema:
    """Row id, what is wrong, the whole row as JSON, and the same stamps as a part."""
    return pa.schema([parts.field(0), *(pa.field(name, pa.string()) for name in (*_DESCRIPTION, *STAMPS))])
