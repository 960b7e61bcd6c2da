"""Encrypted fields: each value by itself, under a data key that is derived for the rows that are written together.

The text of a value is `enc1:KEY_ID:DATA`, where DATA is base64url of a nonce of 24 bytes, the ciphertext and a tag of
16 bytes. It is XAES-256-GCM (C2SP, 2024): the first half of the nonce derives an AES-256 key from the named one (NIST
SP 800-108r1 with CMAC), the second half is the nonce of AES-GCM (NIST SP 800-38D) under it. AES-GCM alone would have to
change its key every 2**32 values, which a log writes in weeks.
"""

import base64
import binascii
import json
import os
import re
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.cmac import CMAC

from taxiway.errors import ConfigError, JobError
from taxiway.predictions.fields import is_encrypted
from taxiway.predictions.keys import KEY_ID, FieldKeys

_MARK = re.compile(rf"enc1:({KEY_ID.pattern}):([A-Za-z0-9_=-]+)")
_HALF = 12
_JSON = json.JSONEncoder(ensure_ascii=False)


def encrypted(keys: FieldKeys, endpoint: str, column: str, values: Iterable[Any]) -> "pa.Array[Any]":
    """The JSON text of each value, encrypted under one derived key; a missing value stays missing.

    Args:
        column: as in the files, `input.tailnum`. A value decrypts only in the column of the endpoint it is made for.
    """
    key_id, about, prefix = keys.first, _about(endpoint, column), os.urandom(_HALF)
    cipher = AESGCM(derived_key(keys.secrets[key_id], prefix))
    rows = [json_text(value) for value in values]
    nonces = os.urandom(_HALF * len(rows))
    texts: list[str | None] = []
    for place, text in enumerate(rows):
        if text is None:
            texts.append(None)
            continue
        nonce = nonces[_HALF * place : _HALF * (place + 1)]
        data = prefix + nonce + cipher.encrypt(nonce, text.encode(), about)
        texts.append(f"enc1:{key_id}:{base64.urlsafe_b64encode(data).decode()}")
    return pa.array(texts, pa.string())


def decrypted(table: pa.Table, endpoint: str, keys: FieldKeys) -> pa.Table:
    """The table of one file with its encrypted columns in the clear: texts as they were, other values as JSON.

    Raises:
        ConfigError: a key is not there.
        JobError: a value was changed, or is encrypted with another key of the same id.
    """
    for position, field in enumerate(table.schema):
        if is_encrypted(field):
            cipher = _Column(keys, endpoint, field.name)
            texts = [None if value is None else cipher.open(value) for value in table[field.name].to_pylist()]
            table = table.set_column(position, pa.field(field.name, pa.string()), pa.array(texts, pa.string()))
    return table


def key_id_of(value: str) -> str | None:
    """The key under which a value is encrypted; None for what is no encrypted value."""
    found = _MARK.fullmatch(value)
    return None if found is None else found[1]


class _Column:
    """Decrypts the values of one column."""

    def __init__(self, keys: FieldKeys, endpoint: str, column: str) -> None:
        self._keys, self._column, self._about = keys, column, _about(endpoint, column)
        self._ciphers: dict[tuple[str, bytes], AESGCM] = {}

    def open(self, value: str) -> str:
        found = _MARK.fullmatch(value)
        if found is None:
            raise JobError(f"{self._column}: {value[:40]!r} is no encrypted value, though its column is encrypted")
        key_id = found[1]
        if key_id not in self._keys.secrets:
            known = ", ".join(self._keys.secrets)
            raise ConfigError(f"{self._column}: a value is encrypted with the key {key_id!r}; add it to {known}")
        try:
            data = base64.urlsafe_b64decode(found[2])
            cipher = self._cipher(key_id, data[:_HALF])
            text = cipher.decrypt(data[_HALF : 2 * _HALF], data[2 * _HALF :], self._about)
        except (InvalidTag, binascii.Error, ValueError) as error:
            reason = f"it was changed, or the key {key_id!r} is not the one that it was encrypted with"
            raise JobError(f"{self._column}: a value can't be decrypted: {reason}") from error
        return _shown(text.decode())

    def _cipher(self, key_id: str, prefix: bytes) -> AESGCM:
        """Rows that were written together share one."""
        found = self._ciphers.get((key_id, prefix))
        if found is None:
            found = self._ciphers[key_id, prefix] = AESGCM(derived_key(self._keys.secrets[key_id], prefix))
        return found


def derived_key(key: bytes, prefix: bytes) -> bytes:
    """The AES-256 key that XAES-256-GCM derives from a key of 32 bytes and the first 12 bytes of a nonce."""
    return b"".join(_cmac(key, bytes([0, block]) + b"X\0" + prefix) for block in (1, 2))


def json_text(value: Any) -> str | None:
    """The JSON text of a value as a column holds it; None for a missing one. Bytes are base64."""
    if isinstance(value, np.ndarray):
        return _JSON.encode(list(_plain(value.tolist())))
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or value != value:
        return None
    return _JSON.encode(_plain_value(value))


def _plain(values: list[Any]) -> Iterator[Any]:
    for value in values:
        yield list(_plain(value)) if isinstance(value, list) else _plain_value(value)


def _plain_value(value: Any) -> Any:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if value != value else value


def _shown(text: str) -> str:
    value = json.loads(text)
    return value if isinstance(value, str) else text


def _about(endpoint: str, column: str) -> bytes:
    """The associated data: both names with their lengths, so that no two pairs have the same."""
    parts = [name.encode() for name in (endpoint, column)]
    return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


def _cmac(key: bytes, message: bytes) -> bytes:
    code = CMAC(AES(key))
    code.update(message)
    return code.finalize()
