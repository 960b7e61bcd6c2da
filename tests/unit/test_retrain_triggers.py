"""When a retraining is due."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrain.triggers import Alarm, Situation, TriggerSettings, alarms, answer_alarms, decide, raise_alarm
from taxiway.errors import JobError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
SEVEN_HOURS_AGO = NOW - timedelta(hours=7)
SETTINGS = TriggerSettings(every_h=24, new_rows=1_000, debounce_min=10, cool_down_h=6)


def ago(**span: float) -> datetime:
    return NOW - timedelta(**span)


def trigger(retrained: datetime | None = SEVEN_HOURS_AGO, new_rows: int | None = 0, *moments: datetime) -> str | None:
    alarms = [Alarm(at=moment, endpoint="flights", reason="drift of wind") for moment in moments]
    return decide(SETTINGS, Situation(NOW, retrained, new_rows, alarms)).trigger


def test_a_model_that_was_never_trained_is_due() -> None:
    assert trigger(None) == "the first retraining"


def test_without_a_reason_nothing_is_due() -> None:
    assert trigger() is None
    assert decide(TriggerSettings(), Situation(NOW, ago(days=999), None, ())).trigger is None


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


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    return tmp_path


def test_alarms_wait_in_their_order_until_a_retraining_answers_them(home: Path) -> None:
    assert alarms("m") == {}
    for minutes in (5, 30, 1):
        raise_alarm("m", Alarm(at=ago(minutes=minutes), reason=f"{minutes} minutes ago"))
    raise_alarm("other", Alarm(at=NOW, reason="about another model"))
    assert [it.reason for it in alarms("m").values()] == ["30 minutes ago", "5 minutes ago", "1 minutes ago"]
    answer_alarms("m", ago(minutes=5))
    assert [it.reason for it in alarms("m").values()] == ["1 minutes ago"]
    assert len(alarms("other")) == 1


@pytest.mark.parametrize("text", ["", "{}", '{"at": "2026-03-01T12:00:00", "reason": "no zone"}', '["x"]'])
def test_a_file_that_is_no_alarm_is_named(home: Path, text: str) -> None:
    path = raise_alarm("m", Alarm(at=NOW, reason="good"))
    path.with_name("bad.json").write_text(text)
    with pytest.raises(JobError, match=r"bad\.json is no alarm: expected JSON with at"):
        alarms("m")
