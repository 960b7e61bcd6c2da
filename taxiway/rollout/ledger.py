"""What each process of the replicas has told last: repeated, lost and late messages count once."""

import json
from collections.abc import Container, Mapping
from dataclasses import dataclass, field

from taxiway.rollout.tally import Numbers, Stream, Tally


@dataclass
class Ledger:
    """The tallies of all processes, and what they were when the present step began.

    Processes tell all that they have counted since their start: a message that is lost or comes twice changes
    nothing, and neither does a controller that starts again with the ledger that was saved.

    Attributes:
        told: process -> number of its last message and its streams.
        before: the same numbers at the beginning of the step.
        began_s: when that was, since 1970.
    """

    told: dict[str, tuple[int, dict[Stream, Numbers]]] = field(default_factory=dict)
    before: dict[str, dict[Stream, Numbers]] = field(default_factory=dict)
    began_s: float = 0.0

    def take(self, process: str, started_s: float, message: int, streams: Mapping[Stream, Numbers]) -> None:
        """A message of a process. One that was there before the step, but is unknown here, begins with this message.

        Args:
            started_s: when the process started to count, since 1970.
            message: grows with each message of a process.
        """
        last, known = self.told.get(process, (-1, {}))
        if message <= last:
            return
        if last < 0 and started_s < self.began_s:
            self.before[process] = dict(streams)
        self.told[process] = message, known | dict(streams)

    def forget_others(self, processes: Container[str]) -> None:
        """Keeps what these processes have told."""
        self.told = {name: told for name, told in self.told.items() if name in processes}

    def begin(self, now_s: float) -> None:
        """From here on only what comes counts."""
        self.before = {process: dict(streams) for process, (_, streams) in self.told.items()}
        self.began_s = now_s

    def observed(self, stream: Stream) -> Tally:
        """Since the step began, all processes together."""
        total = Tally()
        for process, (_, streams) in self.told.items():
            if stream in streams:
                total += Tally(streams[stream]) - Tally(self.before.get(process, {}).get(stream, {}))
        return total

    def dump(self) -> str:
        """As JSON."""
        told = {name: [message, _named(streams)] for name, (message, streams) in self.told.items()}
        before = {name: _named(streams) for name, streams in self.before.items()}
        return json.dumps({"told": told, "before": before, "began_s": self.began_s})

    @classmethod
    def parse(cls, text: str) -> "Ledger":
        """Raises ValueError for what `dump` has not written."""
        try:
            data = json.loads(text)
            told = {name: (int(message), _streams(streams)) for name, (message, streams) in data["told"].items()}
            before = {name: _streams(streams) for name, streams in data["before"].items()}
            return cls(told, before, float(data["began_s"]))
        except (KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"this is no ledger of observations: {error!r}") from error


def _named(streams: Mapping[Stream, Numbers]) -> dict[str, Numbers]:
    return {str(stream): numbers for stream, numbers in streams.items()}


def _streams(named: Mapping[str, Numbers]) -> dict[Stream, Numbers]:
    return {Stream.parse(name): numbers for name, numbers in named.items()}
