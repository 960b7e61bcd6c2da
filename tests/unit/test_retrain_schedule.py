"""Scheduled moments by the clocks of a zone, also on days when these are changed."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.schedule import next_moment, valid_cron

NEW_YORK, PARIS = ZoneInfo("America/New_York"), ZoneInfo("Europe/Paris")


def moments(cron: str, after: str, zone: ZoneInfo, number: int) -> list[str]:
    """As the zone's clocks show them, with their offset."""
    at, found = datetime.fromisoformat(after), []
    for _ in range(number):
        moment = next_moment(cron, at, zone)
        assert moment is not None
        assert moment.tzinfo is UTC
        at = moment
        found.append(moment.astimezone(zone).isoformat(timespec="minutes"))
    return found


def test_a_schedule_keeps_the_clocks_time_over_the_year() -> None:
    found = moments("0 3 * * 1", "2026-03-02T08:00+00:00", NEW_YORK, 2)
    assert found == ["2026-03-09T03:00-04:00", "2026-03-16T03:00-04:00"]
    assert moments("0 3 1 1,7 *", "2026-01-01T07:59+00:00", NEW_YORK, 2) == [
        "2026-01-01T03:00-05:00",
        "2026-07-01T03:00-04:00",
    ]


@pytest.mark.parametrize("cron", ["30 2 * * *", "*/30 2 * * *", "15,30 2 * * *"])
def test_a_time_that_is_left_out_comes_when_the_clocks_go_on(cron: str) -> None:
    found = moments(cron, "2026-03-08T06:00+00:00", NEW_YORK, 1)
    assert found == ["2026-03-08T03:00-04:00"]


def test_what_was_left_out_comes_once() -> None:
    assert moments("*/15 2,3 * * *", "2026-03-29T00:30+00:00", PARIS, 3) == [
        "2026-03-29T03:00+02:00",
        "2026-03-29T03:15+02:00",
        "2026-03-29T03:30+02:00",
    ]


@pytest.mark.parametrize("cron", ["30 1 * * *", "*/30 1 * * *"])
def test_a_time_that_occurs_twice_comes_once(cron: str) -> None:
    found = moments(cron, "2026-11-01T03:59+00:00", NEW_YORK, 4)
    assert len([it for it in found if it == "2026-11-01T01:30-04:00"]) == 1
    assert not [it for it in found if it.startswith("2026-11-01T01") and it.endswith("-05:00")]
    # From between the two as well.
    assert moments("30 1 * * *", "2026-11-01T06:10+00:00", NEW_YORK, 1) == ["2026-11-02T01:30-05:00"]


def test_clocks_that_change_by_half_an_hour_or_a_day() -> None:
    lord_howe, apia = ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Pacific/Apia")
    assert moments("15 2 * * *", "2026-10-03T14:00+00:00", lord_howe, 1) == ["2026-10-04T02:30+11:00"]
    assert moments("0 3 * * *", "2011-12-29T14:00+00:00", apia, 2) == [
        "2011-12-31T00:00+14:00",
        "2011-12-31T03:00+14:00",
    ]


def test_days_of_month_and_week_are_read_as_debians_cron_does() -> None:
    assert moments("0 0 13 * 5", "2026-03-01T00:00+00:00", ZoneInfo("UTC"), 3) == [
        "2026-03-06T00:00+00:00",
        "2026-03-13T00:00+00:00",
        "2026-03-20T00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("cron", "message"),
    [
        ("", "has 0 fields; expected minute, hour"),
        ("0 0 3 * * 1", "has 6 fields"),
        ("@daily", "has 1 fields"),
        ("60 3 * * 1", "can't be read: bad minute"),
        ("0 3 * * MONDAY", "can't be read: bad day-of-week"),
        ("0 3 31 2 *", "can't be read|never comes"),
    ],
)
def test_what_is_no_schedule_is_said(cron: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        valid_cron(cron)


def test_a_leap_day_is_waited_for() -> None:
    assert valid_cron("0 3 29 2 *") == "0 3 29 2 *"
    assert moments("0 3 29 2 *", "2024-03-01T00:00+00:00", PARIS, 1) == ["2028-02-29T03:00+01:00"]


HOURS = st.integers(0, 23)


@given(
    st.datetimes(datetime(1990, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC)),
    st.sampled_from([NEW_YORK, PARIS, ZoneInfo("Asia/Kathmandu"), ZoneInfo("America/Sao_Paulo")]),
    st.integers(0, 59),
    HOURS,
)
def test_a_daily_schedule_comes_once_a_day_at_its_time_or_where_the_clocks_went_on(
    after: datetime, zone: ZoneInfo, minute: int, hour: int
) -> None:
    found = [after]
    for _ in range(4):
        moment = next_moment(f"{minute} {hour} * * *", found[-1], zone)
        assert moment is not None
        found.append(moment)
    days = [it.astimezone(zone).date() for it in found[1:]]
    assert all(next_day - day == timedelta(days=1) for day, next_day in pairwise(days))
    for moment in found[1:]:
        local = moment.astimezone(zone)
        if (local.hour, local.minute) != (hour, minute):
            before = (moment - timedelta(minutes=1)).astimezone(zone)
            assert before.utcoffset() < local.utcoffset()
