"""Which variant gets a request, and which get a copy: positions on a circle, without a clock or a random source."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from itertools import pairwise

_UNITS = 1 << 53  # the circle in whole numbers, each of them exactly a float: no sliver is lost or shared


@dataclass(frozen=True)
class Shadow:
    """A variant that receives a copy of `share` percent of the requests."""

    variant: str
    share: float


def point(key: bytes, salt: bytes) -> float:
    """Where a key lies on the circle [0, 1): the same everywhere and for ever, and independent under another salt."""
    digest = blake2b(len(salt).to_bytes(4) + salt + key, digest_size=8).digest()
    return (int.from_bytes(digest) >> 11) / _UNITS


class RouteTable:
    """A split of the circle over the variants of an endpoint.

    Every variant but the first, the baseline, is a canary: it has an anchor and the arc up to the next anchor, and
    grows from there, so a key that it has stays as it grows. A canary too large for its arc takes the rest from the
    far ends of the others' arcs, first where their owners have most room. The baseline has what nobody took.

    A change between one canary and the baseline moves no other key, as long as no canary reaches what another took
    from its arc: never with two canaries, nor while all fit into their arcs. (With three or more, no table that
    depends on the weights alone can promise it always: at 50 % each canary would need the complement of every
    other.) Anchors follow the order of `weights`; a canary appended with weight 0 moves nothing that fits the arcs.

    Args:
        weights: all variants as they are declared, those of weight 0 too -> percent; the first is the baseline.
    """

    def __init__(self, weights: Mapping[str, float], shadows: Sequence[Shadow] = ()) -> None:
        segments = list(_segments(weights))
        self._starts = [start / _UNITS for start, _ in segments]
        self._names = [name for _, name in segments]
        shares = sorted({shadow.share / 100 for shadow in shadows})
        self._shares = shares
        self._copies = [
            *(tuple(shadow.variant for shadow in shadows if shadow.share / 100 >= share) for share in shares),
            (),
        ]

    @property
    def segments(self) -> tuple[tuple[float, str], ...]:
        """Where each stretch of the circle begins, and whose it is."""
        return tuple(zip(self._starts, self._names, strict=True))

    def choose(self, point: float) -> str:
        """The variant that answers a request at `point` in [0, 1)."""
        return self._names[bisect_right(self._starts, point) - 1]

    def shadows_of(self, point: float, answered_by: str | None = None) -> tuple[str, ...]:
        """The variants that get a copy of a request.

        Args:
            point: in [0, 1), with another salt than the one that chose.
            answered_by: needs no copy of its own request.
        """
        copies = self._copies[bisect_right(self._shares, point)]
        if answered_by in copies:
            return tuple(name for name in copies if name != answered_by)
        return copies


@dataclass
class _Arc:
    """A canary's stretch: `[start, start + own)` is its own, `[end, …)` is already another's."""

    start: int
    end: int
    own: int = field(default=0)

    def beyond(self, cap: int) -> int:
        """What another may take when the owner keeps room for `cap`."""
        return max(0, self.end - self.start - max(self.own, cap))


def _segments(weights: Mapping[str, float]) -> Iterator[tuple[int, str]]:
    baseline, *canaries = weights
    sizes = _sizes(baseline, weights)
    arcs = _arcs(canaries)
    for name, arc in arcs.items():
        arc.own = min(sizes[name], arc.end - arc.start)
    pieces = {arc.start: name for name, arc in arcs.items() if arc.own}
    for name in canaries:
        for arc, taken in _lend(sizes[name] - arcs[name].own, list(arcs.values())):
            arc.end -= taken
            pieces[arc.end] = name
    pieces |= {arc.start + arc.own: baseline for arc in arcs.values() if arc.start + arc.own < arc.end}
    previous = None
    for start, name in sorted(pieces.items()) or [(0, baseline)]:
        if name != previous:
            yield start, name
        previous = name


def _sizes(baseline: str, weights: Mapping[str, float]) -> dict[str, int]:
    """Canaries in units; what rounding leaves goes to the largest when the baseline has no weight."""
    sizes = {name: round(weight / 100 * _UNITS) for name, weight in weights.items() if name != baseline}
    rest = _UNITS - sum(sizes.values())
    if sizes and (rest < 0 or not weights[baseline]):
        sizes[max(sizes, key=sizes.__getitem__)] += rest
    return sizes


def _arcs(canaries: Sequence[str]) -> dict[str, _Arc]:
    """Anchors 0, 1/2, 1/4, 3/4, 1/8, …: spread, and independent of how many follow (van der Corput)."""
    anchors = {name: _reversed_bits(index) for index, name in enumerate(canaries)}
    ends = dict(pairwise([*sorted(anchors.values()), _UNITS]))
    return {name: _Arc(start, ends[start]) for name, start in anchors.items()}


def _reversed_bits(index: int) -> int:
    return int(f"{index:053b}"[::-1], 2)


def _lend(excess: int, arcs: Sequence[_Arc]) -> Iterator[tuple[_Arc, int]]:
    """What each arc gives, so that the room left to their owners is as even as can be."""
    if not excess:
        return
    cap = bisect_left(range(_UNITS), True, key=lambda cap: sum(arc.beyond(cap) for arc in arcs) <= excess)
    left = excess - sum(arc.beyond(cap) for arc in arcs)
    for arc in arcs:
        taken = arc.beyond(cap)
        if left and cap and arc.beyond(cap - 1) > taken:
            taken, left = taken + 1, left - 1
        if taken:
            yield arc, taken
