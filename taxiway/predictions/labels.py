"""Ground truth in files: its columns, and what holds where reports repeat or contradict each other."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.predictions import ids
from taxiway.predictions.distinct import codes, first_of_each
from taxiway.predictions.files import parquet
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.partitions import GROUND_TRUTH, hours
from taxiway.predictions.snapshot import live_files, read_files, together
from taxiway.predictions.storage import Storage, until_nothing_vanishes
from taxiway.signature import Array

EVERY_ROW = -1
_MOMENT = pa.timestamp("us", "UTC")
_FIELDS: list[Any] = [
    pa.field("prediction_id", ids.ID_TYPE),
    pa.field("row", pa.int32()),
    pa.field("label_number", pa.float64()),
    pa.field("label_text", pa.string()),
    pa.field("value", pa.float64()),
    pa.field("became_true", _MOMENT),
    pa.field("received_at", _MOMENT),
    pa.field("source", pa.string()),
]
LABEL_SCHEMA = pa.schema(_FIELDS)
"""`row` is null where a report is about every row of the request. In the files the ids are UUIDs."""


@dataclass(frozen=True)
class Labels:
    """What holds, one row for each id and row; how many reports said something else before."""

    table: pa.Table
    corrections: int


def label_table(reports: Sequence[GroundTruth]) -> pa.Table:
    """Reports as columns, in order."""
    columns: dict[str, Any] = {
        "prediction_id": ids.to_arrow(ids.parse([it.prediction_id for it in reports])),
        "row": [it.row for it in reports],
        "label_number": [None if isinstance(it.label, str) else float(it.label) for it in reports],
        "label_text": [it.label if isinstance(it.label, str) else None for it in reports],
        "value": [it.value for it in reports],
        "became_true": [it.became_true for it in reports],
        "received_at": [it.received_at for it in reports],
        "source": [it.source for it in reports],
    }
    return pa.table(columns, schema=LABEL_SCHEMA)


def label_file(table: pa.Table, metadata: Mapping[str, str] | None = None) -> Any:
    """The bytes of a file with these labels, whose ids are bytes."""
    return parquet(ids.with_uuids(table), metadata)


def distinct_labels(table: pa.Table) -> pa.Table:
    """Without rows that are equal in every column: the same report out of two files.

    Repeated reports of one label at different moments stay: another one may stand between them in another file.
    """
    if table.num_rows < 2:
        return table
    first = first_of_each(codes(ids.keys(_id_bytes(table), *(codes(table[name]) for name in table.column_names[1:]))))
    return table.take(first)


def resolve(table: pa.Table) -> Labels:
    """Of all reports about the same id and row the one that holds.

    The one received last holds. One that says the same as the one before it is no report at all, so that the moment
    of a label is the one at which it was first told. Two received in the same microsecond are put in an order of
    their values, the same in every reading.
    """
    if not table.num_rows:
        return Labels(table, 0)
    said = _saying(table)
    about = codes(ids.keys(_id_bytes(table), _rows(table)))
    received = table["received_at"].cast(pa.int64()).to_numpy()
    order = np.lexsort((said, received, about))
    about, said = about[order], said[order]
    same_as_before = np.concatenate(([False], about[1:] == about[:-1]))
    news = ~(same_as_before & np.concatenate(([False], said[1:] == said[:-1])))
    order, about = order[news], about[news]
    last = np.concatenate((about[1:] != about[:-1], [True]))
    return Labels(table.take(np.sort(order[last])), int(len(order) - last.sum()))


def _saying(table: pa.Table) -> Array:
    """A number for what each report says, in an order of the values: number, text, value."""
    said = table.select(["label_number", "label_text", "value"])
    parts = [_ranks(said[name]) for name in said.column_names]
    return np.unique(np.stack(parts, axis=1), axis=0, return_inverse=True)[1].reshape(-1)


def _ranks(values: Any) -> Array:
    return np.asarray(pc.rank(values, "ascending", tiebreaker="dense").to_numpy())


def read_labels(
    storage: Storage,
    start: datetime,
    end: datetime,
    wanted: Any = None,
    made_in: tuple[datetime, datetime] | None = None,
) -> pa.Table:
    """The reports that were received in [start, end), each once; ids are bytes.

    Args:
        wanted: an Arrow array of ids, if only those count.
        made_in: only about answers that were made in this window.
    """
    found = list(_read_labels(storage, start, end, wanted, made_in))
    return distinct_labels(together(found)) if found else LABEL_SCHEMA.empty_table()


def _read_labels(
    storage: Storage, start: datetime, end: datetime, wanted: Any, made_in: tuple[datetime, datetime] | None
) -> Iterator[pa.Table]:
    def keep(table: pa.Table) -> pa.Table:
        received = table["received_at"]
        mask = pc.and_(
            pc.greater_equal(received, pa.scalar(start, _MOMENT)), pc.less(received, pa.scalar(end, _MOMENT))
        )
        if wanted is not None:
            mask = pc.and_(mask, pc.is_in(table["prediction_id"], value_set=wanted))
        if made_in is not None:
            made = ids.milliseconds(_id_bytes(table))
            inside = (made >= made_in[0].timestamp() * 1000) & (made < made_in[1].timestamp() * 1000)
            mask = pc.and_(mask, pa.chunked_array([pa.array(inside)]))
        return table.filter(mask)

    def read_hour(folder: str) -> list[pa.Table]:
        return [keep(table) for table in read_files(storage, list(live_files(storage, storage.files(folder))))]

    for folder in hours(storage, GROUND_TRUTH, start, end):
        yield from until_nothing_vanishes(lambda folder=folder: read_hour(folder))  # type: ignore[misc]


def _id_bytes(table: pa.Table) -> Array:
    return ids.from_arrow(table["prediction_id"])


def _rows(table: pa.Table) -> Array:
    return ids.numbers(table["row"], EVERY_ROW)
