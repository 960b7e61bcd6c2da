"""`python -m batch CONFIG`: scores files and tables with a registered model, each row once.

Exit status: 0 done, or done already; 1 failed; 2 the settings, the input or the output can't be used; 3 too many
rows were rejected; 4 another job writes to the output; 75 a storage, the registry or the cluster is away, the same
command goes on later; 130 interrupted, the same command goes on.
"""

import argparse
import signal
import sys
from collections.abc import Sequence
from typing import Any

from batch.events import Observers
from batch.exit_status import DONE, exit_status
from batch.job import Options, run
from batch.moments import parse_date
from batch.observers.build import observers
from batch.settings import ScoreSettings
from taxiway.errors import TaxiwayError
from taxiway.settings import load


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a scoring job; returns the process's exit status."""
    options = _options(arguments)
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        score(options)
    except TaxiwayError as error:
        print(f"batch: {error}", file=sys.stderr)
        return exit_status(error)
    except KeyboardInterrupt as error:
        print("batch: interrupted; nothing was published, the same command goes on", file=sys.stderr)
        return exit_status(error)
    return DONE


def score(options: argparse.Namespace) -> None:
    """Reads the config, and does what the command line says.

    Raises:
        TaxiwayError: nothing was published.
    """
    settings = load(options.config, ScoreSettings)
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
    parser.add_argument("config", help="a YAML file; configs/schemas/score.json describes its keys")
    parser.add_argument("--dry-run", action="store_true", help="show what the job would do, and do nothing")
    parser.add_argument("--restart", action="store_true", help="throw an unfinished run of this output away")
    parser.add_argument("--limit", type=int, metavar="ROWS", help="read no more than the first rows")
    parser.add_argument("--date", metavar="YYYY-MM-DD", help="what {date} in input and output means")
    return parser.parse_args(arguments)


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
