"""What later proved true of an answer: one record of it, and the rules that a report has to keep."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import isfinite
from typing import Any

from taxiway.errors import InvalidInput
from taxiway.predictions.ids import is_prediction_id, moment
from taxiway.signature import RejectCode

CLOCK_SKEW = timedelta(minutes=1)
MOST_TEXT = 1_000
MOST_ROW = 2**31 - 1
MOST_WHOLE = 2**53
_KNOWN = ("prediction_id", "row", "label", "became_true", "value", "source")


@dataclass(frozen=True, slots=True)
class GroundTruth:
    """The truth about one row of an answer.

    Args:
        row: within the request; None is every row of it.
        label: a number (true is 1.0, false 0.0) or a text.
        became_true: when it was so in the world; by default when it was received.
        received_at: when it was reported here. Of two reports the later one holds.
        value: what it is worth to the business, in a unit of its own.
    """

    prediction_id: str
    row: int | None
    label: float | str
    became_true: datetime
    received_at: datetime
    value: float | None = None
    source: str | None = None


def parse_ground_truth(report: Mapping[str, Any], received_at: datetime) -> GroundTruth:
    """A report as JSON brings it: `prediction_id` and `label`, maybe `row`, `became_true`, `value`, `source`.

    Args:
        received_at: now, with a time zone.

    Raises:
        InvalidInput: one of them is missing, unknown or can't be; it says which and what was expected.
    """
    for name in report:
        if name not in _KNOWN:
            raise _invalid(RejectCode.UNKNOWN_COLUMN, name, f"is not known; known are {', '.join(_KNOWN)}")
    return GroundTruth(
        _prediction_id(report, received_at),
        _row(report.get("row", 0)),
        _label(report),
        _became_true(report.get("became_true"), received_at),
        received_at,
        _value(report.get("value")),
        _source(report.get("source")),
    )


def _prediction_id(report: Mapping[str, Any], received_at: datetime) -> str:
    found = report.get("prediction_id")
    if found is None:
        raise _invalid(RejectCode.MISSING_VALUE, "prediction_id", "say which answer it is about")
    if not isinstance(found, str) or not is_prediction_id(found.lower()):
        raise _wrong("prediction_id", found, "the id of an answer, a UUID of version 7")
    found = found.lower()
    if moment(found) > received_at + CLOCK_SKEW:
        reason = f"is of {moment(found):%Y-%m-%d %H:%M:%S} UTC, which is still to come"
        raise _invalid(RejectCode.OUT_OF_RANGE, "prediction_id", reason)
    return found


def _row(found: Any) -> int | None:
    if found is None:
        return None
    if not isinstance(found, int) or isinstance(found, bool):
        raise _wrong("row", found, "a whole number, or null for every row of the request")
    if not 0 <= found <= MOST_ROW:
        raise _invalid(RejectCode.OUT_OF_RANGE, "row", f"got {found}, expected 0 or more")
    return found


def _label(report: Mapping[str, Any]) -> float | str:
    found = report.get("label")
    if found is None:
        raise _invalid(RejectCode.MISSING_VALUE, "label", "say what proved true, a number or a text")
    if isinstance(found, str):
        return _short("label", found)
    return _number("label", found, "a finite number, true, false or a text")


def _number(field: str, found: Any, expected: str) -> float:
    if not isinstance(found, int | float):
        raise _wrong(field, found, expected)
    if isinstance(found, float) and not isfinite(found):
        raise _invalid(RejectCode.NOT_FINITE, field, f"got {found}, expected {expected}")
    if isinstance(found, int) and abs(found) > MOST_WHOLE:
        reason = "whole numbers beyond 2**53 are not exact here; send it as a text"
        raise _invalid(RejectCode.OUT_OF_RANGE, field, reason)
    return float(found)


def _became_true(found: Any, received_at: datetime) -> datetime:
    if found is None:
        return received_at
    try:
        parsed = found if isinstance(found, datetime) else datetime.fromisoformat(found)
        moment = (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise _wrong("became_true", found, "a moment as in ISO 8601") from None
    if moment > received_at + CLOCK_SKEW:
        raise _invalid(RejectCode.OUT_OF_RANGE, "became_true", f"{moment.isoformat()} is still to come")
    return moment


def _value(found: Any) -> float | None:
    return None if found is None else _number("value", found, "a finite number or null")


def _source(found: Any) -> str | None:
    if found is None or isinstance(found, str):
        return found and _short("source", found)
    raise _wrong("source", found, "a text or null")


def _short(field: str, found: str) -> str:
    if len(found) > MOST_TEXT:
        reason = f"has {len(found)} characters, at most {MOST_TEXT} are taken"
        raise _invalid(RejectCode.OUT_OF_RANGE, field, reason)
    try:
        found.encode()
    except UnicodeEncodeError:
        raise _wrong(field, found, "a text that UTF-8 can hold") from None
    return found


def _wrong(field: str, found: Any, expected: str) -> InvalidInput:
    return _invalid(RejectCode.WRONG_TYPE, field, f"got {ascii(found)[:80]}, expected {expected}")


def _invalid(code: RejectCode, field: str, reason: str) -> InvalidInput:
    return InvalidInput(str(code), field, reason)
