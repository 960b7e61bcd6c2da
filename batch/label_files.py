"""Files of labels, read batch by batch under the names that a report has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa

from batch.feedback_settings import FeedbackSettings
from batch.inputs.ahead import ahead
from batch.inputs.footers import InputFile, read_footers
from batch.inputs.listing import Listing
from batch.inputs.reading import PieceReader, RawBatch, Reading
from batch.inputs.storage import is_remote, storage_error
from batch.inputs.tables import find_input
from batch.inputs.text import TextForm
from batch.inputs.text_types import TEXT_TYPES
from batch.pieces import cut
from taxiway.errors import ConfigError
from taxiway.predictions.label_columns import BadLabel
from taxiway.signature import RejectCode

_ROWS, _BLOCK_BYTES = 65_536, 1 << 22
_WHOLE_FILE = 1 << 62
_REQUIRED = ("prediction_id", "label")
_LABEL_TYPES = {"number": "float64", "text": "string", "bool": "bool"}


@dataclass(frozen=True)
class Reports:
    """Some rows of a file.

    Args:
        table: columns of the names that a report has; without the rows that could not be read.
        rows: the position of each in the file, from 0; lines that are no rows do not count.
        bad: the rows that could not be read, and lines that are none (their row is the one that follows).
    """

    table: pa.Table
    rows: Any
    bad: tuple[BadLabel, ...]
    end: int


@dataclass(frozen=True)
class LabelFile:
    """One file, and how it is read."""

    file: InputFile
    names: dict[str, str]
    listing: Listing
    form: TextForm

    def reports(self, begin: int = 0) -> Iterator[Reports]:
        """Its rows from one on.

        Raises:
            ConfigError: the file can't be read to its end.
            TryLater: its storage is away.
        """
        reader = PieceReader(Reading(self.form, self.listing.partition_types, "", _ROWS, _BLOCK_BYTES), self._choose)
        end = 0
        try:
            for piece in cut([self.file], _WHOLE_FILE):
                for batch in ahead(reader.batches(piece)):
                    first, end = end, end + batch.table.num_rows
                    if end > begin or (batch.malformed and first >= begin):
                        yield _reports(batch, self.names, first, max(begin - first, 0))
        except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
            path = self.file.path
            if isinstance(error, OSError) and is_remote(path):
                raise storage_error(f"input: {path}", path, error) from error
            raise ConfigError(f"input: {path} can't be read to its end: {error}") from error
        finally:
            reader.close()

    def _choose(self, names: Sequence[str]) -> list[str]:
        wanted = set(self.names.values())
        return [name for name in names if name in wanted]


def label_files(settings: FeedbackSettings) -> list[LabelFile]:
    """The files of the input, in order, each with the columns that it has.

    Raises:
        ConfigError: there are none, or a file has no ids or no labels.
        TryLater: their storage is away.
    """
    listing = find_input(settings.input, settings.input_format)
    form = TextForm(listing.format, _types(settings, listing.format), settings.newlines_in_values)
    files, _ = read_footers(listing, form)
    return [_label_file(file, listing, form, settings) for file in files]


def _label_file(file: InputFile, listing: Listing, form: TextForm, settings: FeedbackSettings) -> LabelFile:
    asked, has = settings.columns, file.schema.names
    names = {report: column for report, column in asked.model_dump().items() if column in has}
    needed = [report for report in type(asked).model_fields if report in _REQUIRED or report in asked.model_fields_set]
    if missing := [report for report in needed if report not in names]:
        column = getattr(asked, missing[0])
        raise ConfigError(
            f"columns.{missing[0]}: {file.path} has no column {column!r}, it has {', '.join(has) or 'none'}; name one"
        )
    types = {column: file.schema.field(column).type for column in names.values()}
    if pa.types.is_integer(types[names["label"]]):
        types[names["label"]] = pa.float64()  # the first rows of JSON lines may be whole by chance
    return LabelFile(file, names, listing, replace(form, types=types))


def _types(settings: FeedbackSettings, format_: str) -> dict[str, pa.DataType]:
    """Of the columns of text files. Moments and the rest of JSON are judged with the labels."""
    columns = settings.columns
    types = {columns.row: "int64", columns.value: "float64"}
    if settings.label_type is not None or format_ != "jsonl":
        types[columns.label] = _LABEL_TYPES[settings.label_type or "number"]
    texts = dict.fromkeys((columns.prediction_id, columns.became_true, columns.source), "string")
    return {name: TEXT_TYPES[kind] for name, kind in (types | texts).items()}


def _reports(batch: RawBatch, names: dict[str, str], first: int, skip: int) -> Reports:
    table = batch.table.select(list(names.values())).rename_columns(list(names))
    good = np.arange(table.num_rows) >= skip
    reports = {column: report for report, column in names.items()}
    bad = [
        BadLabel(first + int(row), str(reject.code), reports.get(reject.field, reject.field), reason)
        for reject in batch.refused
        for row, reason in zip(reject.rows, reject.reasons, strict=True)
        if good[row]
    ]
    for reject in batch.refused:
        good[reject.rows] = False
    end = first + table.num_rows
    if skip == 0:
        bad += [BadLabel(end, str(RejectCode.MALFORMED_ROW), "line", reason) for _, reason in batch.malformed]
    return Reports(table.filter(pa.array(good)), first + np.flatnonzero(good), tuple(bad), end)
