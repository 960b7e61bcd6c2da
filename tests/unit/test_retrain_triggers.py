"""When a retraining is due."""

from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from retrain.triggers import Decision, Situation, TriggerSettings, decide
from taxiway.alarms import Alarm

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEVEN_HOURS_AGO = NOW - timedelta(hours=7)
SETTINGS = TriggerSettings(every_h=24, new_rows=1_000, debounce_min=10, cool_down_h=6)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def trigger(retrained: datetime | None = SEVEN_HOURS_AGO, new_rows: int | None = 0, *moments: datetime) -> str | None:
    alarms = [Alarm(at=moment, endpoint="flights", reason="drift of wind") for moment in moments]
    return decide(SETTINGS, Situation(NOW, retrained, retrained, new_rows, alarms)).trigger


def test_a_model_that_was_never_trained_is_due() -> None:
    assert trigger(None) == "the first retraining"


def test_without_a_reason_nothing_is_due() -> None:
    assert trigger() is None
    assert decide(TriggerSettings(), Situation(NOW, ago(days=999), ago(days=999), None, ())).trigger is None


def test_nothing_is_due_while_the_model_cools_down() -> None:
    assert trigger(ago(hours=5.9), 5_000, ago(hours=1)) is None
    assert trigger(ago(hours=6), 5_000, ago(hours=1)) is not None


def test_the_clock_and_new_rows_set_it_off() -> None:
    assert trigger(ago(hours=23.9)) is None
    assert trigger(ago(hours=24)) == "schedule: 24 h since 2026-02-28 12:00 UTC"
    assert trigger(ago(hours=7), 999) is None
    assert trigger(ago(hours=7), 1_000) == "1,000 new rows"


def test_alarms_count_when_no_further_one_comes() -> None:
    assert trigger(ago(hours=7), 0, ago(minutes=9)) is None
    assert trigger(ago(hours=7), 0, ago(minutes=10)) == "alarm of flights: drift of wind"
    assert trigger(ago(hours=7), 0, ago(minutes=30), ago(minutes=10)) == "alarm of flights: drift of wind and 1 more"


def test_a_swarm_without_end_counts_in_the_end() -> None:
    assert trigger(ago(hours=7), 0, ago(minutes=39), ago(minutes=1)) is None
    assert trigger(ago(hours=7), 0, ago(minutes=40), ago(minutes=1)) is not None


NEW_YORK = ZoneInfo("America/New_York")


def monday(now: str, began: str, took_h: float = 0.5, **others: Any) -> Decision:
    """With retrainings on Mondays at three in New York; March 2, 2026 is one."""
    settings = TriggerSettings(cron="0 3 * * 1", **others)
    moment, start = (datetime.fromisoformat(text).replace(tzinfo=NEW_YORK).astimezone(UTC) for text in (now, began))
    return decide(settings, Situation(moment, start, start + timedelta(hours=took_h), None, ()), NEW_YORK)


def test_a_scheduled_moment_since_the_last_start_sets_it_off_once() -> None:
    assert monday("2026-03-02 02:59", "2026-02-23 03:00").trigger is None
    due = monday("2026-03-02 03:00", "2026-02-23 03:00")
    assert due.trigger == "schedule: 2026-03-02 03:00 EST"
    assert due.sentence == "due: schedule: 2026-03-02 03:00 EST; next scheduled: 2026-03-09 03:00 EDT"
    assert monday("2026-03-04 12:00", "2026-03-02 03:00").trigger is None


def test_a_moment_that_passed_while_a_model_was_trained_counts_as_missed() -> None:
    assert monday("2026-03-02 12:00", "2026-03-02 02:50").trigger == "schedule: 2026-03-02 03:00 EST"
    assert monday("2026-03-02 12:00", "2026-03-02 03:10").trigger is None


def test_what_was_missed_for_weeks_is_made_up_for_once() -> None:
    assert monday("2026-03-26 12:00", "2026-02-23 03:00").trigger == "schedule: 2026-03-02 03:00 EST"
    assert monday("2026-03-27 12:00", "2026-03-26 12:00").trigger is None


def test_the_schedule_waits_until_the_model_has_cooled_down() -> None:
    early = monday("2026-03-02 03:00", "2026-03-02 02:00")
    assert early.trigger is None
    assert early.sentence == ("not due: it cools down until 2026-03-02 13:30 UTC; next scheduled: 2026-03-09 03:00 EDT")
    assert monday("2026-03-02 08:30", "2026-03-02 02:00").trigger == "schedule: 2026-03-02 03:00 EST"


def test_the_next_scheduled_moment_is_the_earlier_one() -> None:
    told = monday("2026-03-04 12:00", "2026-03-04 03:00", every_h=24).sentence
    assert told.endswith("next scheduled: 2026-03-05 03:30 EST")
    told = monday("2026-03-04 12:00", "2026-03-04 03:00", every_h=999).sentence
    assert told == "not due: retrained 2026-03-04 08:30 UTC; next scheduled: 2026-03-09 03:00 EDT"
    never = Situation(NOW, None, None, None, ())
    assert decide(TriggerSettings(cron="0 3 * * 1"), never).sentence == (
        "due: the first retraining; next scheduled: 2026-03-02 03:00 UTC"
    )
    assert decide(TriggerSettings(), never).sentence == "due: the first retraining"
