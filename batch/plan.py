"""What a scoring job is going to do, decided and checked before anything starts."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

from batch.inputs.counting import counted
from batch.inputs.footers import InputFile, Unreadable, read_footers
from batch.inputs.listing import Listing
from batch.inputs.reading import Reading, block_bytes
from batch.inputs.text import TextForm
from batch.inputs.text_types import TEXT_TYPES, type_of
from batch.model import ScoringModel
from batch.pieces import Piece, cut
from batch.run_plan import PinnedVersion, PlannedFile, RunPlan, UnreadableFile, deciding, decoded_schema, encoded_schema
from batch.schema import check_inputs, part_schema
from batch.settings import ScoreSettings

_ROW_BYTES = {"string": 12, "binary": 64, "bool": 1}


@dataclass(frozen=True)
class Inputs:
    """The input's files, described and cut."""

    listing: Listing
    files: tuple[InputFile, ...]
    unreadable: tuple[Unreadable, ...]
    form: TextForm
    pieces: tuple[Piece, ...]
    schema: pa.Schema


def describe_inputs(listing: Listing, models: Sequence[ScoringModel], settings: ScoreSettings) -> Inputs:
    """Reads every footer, or of text files every head, and cuts the files into pieces.

    Raises:
        ConfigError: the input does not fit the model.
    """
    form = TextForm(listing.format, _text_types(models, settings), settings.newlines_in_values)
    files, unreadable = read_footers(listing, form, settings.on_corrupt_file == "skip")
    files = _agreed(files, form)
    check_inputs(files, models, settings)
    schema = part_schema(files, models[0], settings, models[1] if len(models) > 1 else None)
    form = replace(form, types=_all_types(files))
    pieces = cut(files, settings.piece_rows, settings.limit)
    if listing.format != "parquet" and (settings.limit or not _has(files, settings.row_id)):
        pieces = counted(pieces, form, settings.piece_rows, settings.limit)
    return Inputs(listing, files, unreadable, form, pieces, schema)


def make_plan(
    job_id: str, began_s: float, inputs: Inputs, versions: Sequence[PinnedVersion], settings: ScoreSettings
) -> RunPlan:
    """All of it in a form that a later attempt reads again."""
    rows = {file.path: file.rows for file in inputs.files}
    files = tuple(
        PlannedFile(path=file.path, size=file.size, changed=file.changed, rows=rows.get(file.path))
        for file in inputs.listing.files
    )
    return RunPlan(
        job_id=job_id,
        began_s=began_s,
        model=versions[0],
        compare=versions[1] if len(versions) > 1 else None,
        settings=deciding(settings),
        input_format=inputs.listing.format,
        files=files,
        unreadable=tuple(UnreadableFile(path=file.path, reason=file.reason) for file in inputs.unreadable),
        pieces=inputs.pieces,
        part_schema=encoded_schema(inputs.schema),
        text_types=encoded_schema(pa.schema(inputs.form.types)),
        partition_types=encoded_schema(pa.schema(inputs.listing.partition_types)),
        row_bytes=max((file.row_bytes for file in inputs.files), default=0.0),
    )


def reading_of(plan: RunPlan, settings: ScoreSettings) -> Reading:
    def types(text: str) -> dict[str, pa.DataType]:
        return {field.name: field.type for field in decoded_schema(text)}

    form = TextForm(plan.input_format, types(plan.text_types), settings.newlines_in_values)
    size = block_bytes(plan.row_bytes, settings.batch_rows)
    return Reading(form, types(plan.partition_types), settings.row_id, settings.batch_rows, size)


def estimated_bytes(plan: RunPlan) -> int | None:
    """Of the output before compression; None where nobody knows the rows."""
    if plan.rows is None:
        return None
    return plan.rows * sum(_width(field.type) for field in plan.schema_of_parts)


def _width(kind: pa.DataType) -> int:
    if pa.types.is_dictionary(kind):
        return 0
    try:
        return max(kind.bit_width // 8, 1)
    except ValueError:
        return _ROW_BYTES.get(str(kind), 64)


def describe(plan: RunPlan, models: Sequence[ScoringModel], settings: ScoreSettings, free: int | None) -> str:
    """The plan as `--dry-run` shows it."""
    features = models[0].features
    rows = f"{plan.rows:,} rows" if plan.rows is not None else f"about {_guessed(plan):,} rows (not counted)"
    estimate = estimated_bytes(plan)
    size = f"at most about {_bytes(estimate)}" if estimate is not None else "a size that nobody knows"
    room = f", {_bytes(free)} are free" if free is not None else ""
    unreadable = [f"left out {file.path}: {file.reason}" for file in plan.unreadable]
    joined = features is not None and settings.join_features
    return "\n".join(
        [
            f"model    {models[0].uri} ({settings.model}), SHA-256 {models[0].digest[:12]}",
            *([f"compare  {models[1].uri}"] if len(models) > 1 else []),
            f"input    {settings.input}: {len(plan.files)} {plan.input_format} files, {rows}, {_bytes(plan.size)}",
            *unreadable,
            f"pieces   {len(plan.pieces)} of at most {settings.piece_rows:,} rows",
            f"reads    {', '.join(_read(models))}",
            f"features {f'{features.service}: {len(features.columns)} columns' if features and joined else 'none'}",
            f"output   {settings.output}: {', '.join(plan.schema_of_parts.names)}",
            f"size     {size}{room}",
        ]
    )


def _read(models: Sequence[ScoringModel]) -> list[str]:
    return list(
        {column.name: f"{column.name} {column.dtype}" for m in models for column in m.signature.inputs}.values()
    )


def _guessed(plan: RunPlan) -> int:
    return int(plan.size / plan.row_bytes) if plan.row_bytes else 0


def _bytes(count: int) -> str:
    size = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def _text_types(models: Sequence[ScoringModel], settings: ScoreSettings) -> dict[str, pa.DataType]:
    types: dict[str, pa.DataType] = {}
    if any(model.features is not None for model in models):
        types[settings.event_timestamp] = TEXT_TYPES["timestamp"]
    for model in models:
        types |= {column.name: type_of(column) for column in model.model_columns}
    return types | {name: TEXT_TYPES[kind] for name, kind in settings.types.items()}


def _agreed(files: Sequence[InputFile], form: TextForm) -> tuple[InputFile, ...]:
    """Text files whose heads suggest different types for a column: all of them have texts there."""
    if form.format == "parquet":
        return tuple(files)
    types = _all_types(files)
    schemas = {id(file.schema): pa.schema([(name, types[name]) for name in file.schema.names]) for file in files}
    return tuple(replace(file, schema=schemas[id(file.schema)]) for file in files)


def _all_types(files: Sequence[InputFile]) -> dict[str, pa.DataType]:
    types: dict[str, pa.DataType] = {}
    for schema in {id(file.schema): file.schema for file in files}.values():
        for field in schema:
            known = types.setdefault(field.name, field.type)
            if known != field.type:
                numbers = {pa.int64(), pa.float64()}
                types[field.name] = pa.float64() if {known, field.type} == numbers else pa.string()
    return types


def _has(files: Sequence[InputFile], name: str) -> bool:
    return any(name in file.schema.names for file in files)
