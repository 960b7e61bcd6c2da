"""What must not stand in the log as it is: fields that are left out, hashed or encrypted, and whose a row is."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from taxiway.predictions.keys import FieldKeys
from taxiway.predictions.settings import FieldRule
from taxiway.signature import Array

if TYPE_CHECKING:
    import pyarrow as pa

ENCRYPTED: Final[dict[str, str]] = {"taxiway.encrypted": "enc1"}
"""What the field of an encrypted column has as metadata: text that looks like an encrypted value may be a caller's."""
_DIGEST_BYTES = 16
_SUBJECT = "subject"


class FieldRules:
    """Which fields are left out, hashed or encrypted, by the name of an input or output.

    Args:
        secret: of the digests; who has it can test guesses.
        keys: of the encryption.
        subject: the input that says whom a row is about.
    """

    def __init__(
        self,
        rules: Mapping[str, FieldRule],
        secret: str = "",
        keys: FieldKeys | None = None,
        subject: str | None = None,
    ) -> None:
        self._rules = rules
        # BLAKE2b takes keys of up to 64 bytes; a digest of the secret uses all of a longer one.
        self._key = hashlib.blake2b(secret.encode(), digest_size=64).digest()
        self._keys = keys
        self.subject = subject

    def drops(self, name: str) -> bool:
        return self._rules.get(name) == "drop"

    def hashes(self, name: str) -> bool:
        return self._rules.get(name) == "hash"

    def encrypts(self, name: str) -> bool:
        return self._rules.get(name) == "encrypt"

    def encrypted(self, endpoint: str, column: str, values: Iterable[Any]) -> "pa.Array[Any]":
        """As `encryption.encrypted`.

        Raises:
            ValueError: there is no key.
        """
        from taxiway.predictions.encryption import encrypted  # a log without encrypted fields does not load OpenSSL

        if self._keys is None:
            raise ValueError(f"{column}: `encrypt` needs a key")
        return encrypted(self._keys, endpoint, column, values)

    def subjects(self, values: Array) -> Array:
        """Digests of whom the rows are about: equal in all endpoints, whatever the input is called there."""
        return self.digests(_SUBJECT, values)

    def digests(self, name: str, values: Array) -> Array:
        """Keyed BLAKE2b (RFC 7693) of each row's value, as text; equal values of one field get equal digests.

        A missing value stays missing. 7 and 7.0 are equal: a neighbour that is missing makes floats of integers.
        """
        known: dict[Any, str] = {}
        digests = np.full(len(values), None, np.object_)
        for row, value in enumerate(values):
            message = canonical(value)
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


def is_encrypted(field: "pa.Field[Any]") -> bool:
    """Of a column of a file."""
    found = field.metadata or {}
    return all(found.get(key.encode()) == value.encode() for key, value in ENCRYPTED.items())


def canonical(value: Any) -> bytes | None:
    """What a digest is of: equal for equal values, whatever type they come in; None for a missing one."""
    if isinstance(value, np.ndarray):
        return repr(value.tolist()).encode()
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, bytes) else str(value).encode()
