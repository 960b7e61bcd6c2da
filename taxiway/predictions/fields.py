"""What must not stand in the log as it is: fields that are left out, and fields of which only a digest is written."""

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from taxiway.predictions.settings import FieldRule
from taxiway.signature import Array

_DIGEST_BYTES = 16


class FieldRules:
    """Which fields are left out or hashed, by the name of an input or output. Who has the secret can test guesses."""

    def __init__(self, rules: Mapping[str, FieldRule], secret: str = "") -> None:
        self._rules = rules
        # BLAKE2b takes keys of up to 64 bytes; a digest of the secret uses all of a longer one.
        self._key = hashlib.blake2b(secret.encode(), digest_size=64).digest()

    def drops(self, name: str) -> bool:
        return self._rules.get(name) == "drop"

    def hashes(self, name: str) -> bool:
        return self._rules.get(name) == "hash"

    def digests(self, name: str, values: Array) -> Array:
        """Keyed BLAKE2b (RFC 7693) of each row's value, as text; equal values of one field get equal digests.

        A missing value stays missing. 7 and 7.0 are equal: a neighbour that is missing makes floats of integers.
        """
        known: dict[Any, str] = {}
        digests = np.full(len(values), None, np.object_)
        for row, value in enumerate(values):
            message = _canonical(value)
            if message is not None:
                digest = known.get(message)
                if digest is None:
                    digest = known[message] = self._digest(name, message)
                digests[row] = digest
        return digests

    def _digest(self, name: str, message: bytes) -> str:
        field = name.encode()
        framed = len(field).to_bytes(4, "big") + field + message
        return hashlib.blake2b(framed, key=self._key, digest_size=_DIGEST_BYTES).hexdigest()


def _canonical(value: Any) -> bytes | None:
    if isinstance(value, np.ndarray):
        return repr(value.tolist()).encode()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, bytes) else str(value).encode()
