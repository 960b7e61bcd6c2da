"""Whether it is time to retrain: alarms, new rows, the clock; asked by a scheduler every few minutes."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import AwareDatetime, Field, ValidationError

from taxiway.errors import JobError
from taxiway.settings import Settings, home


class TriggerSettings(Settings):
    """When `--if-due` retrains. Alarms always count, the rest where it is set."""

    every_h: float | None = Field(
        default=None, gt=0, description="hours after which the model is retrained in any case"
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


class Alarm(Settings):
    """Somebody's observation that the model is no longer right; a file in the model's folder of alarms."""

    at: AwareDatetime
    endpoint: str | None = None
    reason: str = Field(min_length=1, max_length=2_000)


@dataclass(frozen=True)
class Situation:
    """What is known now.

    Args:
        retrained: when the last retraining has registered its version; None when there was none.
        new_rows: labelled rows since the end of its training window; None when nobody has counted.
        alarms: in the order of their moments.
    """

    now: datetime
    retrained: datetime | None
    new_rows: int | None
    alarms: Sequence[Alarm]


@dataclass(frozen=True)
class Decision:
    """`trigger` is what sets a retraining off; None when none is due, and `sentence` says why."""

    trigger: str | None
    sentence: str


def decide(settings: TriggerSettings, situation: Situation) -> Decision:
    """Alarms before new rows before the clock; nothing while the model cools down, and at once when there is none."""
    now, retrained = situation.now, situation.retrained
    if retrained is None:
        return _due("the first retraining")
    cool = retrained + timedelta(hours=settings.cool_down_h)
    if now < cool:
        return Decision(None, f"not due: it cools down until {cool:%Y-%m-%d %H:%M} UTC")
    if situation.alarms and _settled(settings, situation):
        first, *further = situation.alarms
        about = f" of {first.endpoint}" if first.endpoint else ""
        more = f" and {len(further)} more" if further else ""
        return _due(f"alarm{about}: {first.reason}{more}")
    if settings.new_rows is not None and (situation.new_rows or 0) >= settings.new_rows:
        return _due(f"{situation.new_rows:,} new rows")
    if settings.every_h is not None and now >= retrained + timedelta(hours=settings.every_h):
        return _due(f"schedule: {settings.every_h:g} h since {retrained:%Y-%m-%d %H:%M} UTC")
    waiting = "; an alarm waits for others" if situation.alarms else ""
    return Decision(None, f"not due: retrained {retrained:%Y-%m-%d %H:%M} UTC{waiting}")


def _due(trigger: str) -> Decision:
    return Decision(trigger, f"due: {trigger}")


def _settled(settings: TriggerSettings, situation: Situation) -> bool:
    """Alarms come in swarms; one that never ends may not keep the model waiting."""
    quiet = timedelta(minutes=settings.debounce_min)
    first, last = situation.alarms[0].at, situation.alarms[-1].at
    return situation.now - last >= quiet or situation.now - first >= 4 * quiet


def raise_alarm(model: str, alarm: Alarm) -> Path:
    """Leaves an alarm for the next `--if-due`.

    Raises:
        JobError: its file can't be written.
    """
    path = _folder(model) / f"{alarm.at:%Y%m%dT%H%M%S}-{secrets.token_hex(4)}.json"
    unfinished = path.with_suffix(".unfinished")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        unfinished.write_text(alarm.model_dump_json())
        unfinished.replace(path)
    except OSError as error:
        raise JobError(f"the alarm can't be kept in {path.parent}: {error.strerror}") from error
    return path


def alarms(model: str) -> dict[Path, Alarm]:
    """What was raised and not answered, in the order of the moments.

    Raises:
        JobError: a file holds no alarm.
    """
    found = {path: _read(path) for path in _folder(model).glob("*.json")}
    return dict(sorted(found.items(), key=lambda pair: (pair[1].at, pair[0])))


def answer_alarms(model: str, until: datetime) -> None:
    """Takes away what was raised before a retraining began."""
    for path, alarm in alarms(model).items():
        if alarm.at <= until:
            path.unlink(missing_ok=True)


def _folder(model: str) -> Path:
    return home() / "retrain" / model / "alarms"


def _read(path: Path) -> Alarm:
    try:
        return Alarm.model_validate(json.loads(path.read_text()))
    except (OSError, ValueError, ValidationError) as error:
        told = "at (with a time zone), reason and perhaps endpoint"
        raise JobError(f"{path} is no alarm: expected JSON with {told}: {error}") from error
