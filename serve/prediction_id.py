"""The id of one answer: a UUID version 7 (RFC 9562), which sorts by time."""

import os
import time
import uuid


def new_prediction_id() -> str:
    """A new id: 48 bits of milliseconds since 1970, 74 random bits."""
    return prediction_id(time.time_ns() // 1_000_000, int.from_bytes(os.urandom(10)))


def prediction_id(unix_ms: int, random_bits: int) -> str:
    """The UUID of a moment and 80 random bits, of which it keeps 74."""
    high, low = (random_bits >> 62) & 0xFFF, random_bits & ((1 << 62) - 1)
    return str(uuid.UUID(int=unix_ms << 80 | 7 << 76 | high << 64 | 0b10 << 62 | low))
