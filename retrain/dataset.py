"""The training table: labelled examples in the order of their moments, with a digest of their content."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from taxiway.signature import Array, Reject, take


@dataclass(frozen=True)
class Dataset:
    """Examples ordered by moment and row id, one array of equal length for each column.

    Args:
        moments: datetime64[us], UTC.
        labels: as `retrain.tasks.Labels`.
        columns: what the model takes, and entity keys.
    """

    row_ids: Array
    moments: NDArray[np.datetime64]
    labels: NDArray[Any]
    columns: dict[str, Array]

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: slice | Array) -> "Dataset":
        return Dataset(self.row_ids[rows], self.moments[rows], self.labels[rows], take(self.columns, rows))

    def between(self, start: datetime, end: datetime) -> "Dataset":
        """The examples of a window, `start` inclusive, `end` exclusive."""
        first, last = np.searchsorted(self.moments, np.array([_utc(start), _utc(end)]))
        return self.take(slice(int(first), int(last)))

    def with_features(self, features: dict[str, Array]) -> "Dataset":
        """With further columns; what the examples brought themselves wins, as it does in a request."""
        return replace(self, columns=self.columns | (features | self.columns))

    def without(self, rejects: Sequence[Reject]) -> tuple["Dataset", Counter[str]]:
        """The examples that no rule refuses, and how many each code sets aside; a row's first reject counts."""
        code_of_row: dict[int, str] = {}
        for reject in rejects:
            for row in reject.rows:
                code_of_row.setdefault(int(row), str(reject.code))
        good = np.setdiff1d(np.arange(len(self)), np.fromiter(code_of_row, np.intp, len(code_of_row)))
        return self.take(good) if code_of_row else self, Counter(code_of_row.values())

    def table(self, row_id: str, moment: str, label: str) -> pa.Table:
        """The dataset as Arrow, under the given names of its own three columns."""
        moments = pa.array(self.moments, pa.timestamp("us", "UTC"))
        own: dict[str, pa.Array[Any]] = {row_id: pa.array(self.row_ids), moment: moments, label: pa.array(self.labels)}
        return pa.table(own | {name: _arrow(values) for name, values in self.columns.items()})

    @cached_property
    def digest(self) -> str:
        """SHA-256 of names, types and values: what no file format, compression or chunking can change."""
        own = {"row id": self.row_ids, "moment": self.moments, "label": self.labels}
        sha = hashlib.sha256()
        for name, values in [*own.items(), *self.columns.items()]:
            sha.update(f"{name}\0{values.dtype}\0{len(values)}\0".encode())
            for content in _contents(values):
                sha.update(content)
        return sha.hexdigest()


def _arrow(values: Array) -> "pa.Array[Any]":
    return pa.array(values, pa.string()) if values.dtype == np.object_ else pa.array(values)


def _contents(values: Array) -> Iterator[bytes]:
    """The bytes of a column; equal values give equal bytes, whatever stands behind a missing one."""
    if not len(values):
        return
    if values.dtype == np.object_:
        encoded = [None if value is None else str(value).encode() for value in values]
        lengths = np.array([-1 if value is None else len(value) for value in encoded], np.int64)
        yield lengths.tobytes()
        yield b"".join(value or b"" for value in encoded)
    elif values.dtype.kind == "f":
        yield np.where(np.isnan(values), np.nan, values + 0.0).tobytes()
    else:
        yield values.tobytes()


def _utc(moment: datetime) -> np.datetime64:
    return np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
