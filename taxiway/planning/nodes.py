"""Nodes of one kind and the replicas on them."""

from collections import deque

from taxiway.planning.settings import NodePlan


class Pool:
    """Replicas fill one node after the other; nodes start when none has room, and go when they are not needed."""

    def __init__(self, node: NodePlan, replica_start_s: float, replicas: int = 0) -> None:
        self._node = node
        self._replica_start_s = replica_start_s
        self.ready = replicas
        self.nodes = -(-replicas // node.replicas)
        self._starting: deque[tuple[float, int]] = deque()
        self._pending = 0
        self._booted_at = 0.0
        self._spare: tuple[float, int] | None = None

    @property
    def replicas(self) -> int:
        """Those that answer and those that start."""
        return self.ready + self._pending

    def settle(self, replicas: int, now: float) -> None:
        """Moves on to `now`: what has started is ready, missing replicas start, surplus ones and idle nodes go."""
        while self._starting and self._starting[0][0] <= now:
            count = self._starting.popleft()[1]
            self._pending -= count
            self.ready += count
        if replicas > self.replicas:
            self._start(replicas - self.replicas, now)
        elif replicas < self.replicas:
            self._stop(self.replicas - replicas)
        self._give_back(now)

    def lose_node(self, which: float) -> int:
        """The replicas that were ready on the node that is taken away.

        Args:
            which: from 0 (the first, which is full) to 1: chance decides.
        """
        before = min(int(which * self.nodes), self.nodes - 1) * self._node.replicas
        lost = min(max(self.ready - before, 0), self._node.replicas)
        on_it = min(max(self.replicas - before, 0), self._node.replicas)
        self.ready -= lost
        self._stop_starting(on_it - lost)
        self.nodes -= 1
        return lost

    def _start(self, count: int, now: float) -> None:
        room = max(self.nodes * self._node.replicas - self.replicas, 0)
        if here := min(count, room):
            self._begin(max(now, self._booted_at) + self._replica_start_s, here)
        if rest := count - here:
            self.nodes += -(-rest // self._node.replicas)
            self._booted_at = now + self._node.start_s
            self._begin(self._booted_at + self._replica_start_s, rest)

    def _begin(self, ready_at: float, count: int) -> None:
        self._starting.append((ready_at, count))
        self._pending += count

    def _stop(self, count: int) -> None:
        """Those first that do not answer yet."""
        self.ready -= count - self._stop_starting(count)

    def _stop_starting(self, count: int) -> int:
        stopped = 0
        while self._starting and stopped < count:
            ready_at, starting = self._starting.pop()
            some = min(starting, count - stopped)
            stopped += some
            if starting > some:
                self._starting.append((ready_at, starting - some))
        self._pending -= stopped
        return stopped

    def _give_back(self, now: float) -> None:
        needed = -(-self.replicas // self._node.replicas)
        if needed >= self.nodes:
            self._spare = None
            return
        since, most = self._spare or (now, 0)
        self._spare = (since, max(most, needed))
        if now - since >= self._node.idle_s:
            self.nodes = max(most, needed)
            self._spare = None
