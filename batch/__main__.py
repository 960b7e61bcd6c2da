"""`python -m batch CONFIG`: scores Parquet files with a registered model."""

import argparse
import sys
from collections.abc import Sequence
from datetime import UTC, datetime

from batch.job import run
from batch.layout import OutputFolder
from batch.plan import make_plan
from batch.progress import summary
from batch.settings import ScoreSettings
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.settings import load

OK, FAILED, NOT_USABLE, INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a scoring job; returns the process's exit status."""
    options = _options(arguments)
    try:
        score(options.config, options.dry_run)
    except ConfigError as error:
        return _fail(error, NOT_USABLE)
    except TaxiwayError as error:
        return _fail(error, FAILED)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was published", INTERRUPTED)
    return OK


def score(config: str, dry_run: bool) -> None:
    """Reads the config, plans, and unless it is a dry run scores and publishes.

    Raises:
        TaxiwayError: nothing was published.
    """
    started = datetime.now(UTC)
    settings = load(config, ScoreSettings)
    output = OutputFolder(settings.output)
    output.check(settings.input, settings.overwrite)
    plan = make_plan(settings)
    if dry_run:
        _say(plan.describe())
        return
    manifest = run(plan, output, started, _say)
    _say(summary(manifest))


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m batch", description=__doc__)
    parser.add_argument("config", help="a YAML file; configs/schemas/score.json describes its keys")
    parser.add_argument("--dry-run", action="store_true", help="show what the job would do, and do nothing")
    return parser.parse_args(arguments)


def _say(line: str) -> None:
    print(line, flush=True)


def _fail(problem: TaxiwayError | str, status: int) -> int:
    print(f"batch: {problem}", file=sys.stderr)
    return status


if __name__ == "__main__":
    sys.exit(main())
