"""What a job says while it runs and when it has ended, in plain lines."""

import time
from collections.abc import Callable

from batch.manifest import Manifest
from batch.pieces import PieceResult

_EVERY_S = 5.0


class Progress:
    """One line every few seconds: rows, rate, rejects."""

    def __init__(self, rows: int, say: Callable[[str], None], clock: Callable[[], float] = time.monotonic) -> None:
        self._total, self._say, self._clock = rows, say, clock
        self._done = self._rejected = 0
        self._began: float | None = None
        self._said = clock()

    def add(self, result: PieceResult) -> None:
        now = self._clock()
        self._began = now - result.seconds if self._began is None else self._began
        self._done += result.rows
        self._rejected += result.rejected
        if now - self._said >= _EVERY_S:
            self._said = now
            rate = self._done / max(now - self._began, 1e-9)
            share = f"{self._done / max(self._total, 1):.0%}"
            self._say(
                f"{self._done:,} of {self._total:,} rows ({share}), {rate:,.0f} rows/s, {self._rejected:,} rejected"
            )


def summary(manifest: Manifest) -> str:
    """The job's last words."""
    seconds = manifest.seconds_by_stage
    rate = manifest.rows_read / max(seconds["scoring"], 1e-9)
    rejected = ", ".join(f"{count:,} {code}" for code, count in manifest.rejects.items())
    return "\n".join(
        [
            f"read      {manifest.rows_read:,} rows from {len(manifest.inputs)} files",
            f"written   {manifest.rows_written:,} rows to {manifest.output}",
            f"rejected  {manifest.rows_rejected:,} rows{f': {rejected}' if rejected else ''}",
            f"model     models:/{manifest.model_name}/{manifest.model_version}",
            f"scoring   {rate:,.0f} rows/s",
            f"time      {', '.join(f'{stage} {spent:.1f} s' for stage, spent in seconds.items())}",
        ]
    )
