"""One pass over the prediction log: what is new goes out, in order, and the checkpoint follows it.

The log's files are the buffer: they are on disks, and retention bounds them. In memory there is one batch of rows
and one request. A kill between an answer and the checkpoint sends one request again, whose documents are there.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from taxiway.predictions import ids
from taxiway.predictions.fields import is_encrypted
from taxiway.predictions.partitions import COMPACTED, endpoint_root, endpoints, hours
from taxiway.predictions.record import SCHEMA
from taxiway.predictions.snapshot import chosen, live_files, plain, replaces
from taxiway.predictions.storage import Storage, Vanished, until_nothing_vanishes
from taxiway.telemetry.elastic.bulk import Outcome
from taxiway.telemetry.elastic.checkpoint import Checkpoint
from taxiway.telemetry.elastic.documents import Document, documents

_ROWS_AT_ONCE = 2_048
Send = Callable[[Sequence[Document]], Outcome]
Told = Callable[[Outcome], None]


@dataclass(frozen=True)
class Shipped:
    """What one pass did; `present` were there before."""

    files: int = 0
    created: int = 0
    present: int = 0
    dead: int = 0


class Shipper:
    """
    Args:
        send: a bulk client's or a spool's.
        columns: `input.*`, `output.delay`, …; None: all that are not encrypted.
        request_bytes: no request is larger, unless a single document is.
        told: of every request.
    """

    def __init__(
        self,
        storage: Storage,
        checkpoint: Checkpoint,
        send: Send,
        columns: Sequence[str] | None = None,
        request_bytes: int = 5 << 20,
        told: Told = lambda _: None,
    ) -> None:
        self._storage, self._checkpoint, self._send = storage, checkpoint, send
        self._columns = None if columns is None else (*SCHEMA.names, *columns)
        self._request_bytes, self._told = request_bytes, told
        self._shipped = Shipped()

    def once(self, now: datetime, back: timedelta) -> Shipped:
        """Ships what is not shipped of the answers that were made since `now - back`.

        Raises:
            TryLater: Elasticsearch is away; what was sent is remembered.
            JobError: there are too many dead letters.
            OSError: the log's storage can't be read.
        """
        self._shipped, seen = Shipped(), set()
        for endpoint in endpoints(self._storage):
            for folder in hours(self._storage, endpoint_root(endpoint), now - back, now + timedelta(hours=1)):
                seen.add(folder)
                until_nothing_vanishes(lambda folder=folder, endpoint=endpoint: self._hour(folder, endpoint))  # type: ignore[misc]
        self._checkpoint.keep_hours(frozenset(seen))
        return self._shipped

    def _hour(self, folder: str, endpoint: str) -> None:
        listed = self._storage.files(folder)
        for path in live_files(self._storage, listed):
            name = path.rpartition("/")[2]
            done = self._checkpoint.done(folder)
            if name in done:
                continue
            if not (name.startswith(COMPACTED) and done.issuperset(replaces(self._storage, path))):
                self._file(path, endpoint)
                self._shipped = replace(self._shipped, files=self._shipped.files + 1)
            self._checkpoint.finished(folder, [name])
        self._checkpoint.forget(folder, frozenset(path.rpartition("/")[2] for path in listed))

    def _file(self, path: str, endpoint: str) -> None:
        done, seen = self._checkpoint.rows_done(path), 0
        for table in self._tables(path):
            fresh = table.slice(max(done - seen, 0))
            seen += table.num_rows
            for request in requests(documents(fresh, endpoint), self._request_bytes):
                self._ship(request)
                done += len(request)
                self._checkpoint.reached(path, done)

    def _ship(self, request: Sequence[Document]) -> None:
        outcome = self._send(request)
        self._checkpoint.bury(outcome.dead)
        self._told(outcome)
        it = self._shipped
        self._shipped = Shipped(
            it.files, it.created + outcome.created, it.present + outcome.present, it.dead + len(outcome.dead)
        )

    def _tables(self, path: str) -> Iterator[pa.Table]:
        source = self._storage.open(path)
        try:
            with source, pq.ParquetFile(source) as file:
                schema = file.schema_arrow
                wanted = [it.name for it in schema if chosen(it.name, self._columns) and not is_encrypted(it)]
                for batch in file.iter_batches(_ROWS_AT_ONCE, columns=wanted, use_threads=False):
                    yield _with_texts(plain(pa.Table.from_batches([batch])))
        except OSError as error:
            if not isinstance(error, Vanished) and not self._storage.exists(path):
                raise Vanished(path) from error
            raise


def requests(found: Iterator[Document], most_bytes: int) -> Iterator[list[Document]]:
    """Documents in order, as many at a time as fit."""
    group: list[Document] = []
    size = 0
    for one in found:
        length = len(one.lines())
        if group and size + length > most_bytes:
            yield group
            group, size = [], 0
        group.append(one)
        size += length
    if group:
        yield group


def _with_texts(table: pa.Table) -> pa.Table:
    position = table.schema.get_field_index("prediction_id")
    texts: Any = ids.text(ids.from_arrow(table["prediction_id"]))
    return table.set_column(position, "prediction_id", texts)
