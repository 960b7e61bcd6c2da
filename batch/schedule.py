"""Which piece an idle actor does next, and what is left to do when one has died."""

from collections import deque
from collections.abc import Iterable, Sequence

from batch.pieces import Piece


class Schedule:
    """Pieces in their order; an actor goes on in the row group that it has open (a chain of pieces) while it can.

    When only chains are left that somebody works on, an idle actor takes the second half of the longest.
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self._waiting: deque[deque[Piece]] = deque()
        chain: int | None = None
        for piece in pieces:
            if piece.chain != chain:
                self._waiting.append(deque())
                chain = piece.chain
            self._waiting[-1].append(piece)
        self._mine: dict[int, deque[Piece]] = {}

    def next_of(self, actor: int) -> Piece | None:
        """None when there is nothing to do for this actor now."""
        mine = self._mine.get(actor)
        if not mine:
            mine = self._mine[actor] = self._waiting.popleft() if self._waiting else self._stolen()
        return mine.popleft() if mine else None

    def give_back(self, actor: int, pieces: Sequence[Piece]) -> None:
        """What a dead actor had, first of all: other actors have memory to spare now, and resuming stays cheap."""
        rest = self._mine.pop(actor, deque())
        rest.extendleft(reversed(pieces))
        if rest:
            self._waiting.appendleft(rest)

    def _stolen(self) -> deque[Piece]:
        longest = max(self._mine.values(), key=len, default=deque())
        count = (len(longest) + 1) // 2 if longest else 0
        taken = [longest.pop() for _ in range(count)]
        return deque(reversed(taken))
