"""Whose rows are to be forgotten, and which rows of a file are theirs, however the log keeps the subject."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from taxiway.errors import ConfigError
from taxiway.predictions import ids
from taxiway.predictions.fields import FieldRules, canonical, is_encrypted
from taxiway.predictions.keys import FieldKeys
from taxiway.signature import Array

NOBODY = "name no subject"
LOCKED = "name it under a key that is not given"


@dataclass(frozen=True)
class Theirs:
    """Of the rows of a table.

    Attributes:
        mask: which ones are about a subject.
        unknown: which ones nobody can tell of, by why.
    """

    mask: Array
    unknown: Mapping[str, Array] = field(default_factory=dict)


class Finder(Protocol):
    """Finds rows to forget; `columns` is what it needs beside ids and rows."""

    @property
    def columns(self) -> tuple[str, ...]: ...

    def of(self, table: pa.Table, endpoint: str) -> Theirs: ...


class Subjects:
    """Some subjects by their values.

    A row is theirs when its column `subject` has their digest. A row without one (written before the settings named a
    subject) is looked up by the input itself: as it is, hashed by the rules, or decrypted.

    Args:
        values: as text; 7 and 7.0 are one subject, as they are to the log.
        rules: of the log, with the name of the subject's input.

    Raises:
        ConfigError: the rules name no subject, or there is no value.
    """

    def __init__(self, values: Sequence[str], rules: FieldRules, keys: FieldKeys | None = None) -> None:
        if rules.subject is None:
            raise ConfigError("predictions.subject: nothing says which input a row is about; name it in the config")
        if not values:
            raise ConfigError("there is no subject to forget; give one with --subject, or one a line in --subjects")
        texts = np.array(values, np.object_)
        self.digests = tuple(sorted(set(rules.subjects(texts).tolist())))
        self._known = {value.encode() for value in (*values, *rules.digests(rules.subject, texts).tolist())}
        self._column, self._keys = f"input.{rules.subject}", keys

    @property
    def columns(self) -> tuple[str, ...]:
        return "subject", self._column

    def of(self, table: pa.Table, endpoint: str) -> Theirs:
        """Which rows of a file's table are theirs."""
        named = _subjects_of(table)
        mask = _flags(pc.is_in(named, value_set=pa.array(self.digests, pa.string())))
        rest = np.flatnonzero(_flags(pc.is_null(named)))
        unknown = {reason: np.zeros(len(mask), np.bool_) for reason in (NOBODY, LOCKED)}
        if len(rest):
            values, locked = self._inputs(table.take(rest), endpoint)
            messages = [canonical(value) for value in values]
            mask[rest] = [message in self._known for message in messages]
            unknown[LOCKED][rest] = locked
            unknown[NOBODY][rest] = [message is None for message in messages] & ~locked
        return Theirs(mask, unknown)

    def _inputs(self, table: pa.Table, endpoint: str) -> tuple[list[Any], Array]:
        """The input of each row, None where it is missing or can't be decrypted, and where it can't."""
        nothing = np.zeros(table.num_rows, np.bool_)
        if self._column not in table.column_names:
            return [None] * table.num_rows, nothing
        values = table[self._column].to_pylist()
        if not is_encrypted(table.schema.field(self._column)):
            return values, nothing
        from taxiway.predictions.encryption import decrypted, key_id_of  # whoever needs no key does not load OpenSSL

        known = set() if self._keys is None else set(self._keys.secrets)
        opens = np.array([value is not None and key_id_of(value) in known for value in values])
        found: list[Any] = [None] * len(values)
        if self._keys is not None and opens.any():
            opened = decrypted(table.select([self._column]).filter(pa.array(opens)), endpoint, self._keys)
            for row, text in zip(np.flatnonzero(opens).tolist(), opened[self._column].to_pylist(), strict=True):
                found[row] = _plain(text)
        return found, np.array([value is not None for value in values]) & ~opens


class Digests:
    """As `Subjects`, of digests alone: rows made until a moment, which is another one for each of them."""

    def __init__(self, until: Mapping[str, datetime]) -> None:
        self._digests = pa.array(list(until), pa.string())
        self._until_ms = np.array([1_000 * moment.timestamp() for moment in until.values()])

    @property
    def columns(self) -> tuple[str, ...]:
        return ("subject",)

    def of(self, table: pa.Table, endpoint: str) -> Theirs:
        place = ids.numbers(pc.index_in(_subjects_of(table), value_set=self._digests), -1)
        made = ids.milliseconds(ids.from_arrow(table["prediction_id"]))
        return Theirs((place >= 0) & (made <= self._until_ms[place]))


def _subjects_of(table: pa.Table) -> Any:
    if "subject" not in table.column_names:
        return pa.chunked_array([pa.nulls(table.num_rows, pa.string())])
    return table["subject"]


def _flags(values: Any) -> Array:
    return np.array(values.to_numpy(), np.bool_)


def _plain(text: Any) -> Any:
    """Decrypted numbers come as JSON: 7.0 is the subject 7."""
    try:
        return float(text) if text.endswith(".0") else text
    except ValueError:
        return text
