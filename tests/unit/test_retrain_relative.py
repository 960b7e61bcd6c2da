"""Relative moments: date math in a zone's calendar, and which labels count by a date."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retrain.relative import is_relative, resolve, time_zone, with_labels_by
from taxiway.errors import ConfigError

NOW = datetime(2024, 3, 31, 12, 34, 56, 789, tzinfo=UTC)
NEW_YORK, PARIS = ZoneInfo("America/New_York"), ZoneInfo("Europe/Paris")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("now", "2024-03-31T12:34:56.000789+00:00"),
        ("now-90d", "2024-01-01T12:34:56.000789+00:00"),
        ("now-1d/d", "2024-03-30T00:00+00:00"),
        ("now/d-1h", "2024-03-30T23:00+00:00"),
        ("now/h", "2024-03-31T12:00+00:00"),
        ("now/w", "2024-03-25T00:00+00:00"),
        ("now-2w/w+1d", "2024-03-12T00:00+00:00"),
        ("now/M", "2024-03-01T00:00+00:00"),
        ("now-1M/M", "2024-02-01T00:00+00:00"),
        ("now/y", "2024-01-01T00:00+00:00"),
        ("now-1y", "2023-03-31T12:34:56.000789+00:00"),
        (" now-3M/M ", "2023-12-01T00:00+00:00"),
        ("now+1M", "2024-04-30T12:34:56.000789+00:00"),
    ],
)
def test_date_math_reads_from_left_to_right(text: str, wanted: str) -> None:
    found = resolve(text, NOW)
    assert found == moment(wanted)
    assert found.tzinfo is UTC


@pytest.mark.parametrize(
    ("day", "text", "wanted"),
    [
        ("2024-03-31", "now-1M", "2024-02-29"),
        ("2023-03-31", "now-1M", "2023-02-28"),
        ("2024-02-29", "now-1y", "2023-02-28"),
        ("2024-02-29", "now+12M", "2025-02-28"),
        ("2024-01-31", "now-2M", "2023-11-30"),
        ("2024-01-15", "now-1M/M", "2023-12-01"),
        ("2024-12-31", "now+1M", "2025-01-31"),
    ],
)
def test_a_day_that_a_month_lacks_is_its_last_day(day: str, text: str, wanted: str) -> None:
    assert resolve(text, moment(f"{day}T00:00+00:00")) == moment(f"{wanted}T00:00+00:00")


@pytest.mark.parametrize(
    ("now", "text", "wanted"),
    [
        # The day of March 10, 2024 has 23 hours in New York, that of November 3 has 25.
        ("2024-03-11T00:00-04:00", "now-1d", "2024-03-10T00:00-05:00"),
        ("2024-03-11T00:00-04:00", "now-24h", "2024-03-09T23:00-05:00"),
        ("2024-11-04T00:00-05:00", "now-1d", "2024-11-03T00:00-04:00"),
        ("2024-11-04T00:00-05:00", "now-24h", "2024-11-03T00:00-05:00"),
        ("2024-11-03T01:30-05:00", "now/d", "2024-11-03T00:00-04:00"),
        ("2024-11-03T01:30-05:00", "now/h", "2024-11-03T01:00-05:00"),
        ("2024-11-03T01:30-04:00", "now/h", "2024-11-03T01:00-04:00"),
        ("2024-11-15T12:00-05:00", "now/M", "2024-11-01T00:00-04:00"),
        # 02:30 does not exist on March 10 and is moved ahead; 01:30 occurs twice on November 3.
        ("2024-03-11T02:30-04:00", "now-1d", "2024-03-10T03:30-04:00"),
        ("2024-11-04T01:30-05:00", "now-1d", "2024-11-03T01:30-04:00"),
        ("2024-11-03T01:30-05:00", "now-0d", "2024-11-03T01:30-05:00"),
    ],
)
def test_days_are_those_of_the_zone_and_hours_are_sixty_minutes(now: str, text: str, wanted: str) -> None:
    assert resolve(text, moment(now), NEW_YORK) == moment(wanted)


def test_a_day_without_midnight_begins_when_the_clocks_have_changed() -> None:
    zone = ZoneInfo("America/Sao_Paulo")
    found = resolve("now/d", datetime(2018, 11, 4, 15, 0, tzinfo=UTC), zone)
    assert found == moment("2018-11-04T01:00-02:00")
    havana = ZoneInfo("America/Havana")
    assert resolve("now/d", moment("2023-11-05T00:30-05:00"), havana) == moment("2023-11-05T00:00-04:00")


def test_the_zone_decides_which_day_it_is() -> None:
    late = datetime(2024, 6, 30, 22, 30, tzinfo=UTC)
    assert resolve("now/M", late) == moment("2024-06-01T00:00+00:00")
    assert resolve("now/M", late, PARIS) == moment("2024-07-01T00:00+02:00")
    assert resolve("now/M", late.astimezone(NEW_YORK), PARIS) == moment("2024-07-01T00:00+02:00")


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2024-01-31", "2024-01-31T00:00+00:00"),
        ("2024-01-31T07:00", "2024-01-31T07:00+00:00"),
        ("2024-01-31T07:00Z", "2024-01-31T07:00+00:00"),
        ("2024-01-31T07:00+05:30", "2024-01-31T01:30+00:00"),
    ],
)
def test_an_absolute_moment_is_utc_unless_it_says_otherwise(text: str, wanted: str) -> None:
    assert resolve(text, NOW, PARIS) == moment(wanted)
    assert not is_relative(text)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("yesterday", "no moment; expected ISO 8601"),
        ("2024-13-01", "no moment"),
        ("", "no moment"),
        ("now-5m", "'m' is no unit; they are y years, M months"),
        ("now/q", "'q' is no unit"),
        ("now-d", "'-d' can't be read"),
        ("now - 1d", "' - 1d' can't be read"),
        ("now-1d/", "'/' can't be read"),
        ("nowhere", "'here' can't be read"),
        ("now-1d now", "' now' can't be read"),
    ],
)
def test_what_is_no_moment_is_said(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        resolve(text, NOW)


def test_a_moment_outside_of_the_calendar_is_the_operators_error() -> None:
    for text in ("now-9000y", "now+999999w", "now-999999d"):
        with pytest.raises(ConfigError, match="outside the years 1 to 9999"):
            resolve(text, NOW)


def test_a_zone_that_does_not_exist_is_named() -> None:
    assert time_zone("Europe/Paris") == PARIS
    for name in ("Europe/Nowhere", "", "../etc"):
        with pytest.raises(ConfigError, match="is no time zone"):
            time_zone(name)


MOMENTS = st.datetimes(datetime(1971, 1, 1), datetime(2036, 1, 1), timezones=st.just(UTC))
ZONES = st.sampled_from([UTC, NEW_YORK, PARIS, ZoneInfo("Australia/Lord_Howe"), ZoneInfo("Asia/Kathmandu")])


@given(MOMENTS, ZONES, st.sampled_from("yMwdh"))
def test_a_floor_lies_before_its_moment_and_is_its_own_floor(now: datetime, zone: ZoneInfo, unit: str) -> None:
    longest = {"y": 366, "M": 31, "w": 7, "d": 1, "h": 0}[unit]
    found = resolve(f"now/{unit}", now, zone)
    assert found <= now < found + timedelta(days=longest, hours=2)
    assert resolve(f"now/{unit}", found, zone) == found
    if unit != "h":
        assert found.astimezone(zone).hour in (0, 1)


@given(MOMENTS, ZONES, st.integers(0, 60))
def test_months_back_land_in_that_month(now: datetime, zone: ZoneInfo, months: int) -> None:
    before, after = now.astimezone(zone), resolve(f"now-{months}M", now, zone).astimezone(zone)
    assert (before.year - after.year) * 12 + before.month - after.month == months
    assert after.day == before.day or after.day >= 28


def test_only_labels_that_had_arrived_count() -> None:
    moments = np.array(["2024-03-01", "2024-03-02", "2024-03-03", "2024-04-02"], "datetime64[us]")
    arrived = np.array(["2024-03-20", "2024-03-31T12:34:56.000789", "NaT", "2024-03-30"], "datetime64[us]")
    assert with_labels_by(moments, arrived, NOW).tolist() == [True, True, False, False]
    earlier = NOW.astimezone(NEW_YORK) - timedelta(microseconds=1)
    assert with_labels_by(moments, arrived, earlier).tolist() == [True, False, False, False]


def test_a_delay_counts_from_each_examples_moment() -> None:
    moments = np.array(["2024-03-01", "2024-03-30"], "datetime64[us]")
    assert with_labels_by(moments, np.timedelta64(7, "D"), NOW).tolist() == [True, False]
    delays = np.array([60, 1], "timedelta64[D]")
    assert with_labels_by(moments, delays, NOW).tolist() == [False, True]
    assert with_labels_by(moments[:0], delays[:0], NOW).tolist() == []
