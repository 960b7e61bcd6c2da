"""`taxiway lineage | promote | rollback | history | rollout | experiment | ...`, from a shell."""

import argparse
import getpass
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from taxiway.errors import ConfigError, TaxiwayError
from taxiway.experiment_cli import add_experiment_commands
from taxiway.history import Record, history
from taxiway.lineage import LineageReport, lineage
from taxiway.planning_cli import add_commands as add_planning
from taxiway.predictions_cli import add_commands as add_predictions
from taxiway.promotion import promote, rollback
from taxiway.registry import Registry
from taxiway.rollout_cli import add_commands
from taxiway.settings import RegistrySettings
from taxiway.turn import sqlite_path
from taxiway.validate_cli import add_commands as add_validation

_COLUMN = 40
_LABELS = {
    "created": "registered",
    "run_id": "run",
    "data_digest": "training data",
    "data_rows": "rows",
    "data_window": "window",
    "feature_service_version": "service version",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit status 2: the configuration can't be used; 1: the registry refuses or does not answer."""
    given = _parser().parse_args(arguments)
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    for library in ("alembic", "mlflow"):
        logging.getLogger(library).setLevel(logging.CRITICAL)
    try:
        # What has no --tracking-uri does not need the registry.
        asked = [_registry(given.tracking_uri)] if "tracking_uri" in given else []
        for line in given.lines(given, *asked):
            print(line, flush=True)
    except TaxiwayError as error:
        print(f"taxiway: {error}", file=sys.stderr)
        return 2 if isinstance(error, ConfigError) else 1
    return 0


def _registry(tracking_uri: str | None) -> Registry:
    settings = RegistrySettings(**({"tracking_uri": tracking_uri} if tracking_uri else {}))
    path = sqlite_path(settings.tracking_uri)
    if path is not None and not path.exists():
        raise ConfigError(f"{path} does not exist; give --tracking-uri, or set TAXIWAY_HOME")
    return Registry(settings)


def _lineage(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    report = lineage(registry, given.uri)
    if given.json:
        yield report.model_dump_json(indent=2)
    else:
        yield from lineage_lines(report)


def _promote(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    version = registry.resolve(given.uri)
    record = promote(registry, version, given.by or _user(), given.reason, datetime.now(UTC), force=given.force)
    yield _moved(version.name, record)


def _rollback(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    record = rollback(registry, given.model, given.by or _user(), given.reason, datetime.now(UTC), given.to)
    yield _moved(given.model, record)


def _history(given: argparse.Namespace, registry: Registry) -> Iterator[str]:
    records = [entry.record for entry in history(registry, given.model)]
    if given.json:
        yield json.dumps([record.model_dump(mode="json") for record in records], indent=2, ensure_ascii=False)
    elif records:
        yield from history_lines(records)
    else:
        yield f"nothing is recorded of {given.model}"


def history_lines(records: Sequence[Record]) -> Iterator[str]:
    """A table, the oldest first."""
    head = ("at (UTC)", "action", "version", "before", "by", "reason")
    rows = [head, *(_row(record) for record in records)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head) - 1)]
    for row in rows:
        yield "  ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]])


def _row(record: Record) -> tuple[str, ...]:
    before = "-" if record.action == "reject" else record.from_version or "-"
    remarks = [
        *(["forced"] if record.forced else []),
        *([record.state] if record.state != "done" else []),
    ]
    reason = _line(record.reason) + (f" ({', '.join(remarks)})" if remarks else "")
    return _moment(record.at), record.action, record.version, before, _short(record.by), reason


def lineage_lines(report: LineageReport) -> Iterator[str]:
    """One fact a line; `unknown` is what the registry does not say, `none` what there is none of."""
    yield f"models:/{report.model}/{report.version}"
    shown = [name for name in LineageReport.model_fields if name not in ("model", "version", "unknown", "unreadable")]
    labels = {name: _LABELS.get(name, name.replace("_", " ")) for name in shown}
    width = max(len(label) for label in labels.values())
    for name, label in labels.items():
        first, *more = ["unknown"] if name in report.unknown else _told(getattr(report, name))
        yield f"  {label.ljust(width)}  {first}"
        for line in more:
            yield f"  {' ' * width}  {line}"
    if report.unreadable:
        yield f"  {report.unreadable}"


def _told(value: Any) -> list[str]:
    if value is None or value in ({}, ()):
        return ["none"]
    if isinstance(value, Record):
        return [
            f"{_moment(value.at)} by {value.by}, {value.action}{' (forced)' if value.forced else ''}",
            _line(value.reason),
        ]
    if isinstance(value, datetime):
        return [_moment(value)]
    if isinstance(value, tuple):
        return [", ".join(value)]
    if isinstance(value, Mapping):
        width = max(len(str(name)) for name in value)
        return [f"{str(name).ljust(width)}  {_plain(it)}" for name, it in value.items()]
    return [_plain(value)]


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.6g}"
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _moved(name: str, record: Record) -> str:
    before = f", before: {record.from_version}" if record.from_version not in (None, record.version) else ""
    return f"models:/{name}@champion is version {record.version}{before}; {record.action} by {record.by}"


def _short(told: str) -> str:
    return told if len(told) <= _COLUMN else f"{told[: _COLUMN - 1]}…"


def _line(told: str) -> str:
    return " ".join(told.split())


def _moment(at: datetime) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S")


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # in a container without a passwd entry
        return "unknown"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="taxiway", description="What the model registry knows, and its champions.")
    everywhere = argparse.ArgumentParser(add_help=False)
    everywhere.add_argument(
        "--tracking-uri", help="MLflow's tracking server or database; default: sqlite:///${TAXIWAY_HOME}/mlflow.db"
    )
    writes = argparse.ArgumentParser(add_help=False)
    writes.add_argument("--by", help="who does it; default: your login name")
    writes.add_argument("--reason", required=True, help="why; the history keeps it")
    reads = argparse.ArgumentParser(add_help=False)
    reads.add_argument("--json", action="store_true", help="for programs")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    command = commands.add_parser("lineage", parents=[everywhere, reads], help="where a version comes from")
    command.add_argument("uri", help="models:/NAME/VERSION or models:/NAME@ALIAS")
    command.set_defaults(lines=_lineage)

    command = commands.add_parser("promote", parents=[everywhere, writes], help="make a version the champion")
    command.add_argument("uri", help="models:/NAME/VERSION or models:/NAME@ALIAS")
    command.add_argument("--force", action="store_true", help="also a version that was rejected")
    command.set_defaults(lines=_promote)

    command = commands.add_parser("rollback", parents=[everywhere, writes], help="restore the champion before")
    command.add_argument("model")
    command.add_argument("--to", metavar="VERSION", help="a version that was champion before")
    command.set_defaults(lines=_rollback)

    command = commands.add_parser("history", parents=[everywhere, reads], help="who changed what, when and why")
    command.add_argument("model")
    command.set_defaults(lines=_history)
    add_commands(commands, everywhere, _user)
    add_predictions(commands)
    add_planning(commands)
    add_validation(commands)
    add_experiment_commands(commands, everywhere, _user)
    return parser


if __name__ == "__main__":
    sys.exit(main())
