"""`taxiway predictions forget`: every row about some subjects goes from the prediction log."""

import argparse
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from taxiway.errors import ConfigError, TryLater
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.forgetting import LATE, forget
from taxiway.predictions.forgotten import Forgotten, record_path
from taxiway.predictions.keys import FieldKeys, read_keys
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.subjects import Subjects

KEYS = ("location", "fields", "hash_secret", "subject", "encrypt_keys")
Asked = Callable[[argparse.Namespace, Sequence[str]], PredictionLogSettings]
_DAYS = LATE / timedelta(days=1)


def add_forgetting(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", place: argparse.ArgumentParser, asked: Asked
) -> None:
    """Adds `forget` to what can be done to a log.

    Args:
        place: has --location and --config.
        asked: reads some keys of a log's settings.
    """
    command = actions.add_parser("forget", parents=[place], help="remove every row about some subjects")
    whom = command.add_mutually_exclusive_group(required=True)
    whom.add_argument("--subject", help="one subject, as the model gets it; others may see it in the list of processes")
    whom.add_argument("--subjects", metavar="FILE", help="one subject a line; - is standard input")
    command.add_argument("--by", required=True, help="who wants it; the record keeps it")
    command.add_argument(
        "--late-days", type=float, default=_DAYS, help=f"so long `compact` drops what comes late; default {_DAYS:g}"
    )
    command.add_argument("--dry-run", action="store_true", help="say what would go")
    command.set_defaults(lines=partial(_forget, asked))


def _forget(asked: Asked, given: argparse.Namespace) -> Iterator[str]:
    if given.config is None:
        raise ConfigError("--config: give the serve file; its `predictions` say how the log keeps subjects")
    if given.late_days < 0:
        raise ConfigError(f"--late-days: {given.late_days:g} is in the past; give 0 or more")
    settings = asked(given, KEYS)
    keys = _present_keys(settings)
    rules = FieldRules(settings.fields, settings.secret, keys, settings.subject)
    subjects = Subjects(_values(given), rules, keys)
    late, now = timedelta(days=given.late_days), datetime.now(UTC)
    try:
        record = forget(settings.location, subjects, given.by, now, late, given.dry_run)
    except OSError as error:
        told = f"{settings.location} can't be used: {error}; the same command goes on later"
        raise TryLater(told) from error
    yield from forgotten_lines(record, given.dry_run)


def forgotten_lines(record: Forgotten, is_dry: bool) -> Iterator[str]:
    """What went by day, what can't be reached, and where the record is."""
    rows = record.by_day
    gone = "would go" if is_dry else "have gone"
    yield f"{sum(rows.values()):,} rows about {len(record.subjects)} subjects {gone}"
    for day, count in rows.items():
        root, _, date = day.partition("/date=")
        yield f"  {date} {root}: {count:,}"
    for why, count in record.unreachable.items():
        yield f"  not reached: {count:,} rows {why}"
    if not is_dry:
        yield f"what comes late goes with `taxiway predictions compact`, until {record.late_until:%Y-%m-%d %H:%M} UTC"
        yield f"the record is {record_path(record.key)}"


def _values(given: argparse.Namespace) -> list[str]:
    if given.subject is not None:
        return [given.subject]
    try:
        text = sys.stdin.read() if given.subjects == "-" else Path(given.subjects).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"{given.subjects}: can't be read: {error}; give a text file with one subject a line"
        ) from error
    return [line for line in text.splitlines() if line.strip()]


def _present_keys(settings: PredictionLogSettings) -> FieldKeys | None:
    """Those that can be read: one that was destroyed must keep nobody from being forgotten."""
    found: dict[str, bytes] = {}
    for name, secret in settings.encrypt_keys.items():
        with suppress(ConfigError):
            found |= read_keys({name: secret.get_secret_value()}).secrets
    return FieldKeys(found) if found else None
