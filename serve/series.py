"""Writes the series of a rollout: a line every few seconds and at each event, in a file that stays small."""

import logging
import os
import re
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from taxiway.rollout.state import RolloutState
from taxiway.rollout_series import Look, Measured, look, read_series, series_path, written
from taxiway.rollout_sketch import Sketch, sketch

_log = logging.getLogger(__name__)

EVERY_S = 5.0
MOST = 5_000
"""Lines of a file; when there are more, looks between events are thinned out."""
KEPT = 20
"""Files of an endpoint; when a rollout begins, older ones are deleted."""
_GROWTH = 1.25


class Series:
    """The rollouts of one endpoint, each in a file of its own. For one thread; a file that can't be written is logged.

    Args:
        folder: `${TAXIWAY_HOME}/rollouts`.
    """

    def __init__(self, folder: Path, application: str, endpoint: str, most: int = MOST) -> None:
        self._folder, self._application, self._endpoint, self._most = folder, application, endpoint, most
        self._about: str | None = None
        self._last: Look | None = None
        self._lines = 0
        self._sketched: tuple[datetime, float] | None = None
        self._measured: tuple[int, Measured] | None = None

    def is_due(self, state: RolloutState, now: datetime) -> bool:
        """Whether something has happened since the last line, or enough time has passed."""
        self._open(state)
        last = self._last
        if last is None or last.revision != state.revision:
            return True
        every_s = interval_s((now - state.began).total_seconds(), self._most)
        return (now - last.at).total_seconds() >= every_s

    def add(self, state: RolloutState, now: datetime, measured: Measured | None) -> None:
        """Appends a line; with the last event when the file does not have it yet."""
        self._open(state)
        is_news = self._last is None or self._last.revision != state.revision
        one = look(state, now, measured, state.events[-1].what if is_news and state.events else None)
        one = one.model_copy(update={"sketch": self._sketch(state, measured)})
        self._last = one
        path = self._path(state)
        try:
            _append(path, written(one))
            self._lines += 1
            if self._lines == 1:
                _delete_old(path.parent, self._endpoint)
            if self._lines > self._most:
                self._thin(path, interval_s((now - state.began).total_seconds(), self._most))
        except (OSError, ValueError) as error:  # no file, or a text that no file can hold
            _log.warning("the series of the rollout of %s can't be kept: %s", self._endpoint, error)

    def _open(self, state: RolloutState) -> None:
        """Goes on with what an earlier process has written."""
        if self._about == state.id:
            return
        try:
            looks = read_series(self._path(state))
        except OSError as error:
            _log.warning("the series of the rollout of %s can't be read: %s", self._endpoint, error)
            looks = ()
        self._about, self._last, self._lines = state.id, looks[-1] if looks else None, len(looks)
        self._sketched = self._measured = None

    def _sketch(self, state: RolloutState, measured: Measured | None) -> Sketch | None:
        """Whenever there are a quarter more answers than at the last one, and, at an event, of what led to it."""
        if measured is None:
            before, self._measured = self._measured, None
            return before and _sketch_of(*before)
        self._measured = state.step, measured
        rows = sum(tally["rows"] for tally in (measured.champion, measured.challenger, measured.copies))
        began, sketched = self._sketched or (None, 0.0)
        if not rows or (began == state.step_began and rows < _GROWTH * sketched):
            return None
        self._sketched = state.step_began, rows
        return _sketch_of(state.step, measured)

    def _thin(self, path: Path, every_s: float) -> None:
        kept = thinned(read_series(path), every_s)[-(self._most * 3 // 4) :]
        partial = path.with_suffix(f".{os.getpid()}.part")
        partial.write_bytes(b"".join(written(one) for one in kept))
        partial.replace(path)
        self._lines = len(kept)

    def _path(self, state: RolloutState) -> Path:
        return series_path(self._folder, self._application, self._endpoint, state.id)


def interval_s(age_s: float, most: int = MOST) -> float:
    """The time between two lines of a rollout of some age: doubled until half of `most` lines span all of it."""
    found = EVERY_S
    while age_s / found > most / 2:
        found *= 2
    return found


def thinned(looks: Sequence[Look], every_s: float) -> list[Look]:
    """Every event with the look before it, which holds what led to it, and of the others one each `every_s`.

    Of each step the last sketch stays too.
    """
    sketched = {one.sketch.step: position for position, one in enumerate(looks) if one.sketch}.values()
    kept: list[Look] = []
    for position, one in enumerate(looks):
        leads = position + 1 == len(looks) or looks[position + 1].event is not None or position in sketched
        # The clock of a controller is late by up to a tick.
        if one.event or leads or not kept or (one.at - kept[-1].at).total_seconds() >= every_s - 0.5:
            kept.append(one)
    return kept


def _sketch_of(step: int, measured: Measured) -> Sketch:
    return sketch(step, measured.champion, measured.challenger, measured.copies)


def _delete_old(folder: Path, endpoint: str) -> None:
    """All but the newest. An endpoint may be called as another one and what follows: the identity tells them apart."""
    name = re.compile(rf"{re.escape(endpoint)}-[0-9a-f]{{12}}\.jsonl")
    files = [it for it in folder.iterdir() if name.fullmatch(it.name)]
    for old in sorted(files, key=lambda it: it.stat().st_mtime, reverse=True)[KEPT:]:
        old.unlink(missing_ok=True)


def _append(path: Path, line: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # whoever wrote last was killed in the middle of it
                line = b"\n" + line
        file.write(line)
