"""What was forgotten, for auditors and for what comes late: when, who, how many rows, of which digests.

Below the log's location lies `forgotten/KEY/record.json`. Beside it, until late rows are not waited for any more, are
the ids of what was forgotten, so that labels that come late can go too. The subjects themselves stand nowhere.
"""

import secrets
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute
import pyarrow.parquet as pq
from pydantic import AwareDatetime, Field

from taxiway.predictions import ids
from taxiway.predictions.files import parquet
from taxiway.predictions.labels import EVERY_ROW
from taxiway.predictions.storage import Storage
from taxiway.settings import Settings
from taxiway.signature import Array

# Its stubs know the functions with arrays only, not with columns.
pc: Any = pyarrow.compute

FOLDER = "forgotten"
_FIELDS: list[Any] = [pa.field("prediction_id", ids.ID_TYPE), pa.field("row", pa.int32())]
ABOUT = pa.schema(_FIELDS)
"""Rows that were forgotten, ids as bytes; the row `EVERY_ROW` is a whole request, with whatever is said of it."""

_NOTHING = ABOUT.empty_table()


class About:
    """Rows by what they are about, each once; `table` is as `ABOUT`."""

    def __init__(self, table: pa.Table = _NOTHING) -> None:
        self.table = table.group_by(list(ABOUT.names)).aggregate([])
        self._keys = ids.keys(ids.from_arrow(self.table["prediction_id"]), self.table["row"].to_numpy())

    def with_more(self, tables: Sequence[pa.Table]) -> "About":
        return About(pa.concat_tables([self.table, *tables]))

    @property
    def oldest(self) -> datetime:
        """When the first answer was made. There has to be one."""
        first = ids.milliseconds(ids.from_arrow(self.table["prediction_id"])).min()
        return datetime.fromtimestamp(int(first) / 1_000, UTC)

    def of(self, table: pa.Table) -> Array:
        """Which rows of answers, or which labels, are about one of them."""
        found = np.zeros(table.num_rows, np.bool_)
        if len(self._keys) and table.num_rows:
            about = ids.from_arrow(table["prediction_id"])
            for rows in (ids.numbers(table["row"], EVERY_ROW), np.full(len(about), EVERY_ROW)):
                found |= np.asarray(pc.is_in(ids.keys(about, rows), value_set=self._keys).to_numpy(False))
        return found


def rows_of(table: pa.Table, mask: Array) -> pa.Table:
    """Some rows of a table of answers, as `ABOUT`."""
    return table.filter(pa.array(mask)).select(ABOUT.names).cast(ABOUT)


def about_of(tables: Sequence[pa.Table], masks: Sequence[Array]) -> pa.Table:
    """Those rows, and each request that has no other row in these tables as a whole."""
    theirs = pa.concat_tables([rows_of(table, mask) for table, mask in zip(tables, masks, strict=True)])
    others = pa.concat_tables([rows_of(table, ~mask) for table, mask in zip(tables, masks, strict=True)])
    whole = pc.invert(pc.is_in(theirs["prediction_id"], value_set=others["prediction_id"].combine_chunks()))
    requests = theirs.filter(whole)
    every = pa.repeat(pa.scalar(EVERY_ROW, pa.int32()), requests.num_rows)
    return pa.concat_tables([theirs, requests.set_column(1, ABOUT.field("row"), every)])


class Forgotten(Settings):
    """One forgetting.

    Attributes:
        subjects: keyed digests, as in the column `subject`.
        rows: by the folder of an hour, of answers and of labels.
        unreachable: rows of which nobody could tell whose they are, by why.
        late_until: `compact` drops rows of answers made before `at` that come until then.
        late_rows: what it has dropped.
        finished: None while a part of it is still to be done: the same command goes on.
    """

    format: Literal[1] = 1
    key: str
    at: AwareDatetime
    by: str
    subjects: tuple[str, ...]
    rows: Mapping[str, int] = Field(default_factory=dict)
    unreachable: Mapping[str, int] = Field(default_factory=dict)
    late_until: AwareDatetime
    late_rows: Mapping[str, int] = Field(default_factory=dict)
    finished: AwareDatetime | None = None

    @property
    def by_day(self) -> dict[str, int]:
        """Rows by root and day, `endpoint=delay/date=2026-01-01`, late ones too."""
        found: dict[str, int] = {}
        for folder, count in (*sorted(self.rows.items()), *sorted(self.late_rows.items())):
            day = folder.rpartition("/")[0]
            found[day] = found.get(day, 0) + count
        return found


def new_key(at: datetime) -> str:
    """In the order of time, and never twice."""
    return f"{at:%Y%m%dT%H%M%S}-{secrets.token_hex(6)}"


def read_records(storage: Storage) -> list[Forgotten]:
    """The oldest first."""
    paths = [record_path(key) for key in storage.folders(FOLDER)]
    found = []
    for path in paths:
        if storage.exists(path):  # the ids are written before it
            with storage.open(path) as file:
                found.append(Forgotten.model_validate_json(file.read()))
    return found


def keep_record(storage: Storage, record: Forgotten) -> None:
    storage.write(record_path(record.key), record.model_dump_json(indent=2).encode())


def read_about(storage: Storage, key: str) -> pa.Table:
    """As `ABOUT`; nothing once late rows are not waited for any more."""
    if not storage.exists(_about(key)):
        return _NOTHING
    with storage.open(_about(key)) as file:
        return pq.read_table(file, schema=ABOUT)


def keep_about(storage: Storage, key: str, about: pa.Table) -> None:
    storage.write(_about(key), parquet(about))


def delete_about(storage: Storage, key: str) -> None:
    storage.delete([_about(key)])


def record_path(key: str) -> str:
    return f"{FOLDER}/{key}/record.json"


def _about(key: str) -> str:
    return f"{FOLDER}/{key}/about"
