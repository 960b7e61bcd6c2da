"""Documents as lines of files, for Filebeat, Logstash or rsyslog to carry on."""

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import orjson

from taxiway.telemetry.elastic.bulk import Outcome
from taxiway.telemetry.elastic.documents import Document

KEPT_HOURS = 48
"""Files that are older are deleted, whether a shipper has read them or not: the folder must not grow without end."""


class Spool:
    """A file for each hour of the clock. A line is the document with its `id` and `index`.

    Who ships the lines has to keep `id` as the document's `_id`: after a kill some lines come twice.
    """

    def __init__(self, folder: Path, clock: Callable[[], float] = time.time) -> None:
        self._folder, self._clock = folder, clock
        folder.mkdir(parents=True, exist_ok=True)

    def send(self, documents: Sequence[Document]) -> Outcome:
        """Appends; on the disk when this returns."""
        hour = int(self._clock()) // 3600
        with (self._folder / f"predictions-{hour}.ndjson").open("ab") as file:
            file.writelines(line(it) for it in documents)
            file.flush()
            os.fsync(file.fileno())
        self._remove_old(hour - KEPT_HOURS)
        return Outcome(created=len(documents))

    def _remove_old(self, before: int) -> None:
        for path in self._folder.glob("predictions-*.ndjson"):
            if int(path.stem.partition("-")[2]) < before:
                path.unlink(missing_ok=True)


def line(document: Document) -> bytes:
    head = orjson.dumps({"index": document.index, "id": document.id})
    return head[:-1] + b"," + document.body[1:] + b"\n"
