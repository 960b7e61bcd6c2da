"""`python -m batch CONFIG`: scores files and tables with a registered model, each row once. A config with the key
`feedback` instead of `model` takes files of labels as ground truth; one with `monitor` compares a window of the
prediction log with the reference; one with `audit` replays a sample of it and looks for skew.

Exit status: 0 done, or done already; 1 failed; 2 the settings, the input or the output can't be used; 3 too many
rows were rejected, or a limit of a monitor or audit is broken; 4 another job writes to the output; 75 a storage, the
registry or the cluster is away, the same command goes on later; 130 interrupted, the same command goes on.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from datetime import date
from typing import Any

from batch.events import Observers
from batch.exit_status import DONE, exit_status
from batch.feedback_settings import FeedbackSettings
from batch.job import Options, run
from batch.moments import parse_date
from batch.observers.build import observers
from batch.settings import ScoreSettings
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.settings import parse, read_yaml

_BROKEN = 3
"""The exit status of a monitor or audit that has found a limit broken."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a job; returns the process's exit status."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        return act(options)
    except TaxiwayError as error:
        print(f"batch: {error}", file=sys.stderr)
        return exit_status(error)
    except KeyboardInterrupt as error:
        print("batch: interrupted; the same command goes on", file=sys.stderr)
        return exit_status(error)


def act(options: argparse.Namespace) -> int:
    """Reads the config, and does what it and the command line say; returns the exit status.

    Raises:
        TaxiwayError: nothing was published.
    """
    found = read_yaml(options.config)
    keys = found if isinstance(found, dict) else {}
    if "feedback" in keys:
        _import(found, options)
    elif "monitor" in keys:
        return _monitor(found, options)
    elif "audit" in keys:
        return _audit(found, options)
    else:
        _score(parse(found, ScoreSettings, options.config), options)
    return DONE


def _import(found: Any, options: argparse.Namespace) -> None:
    from batch.feedback import import_feedback

    day = _day_of_no_scoring(options)
    import_feedback(parse(found, FeedbackSettings, options.config), day, options.dry_run, _tell)


def _monitor(found: Any, options: argparse.Namespace) -> int:
    from batch.monitor.job import monitor
    from batch.monitor.settings import MonitorSettings

    day = _day_of_no_scoring(options)
    holds = monitor(parse(found, MonitorSettings, options.config), day, options.dry_run, _tell)
    return DONE if holds else _BROKEN


def _audit(found: Any, options: argparse.Namespace) -> int:
    from batch.audit.job import audit
    from batch.audit.settings import AuditSettings

    day = _day_of_no_scoring(options)
    holds = audit(parse(found, AuditSettings, options.config), day, options.dry_run, _tell)
    return DONE if holds else _BROKEN


def _day_of_no_scoring(options: argparse.Namespace) -> date | None:
    for name in ("limit", "restart"):
        if getattr(options, name):
            raise ConfigError(f"--{name}: is for scoring jobs; leave it out")
    return parse_date(options.date) if options.date else None


def _tell(line: str) -> None:
    print(line, flush=True)


def _score(settings: ScoreSettings, options: argparse.Namespace) -> None:
    if options.limit is not None:
        settings = ScoreSettings.model_validate(settings.model_dump() | {"limit": options.limit})
    day = parse_date(options.date) if options.date else None
    listening = Observers() if options.dry_run else observers(settings, sys.stdout)
    if said := run(settings, Options(options.restart, options.dry_run, day), listening):
        print(said, flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m batch", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", help="a YAML file; configs/schemas has score, feedback, monitor and audit.json")
    parser.add_argument("--dry-run", action="store_true", help="show what the job would do, and do nothing")
    parser.add_argument("--restart", action="store_true", help="throw an unfinished run of this output away")
    parser.add_argument("--limit", type=int, metavar="ROWS", help="read no more than the first rows")
    parser.add_argument("--date", metavar="YYYY-MM-DD", help="what {date} in input and output is, and now in a window")
    return parser.parse_args(arguments)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
