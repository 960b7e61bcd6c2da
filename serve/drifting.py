"""How a replica counts for drift: beside the recorder, on its thread, at most so many rows each second."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from taxiway.drift.counts import Counted, Counts, of_profile, of_rows
from taxiway.drift.settings import UsualDrift
from taxiway.profile import Profile
from taxiway.rollout.tally import Stream, added
from taxiway.signature import Columns, row_count, take

_log = logging.getLogger(__name__)


@dataclass
class _Counting:
    """One version of a variant. `parts` wait to be counted, side by side: that is cheaper than each for itself."""

    reference: Profile
    counts: Counts
    rows_per_s: int
    usual: UsualDrift | None = None
    numbers: Mapping[str, float] = field(default_factory=dict)
    parts: list[tuple[Columns, Columns]] = field(default_factory=list)
    waiting: int = 0
    failed: bool = False


class DriftCounter:
    """Counts live rows into the bins of each version's reference profile. `follow` is called by any thread, the
    rest by the recorder's."""

    def __init__(self) -> None:
        self._counting: dict[Stream, _Counting] = {}
        self._random = np.random.default_rng()

    def follow(self, stream: Stream, reference: Profile, rows_per_s: int, usual: UsualDrift | None = None) -> None:
        """From now on its rows are counted; the version before it is forgotten with its next successor."""
        known = self._counting
        if stream in known:
            return
        older = [it for it in known if (it.endpoint, it.variant) == (stream.endpoint, stream.variant)][:-1]
        kept = {it: counting for it, counting in known.items() if it not in older}
        self._counting = kept | {stream: _Counting(reference, of_profile(reference), rows_per_s, usual)}

    def add(self, stream: Stream, inputs: Columns, outputs: Columns) -> None:
        """Answered rows; of those that are more than `rows_per_s` since the last `counted`, some by chance."""
        counting = self._counting.get(stream)
        if counting is None or counting.failed:
            return
        rows, room = row_count(outputs), counting.rows_per_s - counting.waiting
        if rows > room:
            chosen = self._random.choice(rows, room, replace=False)
            inputs, outputs = take(inputs, chosen), take(outputs, chosen)
        if min(rows, room) > 0:
            counting.parts.append((inputs, outputs))
            counting.waiting += min(rows, room)

    def counted(self) -> dict[Stream, Counted]:
        """All since the start, by stream; called each second."""
        known = dict(self._counting)
        for stream, counting in known.items():
            if counting.parts:
                self._count(stream, counting)
        return {stream: Counted(it.counts, it.numbers, it.usual) for stream, it in known.items()}

    def _count(self, stream: Stream, counting: _Counting) -> None:
        parts, counting.parts, counting.waiting = counting.parts, [], 0
        try:
            inputs, outputs = (_joined([part[side] for part in parts]) for side in (0, 1))
            counting.numbers = added(counting.numbers, of_rows(counting.reference, inputs, outputs))
        except Exception as error:  # noqa: BLE001 - reports and the prediction log go on without it
            # The next rows would fail like these, each second.
            counting.failed = True
            _log.warning("the drift of %s is not counted any more: %s", stream, error)


def _joined(parts: list[Columns]) -> Columns:
    """The columns of all parts, which came of one model, one below the other."""
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
