"""Requests/s, second by second: from a file or made up."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyarrow import csv, parquet

from taxiway.errors import ConfigError
from taxiway.planning.settings import DailySettings, TraceSettings

Values = NDArray[np.float64]
_COLUMNS = ("time", "requests_per_s")
_DAY_S = 86_400
_LONGEST_S = 32 * _DAY_S


def traffic(settings: TraceSettings, seed: int) -> Values:
    """The requests of each second, shape (seconds,).

    Raises:
        ConfigError: the file can't be read, or holds something else.
    """
    made_up = daily(settings.daily, seed) if settings.daily is not None else None
    return settings.scale * (read_trace(str(settings.path)) if made_up is None else made_up)


def daily(settings: DailySettings, seed: int) -> Values:
    """Requests/s from midnight on: a cosine between the two bounds, times spikes, times (1 + noise), never negative."""
    seconds: Values = np.arange(max(round(settings.hours * 3_600), 1), dtype=np.float64)
    height = (1 + np.cos((seconds - 3_600 * settings.busiest_hour) * 2 * np.pi / _DAY_S)) / 2
    curve = settings.low_per_s + (settings.high_per_s - settings.low_per_s) * height
    for spike in settings.spikes:
        begins = 3_600 * spike.at_hour
        curve[(seconds >= begins) & (seconds < begins + spike.lasts_s)] *= spike.factor
    noise = np.random.default_rng(seed).normal(1.0, settings.noise, len(seconds))
    return np.maximum(curve * noise, 0.0)


def read_trace(path: str) -> Values:
    """The requests of each second since the first row. A row holds until the next; the last, as long as the one before.

    `time` is seconds as a number, or a timestamp.

    Raises:
        ConfigError: the file can't be read, has other columns, or its times don't rise.
    """
    table = _table(path)
    if missing := [name for name in _COLUMNS if name not in table.column_names]:
        raise ConfigError(f"{path}: has no column {missing[0]!r}; a trace has time and requests_per_s")
    times, rates = (_numbers(table.column(name), path, name) for name in _COLUMNS)
    if len(times) < 2 or not (np.diff(times) > 0).all():
        raise ConfigError(f"{path}: needs two rows or more, with times that rise; sort them and drop doubles")
    if (rates < 0).any():
        raise ConfigError(f"{path}: requests_per_s is negative in row {int(np.argmax(rates < 0)) + 1}")
    ends = np.append(times[1:], 2 * times[-1] - times[-2]) - times[0]
    if ends[-1] > _LONGEST_S:
        raise ConfigError(f"{path}: spans {timedelta(seconds=float(ends[-1]))}; at most 32 days can be planned at once")
    return _by_second(ends, rates)


def _by_second(ends: Values, rates: Values) -> Values:
    """Rows that end at `ends` seconds, as means of whole seconds: no request is lost between the two."""
    total = np.concatenate([[0.0], np.cumsum(rates * np.diff(ends, prepend=0.0))])
    marks = np.arange(max(round(ends[-1]), 1) + 1, dtype=np.float64)
    return np.diff(np.interp(marks, np.concatenate([[0.0], ends]), total))


def _table(path: str) -> pa.Table:
    try:
        if Path(path).suffix.lower() in (".parquet", ".pq"):
            return parquet.read_table(path)
        return csv.read_csv(path)
    except (OSError, pa.ArrowInvalid) as error:
        raise ConfigError(f"{path}: can't be read as a trace: {error}") from error


def _numbers(column: "pa.ChunkedArray[Any]", path: str, name: str) -> Values:
    if column.null_count:
        raise ConfigError(f"{path}: column {name!r} has empty cells; fill them or drop the rows")
    try:
        if pa.types.is_timestamp(column.type):
            column = pc.divide(column.cast(pa.timestamp("us", column.type.tz)).cast(pa.int64()).cast(pa.float64()), 1e6)
        values: Values = column.cast(pa.float64()).to_numpy()
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise ConfigError(f"{path}: column {name!r} must hold numbers, not {column.type}") from error
    if not np.isfinite(values).all():
        raise ConfigError(f"{path}: column {name!r} holds a value that is not finite; drop that row")
    return values
