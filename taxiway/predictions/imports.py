"""Files of ground truth that are taken once: how far each is, so that the same command goes on and adds nothing twice.

A file becomes parts of many labels, each received at the moment at which it is written. `imports/KEY.json` says what
is done; the metadata of each part says it too, so that a kill between the two repeats nothing.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

import pyarrow as pa
from pydantic import Field

from taxiway.predictions.label_columns import BadLabel
from taxiway.predictions.labels import LABEL_SCHEMA, label_file
from taxiway.predictions.partitions import GROUND_TRUTH, hour_folder, hour_of
from taxiway.predictions.snapshot import read_schema
from taxiway.predictions.storage import Storage
from taxiway.settings import Settings

PART_ROWS = 262_144
_STATE = "taxiway.import"


@dataclass(frozen=True)
class Taken:
    """What became of some consecutive rows of a file; `end` is the position of the row after them."""

    labels: pa.Table
    bad: Sequence[BadLabel]
    end: int


class Import(Settings):
    """How far the import of a file is.

    Attributes:
        received_at: of the part that is next.
        rows: of the file, that are done.
        bad: rows that were left out, by code.
    """

    format: Literal[1] = 1
    path: str
    received_at: datetime
    parts: int = 0
    rows: int = 0
    labels: int = 0
    bad: Mapping[str, int] = Field(default_factory=dict)
    is_finished: bool = False

    def after(self, taken: Sequence[Taken]) -> "Import":
        done = {
            "parts": self.parts + 1,
            "rows": taken[-1].end if taken else self.rows,
            "labels": self.labels + sum(it.labels.num_rows for it in taken),
            "bad": dict(Counter(self.bad) + Counter(bad.code for it in taken for bad in it.bad)),
        }
        return self.model_copy(update=done)


Source = Callable[[int, Callable[[], datetime]], Iterator[Taken]]
"""A file's rows from one on, judged as of a moment that is asked for with each batch."""


def state_of(storage: Storage, key: str) -> Import | None:
    """What is known of a file's import; None where nothing is."""
    path = _path(key)
    if not storage.exists(path):
        return None
    with storage.open(path) as file:
        return Import.model_validate_json(file.read())


def take_file(
    storage: Storage, key: str, path: str, source: Source, clock: Callable[[], datetime], step: Callable[[], None]
) -> Import:
    """Writes what an earlier attempt has not written; returns what became of the file.

    Args:
        key: of the file as it is now and of how it is read: when one of them changes it is another import.
        path: for people who look into `imports`.
        clock: now, in UTC.
        step: called before each part.

    Raises:
        OSError: the storage fails; the same call goes on.
    """
    state = _begun(storage, key) or Import(path=path, received_at=clock())
    batches = source(state.rows, lambda: state.received_at)
    while not state.is_finished:
        step()
        state = state.model_copy(update={"received_at": clock()})
        _keep(storage, key, state)
        taken, more = _gathered(batches)
        after = state.after(taken)
        labels = pa.concat_tables([LABEL_SCHEMA.empty_table(), *(it.labels for it in taken)])
        if labels.num_rows:
            storage.write(_part(key, state), label_file(labels, {_STATE: after.model_dump_json()}))
        state = after.model_copy(update={"is_finished": not more})
    _keep(storage, key, state)
    return state


def _begun(storage: Storage, key: str) -> Import | None:
    """What an earlier attempt has done: the part that it was at may have been written before it was killed."""
    state = state_of(storage, key)
    if state is None or state.is_finished or not storage.exists(_part(key, state)):
        return state
    metadata = read_schema(storage, _part(key, state)).metadata or {}
    return Import.model_validate_json(metadata[_STATE.encode()])


def _gathered(batches: Iterator[Taken]) -> tuple[list[Taken], bool]:
    """Enough for a part, and whether there may be more."""
    taken: list[Taken] = []
    for batch in batches:
        taken.append(batch)
        if sum(it.labels.num_rows for it in taken) >= PART_ROWS:
            return taken, True
    return taken, False


def _keep(storage: Storage, key: str, state: Import) -> None:
    storage.write(_path(key), state.model_dump_json().encode())


def _path(key: str) -> str:
    return f"imports/{key}.json"


def _part(key: str, state: Import) -> str:
    return f"{hour_folder(GROUND_TRUTH, hour_of(state.received_at))}/import-{key}-{state.parts:06d}.parquet"
