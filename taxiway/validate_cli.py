"""`taxiway validate FILE ...`: whether config files can be used, by the programs that take them."""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import Any

from taxiway.errors import ConfigError
from taxiway.settings import read_yaml

_SERVE, _BATCH, _RETRAIN = ("serve",), ("batch", "--dry-run"), ("retrain", "--check")
_PROGRAMS: Mapping[str, tuple[str, ...]] = {
    "applications": _SERVE,
    "input": _BATCH,
    "feedback": _BATCH,
    "monitor": _BATCH,
    "audit": _BATCH,
    "labels": _RETRAIN,
}
"""By a key that only the files of one program have."""


def add_commands(commands: Any) -> None:
    command = commands.add_parser("validate", help="check config files and the models that they name")
    command.add_argument("files", nargs="+", metavar="FILE", help="of serve, batch or retrain")
    command.set_defaults(lines=_validate)


def _validate(given: argparse.Namespace) -> Iterator[str]:
    # Each program in a process of its own: this command knows none of them, and they import for seconds.
    bad = [path for path in given.files if subprocess.run(_command(path), check=False).returncode]
    if bad:
        raise ConfigError(f"can't be used: {', '.join(bad)}")
    yield f"can be used: {', '.join(given.files)}"


def _command(path: str) -> list[str]:
    found = read_yaml(path)
    keys = found if isinstance(found, dict) else {}
    for key, (program, *options) in _PROGRAMS.items():
        if key in keys:
            return [sys.executable, "-m", program, path, *options]
    raise ConfigError(f"{path}: no file of serve, batch or retrain; those have one of the keys {', '.join(_PROGRAMS)}")
