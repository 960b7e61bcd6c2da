"""What a search has seen, line by line in a file: a search that was killed goes on from it."""

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrain.model import Parameters
from taxiway.errors import JobError


@dataclass(frozen=True)
class Look:
    """What a trial had reached after some iterations: `loss` and `score` of the task."""

    trial: int
    parameters: Parameters
    iterations: int
    loss: float
    score: float


def best_look(looks: Iterable[Look]) -> Look:
    """The lowest loss; among equals the fewest iterations, then the earliest trial."""
    return min(looks, key=lambda look: (look.loss, look.iterations, look.trial))


@dataclass
class TrialRecord:
    """One trial; `checkpoint` is the folder of its latest one, `ended` whether it needs nothing more."""

    number: int
    parameters: dict[str, Any]
    looks: list[Look] = field(default_factory=list)
    checkpoint: str | None = None
    ended: bool = False


class Journal:
    """Lines of JSON, appended as things happen. A line that was cut off when the machine died does not count."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def open(self, search: str) -> dict[int, TrialRecord]:
        """Trials by number, those of an earlier run of the same search; none where there was no run.

        Args:
            search: what tells searches apart.

        Raises:
            JobError: the file holds another search.
        """
        lines = self._lines()
        if not lines:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.write_text("")
            self._write(search=search)
        elif lines[0].get("search") != search:
            raise JobError(f"{self.path.parent} holds another search; give an empty folder, or remove this one")
        else:
            self._end_line()
        return _trials(lines)

    def trials(self) -> dict[int, TrialRecord]:
        return _trials(self._lines())

    def started(self, trial: int, parameters: Parameters) -> None:
        self._write(started=trial, parameters=parameters)

    def looked(self, look: Look) -> None:
        self._write(looked=look.trial, iterations=look.iterations, loss=look.loss, score=look.score)

    def saved(self, trial: int, checkpoint: str) -> None:
        self._write(saved=trial, checkpoint=checkpoint)

    def ended(self, trial: int) -> None:
        self._write(ended=trial)

    def _write(self, **event: Any) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(event, default=lambda value: value.item()) + "\n")

    def _end_line(self) -> None:
        """After a line that was cut off the next one begins anew."""
        if not self.path.read_bytes().endswith(b"\n"):
            with self.path.open("a") as file:
                file.write("\n")

    def _lines(self) -> list[dict[str, Any]]:
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text().splitlines():
            try:
                found.append(json.loads(line))
            except ValueError:
                continue
        return found


def _trials(events: Iterable[dict[str, Any]]) -> dict[int, TrialRecord]:
    """A look that a trial had again after it was restored counts once."""
    found: dict[int, TrialRecord] = {}
    for event in events:
        if "started" in event:
            found[event["started"]] = TrialRecord(event["started"], event["parameters"])
        elif "looked" in event:
            trial = found[event["looked"]]
            if event["iterations"] not in {look.iterations for look in trial.looks}:
                figures = {key: event[key] for key in ("iterations", "loss", "score")}
                trial.looks.append(Look(trial.number, trial.parameters, **figures))
        elif "saved" in event:
            found[event["saved"]].checkpoint = event["checkpoint"]
        elif "ended" in event:
            found[event["ended"]].ended = True
    return found
