"""Where a controller keeps what it was told, for the one that comes after it."""

import logging
import os
from pathlib import Path

from taxiway.rollout.ledger import Ledger

_log = logging.getLogger(__name__)


class KeptLedger:
    """A file with the step that is counted, on its first line, and the ledger."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> tuple[str, Ledger]:
        """Nothing where there is no file, or one that was written by something else."""
        try:
            step, _, ledger = self._path.read_text().partition("\n")
            return step, Ledger.parse(ledger)
        except (OSError, ValueError):
            return "", Ledger()

    def write(self, step: str, ledger: str) -> None:
        """As a whole or not at all; a folder that can't be written costs no more than the step's counts."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            partial = self._path.with_suffix(f".{os.getpid()}.part")
            partial.write_text(f"{step}\n{ledger}")
            partial.replace(self._path)
        except OSError as error:
            _log.warning("the ledger %s can't be kept: %s", self._path, error)
