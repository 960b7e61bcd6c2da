"""The scheduled moments of `triggers.cron`, by the clocks of one time zone."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo

from cronsim import CronSim, CronSimError

_FIELDS = 5
_SOME_DAY = datetime(2024, 1, 1)


def valid_cron(cron: str) -> str:
    """`cron` itself.

    Raises:
        ValueError: it is no schedule, or one that never comes, in the sentence of a settings error.
    """
    expected = 'expected minute, hour, day of the month, month and day of the week, such as "0 3 * * 1"'
    if len(cron.split()) != _FIELDS:
        raise ValueError(f"{cron!r} has {len(cron.split())} fields; {expected}")
    try:
        if next(_calendar(cron, _SOME_DAY), None) is None:
            raise ValueError(f"{cron!r} never comes: there is no such day")
    except CronSimError as error:
        raise ValueError(f"{cron!r} can't be read: {str(error).lower()}; {expected}") from error
    return cron


def next_moment(cron: str, after: datetime, zone: tzinfo = UTC) -> datetime | None:
    """The first scheduled moment later than `after`, in UTC; None where the calendar ends before.

    Of a time that occurs twice, when clocks are put back, the first counts. One that is left out, when they are
    put forward, comes when the clocks go on: 02:30 is then 03:00.

    Args:
        cron: five fields. As in Debian's cron a day has to match both the day of the month and that of the week
            when either begins with `*`, else one of them.
        after: with a zone.
        zone: of the clocks that the schedule means.
    """
    local = after.astimezone(zone).replace(tzinfo=None)
    moments = (_moment(time, zone) for time in _calendar(cron, local))
    return next((moment for moment in moments if moment > after), None)


def _calendar(cron: str, after: datetime) -> Iterator[datetime]:
    """Times without a zone: what cronsim makes of changing clocks differs between kinds of schedules."""
    yield from CronSim(cron, after)


def _moment(local: datetime, zone: tzinfo) -> datetime:
    moment = local.replace(tzinfo=zone).astimezone(UTC)
    while moment.astimezone(zone).replace(tzinfo=None) != local:
        local += timedelta(minutes=1)
        moment = local.replace(tzinfo=zone).astimezone(UTC)
    return moment
