"""What came of each candidate: a table for people, and a picture of who has answered when."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from examples.flights.replay_clients import Asked
from examples.flights.replay_models import CANDIDATES
from taxiway.errors import ConfigError
from taxiway.rollout.state import RolloutState
from taxiway.settings import Settings

_REASON_CHARACTERS = 160
_DECISIONS = ("failed", "promoting", "inconclusive", "aborting", "superseded")


@dataclass(frozen=True)
class Told:
    """A candidate's rollout.

    Args:
        labels: that the quality check had counted at the end of each step.
        answers: as the clients saw them, all variants.
        began_s: when the rollout began, on the clients' clock.
    """

    candidate: str
    state: RolloutState
    labels: Mapping[int, int]
    answers: Sequence[Asked]
    began_s: float

    @property
    def decided_at(self) -> datetime | None:
        return next((event.at for event in self.state.events if event.what in _DECISIONS), None)

    @property
    def seconds(self) -> float | None:
        """From the start to the decision."""
        return None if self.decided_at is None else (self.decided_at - self.state.began).total_seconds()

    @property
    def live(self) -> int:
        """Answers of its version that clients got; of one that was promoted only those before that."""
        is_promoted = self.state.outcome == "promoted" and self.seconds is not None
        until = self.began_s + (self.seconds or 0.0) if is_promoted else np.inf
        version = self.state.challenger_version
        return sum(it.version == version and it.status == 200 and it.at_s <= until for it in self.answers)

    @property
    def errors(self) -> int:
        """Requests that were not answered, of either variant."""
        return sum(it.status != 200 for it in self.answers)

    @property
    def copies_s(self) -> float:
        """How long it has answered copies only."""
        if self.state.plan.steps[0].weight > 0:
            return 0.0
        onward = next((event.at for event in self.state.events if event.what == "step"), self.decided_at)
        return 0.0 if onward is None else (onward - self.state.began).total_seconds()


class Row(Settings):
    """A line of the table and of the picture; kept as JSON, so that candidates can be replayed one at a time.

    Attributes:
        step: counted from 1, the one in which it was decided.
        seconds: from the start to the decision; null without one.
        copies_s: how long it has answered copies only.
        live: answers of it that clients got.
        requests: of all clients, to either variant, while it was there; so are `errors`.
        labels: that were counted, over all steps.
        at_s: middles of intervals since the rollout began; in each it had so many `percents` of the answers.
    """

    candidate: str
    outcome: str
    step: int
    steps: int
    seconds: float | None
    copies_s: float
    live: int
    requests: int
    errors: int
    labels: int
    reason: str
    at_s: tuple[float, ...]
    percents: tuple[float, ...]


def row_of(told: Told) -> Row:
    """A candidate's rollout in figures."""
    at_s, percents = shares(told)
    state = told.state
    return Row(
        candidate=told.candidate,
        outcome=str(state.outcome or state.phase).replace("_", " "),
        step=state.step + 1,
        steps=len(state.plan.steps),
        seconds=told.seconds,
        copies_s=told.copies_s,
        live=told.live,
        requests=sum(it.at_s >= told.began_s for it in told.answers),
        errors=told.errors,
        labels=sum(told.labels.values()),
        reason=reason(state),
        at_s=tuple(at_s),
        percents=tuple(percents),
    )


def keep(row: Row, folder: Path) -> None:
    """In place of what an earlier replay has found of the candidate."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{row.candidate}.json").write_text(row.model_dump_json())


def kept(folder: Path) -> list[Row]:
    """What replays have found, each candidate's last one.

    Raises:
        ConfigError: a file is of another version of the replay.
    """
    found = []
    for path in (folder / f"{name}.json" for name in CANDIDATES):
        try:
            found += [Row.model_validate_json(path.read_text())] if path.is_file() else []
        except ValidationError as error:
            raise ConfigError(f"{path} was not written by this replay; delete it") from error
    return found


def labels_counted(findings: Sequence[str]) -> int:
    """The rows of the check `quality`, from its sentence."""
    sentence = next((it for it in findings if it.startswith("quality:")), "")
    found = re.search(r"([\d,]+) rows?\b", sentence)
    return int(found[1].replace(",", "")) if found else 0


def reason(state: RolloutState) -> str:
    """Why it ended, the first reason of several; of a promotion what its last step found of quality."""
    told = state.reason.split("; ")[0]
    if state.outcome == "promoted":
        told = next((it for name in ("gain", "quality") for it in state.findings if it.startswith(f"{name}:")), told)
    told = re.sub(r" \([\d.]+% interval, ", " (", told).replace("|", "/")
    return told if len(told) <= _REASON_CHARACTERS else f"{told[: _REASON_CHARACTERS - 1]}…"


def table(rows: Sequence[Row]) -> str:
    """As Markdown."""
    head = ("candidate", "outcome", "in step", "after", "live answers", "errors", "labels", "reason")
    lines = [
        (
            it.candidate,
            it.outcome,
            f"{it.step} of {it.steps}",
            "" if it.seconds is None else f"{it.seconds:.0f} s",
            f"{it.live:,}",
            f"{it.errors:,}",
            f"{it.labels:,}",
            it.reason,
        )
        for it in rows
    ]
    body = [head, ("---", "---", "---", "---:", "---:", "---:", "---:", "---"), *lines]
    return "\n".join(f"| {' | '.join(line)} |" for line in body)


def shares(told: Told, every_s: float = 1.0) -> tuple[list[float], list[float]]:
    """Of each interval since the rollout began: its middle in seconds, and the challenger's percent of live answers."""
    version = told.state.challenger_version
    answered = [it for it in told.answers if it.status == 200 and it.at_s >= told.began_s]
    if not answered:
        return [], []
    places = np.array([int((it.at_s - told.began_s) / every_s) for it in answered])
    own = np.array([it.version == version for it in answered], dtype=np.float64)
    counts = np.bincount(places)
    hits = np.bincount(places, weights=own)
    seen = np.flatnonzero(counts)
    return [float((it + 0.5) * every_s) for it in seen], [float(it) for it in 100 * hits[seen] / counts[seen]]
