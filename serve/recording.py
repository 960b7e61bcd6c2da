"""What a replica remembers of its answers: a note on the event loop, counted and logged on a thread."""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from serve.batching import Waiting
from serve.drifting import DriftCounter
from taxiway.errors import TaxiwayError
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.rollout.tally import Numbers, Stream, grown, of_answers, of_differences, of_requests
from taxiway.scoring import Scored
from taxiway.signature import Array, Columns

_log = logging.getLogger(__name__)

T = TypeVar("T")
EVERY_S = 0.2
NOTES = 20_000
"""Batches that may wait to be counted; more are dropped, and the log says how many."""
STREAMS = 64

Log = Callable[[LoggedBatch], None]
Tell = Callable[[Mapping[Stream, Numbers]], None]


@dataclass(frozen=True, slots=True)
class _Note:
    """A batch that was answered. `now` and the requests' `since` are of the monotonic clock."""

    source: Source
    batch: Sequence[Waiting]
    scored: "Sequence[Scored | TaxiwayError]"
    now: float


class Recorder:
    """Notes answers on the event loop; every `EVERY_S` a thread counts them and hands them to the prediction log.

    Args:
        log: takes batches; None without a prediction log.
        tell: told every second of all that was counted since the start; may be set until `start`.
        drift: gets the rows of live answers; None where no endpoint watches its drift.
    """

    def __init__(
        self,
        log: Log | None = None,
        tell: Tell | None = None,
        tell_every_s: float = 1.0,
        drift: DriftCounter | None = None,
    ) -> None:
        self._log_batch, self.tell, self._tell_every_s, self._drift = log, tell, tell_every_s, drift
        # Filled on the event loop while a thread empties them: both ends of a deque are safe.
        self._notes: deque[_Note] = deque()
        self._requests: deque[tuple[Stream, str, float]] = deque()
        self._dropped = self._dropped_told = 0
        self._counted: dict[Stream, Numbers] = {}
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._draining = threading.Lock()

    def request(self, stream: Stream, code: str, seconds: float) -> None:
        """A request has had its answer or error. On the event loop."""
        self._requests.append((stream, code, seconds))

    def answers(self, source: Source, batch: Sequence[Waiting], scored: "Sequence[Scored | TaxiwayError]") -> None:
        """A batch has been handed out. On the event loop."""
        if len(self._notes) < NOTES:
            self._notes.append(_Note(source, batch, scored, time.monotonic()))
        else:
            self._dropped += 1

    def start(self) -> None:
        self._thread = threading.Thread(target=self._run, name="recording", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Counts and tells what is left."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(10.0)
        self.count()
        self._tell_all()

    def counted(self) -> dict[Stream, Numbers]:
        """All since the start; for one thread or after `stop`."""
        return dict(self._counted)

    def _run(self) -> None:
        told = time.monotonic()
        while not self._stop.wait(EVERY_S):
            try:
                self.count()
            except Exception:  # noqa: BLE001 - nothing here may end the replica or the counting
                _log.exception("answers could not be counted")
            if time.monotonic() - told >= self._tell_every_s:
                told = time.monotonic()
                self._tell_all()

    def _tell_all(self) -> None:
        if self.tell is not None:
            with suppress(Exception):  # the next message holds all of this one
                self.tell(self.counted())

    def count(self) -> None:
        """Counts what was noted until now."""
        with self._draining:
            requests: dict[Stream, list[tuple[str, float]]] = defaultdict(list)
            for stream, code, seconds in _taken(self._requests):
                requests[stream].append((code, seconds))
            for stream, seen in requests.items():
                codes, durations = zip(*seen, strict=True)
                self._add(stream, of_requests(codes, np.array(durations)))
            groups: dict[int, tuple[Source, list[_Answered]]] = {}
            for note in _taken(self._notes):
                groups.setdefault(id(note.source), (note.source, []))[1].extend(_answered(note))
            for source, parts in groups.values():
                if parts:
                    self._count(source, _together(parts))
            self._say_what_was_dropped()

    def _say_what_was_dropped(self) -> None:
        if self._dropped > self._dropped_told:
            _log.warning("%d batches were not counted, they came too fast", self._dropped - self._dropped_told)
            self._dropped_told = self._dropped

    def _count(self, source: Source, answered: "_Answered") -> None:
        stream = stream_of(source)
        self._add(stream, of_answers(answered.inputs, answered.outputs))
        if answered.live:
            self._add(stream, of_differences(answered.live, answered.outputs))
        if self._drift is not None and source.kind == "live":
            self._drift.add(stream, answered.inputs, answered.outputs)
        if self._log_batch is not None:
            self._log_batch(answered.logged(source))

    def _add(self, stream: Stream, numbers: Numbers) -> None:
        if stream not in self._counted and len(self._counted) >= STREAMS:
            # A replica that has seen so many versions forgets the first one: the controller keeps what it was told.
            self._counted = dict(list(self._counted.items())[1:])
        self._counted = self._counted | {stream: grown(self._counted.get(stream, {}), numbers)}


@dataclass(frozen=True, slots=True)
class _Answered:
    """The rows of some requests that were answered, side by side.

    Args:
        ids: one for each request, and likewise `rows`, `arrived_s` (since 1970) and `latency_ms`.
        live: for a shadow, what was answered to the same rows; empty where no row has both.
        trace_ids: of each request that leaves a trace, else None.
    """

    inputs: Columns
    outputs: Columns
    live: Columns
    ids: Sequence[str]
    rows: Sequence[int]
    arrived_s: Sequence[float]
    latency_ms: Sequence[float]
    trace_ids: Sequence[str | None]

    def logged(self, source: Source) -> LoggedBatch:
        batch = LoggedBatch(source, self.inputs, self.outputs, self.ids, self.rows, self.arrived_s, self.latency_ms)
        if any(self.trace_ids):
            batch.trace_ids = self.trace_ids
        return batch


def _taken(waiting: deque[T]) -> Iterator[T]:
    """What was there at the beginning; what comes meanwhile is for the next time."""
    for _ in range(len(waiting)):
        yield waiting.popleft()


def stream_of(source: Source) -> Stream:
    return Stream(source.endpoint, source.variant, source.version, source.kind)


def _answered(note: _Note) -> list[_Answered]:
    """The requests of a batch that were answered, together or each for itself."""
    scored, batch = note.scored, note.batch
    if len(scored) == len(batch):
        pairs = [([waiting], one) for waiting, one in zip(batch, scored, strict=True)]
    else:
        pairs = [(list(batch), scored[0])]
    parts = (_part(waiting, one, note.now) for waiting, one in pairs if isinstance(one, Scored))
    return [part for part in parts if part is not None]


def _part(batch: Sequence[Waiting], scored: Scored, now: float) -> _Answered | None:
    """What had no answer has no id; None where nothing had one."""
    answered = [waiting for waiting in batch if waiting.prediction_id is not None]
    if not answered:
        return None
    inputs, outputs = scored.inputs, scored.outputs
    if len(answered) < len(batch):
        # The rows of requests that were answered: all rows of such a request are among those that were scored.
        told = [waiting.prediction_id is not None for waiting in batch]
        keep = np.repeat(told, [waiting.rows for waiting in batch])[scored.rows]
        inputs = {name: values[keep] for name, values in inputs.items()}
        outputs = {name: values[keep] for name, values in outputs.items()}
    offset = time.time() - time.monotonic()
    return _Answered(
        inputs,
        outputs,
        _joined([waiting.live for waiting in answered if waiting.live is not None]),
        [str(waiting.prediction_id) for waiting in answered],
        [waiting.rows for waiting in answered],
        [waiting.since + offset for waiting in answered],
        [1_000 * (now - waiting.since) for waiting in answered],
        [waiting.trace_id for waiting in answered],
    )


def _together(parts: Sequence[_Answered]) -> _Answered:
    if len(parts) == 1:
        return parts[0]
    return _Answered(
        _joined([part.inputs for part in parts]),
        _joined([part.outputs for part in parts]),
        _joined([part.live for part in parts if part.live]),
        [it for part in parts for it in part.ids],
        [it for part in parts for it in part.rows],
        [it for part in parts for it in part.arrived_s],
        [it for part in parts for it in part.latency_ms],
        [it for part in parts for it in part.trace_ids],
    )


def _joined(parts: Sequence[Columns]) -> dict[str, Array]:
    """The columns that all of them have, one below the other."""
    if not parts:
        return {}
    if len(parts) == 1:
        return dict(parts[0])
    common = set(parts[0]).intersection(*parts[1:])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name in common}
