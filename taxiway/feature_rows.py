"""One feature view in Feast's online store: the keys of a batch become columns of numbers."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from feast import FeatureStore, FeatureView, ValueType
from feast.protos.feast.types.EntityKey_pb2 import EntityKey
from feast.protos.feast.types.Value_pb2 import Value
from feast.type_map import python_values_to_proto_values

from taxiway.feature_binding import FeatureViewBinding
from taxiway.signature import Array, Columns

Key = tuple[Any, ...]
Row = tuple[datetime | None, dict[str, Value] | None]
_FIELDS = {"Float32": "float_val", "Float64": "double_val", "Int32": "int32_val", "Int64": "int64_val"}
_NULL = (None, "null_val")
_NAN = float("nan")


@dataclass(frozen=True)
class ViewRows:
    """A view's features for each row of a batch.

    Args:
        distinct: entities that were read; a batch asks for one as often as it likes.
        expired: those of them whose features are older than the view's time to live, and so count as missing.
    """

    columns: dict[str, Array]
    distinct: int
    expired: int


class ViewReader:
    """Reads one view. It knows the view as it was registered when the reader was made.

    `Provider.online_read` is the part of Feast's interface that every online store implements. What
    `get_online_features` adds to it (copies of every value and timestamp) is most of its cost; it does not
    judge the age of a feature either, unlike the historical join.
    """

    def __init__(self, store: FeatureStore, view: FeatureView, binding: FeatureViewBinding) -> None:
        self._provider, self._config = store.provider, store.config
        self._view = view
        self._ttl: timedelta | None = view.ttl or None
        key_types = {column.name: column.dtype.to_value_type() for column in view.entity_columns}
        self._keys, self._columns = binding.entity_keys, binding.columns
        self._to_values = [_to_values(key_types[key]) for key in self._keys]
        types = {feature.name: str(feature.dtype) for feature in view.features}
        self._fields = [(column, _FIELDS.get(types[column], "bool_val")) for column in self._columns]
        self._nothing = [_NAN] * len(self._columns)

    def read(self, columns: Columns, now: datetime) -> ViewRows:
        keys, places = distinct([columns[key] for key in self._keys])
        found = self._found(keys)
        # One more for the rows without a key, at place -1.
        values = np.array([*(self._numbers(row) for _, row in found), self._nothing])
        expired = [place for place, (when, _) in enumerate(found) if self._is_expired(when, now)]
        known = 0
        if expired:
            known = int((~np.isnan(values[expired]).all(axis=1)).sum())
            values[expired] = np.nan
        answer = dict(zip(self._columns, values.T[:, places], strict=True))
        return ViewRows(answer, len(keys), known)

    def _found(self, keys: Sequence[Key]) -> list[Row]:
        if not keys:
            return []
        values = (to_values(part) for to_values, part in zip(self._to_values, zip(*keys, strict=True), strict=True))
        asked = [EntityKey(join_keys=self._keys, entity_values=key) for key in zip(*values, strict=True)]
        # A list of its own for each call: Redis's store appends to it.
        found: list[Row] = self._provider.online_read(self._config, self._view, asked, list(self._columns))
        if len(found) != len(keys):
            raise ValueError(f"{self._view.name!r} answered {len(found)} rows for {len(keys)} keys")
        return found

    def _numbers(self, row: dict[str, Value] | None) -> list[float]:
        """A zero may be a null, and a value of another type than the view's stands in another field."""
        if row is None:
            return self._nothing
        return [
            getattr(row[column], field) or _number(row[column]) if column in row else _NAN
            for column, field in self._fields
        ]

    def _is_expired(self, when: datetime | None, now: datetime) -> bool:
        """As the historical join: a feature just as old as its time to live is still alive."""
        if self._ttl is None or when is None:
            return False
        return now - (when if when.tzinfo else when.replace(tzinfo=UTC)) > self._ttl


def distinct(keys: Sequence[Array]) -> tuple[list[Key], Array]:
    """The different keys of a batch, and where each row's key stands among them; -1 where a part is missing."""
    places: dict[Key, int] = {}
    rows = zip(*(part.tolist() for part in keys), strict=True)
    where = [-1 if _is_missing(key) else places.setdefault(key, len(places)) for key in rows]
    return list(places), np.array(where, dtype=np.intp)


def _is_missing(key: Key) -> bool:
    return any(part is None or part != part for part in key)


def _number(value: Value) -> float:
    kind = value.WhichOneof("val")
    return _NAN if kind in _NULL else float(getattr(value, kind))


def _to_values(kind: ValueType) -> Callable[[Key], list[Value]]:
    """Makes Feast's values of one key column; what most keys are, without Feast's search for their type."""
    if kind is ValueType.STRING:
        return lambda part: [Value(string_val=value) for value in part]
    if kind is ValueType.INT64:
        return lambda part: [Value(int64_val=int(value)) for value in part]
    return lambda part: python_values_to_proto_values(list(part), kind)
