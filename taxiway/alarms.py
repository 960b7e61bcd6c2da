"""Alarms: what somebody has seen of a model that is no longer right, kept in files until a retraining answers them."""

import json
import secrets
import unicodedata
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, AwareDatetime, Field, FiniteFloat, StringConstraints, ValidationError

from taxiway.errors import JobError
from taxiway.settings import Settings, home
from taxiway.storage import written_aside


def _printable(text: str) -> str:
    # It goes on to terminals, to the registry and its database, which may take no NUL.
    if any(unicodedata.category(letter) == "Cc" and letter not in "\t\n" for letter in text):
        raise ValueError("has control characters; leave them out")
    return text


Reason = Annotated[
    str, StringConstraints(strip_whitespace=True, min_length=1, max_length=2_000), AfterValidator(_printable)
]
Key = Annotated[str, StringConstraints(min_length=1, max_length=100), AfterValidator(_printable)]
Text = Annotated[str, StringConstraints(max_length=1_000), AfterValidator(_printable)]
Details = Annotated[dict[Key, bool | int | FiniteFloat | Text | None], Field(max_length=100)]
"""Facts by name, for whoever looks into it: `{"psi.wind": 0.31}`."""


class Alarm(Settings):
    """Somebody's observation that the model is no longer right; a file in the model's folder of alarms."""

    at: AwareDatetime
    endpoint: str | None = None
    reason: Reason
    by: str | None = Field(default=None, max_length=200)
    details: Details = Field(default_factory=dict)


class RaisedAlarm(Settings):
    """An alarm that waits for the retrainings of these registered models."""

    models: tuple[str, ...]
    alarm: Alarm


def raise_alarm(model: str, alarm: Alarm) -> Path:
    """Leaves an alarm for the next `python -m retrain CONFIG --if-due`; any process, any number at once.

    It is there as a whole or not at all, also after a crash of the machine.

    Raises:
        JobError: its file can't be written.
    """
    path = _folder(model) / f"{alarm.at:%Y%m%dT%H%M%S}-{secrets.token_hex(16)}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with written_aside(path) as file:
            file.write(alarm.model_dump_json().encode())
    except OSError as error:
        raise JobError(f"the alarm can't be kept in {path.parent}: {error.strerror}") from error
    return path


def alarms(model: str) -> dict[Path, Alarm]:
    """What was raised and not answered, in the order of the moments.

    Raises:
        JobError: a file holds no alarm.
    """
    found: dict[Path, Alarm] = {}
    for path in _folder(model).glob("*.json"):
        with suppress(FileNotFoundError):  # another process has answered it meanwhile
            found[path] = _read(path)
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
        return Alarm.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise
    except (OSError, ValueError, ValidationError) as error:
        told = "at (with a time zone), reason and perhaps endpoint, by, details"
        raise JobError(f"{path} is no alarm: expected JSON with {told}: {error}") from error
