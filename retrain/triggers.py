"""Whether it is time to retrain: alarms, new rows, the clock; asked by a scheduler every few minutes."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Annotated

from pydantic import AfterValidator, Field

from retrain.schedule import next_moment, valid_cron
from taxiway.alarms import Alarm, alarms, answer_alarms, raise_alarm
from taxiway.settings import Settings

__all__ = ["Alarm", "Decision", "Situation", "TriggerSettings", "alarms", "answer_alarms", "decide", "raise_alarm"]


class TriggerSettings(Settings):
    """When `--if-due` retrains. Alarms always count, the rest where it is set."""

    every_h: float | None = Field(
        default=None, gt=0, description="hours after which the model is retrained in any case"
    )
    cron: Annotated[str, AfterValidator(valid_cron)] | None = Field(
        default=None,
        description="minute, hour, day of the month, month and day of the week, in the file's time zone: "
        '"0 3 * * 1" is Monday at three; the model is retrained once such a moment has passed since the start of '
        "the last retraining",
    )
    new_rows: int | None = Field(
        default=None, ge=1, description="labelled rows since the end of the last training window, at least"
    )
    debounce_min: float = Field(
        default=10.0,
        ge=0,
        description="minutes without a further alarm before alarms count; after four times as "
        "many they count in any case",
    )
    cool_down_h: float = Field(
        default=6.0, ge=0, description="hours after a retraining in which nothing sets off another one"
    )


@dataclass(frozen=True)
class Situation:
    """What is known now.

    Args:
        began: when the last retraining began; None when there was none.
        retrained: when it has registered its version; likewise.
        new_rows: labelled rows since the end of its training window; None when nobody has counted.
        alarms: in the order of their moments.
    """

    now: datetime
    began: datetime | None
    retrained: datetime | None
    new_rows: int | None
    alarms: Sequence[Alarm]


@dataclass(frozen=True)
class Decision:
    """`trigger` is what sets a retraining off; None when none is due, and `sentence` says why."""

    trigger: str | None
    sentence: str


def decide(settings: TriggerSettings, situation: Situation, zone: tzinfo = UTC) -> Decision:
    """Alarms before new rows before the clock; nothing while the model cools down, and at once when there is none.

    Args:
        zone: of the clocks that `cron` means.
    """
    now, began, retrained = situation.now, situation.began, situation.retrained
    comes = _comes(settings, now, retrained, zone)
    if began is None or retrained is None:
        return _due("the first retraining", comes)
    cool = retrained + timedelta(hours=settings.cool_down_h)
    if now < cool:
        return Decision(None, f"not due: it cools down until {cool:%Y-%m-%d %H:%M} UTC{comes}")
    if (trigger := _trigger(settings, situation, began, retrained, zone)) is not None:
        return _due(trigger, comes)
    waiting = "; an alarm waits for others" if situation.alarms else ""
    return Decision(None, f"not due: retrained {retrained:%Y-%m-%d %H:%M} UTC{waiting}{comes}")


def next_scheduled(
    settings: TriggerSettings, now: datetime, retrained: datetime | None, zone: tzinfo = UTC
) -> datetime | None:
    """The first moment later than `now` at which the clock asks for a retraining, in UTC; None where it never does."""
    cron = next_moment(settings.cron, now, zone) if settings.cron is not None else None
    hours = timedelta(hours=settings.every_h) if settings.every_h is not None else None
    after = retrained + hours if retrained is not None and hours is not None else None
    return min((it for it in (cron, after) if it is not None and it > now), default=None)


def _trigger(
    settings: TriggerSettings, situation: Situation, began: datetime, retrained: datetime, zone: tzinfo
) -> str | None:
    now = situation.now
    if situation.alarms and _settled(settings, situation):
        first, *further = situation.alarms
        about = f" of {first.endpoint}" if first.endpoint else ""
        more = f" and {len(further)} more" if further else ""
        return f"alarm{about}: {first.reason}{more}"
    if settings.new_rows is not None and (situation.new_rows or 0) >= settings.new_rows:
        return f"{situation.new_rows:,} new rows"
    moment = next_moment(settings.cron, began, zone) if settings.cron is not None else None
    if moment is not None and moment <= now:
        return f"schedule: {_clock(moment, zone)}"
    if settings.every_h is not None and now >= retrained + timedelta(hours=settings.every_h):
        return f"schedule: {settings.every_h:g} h since {retrained:%Y-%m-%d %H:%M} UTC"
    return None


def _comes(settings: TriggerSettings, now: datetime, retrained: datetime | None, zone: tzinfo) -> str:
    moment = next_scheduled(settings, now, retrained, zone)
    return f"; next scheduled: {_clock(moment, zone)}" if moment is not None else ""


def _clock(moment: datetime, zone: tzinfo) -> str:
    """As the clocks of the zone show it, with their name: EST and EDT tell apart what occurs twice."""
    return f"{moment.astimezone(zone):%Y-%m-%d %H:%M %Z}"


def _due(trigger: str, comes: str) -> Decision:
    return Decision(trigger, f"due: {trigger}{comes}")


def _settled(settings: TriggerSettings, situation: Situation) -> bool:
    """Alarms come in swarms; one that never ends may not keep the model waiting."""
    quiet = timedelta(minutes=settings.debounce_min)
    first, last = situation.alarms[0].at, situation.alarms[-1].at
    return situation.now - last >= quiet or situation.now - first >= 4 * quiet
