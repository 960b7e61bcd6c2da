"""An import of ground truth: files of labels become part of the prediction log, each file once. It needs no Ray."""

import hashlib
import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from batch.feedback_settings import FeedbackSettings
from batch.inputs.storage import storage_error
from batch.label_files import LabelFile, label_files
from taxiway.errors import TooManyRejects
from taxiway.predictions.imports import Import, Taken, state_of, take_file
from taxiway.predictions.label_columns import BadLabel, label_columns
from taxiway.predictions.lock import one_at_a_time
from taxiway.predictions.storage import Storage

_SHOWN = 100
Tell = Callable[[str], None]
Clock = Callable[[], datetime]


def utc_now() -> datetime:
    return datetime.now(UTC)


def import_feedback(
    settings: FeedbackSettings, day: date | None, dry_run: bool, tell: Tell, clock: Clock = utc_now
) -> None:
    """Takes the files that have not been taken yet; a kill anywhere is mended by the same call.

    Args:
        tell: takes lines for people: bad rows with their numbers, and what became of each file.

    Raises:
        ConfigError: the input or the location can't be used.
        TooManyRejects: a row is bad and the settings don't skip it; then nothing is taken.
        OutputHeld: another import into this log is at work.
        TryLater: a storage is away.
    """
    settings = settings.on(day)
    storage = Storage(settings.feedback)
    with _told(settings):
        files = {_key(file, settings): file for file in label_files(settings)}
        left = {key: file for key, file in files.items() if not _is_finished(state_of(storage, key))}
        if len(left) < len(files):
            tell(f"{len(files) - len(left)} of {len(files)} files were taken before")
        if dry_run or settings.on_bad_rows == "fail":
            _check(list(left.values()), settings, tell, clock, dry_run)
        if dry_run or not left:
            return
        with one_at_a_time(storage, "import") as still_mine:
            for key, file in left.items():
                bad = _Bad(file.file.path, tell)
                state = take_file(storage, key, file.file.path, _source(file, bad), clock, still_mine)
                tell(f"{file.file.path}: {_summary(state.labels, state.bad)}")


@dataclass
class _Bad:
    """Shows the first bad rows of a file."""

    path: str
    tell: Tell
    shown: int = 0

    def show(self, bad: Sequence[BadLabel]) -> None:
        for one in bad[: max(_SHOWN - self.shown, 0)]:
            self.tell(f"{self.path}: {_sentence(one)}")
        self.shown += len(bad)


@dataclass
class _Tally:
    """What a file would bring."""

    labels: int = 0
    codes: Counter[str] = field(default_factory=Counter)

    def add(self, taken: Taken) -> None:
        self.labels += taken.labels.num_rows
        self.codes.update(bad.code for bad in taken.bad)


def _source(file: LabelFile, bad: _Bad) -> Callable[[int, Clock], Iterator[Taken]]:
    def taken(begin: int, received_at: Clock) -> Iterator[Taken]:
        for found in _taken(file, begin, received_at):
            bad.show(found.bad)
            yield found

    return taken


def _taken(file: LabelFile, begin: int, received_at: Clock) -> Iterator[Taken]:
    for reports in file.reports(begin):
        labels, bad = label_columns(reports.table, received_at())
        placed = [BadLabel(int(reports.rows[it.row]), it.code, it.field, it.reason) for it in bad]
        yield Taken(labels, sorted([*reports.bad, *placed], key=lambda it: it.row), reports.end)


def _check(files: Sequence[LabelFile], settings: FeedbackSettings, tell: Tell, clock: Clock, dry_run: bool) -> None:
    """Reads all files once before anything is written."""
    labels, codes, first = 0, Counter[str](), ""
    for file in files:
        tally = _Tally()
        shown = _Bad(file.file.path, tell)
        for found in _taken(file, 0, clock):
            shown.show(found.bad)
            tally.add(found)
            if found.bad and not first:
                first = f"{file.file.path}: {_sentence(found.bad[0])}"
        if dry_run:
            tell(f"{file.file.path}: {_summary(tally.labels, tally.codes)}")
        labels, codes = labels + tally.labels, codes + tally.codes
    if codes and settings.on_bad_rows == "fail":
        raise TooManyRejects(
            f"{codes.total():,} of {labels + codes.total():,} rows can't be taken, and nothing was; the first one: "
            f"{first}; mend the files, or set on_bad_rows: skip"
        )


def _summary(labels: int, codes: Mapping[str, int]) -> str:
    bad = ", ".join(f"{count:,} {code}" for code, count in sorted(codes.items()))
    return f"{labels:,} labels{f', left out {bad}' if bad else ''}"


def _sentence(bad: BadLabel) -> str:
    return f"row {bad.row + 1}: {bad.field}: {bad.reason}"


def _key(file: LabelFile, settings: FeedbackSettings) -> str:
    """Of the file as it is now, and of what decides which labels it brings."""
    deciding = settings.model_dump(mode="json", include={"columns", "label_type", "newlines_in_values"})
    about = [file.file.path, file.file.size, file.file.changed, deciding]
    return hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()[:32]


def _is_finished(state: Import | None) -> bool:
    return state is not None and state.is_finished


@contextmanager
def _told(settings: FeedbackSettings) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise storage_error("feedback", settings.feedback, error) from error
