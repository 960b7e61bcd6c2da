"""What a job says while it runs: one line that is rewritten on a terminal, else a plain line every few seconds."""

import os
import shutil
from typing import Protocol, TextIO

from batch.events import Event, Failed, PieceDone, Planned, Published, Started, Totals
from batch.observers.pace import Mark, Pace, pace, recent
from batch.observers.shown import duration, without_secrets

_EVERY_S = 5.0
_BAR = 24
_LEAST_MARKS = 16


class Display(Protocol):
    """Where progress is shown."""

    def line(self, text: str) -> None:
        """Shows what stays."""

    def status(self, text: str, share: float, time_s: float) -> None:
        """Shows what the next status replaces; `time_s` is now."""

    def close(self) -> None:
        """Ends what is replaced no more."""


class PlainDisplay:
    """For files and log collectors: whole lines only, a status every few seconds."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._said_s: float | None = None

    def line(self, text: str) -> None:
        print(text, file=self._stream, flush=True)

    def status(self, text: str, share: float, time_s: float) -> None:
        if self._said_s is None or time_s - self._said_s >= _EVERY_S:
            self._said_s = time_s
            self.line(text)

    def close(self) -> None:
        """A line is ended already."""


class TerminalDisplay:
    """Rewrites the last line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._is_open = False

    def line(self, text: str) -> None:
        self.close()
        print(text, file=self._stream, flush=True)

    def status(self, text: str, share: float, time_s: float) -> None:
        columns = shutil.get_terminal_size().columns
        self._stream.write(f"\r{f'{_bar(share)} {text}'[: columns - 1]}\x1b[K")
        self._stream.flush()
        self._is_open = True

    def close(self) -> None:
        if self._is_open:
            print(file=self._stream, flush=True)
        self._is_open = False


def display_for(stream: TextIO) -> Display:
    is_terminal = stream.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return TerminalDisplay(stream) if is_terminal else PlainDisplay(stream)


class LiveProgress:
    """Tells a display how far a job is."""

    def __init__(self, display: Display) -> None:
        self._display = display
        self._planned: Planned | None = None
        self._actors = 1
        self._pieces = 0
        self._marks: list[Mark] = []

    def observe(self, event: Event) -> None:
        if isinstance(event, Planned):
            self._planned = event
            self._display.line(plan_line(event))
        elif isinstance(event, Started):
            self._actors = event.actors
            self._display.line(f"starting {'1 actor' if event.actors == 1 else f'{event.actors} actors'}")
        elif isinstance(event, PieceDone) and self._planned is not None:
            self._piece(event, self._planned)
        elif isinstance(event, Published | Failed):
            self._display.close()

    def _piece(self, event: PieceDone, planned: Planned) -> None:
        if not self._marks:
            self._marks.append(_mark(planned, planned.before, event.time_s - event.result.seconds))
        self._marks.append(_mark(planned, event.total, event.time_s))
        self._marks = recent(self._marks, max(_LEAST_MARKS, 2 * self._actors))
        self._pieces += 1
        whole = planned.bytes if planned.rows is None else planned.rows
        current = pace(self._marks, whole, certain=self._pieces >= self._actors)
        self._display.status(status_line(planned, event.total, current), current.share, event.time_s)


def _mark(planned: Planned, total: Totals, time_s: float) -> Mark:
    return Mark(time_s, total.rows, total.bytes_read if planned.rows is None else total.rows)


def plan_line(planned: Planned) -> str:
    """What the job is about to do, and what of it was done before."""
    rows = f"{planned.rows:,} rows" if planned.rows is not None else f"{planned.bytes:,} bytes"
    compared = f" and {planned.compare}" if planned.compare else ""
    source = without_secrets(planned.input)
    line = f"job {planned.job_id}: {rows} of {source} in {planned.pieces:,} pieces, {planned.model}{compared}"
    if not (planned.before.pieces or planned.repeated):
        return line
    return (
        f"{line}; goes on: {planned.before.pieces:,} pieces with {planned.before.rows:,} rows are done, "
        f"{planned.repeated:,} were begun and are done again"
    )


def status_line(planned: Planned, total: Totals, current: Pace) -> str:
    of = f" of {planned.rows:,}" if planned.rows is not None else ""
    told = [f"{total.rows:,}{of} rows ({current.share:.0%})", f"{current.rows_per_s:,.0f} rows/s"]
    if current.left_s is not None:
        told.append(f"{duration(current.left_s)} left")
    told.append(f"{total.rejected:,} rejected")
    if total.filtered:
        told.append(f"{total.filtered:,} filtered")
    if planned.before.pieces:
        told.append(f"{planned.before.pieces:,} pieces resumed")
    if total.skipped:
        told.append(f"{total.skipped:,} pieces skipped")
    return ", ".join(told)


def _bar(share: float) -> str:
    full = int(share * _BAR)
    return f"[{'#' * full}{'-' * (_BAR - full)}]"
