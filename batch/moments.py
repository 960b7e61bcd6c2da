"""The logical date of a run: `{date}` in a path."""

import re
from datetime import date

from taxiway.errors import ConfigError

_DATE = re.compile(r"\{date(?::([^}]*))?\}")


def parse_date(text: str) -> date:
    """Raises ConfigError for what is no ISO date."""
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise ConfigError(f"--date: {text!r} is no date, expected YYYY-MM-DD") from error


def fill_in_date(text: str, day: date | None, key: str) -> str:
    """`text` with `{date}` as ISO, and `{date:%Y/%m}` as the format says.

    Raises:
        ConfigError: `key` asks for a date and there is none, or the output has no place for one.
    """
    if day is None and _DATE.search(text):
        raise ConfigError(f"{key}: {text!r} has a date in it; give --date YYYY-MM-DD")
    if day is None:
        return text
    if key == "output" and not _DATE.search(text):
        raise ConfigError(f"--date: the output {text!r} has no {{date}}, every date would write to the same place")
    return _DATE.sub(lambda match: f"{day:{match[1]}}" if match[1] else day.isoformat(), text)
