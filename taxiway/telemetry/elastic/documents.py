"""Records of the prediction log as documents: each has an id that follows from the record, and an index by its day.

The same record always becomes the same id in the same index. So an index of a data stream, which rolls over, would
not do: Elasticsearch keeps ids apart within one index only.
"""

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.predictions.record import SCHEMA

PREFIX = "taxiway-predictions-"
MOST_VALUES = 128
"""Of a tensor in one row; an image is no field to search in."""
_PLAIN = re.compile(r"[a-z0-9][a-z0-9._-]*")
_OPTIONS = orjson.OPT_NAIVE_UTC | orjson.OPT_UTC_Z


@dataclass(frozen=True, slots=True)
class Document:
    """`body` is JSON without a line break."""

    index: str
    id: str
    body: bytes

    def lines(self) -> bytes:
        """Two lines of a bulk request. `create` does not touch what is there already."""
        action = orjson.dumps({"create": {"_index": self.index, "_id": self.id}})
        return action + b"\n" + self.body + b"\n"


def index_of(endpoint: str, day: str) -> str:
    """`taxiway-predictions-ENDPOINT-YYYY.MM.DD`; index names have no capitals, so some endpoints get a digest."""
    name = endpoint.lower()
    if name != endpoint or not _PLAIN.fullmatch(name) or len(name) > 150:
        digest = hashlib.blake2b(endpoint.encode(), digest_size=4).hexdigest()
        name = f"{re.sub('[^a-z0-9._-]', '_', name)[:150]}-{digest}"
    return f"{PREFIX}{name}-{day}"


def documents(table: pa.Table, endpoint: str) -> Iterator[Document]:
    """
    Args:
        table: records whose ids are text, as a reader shows them.
    """
    about = [name for name in table.column_names if name in SCHEMA.names]
    values = {"input": _columns(table, "input."), "output": _columns(table, "output.")}
    left_out = [name for name in table.column_names if _is_long(table, name)]
    known: dict[str, list[Any]] = {name: table[name].to_pylist() for name in about}
    for row in range(table.num_rows):
        fact = {name: column[row] for name, column in known.items()}
        moment: datetime = fact.pop("time")
        day = _made(str(fact["prediction_id"]))
        body = {"@timestamp": moment, "endpoint": endpoint, **_cleaned(fact)}
        for kind, columns in values.items():
            body[kind] = {name: column[row] for name, column in columns.items() if column[row] is not None}
        if left_out:
            body["left_out"] = left_out
        key = ":".join(str(fact[name]) for name in ("prediction_id", "row", "kind", "variant"))
        yield Document(index_of(endpoint, day), key, orjson.dumps(body, default=_other, option=_OPTIONS))


def _made(prediction_id: str) -> str:
    """The day that the id tells, in UTC: the record's `time` is another clock's."""
    milliseconds = int(prediction_id.replace("-", "")[:12], 16)
    return f"{datetime.fromtimestamp(milliseconds / 1000, UTC):%Y.%m.%d}"


def _cleaned(fact: dict[str, Any]) -> dict[str, Any]:
    """An unsigned number of 64 bits is text: JSON's readers have 53 bits."""
    found = {name: value for name, value in fact.items() if value is not None}
    if "assignment" in found:
        found["assignment"] = f"{found['assignment']:016x}"
    if "trace_id" in found:
        found["trace"] = {"id": found.pop("trace_id")}
    return found


def _columns(table: pa.Table, prefix: str) -> dict[str, Sequence[Any]]:
    names = [name for name in table.column_names if name.startswith(prefix) and not _is_long(table, name)]
    return {name.removeprefix(prefix): table[name].to_pylist() for name in names}


def _is_long(table: pa.Table, name: str) -> bool:
    """Whether a column holds tensors of many values."""
    column: Any = table[name]
    while pa.types.is_list(column.type) or pa.types.is_large_list(column.type):
        column = pc.list_flatten(column)
    return len(column) > MOST_VALUES * max(table.num_rows, 1)


def _other(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(type(value).__name__)
