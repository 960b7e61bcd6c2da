"""Which columns a job takes out of its input, and the schema of what it writes."""

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import pyarrow as pa

from batch.filters import parse_filter
from batch.inputs.footers import InputFile
from batch.model import ScoringModel
from batch.settings import ScoreSettings
from taxiway.arrow_columns import is_convertible, is_moment, natural_dtype, plain_type
from taxiway.errors import ConfigError
from taxiway.signature import Column

STAMPS = ("model_name", "model_version", "job_id")
COMPARED = "compared_version"
_DESCRIPTION = ("code", "field", "reason", "original")
_STAMP = pa.dictionary(pa.int32(), pa.string())


def arrow_type(column: Column) -> pa.DataType:
    """Of an output's column: a tensor is a list, nested as deep as it has dimensions."""
    kinds: dict[str, pa.DataType] = {"string": pa.string(), "bytes": pa.binary(), "bool": pa.bool_()}
    kind: pa.DataType = kinds.get(column.stored_dtype) or pa.from_numpy_dtype(column.numpy_dtype)
    for _ in column.shape:
        kind = pa.list_(kind)
    return kind


def needs_moments(model: ScoringModel, names: Collection[str]) -> bool:
    """Whether a file with these columns leaves features to the store."""
    return model.features is not None and bool(model.features.views_to_read(names))


def wanted_columns(model: ScoringModel, schema: pa.Schema) -> tuple[Column, ...]:
    """What the model takes out of a file: signature, features that the file brings itself, other keys.

    A column that the file lacks is wanted nevertheless when the model requires it.
    """
    signature = model.signature
    wanted = {column.name: column for column in signature.inputs if column.name in schema.names or column.is_required}
    for column in model.model_columns:
        if column.name in schema.names:
            wanted.setdefault(column.name, column)
    for key in _keys(model, schema.names):
        if key not in signature.input_by_name:
            dtype = natural_dtype(schema.field(key).type) if key in schema.names else "string"
            wanted.setdefault(key, Column(name=key, dtype=dtype or "string"))
    return tuple(wanted.values())


def read_names(models: Iterable[ScoringModel], names: Sequence[str], settings: ScoreSettings) -> list[str]:
    """The names of all columns that a scorer reads from a file with these columns."""
    wanted = [settings.row_id, *settings.keep]
    if settings.filter is not None:
        wanted += parse_filter(settings.filter).columns
    for model in models:
        if needs_moments(model, names):
            wanted.append(settings.event_timestamp)
        wanted += [column.name for column in model.model_columns]
        wanted += _keys(model, names)
    present = set(names)
    return [name for name in dict.fromkeys(wanted) if name in present]


def _keys(model: ScoringModel, names: Collection[str]) -> list[str]:
    views = model.features.views_to_read(names) if model.features else ()
    return [key for view in views for key in view.entity_keys]


def check_inputs(files: Sequence[InputFile], models: Sequence[ScoringModel], settings: ScoreSettings) -> None:
    """Refuses what is wrong with whole files, before anything starts.

    Raises:
        ConfigError: a file lacks a column, or has it in a type that can't be converted.
    """
    for file in {id(file.schema): file for file in files}.values():
        for model in models:
            _check_model(file, model, settings)
        for name in settings.keep:
            _field(file, name, "keep")
        _check_filter(file, settings)


def _check_model(file: InputFile, model: ScoringModel, settings: ScoreSettings) -> None:
    for column in wanted_columns(model, file.schema):
        found = _field(file, column.name, "the model").type
        if not is_convertible(found, column.dtype, column.shape):
            raise ConfigError(f"input: {file.path}: column {column.name!r}: expected {column.dtype}, found {found}")
    if needs_moments(model, file.schema.names):
        _check_moments(file, model, settings)


def _check_filter(file: InputFile, settings: ScoreSettings) -> None:
    if settings.filter is None:
        return
    condition = parse_filter(settings.filter)
    fields = [_field(file, name, "filter") for name in condition.columns]
    try:
        condition.mask(pa.schema(fields).empty_table())
    except ValueError as error:
        raise ConfigError(f"input: {file.path}: {error}") from error


def _check_moments(file: InputFile, model: ScoringModel, settings: ScoreSettings) -> None:
    if not settings.join_features:
        views = model.features.views_to_read(file.schema.names) if model.features else ()
        absent = [name for view in views for name in view.columns if name not in file.schema.names]
        raise ConfigError(f"input: {file.path}: no column {absent[0]!r}, a feature, and join_features is off")
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


def part_schema(
    files: Sequence[InputFile], model: ScoringModel, settings: ScoreSettings, compared: ScoringModel | None = None
) -> pa.Schema:
    """Row id, kept columns, the outputs of one model or two, and where they come from.

    Raises:
        ConfigError: files disagree about a column's type, or two columns would have one name.
    """
    distinct = list({id(file.schema): file for file in files}.values())
    fields = [_row_id_field(distinct, settings.row_id)]
    fields += [_common_field(distinct, name) for name in settings.keep if name != settings.row_id]
    fields += [pa.field(column.name, arrow_type(column)) for column in model.signature.outputs]
    if compared is not None and settings.compare is not None:
        suffix = settings.compare.suffix
        fields += [pa.field(column.name + suffix, arrow_type(column)) for column in compared.signature.outputs]
    fields += [pa.field(name, _STAMP) for name in STAMPS]
    if compared is not None:
        fields.append(pa.field(COMPARED, _STAMP))
    if settings.row_id in _DESCRIPTION:
        raise ConfigError(f"row_id: the quarantine has a column {settings.row_id!r} of its own")
    names = [field.name for field in fields]
    if doubled := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"keep: the output would have two columns with the name {doubled[0]!r}")
    _check_partitions(names, settings)
    return pa.schema(fields)


def _check_partitions(names: Sequence[str], settings: ScoreSettings) -> None:
    for name in settings.partition_by:
        if name not in names:
            raise ConfigError(f"partition_by: the output has no column {name!r}; it has {', '.join(names)}")
    if len(settings.partition_by) == len(names):
        raise ConfigError("partition_by: no column would be left for the files")


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
    texts = [pa.field(name, pa.string()) for name in _DESCRIPTION]
    return pa.schema([parts.field(0), *texts, *(pa.field(name, _STAMP) for name in STAMPS)])
