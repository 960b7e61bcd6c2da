"""Labelled predictions: the log joined with the ground truth by id and row, each pair once, however late it came."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.predictions import ids
from taxiway.predictions.ground_truth import CLOCK_SKEW
from taxiway.predictions.labels import EVERY_ROW, read_labels, resolve
from taxiway.predictions.partitions import endpoints
from taxiway.predictions.reader import public, records_of, window
from taxiway.predictions.snapshot import together
from taxiway.predictions.storage import Storage
from taxiway.signature import Array

COLUMNS = ("time", "variant", "version", "kind", "status", "latency_ms", "assignment", "output.*")
_LABEL_COLUMNS = ("label_number", "label_text", "value", "became_true", "received_at", "source")


@dataclass(frozen=True)
class Labelled:
    """Records that have a label, and what became of the labels.

    Args:
        table: the record's columns, then `label_number` or `label_text`, `value`, `became_true`, `received_at`,
            `source`. A label is there for the live record of its row and for each shadow's.
        labels: those that hold, by id and row; a label about every row of a request counts once.
        corrections: reports that a later one about the same id and row has changed.
        unmatched: labels about no record of any endpoint: sampled out, lost or never answered.
    """

    table: pa.Table
    labels: int
    corrections: int
    unmatched: int


def label_window(
    location: str,
    endpoint: str,
    start: datetime,
    end: datetime,
    until: datetime,
    columns: Sequence[str] = COLUMNS,
) -> Labelled:
    """What is known by `until` about the answers of one endpoint whose id was made in [start, end).

    Labels about other endpoints' answers are not counted.

    Raises:
        ConfigError: a moment has no time zone, or the location is of no known kind.
        OSError: the storage can't be read.
    """
    storage = Storage(location)
    found = resolve(read_labels(storage, start - CLOCK_SKEW, until, made_in=(start, end)))
    labels = _Labels(found.table)
    tables = [labels.attach(table) for table in window(storage, endpoint, start, end, columns)]
    used = int(labels.used.sum())
    unmatched = labels.unknown(storage, [name for name in endpoints(storage) if name != endpoint])
    return Labelled(_joined({endpoint: tables}, columns), used + unmatched, found.corrections, unmatched)


def label_since(
    location: str,
    since: datetime,
    until: datetime,
    endpoint: str | None = None,
    columns: Sequence[str] = COLUMNS,
) -> Labelled:
    """The records whose label was received in [since, until), of one endpoint or of all.

    Windows that follow one another give each label once, and a correction once more, in the window in which it was
    received. What is received in this moment is durable a little later: let `until` lie some seconds back.

    Raises:
        ConfigError: a moment has no time zone, or the location is of no known kind.
        OSError: the storage can't be read.
    """
    storage = Storage(location)
    news = read_labels(storage, since, until)
    if not news.num_rows:
        return Labelled(_joined({}, columns), 0, 0, 0)
    about: Any = news["prediction_id"].unique()
    oldest = int(ids.milliseconds(ids.from_arrow(pa.chunked_array([about]))).min())
    before = read_labels(storage, datetime.fromtimestamp(oldest / 1000, UTC) - CLOCK_SKEW, since, wanted=about)
    found = resolve(pa.concat_tables([before, news]))
    received: Any = pc.greater_equal(found.table["received_at"], pa.scalar(since, found.table["received_at"].type))
    labels = _Labels(found.table.filter(received))
    return _labelled(storage, labels, endpoint, columns, found.corrections)


def _labelled(
    storage: Storage, labels: "_Labels", endpoint: str | None, columns: Sequence[str], corrections: int
) -> Labelled:
    every = endpoints(storage)
    names = every if endpoint is None else [endpoint]
    tables = {
        name: [labels.attach(table) for table in records_of(storage, name, labels.ids, columns)] for name in names
    }
    used = int(labels.used.sum())
    unmatched = labels.unknown(storage, [name for name in every if name not in names])
    return Labelled(_joined(tables, columns), used + unmatched, corrections, unmatched)


class _Labels:
    """Labels that hold, found by id and row or by id alone; `used` says which ones have met a record."""

    def __init__(self, table: pa.Table) -> None:
        self._table = table.select(_LABEL_COLUMNS)
        self.ids = ids.from_arrow(table["prediction_id"])
        self._rows = ids.numbers(table["row"], EVERY_ROW)
        # One more, for the position -1 of no label: it was received before all others.
        self._received = np.append(table["received_at"].cast(pa.int64()).to_numpy(), np.iinfo(np.int64).min)
        self.used = np.zeros(table.num_rows, np.bool_)
        self._keys = ids.keys(self.ids, self._rows)

    def attach(self, records: pa.Table) -> pa.Table:
        """The records that have a label, with it; of two that fit the one received last."""
        own, general = self._find(records)
        self.used[own[own >= 0]] = True
        self.used[general[general >= 0]] = True
        takes_general = self._received[general] > self._received[own]
        label = np.where(takes_general, general, own)
        matched = np.flatnonzero(label >= 0)
        joined = records.take(matched)
        labels = self._table.take(label[matched])
        for name in _LABEL_COLUMNS:
            joined = joined.append_column(name, labels[name])
        return joined

    def _find(self, records: pa.Table) -> tuple[Array, Array]:
        """For each record the position of the label of its row and of the one of all rows, or -1."""
        if not len(self.ids):
            nothing = np.full(records.num_rows, -1)
            return nothing, nothing
        about = ids.from_arrow(records["prediction_id"])
        rows = records["row"].to_numpy()
        return self._positions(about, rows), self._positions(about, np.full(len(rows), EVERY_ROW))

    def _positions(self, about: Array, rows: Array) -> Array:
        found: Any = pc.index_in(ids.keys(about, rows), value_set=self._keys)
        return np.asarray(found.fill_null(-1).to_numpy())

    def unknown(self, storage: Storage, others: Iterable[str]) -> int:
        """How many labels have met no record, and meet none of these endpoints either."""
        left = np.flatnonzero(~self.used)
        known = np.zeros(len(left), np.bool_)
        for table in self._records(storage, others, self.ids[left]):
            for positions in self._find(table):
                known |= np.isin(left, positions)
        return int(len(left) - known.sum())

    def _records(self, storage: Storage, names: Iterable[str], wanted: Array) -> Iterator[pa.Table]:
        for name in names:
            yield from records_of(storage, name, wanted, [])


def _joined(tables: dict[str, list[pa.Table]], columns: Sequence[str]) -> pa.Table:
    wanted = ("prediction_id", "row", "endpoint", *columns, *_LABEL_COLUMNS)
    found = [public(together(some), name, wanted) for name, some in tables.items() if some]
    return together(found) if found else _nothing().select(["prediction_id", "row", "endpoint"])


def _nothing() -> pa.Table:
    return pa.table({"prediction_id": pa.array([], pa.string()), "row": pa.array([], pa.int32()), "endpoint": []})
