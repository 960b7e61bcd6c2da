"""Who asks, and what a caller may be told when it goes wrong."""

from collections.abc import Mapping
from dataclasses import dataclass

from taxiway.errors import InvalidInput, MalformedRequest, ModelFailed, TaxiwayError

TIMEOUT_HEADER = b"taxiway-timeout-ms"


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks: what routing may look at, the budget that the transport names, the protocol (HTTP names its own)."""

    headers: Mapping[bytes, bytes]
    address: str
    timeout_s: float | None = None
    protocol: str = "grpc"


def header_timeout_s(headers: Mapping[bytes, bytes]) -> float | None:
    """The budget that a request names itself; raises MalformedRequest for one that is none."""
    value = headers.get(TIMEOUT_HEADER)
    if value is None:
        return None
    try:
        timeout_s = float(value) / 1000
    except ValueError:
        timeout_s = -1.0
    if not 0 < timeout_s < float("inf"):
        raise MalformedRequest(f"{TIMEOUT_HEADER.decode()}: expected milliseconds above 0, got {value[:20]!r}")
    return timeout_s


def code_of(error: TaxiwayError) -> str:
    """The code that metrics and the header `taxiway-error` carry."""
    return error.reject_code if isinstance(error, InvalidInput) else error.code


def safe_message(error: TaxiwayError) -> str:
    """What a client may read: the details of our own failures are for the log."""
    return str(error) if error.status != 500 or isinstance(error, ModelFailed) else "internal error"
