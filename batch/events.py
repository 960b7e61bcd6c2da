"""What happens in a scoring job, told to whoever wants to know: progress lines, reports, metrics.

The order of a job's events: `Planned`; `Started`; `PieceDone` for each piece, in the order in which they end;
then `Published` or `Failed`, one of them, the last. A job that is refused before it has a plan tells `Failed` only.
Events hold values only; a piece's numbers are those of its commit record, those of a whole run are `Totals`.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from batch.manifest import Manifest
from batch.pieces import PieceResult
from batch.summaries import LabelSummary, NumberSummary, merge

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Totals:
    """Sums over pieces; every row that was read stands in exactly one of written, rejected and filtered.

    Attributes:
        seconds: of all actors together, while they worked on these pieces.
        skipped: pieces of files that could not be read and that the settings set aside.
    """

    pieces: int = 0
    rows: int = 0
    written: int = 0
    filtered: int = 0
    rejects: Mapping[str, int] = field(default_factory=dict)
    bytes_read: int = 0
    bytes_written: int = 0
    seconds: float = 0.0
    skipped: int = 0
    scores: Mapping[str, NumberSummary | LabelSummary] = field(default_factory=dict)

    @property
    def rejected(self) -> int:
        return sum(self.rejects.values())

    def plus(self, piece: PieceResult) -> "Totals":
        return Totals(
            pieces=self.pieces + 1,
            rows=self.rows + piece.rows,
            written=self.written + piece.written,
            filtered=self.filtered + piece.filtered,
            rejects=dict(Counter(self.rejects) + Counter(piece.rejects)),
            bytes_read=self.bytes_read + piece.bytes_read,
            bytes_written=self.bytes_written + piece.bytes_written,
            seconds=self.seconds + piece.seconds,
            skipped=self.skipped + (piece.skipped is not None),
            scores=merge(self.scores, piece.scores),
        )


@dataclass(frozen=True)
class Planned:
    """It is decided what the job does.

    Attributes:
        compare: the second model's URI, if there is one.
        rows: of the whole input; None for text files that nobody has counted.
        bytes: of the whole input's files.
        before: what an earlier, interrupted attempt of this run has finished; nothing of it is done again.
        repeated: pieces that it had begun and not finished; these are done again.
    """

    job_id: str
    model: str
    compare: str | None
    input: str
    output: str
    files: int
    rows: int | None
    bytes: int
    pieces: int
    before: Totals
    repeated: int
    time_s: float


@dataclass(frozen=True)
class Started:
    """The cluster is there, and `actors` are asked for."""

    actors: int
    time_s: float


@dataclass(frozen=True)
class PieceDone:
    """A piece's files and its commit record are written.

    Attributes:
        total: of the whole run so far, with what was finished before a resume.
    """

    result: PieceResult
    total: Totals
    time_s: float


@dataclass(frozen=True)
class Published:
    """Readers see the output."""

    manifest: Manifest
    total: Totals
    time_s: float


@dataclass(frozen=True)
class Failed:
    """Nothing was published.

    Attributes:
        code: of the error's class, or `interrupted`.
        exit_status: what the process is going to end with.
        resumable: the same command goes on where this one ended.
    """

    code: str
    message: str
    exit_status: int
    resumable: bool
    total: Totals
    time_s: float


Event = Planned | Started | PieceDone | Published | Failed


class Observer(Protocol):
    """Hears of everything, in the driver, one event at a time; it must return at once."""

    def observe(self, event: Event) -> None:
        """Takes notice of an event."""


class Observers:
    """Passes events on. An observer that raises is told nothing more, and never fails the job."""

    def __init__(self, observers: Sequence[Observer] = ()) -> None:
        self._observers = list(observers)

    def observe(self, event: Event) -> None:
        for observer in list(self._observers):
            try:
                observer.observe(event)
            except Exception:  # noqa: BLE001 - whatever an observer does, the job goes on
                _log.exception("%s failed and is not told any more", type(observer).__name__)
                self._observers.remove(observer)
