"""Moments in a config file that follow the date of a run: `now-90d`, `now-1M/M`; and labels that arrive late."""

import calendar
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, Literal, get_args
from zoneinfo import ZoneInfo

import numpy as np
from numpy.typing import NDArray

from taxiway.errors import ConfigError

Unit = Literal["y", "M", "w", "d", "h"]
Step = tuple[int, Unit] | Unit

_UNITS: Mapping[str, Unit] = {unit: unit for unit in get_args(Unit)}
_STEP = re.compile(r"(?P<count>[+-]\d{1,6})(?P<unit>[A-Za-z])|/(?P<floor>[A-Za-z])")


def is_relative(text: str) -> bool:
    return text.strip().startswith("now")


def resolve(text: str, now: datetime, zone: tzinfo = UTC) -> datetime:
    """The moment that a config file names, in UTC.

    Relative moments are read from left to right, as Elasticsearch and Grafana do: `now`, then any number of
    `+2d`, `-1M` (units y, M, w, d and h) and of `/d`, which goes back to the beginning of the day, week (Monday),
    month and so on. Years to days are days of the calendar in `zone`: with a change of clocks one has 23 or 25
    hours, the 31st a month earlier is that month's last day, and a time that a change of clocks leaves out is
    moved ahead by what it leaves out. Hours are 60 minutes.

    Args:
        text: relative, or ISO 8601, which is UTC unless it says otherwise.
        now: with a zone.
        zone: of the calendar.

    Raises:
        ConfigError: `text` is no moment, or lies outside the years 1 to 9999.
    """
    try:
        if not is_relative(text):
            return absolute(text)
        moment = now.astimezone(UTC)
        for step in _steps(text):
            moment = _floor(moment, step, zone) if isinstance(step, str) else _add(moment, *step, zone)
        return moment
    except OverflowError as error:
        raise ConfigError(f"{text!r} lies outside the years 1 to 9999") from error
    except ValueError as error:
        raise ConfigError(str(error)) from error


def time_zone(name: str) -> ZoneInfo:
    """
    Raises:
        ConfigError: there is no such zone.
    """
    try:
        return ZoneInfo(name)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(f"{name!r} is no time zone; expected a name such as Europe/Paris or UTC") from error


def with_labels_by(
    moments: NDArray[np.datetime64], arrived: NDArray[Any] | np.timedelta64, now: datetime
) -> NDArray[np.bool_]:
    """Which examples had happened and had their label by `now`: what a run of that date may learn from.

    Args:
        moments: datetime64 of the examples, UTC, [rows].
        arrived: datetime64 of their labels, NaT where there is none yet; or timedelta64, how long after its
            moment each label comes, [rows] or one for all.
        now: with a zone; a label of this very moment counts.
    """
    limit = np.datetime64(now.astimezone(UTC).replace(tzinfo=None), "us")
    known = np.asarray(arrived)
    if known.dtype.kind == "m":
        known = moments + known
    return np.asarray((moments <= limit) & (known <= limit), np.bool_)


def absolute(text: str) -> datetime:
    """ISO 8601, UTC unless it says otherwise; raises ValueError."""
    try:
        moment = datetime.fromisoformat(text.strip())
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise ValueError(
            f"{text!r} is no moment; expected ISO 8601 such as 2024-01-31T12:00Z, or now-90d, now-1d/d, now-1M/M"
        ) from error


def _steps(text: str) -> list[Step]:
    rest = text.strip().removeprefix("now")
    steps: list[Step] = []
    while rest:
        match = _STEP.match(rest)
        if match is None:
            raise ValueError(f"{text!r}: {rest!r} can't be read; expected -1d, +1d or /d, one after the other")
        unit = _unit(match["floor"] or match["unit"], text)
        steps.append(unit if match["floor"] else (int(match["count"]), unit))
        rest = rest[match.end() :]
    return steps


def _unit(letter: str, text: str) -> Unit:
    if letter not in _UNITS:
        raise ValueError(f"{text!r}: {letter!r} is no unit; they are y years, M months, w weeks, d days and h hours")
    return _UNITS[letter]


def _add(moment: datetime, count: int, unit: Unit, zone: tzinfo) -> datetime:
    if unit == "h":
        return moment + timedelta(hours=count)
    local = moment.astimezone(zone)
    if unit in ("d", "w"):
        moved = local + timedelta(days=count * (7 if unit == "w" else 1))
    else:
        moved = _add_months(local, count * (12 if unit == "y" else 1))
    # Of a time that occurs twice the first one, unless the day stays the same.
    return moved.replace(fold=local.fold if not count else 0).astimezone(UTC)


def _add_months(local: datetime, count: int) -> datetime:
    """The same day of another month, or its last day."""
    year, month = divmod(local.year * 12 + local.month - 1 + count, 12)
    if not 1 <= year <= 9999:
        raise OverflowError
    day = min(local.day, calendar.monthrange(year, month + 1)[1])
    return local.replace(year=year, month=month + 1, day=day)


def _floor(moment: datetime, unit: Unit, zone: tzinfo) -> datetime:
    local = moment.astimezone(zone)
    if unit == "h":
        return local.replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    day = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    if unit == "w":
        day -= timedelta(days=day.weekday())
    elif unit == "M":
        day = day.replace(day=1)
    elif unit == "y":
        day = day.replace(month=1, day=1)
    return day.astimezone(UTC)
