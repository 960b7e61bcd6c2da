"""What a replica remembers of its answers: a note on the event loop, counted and logged on a thread."""

import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TypeVar

import numpy as np

from serve.batching import Waiting
from serve.drifting import DriftCounter
from serve.growing import GrowingColumns
from taxiway.errors import TaxiwayError
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.rollout.tally import Numbers, Stream, grown, of_answers, of_differences, of_requests
from taxiway.scoring import Scored
from taxiway.signature import Array, Columns

_log = logging.getLogger(__name__)

T = TypeVar("T")
EVERY_S = 0.5
WAITING_BYTES = 256_000_000
"""Of the answers of one source that may wait to be counted; more are dropped, and the log says how many."""
STREAMS = 64
_COPIED_BYTES = 65_536
"""What is larger is kept as it came: copying it would hold up the event loop."""
_ROW_BYTES = 200
"""About what a row takes beside its columns."""

Log = Callable[[LoggedBatch], None]
Tell = Callable[[Mapping[Stream, Numbers]], None]


class _Seen:
    """What one source has answered since the last count: filled on the event loop, then the counting thread's alone.

    Attributes:
        ids: one for each request, and likewise `rows`, `arrived` and `ended` (of the monotonic clock), `trace_ids`.
        parts: inputs, outputs and, of a shadow, what was answered live to the same rows; one part where all batches
            have the same layout.
    """

    __slots__ = ("_open", "arrived", "ended", "ids", "parts", "rows", "size_bytes", "source", "trace_ids")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.ids: list[str] = []
        self.rows: list[int] = []
        self.arrived: list[float] = []
        self.ended: list[float] = []
        self.trace_ids: list[str | None] = []
        self.parts: list[Sequence[Columns]] = []
        self.size_bytes = 0
        self._open: GrowingColumns | None = None

    def add(self, answered: Sequence[Waiting], inputs: Columns, outputs: Columns, now: float) -> None:
        rows = [waiting.rows for waiting in answered]
        self._keep((inputs, outputs, _live(answered)), sum(rows))
        self.rows += rows
        self.ids += [str(waiting.prediction_id) for waiting in answered]
        self.arrived += [waiting.since for waiting in answered]
        self.ended += [now] * len(rows)
        self.trace_ids += [waiting.trace_id for waiting in answered]

    def _keep(self, tables: Sequence[Columns], rows: int) -> None:
        size_bytes = sum(values.nbytes for columns in tables for values in columns.values())
        self.size_bytes += size_bytes + _ROW_BYTES * rows
        if size_bytes > _COPIED_BYTES:
            self.close()
            self.parts.append(tables)
        elif self._open is None or not self._open.append(tables, rows):
            self.close()
            self._open = GrowingColumns(tables)
            self._open.append(tables, rows)

    def close(self) -> None:
        if self._open is not None and self._open.rows:
            self.parts.append(self._open.tables())
        self._open = None

    def logged(self) -> LoggedBatch:
        """All of it, side by side."""
        inputs, outputs = (_joined([part[side] for part in self.parts]) for side in (0, 1))
        arrived, ended = np.array(self.arrived), np.array(self.ended)
        since_1970 = arrived + (time.time() - time.monotonic())
        batch = LoggedBatch(self.source, inputs, outputs, self.ids, self.rows, since_1970, 1_000 * (ended - arrived))
        if any(self.trace_ids):
            batch.trace_ids = self.trace_ids
        return batch


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
        self._seen: dict[int, _Seen] = {}
        self._noting = threading.Lock()
        # Filled on the event loop while a thread empties it: both ends of a deque are safe.
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
        now = time.monotonic()
        if len(scored) == len(batch):
            pairs = [([waiting], one) for waiting, one in zip(batch, scored, strict=True)]
        else:
            pairs = [(list(batch), scored[0])]
        with self._noting:
            for members, one in pairs:
                if isinstance(one, Scored):
                    self._note(source, members, one, now)

    def _note(self, source: Source, batch: Sequence[Waiting], scored: Scored, now: float) -> None:
        answered = [waiting for waiting in batch if waiting.prediction_id is not None]
        if not answered:
            return
        seen = self._seen.get(id(source))
        if seen is None:
            seen = self._seen[id(source)] = _Seen(source)
        if seen.size_bytes > WAITING_BYTES:
            self._dropped += 1
            return
        whole = len(answered) == len(batch)
        inputs, outputs = (scored.inputs, scored.outputs) if whole else _of_answered(batch, scored)
        seen.add(answered, inputs, outputs, now)

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
            for stream, ended in requests.items():
                codes, durations = zip(*ended, strict=True)
                self._add(stream, of_requests(codes, np.array(durations)))
            with self._noting:
                taken, self._seen = self._seen, {}
            for seen in taken.values():
                seen.close()
                self._count(seen)
            self._say_what_was_dropped()

    def _say_what_was_dropped(self) -> None:
        if self._dropped > self._dropped_told:
            _log.warning("%d batches were not counted: too many wait already", self._dropped - self._dropped_told)
            self._dropped_told = self._dropped

    def _count(self, seen: _Seen) -> None:
        source, stream, batch = seen.source, stream_of(seen.source), seen.logged()
        self._add(stream, of_answers(batch.inputs, batch.outputs))
        for _, outputs, live in seen.parts:
            if live:
                self._add(stream, of_differences(live, outputs))
        if self._drift is not None and source.kind == "live":
            self._drift.add(stream, batch.inputs, batch.outputs)
        if self._log_batch is not None:
            self._log_batch(batch)

    def _add(self, stream: Stream, numbers: Numbers) -> None:
        if stream not in self._counted and len(self._counted) >= STREAMS:
            # A replica that has seen so many versions forgets the first one: the controller keeps what it was told.
            self._counted = dict(list(self._counted.items())[1:])
        self._counted = self._counted | {stream: grown(self._counted.get(stream, {}), numbers)}


def _taken(waiting: deque[T]) -> Iterator[T]:
    """What was there at the beginning; what comes meanwhile is for the next time."""
    for _ in range(len(waiting)):
        yield waiting.popleft()


def stream_of(source: Source) -> Stream:
    return Stream(source.endpoint, source.variant, source.version, source.kind)


def _of_answered(batch: Sequence[Waiting], scored: Scored) -> tuple[Columns, Columns]:
    """Inputs and outputs of the requests that were answered: all their rows are among those that were scored."""
    told = [waiting.prediction_id is not None for waiting in batch]
    keep = np.repeat(told, [waiting.rows for waiting in batch])[scored.rows]
    inputs = {name: values[keep] for name, values in scored.inputs.items()}
    return inputs, {name: values[keep] for name, values in scored.outputs.items()}


def _live(answered: Sequence[Waiting]) -> dict[str, Array]:
    """What was answered live to the same rows; nothing where a request has no live answer."""
    found = [waiting.live for waiting in answered if waiting.live is not None]
    return _joined(found) if len(found) == len(answered) else {}


def _joined(parts: Sequence[Columns]) -> dict[str, Array]:
    """The columns that all of them have, one below the other."""
    if not parts:
        return {}
    if len(parts) == 1:
        return dict(parts[0])
    common = set(parts[0]).intersection(*parts[1:])
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0] if name in common}
