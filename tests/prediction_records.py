"""Small batches for the tests of the prediction log."""

import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np

from taxiway.predictions.record import Kind, LoggedBatch, Source
from taxiway.predictions.writer import PredictionLog

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def an_id(moment: datetime = NOON, number: int = 0) -> str:
    """A UUID of version 7 with chosen random bits."""
    return str(uuid.UUID(int=round(moment.timestamp() * 1000) << 80 | 7 << 76 | 0b10 << 62 | number))


def a_batch(
    ids: Sequence[str],
    rows: Sequence[int] | None = None,
    variant: str = "champion",
    kind: Kind = "live",
    endpoint: str = "delay",
    column: str = "x",
) -> LoggedBatch:
    """One input whose values count up from 0, and the output `y`, ten times that."""
    rows = rows or [1] * len(ids)
    values = np.arange(float(sum(rows)))
    source = Source(endpoint, variant, "1", kind)
    number = len(ids)
    return LoggedBatch(source, {column: values}, {"y": values * 10}, ids, rows, [1.0] * number, [2.0] * number)


def write(log: PredictionLog, *batches: LoggedBatch) -> None:
    for batch in batches:
        log.add(batch)
    assert log.flush()


def minutes(number: float) -> datetime:
    return NOON + timedelta(minutes=number)
