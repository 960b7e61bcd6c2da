"""Many reports at once, as the columns of a file: the good ones become labels, of the others it says why not."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute

from taxiway.errors import InvalidInput
from taxiway.predictions import ids
from taxiway.predictions.ground_truth import CLOCK_SKEW, MOST_ROW, MOST_TEXT, MOST_WHOLE, parse_ground_truth
from taxiway.predictions.labels import LABEL_SCHEMA, label_table
from taxiway.signature import Array

# Its stubs know the functions with arrays only, not with numbers.
pc: Any = pyarrow.compute

_MOMENT = pa.timestamp("us", "UTC")
_Found = tuple[Any, Array]
"""A column of labels, and which of its rows are good without doubt."""


@dataclass(frozen=True)
class BadLabel:
    """A row, counted from 0, that is no report; `code` is of `taxiway.signature.RejectCode`."""

    row: int
    code: str
    field: str
    reason: str


def label_columns(reports: pa.Table, received_at: datetime) -> tuple[pa.Table, list[BadLabel]]:
    """Labels of `LABEL_SCHEMA` whose ids are bytes, not in order, and the rows that are none.

    The rules are those of `parse_ground_truth`: what is not good without doubt is put before it, one by one.

    Args:
        reports: columns of the names that a report has, `prediction_id` and `label` at least. Ids may be UUIDs or
            text, moments may be text, dates or timestamps (UTC where they don't say), rows may be whole floats.
        received_at: in UTC.
    """
    plain = pa.table({name: _plain(name, reports[name]) for name in reports.column_names})
    labels, good = _surely(plain, received_at)
    labels = labels.filter(pa.array(good))
    doubtful = np.flatnonzero(~good)
    taken, bad = [], []
    for row, report in zip(doubtful.tolist(), plain.take(doubtful).to_pylist(), strict=True):
        if isinstance(report.get("row"), float) and report["row"].is_integer():
            report["row"] = int(report["row"])
        try:
            taken.append(parse_ground_truth(report, received_at))
        except InvalidInput as error:
            bad.append(BadLabel(row, error.reject_code, error.field, error.reason))
    return (pa.concat_tables([labels, label_table(taken)]) if taken else labels), bad


def _plain(name: str, values: Any) -> Any:
    """Without the many forms in which a file may hold the same."""
    column = values.combine_chunks()
    if isinstance(column, pa.ChunkedArray):
        column = pa.concat_arrays(column.chunks) if column.num_chunks else pa.array([], column.type)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    kind = column.type
    if name == "prediction_id" and kind in (pa.uuid(), ids.ID_TYPE):
        filled = column.cast(ids.ID_TYPE).fill_null(bytes(16))
        return pc.if_else(column.is_valid(), ids.text(ids.from_arrow(pa.chunked_array([filled]))), None)
    if pa.types.is_large_string(kind):
        return column.cast(pa.string())
    if pa.types.is_decimal(kind) and name != "row":
        return column.cast(pa.float64())
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("us"))
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.timestamp("us", column.type.tz), safe=False)
        return column.cast(_MOMENT) if column.type.tz else pc.assume_timezone(column, "UTC")
    return column


def _surely(reports: pa.Table, received_at: datetime) -> tuple[pa.Table, Array]:
    columns = {name: reports[name].combine_chunks() for name in reports.column_names}
    latest: Any = pa.scalar(received_at + CLOCK_SKEW, _MOMENT)
    number, text, is_label = _labels(columns["label"])
    found: dict[str, _Found] = {
        "prediction_id": _ids(columns["prediction_id"], latest),
        "row": _rows(columns.get("row"), reports.num_rows),
        "label_number": (number, is_label),
        "label_text": (text, is_label),
        "value": _values(columns.get("value"), reports.num_rows),
        "became_true": _moments(columns.get("became_true"), reports.num_rows, received_at, latest),
        "received_at": (pa.repeat(pa.scalar(received_at, _MOMENT), reports.num_rows), is_label),
        "source": _sources(columns.get("source"), reports.num_rows),
    }
    good = np.logical_and.reduce([mask for _, mask in found.values()])
    return pa.table([values for values, _ in found.values()], schema=LABEL_SCHEMA), good


def _ids(values: Any, latest: Any) -> _Found:
    if not pa.types.is_string(values.type):
        return ids.to_arrow(np.zeros((len(values), 16), np.uint8)), np.zeros(len(values), np.bool_)
    found, is_id = ids.of_texts(values)
    return ids.to_arrow(found), is_id & (ids.milliseconds(found) * 1000 <= latest.value)


def _rows(values: Any, rows: int) -> _Found:
    if values is None:
        return pa.repeat(pa.scalar(0, pa.int32()), rows), np.ones(rows, np.bool_)
    if pa.types.is_null(values.type):
        return _nothing(rows, pa.int32()), np.ones(rows, np.bool_)
    if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
        return _nothing(rows, pa.int32()), np.zeros(rows, np.bool_)
    numbers: Any = values.cast(pa.float64(), safe=False)
    fits = pc.and_(pc.greater_equal(numbers, 0.0), pc.less_equal(numbers, float(MOST_ROW)))
    fits = pc.and_(fits, pc.equal(pc.floor(numbers), numbers))
    # Null is every row of the request.
    good = _mask(pc.fill_null(fits, True))
    return pc.if_else(pa.array(good), numbers, None).cast(pa.int32()), good


def _labels(values: Any) -> tuple[Any, Any, Array]:
    """Numbers, texts, and which rows have one of them without doubt."""
    kind, rows = values.type, len(values)
    if pa.types.is_string(kind):
        return _nothing(rows, pa.float64()), values, _mask(values.is_valid()) & _is_short(values)
    if pa.types.is_boolean(kind):
        return values.cast(pa.float64()), _nothing(rows, pa.string()), _mask(values.is_valid())
    numbers, good = _numbers(values)
    return numbers, _nothing(rows, pa.string()), good & _mask(values.is_valid())


def _values(values: Any, rows: int) -> _Found:
    if values is None or pa.types.is_null(values.type):
        return _nothing(rows, pa.float64()), np.ones(rows, np.bool_)
    return _numbers(values)


def _numbers(values: Any) -> _Found:
    """Finite ones that are exact as floats, or null."""
    if pa.types.is_floating(values.type):
        good = _mask(pc.fill_null(pc.is_finite(values), True))
        return values.cast(pa.float64()), good
    if not pa.types.is_integer(values.type):
        return _nothing(len(values), pa.float64()), np.zeros(len(values), np.bool_)
    numbers: Any = values.cast(pa.float64(), safe=False)
    return numbers, _mask(pc.fill_null(pc.less(pc.abs(numbers), float(MOST_WHOLE)), True))


def _moments(values: Any, rows: int, received_at: datetime, latest: Any) -> _Found:
    received: Any = pa.scalar(received_at, _MOMENT)
    if values is None or pa.types.is_null(values.type):
        return pa.repeat(received, rows), np.ones(rows, np.bool_)
    moments = _parsed(values) if pa.types.is_string(values.type) else values
    if moments is None or not pa.types.is_timestamp(moments.type):
        return pa.repeat(received, rows), np.zeros(rows, np.bool_)
    filled = moments.fill_null(received)
    return filled, _mask(pc.less_equal(filled, latest))


def _parsed(texts: Any) -> Any:
    """None where the texts are no moments, or some say their zone and others don't."""
    for kind in (_MOMENT, pa.timestamp("us")):
        try:
            return _plain("became_true", pa.chunked_array([texts.cast(kind)]))
        except pa.ArrowInvalid:
            continue
    return None


def _sources(values: Any, rows: int) -> _Found:
    if values is None or pa.types.is_null(values.type):
        return _nothing(rows, pa.string()), np.ones(rows, np.bool_)
    if not pa.types.is_string(values.type):
        return _nothing(rows, pa.string()), np.zeros(rows, np.bool_)
    return values, _is_short(values)


def _is_short(texts: Any) -> Array:
    return _mask(pc.fill_null(pc.less_equal(pc.utf8_length(texts), MOST_TEXT), True))


def _nothing(rows: int, kind: Any) -> Any:
    return pa.nulls(rows, kind)


def _mask(values: Any) -> Array:
    return np.asarray(values.to_numpy(zero_copy_only=False), np.bool_)
