"""`taxiway predictions status | compact | retain | forget`: the prediction log from a shell, without the registry."""

import argparse
import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from typing import Any

from taxiway.errors import ConfigError, OutputHeld, TryLater
from taxiway.predictions.compaction import compact
from taxiway.predictions.retention import OldHour, old_hours, retain
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.predictions.status import Held, status
from taxiway.predictions.storage import Storage
from taxiway.predictions_forget_cli import add_forgetting
from taxiway.settings import FileSettings, parse, read_yaml

Lines = Iterator[str]
_KEYS = ("location", "retention_days")


class _LogFile(FileSettings):
    predictions: PredictionLogSettings


def add_commands(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Adds `predictions` with what can be done to a log."""
    predictions = commands.add_parser("predictions", help="what was answered and what proved true: files and their age")
    actions = predictions.add_subparsers(required=True, metavar="ACTION")
    place = argparse.ArgumentParser(add_help=False)
    place.add_argument("--location", help="the log's folder or s3:// prefix; default: ${TAXIWAY_HOME}/predictions")
    place.add_argument("--config", help="a serve file, whose `predictions` say the location and `retention_days`")
    repeat = argparse.ArgumentParser(add_help=False)
    repeat.add_argument("--every", type=_minutes, metavar="MINUTES", help="again and again, until it is stopped")

    shown = actions.add_parser("status", parents=[place], help="hours, files, rows and bytes of each endpoint")
    shown.add_argument("--labels", action="store_true", help="also how many answers have ground truth; reads it all")
    shown.add_argument("--json", action="store_true", help="for programs")
    shown.set_defaults(lines=_status)

    joined = actions.add_parser("compact", parents=[place, repeat], help="join the small files of hours that are over")
    joined.set_defaults(lines=_compact)

    kept = actions.add_parser("retain", parents=[place, repeat], help="delete answers and ground truth of old hours")
    kept.add_argument("--days", type=float, help="instead of the config's `retention_days`")
    kept.add_argument("--dry-run", action="store_true", help="say what would be deleted")
    kept.set_defaults(lines=_retain)
    add_forgetting(actions, place, log_settings)


def _status(given: argparse.Namespace) -> Lines:
    with _answering(given):
        held = status(_settings(given).location, datetime.now(UTC), given.labels)
    if given.json:
        yield json.dumps([asdict(one) for one in held], indent=2, default=datetime.isoformat)
    else:
        yield from status_lines(held)


def status_lines(held: Sequence[Held]) -> Lines:
    """A table; the last line is the ground truth, whose rows are reports."""
    head = ("endpoint", "hours", "files", "rows", "bytes", "labelled", "oldest", "newest")
    rows = [head, *(_cells(one) for one in held)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _cells(held: Held) -> tuple[str, ...]:
    numbers = (f"{number:,}" for number in (held.hours, held.files, held.rows, held.size_bytes))
    labels = "-" if held.labels is None else f"{held.labels:,}"
    moments = (f"{at:%Y-%m-%d %H:%M}" if at else "-" for at in (held.oldest, held.newest))
    return (held.endpoint or "(ground truth)", *numbers, labels, *moments)


def _compact(given: argparse.Namespace) -> Lines:
    def once() -> Lines:
        done = compact(_settings(given).location, datetime.now(UTC))
        if done.forgotten:
            yield f"{done.forgotten} rows have gone that came after their subject was forgotten"
        yield f"{done.folders} hours: {done.files_before} files have become {done.files_after}"

    return _repeated(given, once)


def _retain(given: argparse.Namespace) -> Lines:
    def once() -> Lines:
        settings, now = _settings(given), datetime.now(UTC)
        keep = _keep(given, settings)
        gone: list[OldHour] = []
        if given.dry_run:
            gone = list(old_hours(Storage(settings.location), now - keep))
        else:
            retain(settings.location, now, keep, gone.append)
        yield from retained_lines(gone, now - keep, given.dry_run)

    return _repeated(given, once)


def retained_lines(gone: Sequence[OldHour], before: datetime, is_dry: bool) -> Lines:
    """What was deleted of each endpoint, or would be."""
    did = "would be deleted" if is_dry else "deleted"
    yield f"before {before:%Y-%m-%d %H:%M} UTC:{'' if gone else ' nothing'}"
    for root in dict.fromkeys(hour.root for hour in gone):
        mine = [hour for hour in gone if hour.root == root]
        first, last = min(hour.begin for hour in mine), max(hour.begin for hour in mine)
        files, size = sum(hour.files for hour in mine), sum(hour.size_bytes for hour in mine)
        span = f"{first:%Y-%m-%d %H} to {last:%Y-%m-%d %H} h"
        yield f"  {root}: {len(mine)} hours ({span}), {files} files, {size:,} bytes {did}"


def _keep(given: argparse.Namespace, settings: PredictionLogSettings) -> timedelta:
    days = settings.retention_days if given.days is None else given.days
    if days is None:
        raise ConfigError(
            "retention_days: nothing says how long the log is kept; give --days, or --config with the key"
        )
    if days <= 0:
        raise ConfigError(f"--days: {days:g} would delete everything; give a positive number")
    return timedelta(days=days)


def _repeated(given: argparse.Namespace, once: Callable[[], Lines]) -> Lines:
    """With --every a storage that is away and another one at work are told and waited for."""
    while True:
        try:
            with _answering(given):
                yield from once()
        except (OutputHeld, TryLater) as error:
            if given.every is None:
                raise
            yield str(error)
        if given.every is None:
            return
        time.sleep(60 * given.every)


def _settings(given: argparse.Namespace) -> PredictionLogSettings:
    """
    Raises:
        ConfigError: the config can't be used.
    """
    return log_settings(given, _KEYS)


def log_settings(given: argparse.Namespace, keys: Sequence[str]) -> PredictionLogSettings:
    """What a serve file says of its log, of these keys alone; --location goes before it.

    Raises:
        ConfigError: as `_settings`.
    """
    found = {} if given.config is None else _of_config(read_yaml(given.config), given.config, keys)
    if given.location is not None:
        found["location"] = given.location
    return parse({"predictions": found}, _LogFile, given.config or "predictions").predictions


def _of_config(data: Any, source: str, keys: Sequence[str]) -> dict[str, Any]:
    """What a serve file says of the log; who needs only its place and age does not look at its secrets."""
    applications = data.get("applications", [{"args": data}]) if isinstance(data, dict) else []
    told = [(application.get("args") or {}).get("predictions") for application in applications]
    found = [{key: log[key] for key in keys if key in log} for log in told if isinstance(log, dict)]
    if not found:
        raise ConfigError(f"{source}: has no key `predictions`; give a serve file that has it")
    if any(other != found[0] for other in found):
        raise ConfigError(f"{source}: its applications have different prediction logs; give --location and --days")
    return found[0]


def _minutes(text: str) -> float:
    minutes = float(text)
    if minutes <= 0:
        raise argparse.ArgumentTypeError(f"{text}: give a positive number of minutes")
    return minutes


@contextmanager
def _answering(given: argparse.Namespace) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise TryLater(f"{given.location or 'the prediction log'} can't be used: {error}; try again later") from error
