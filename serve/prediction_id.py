"""The id of one answer: a UUID version 7 (RFC 9562), which sorts by time."""

import os
import time
from collections.abc import Iterator

_ID_BYTES = 10
_IDS_AT_ONCE = 400
"""Asking the kernel for each id would take longer than all the rest of it."""


def _random_bits() -> Iterator[int]:
    while True:
        pool = os.urandom(_IDS_AT_ONCE * _ID_BYTES)
        for offset in range(0, len(pool), _ID_BYTES):
            yield int.from_bytes(pool[offset : offset + _ID_BYTES])


_bits = _random_bits()


def new_prediction_id() -> str:
    """A new id: 48 bits of milliseconds since 1970, 74 random bits. For one thread."""
    return prediction_id(time.time_ns() // 1_000_000, next(_bits))


def prediction_id(unix_ms: int, random_bits: int) -> str:
    """The UUID of a moment and 80 random bits, of which it keeps 74."""
    high, low = (random_bits >> 62) & 0xFFF, random_bits & ((1 << 62) - 1)
    digits = f"{unix_ms << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
