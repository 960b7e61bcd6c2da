"""A trace played against one policy, second by second."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from taxiway.autoscaling import REPORT_EVERY_S, WINDOW_S
from taxiway.planning.nodes import Pool
from taxiway.planning.policy import Scaler
from taxiway.planning.replica import Replica
from taxiway.planning.settings import NodePlan, PlanSettings, PolicyPlan
from taxiway.planning.trace import Values

_FULL = 0.7
"""How full the replicas are with which the first second begins."""


@dataclass(frozen=True)
class Run:
    """What happened, one value a second; requests are counted, not rated.

    Args:
        ongoing: requests on their way at the end of the second.
        lost: requests on nodes that went without notice.
        places: of the load, in the tables of `Replica`.
        preempted: spot nodes that were taken away.
    """

    policy: PolicyPlan
    arrived: Values
    answered: Values
    refused: Values
    lost: Values
    ongoing: Values
    ready: Values
    decided: Values
    places: Values
    on_demand_nodes: Values
    spot_nodes: Values
    preempted: Values


def simulate(plan: PlanSettings, policy: PolicyPlan, arrived: Values, replica: Replica) -> Run:
    """Every request that arrived was answered, refused or lost, or is still on its way.

    Args:
        arrived: requests of each second, as `traffic` gives them.
    """
    fleet = _Fleet(plan, policy, float(arrived[0]), replica)
    rows = np.array([fleet.live(second, per_s) for second, per_s in enumerate(arrived.tolist())])
    return Run(policy, arrived, *rows.T)


class _Fleet:
    """Replicas, nodes, and requests on their way."""

    def __init__(self, plan: PlanSettings, policy: PolicyPlan, first_per_s: float, replica: Replica) -> None:
        needed = -(-first_per_s // (_FULL * replica.most_per_s))
        count = int(max(policy.min_replicas, min(needed, policy.max_replicas)))
        self._scaler = Scaler(policy, count)
        self._floor = policy.max_replicas if policy.on_demand_replicas is None else policy.on_demand_replicas
        self._on_demand = Pool(plan.node, plan.replica.start_s, min(count, self._floor))
        self._spot = Pool(plan.node, plan.replica.start_s, max(count - self._floor, 0))
        self._ends = _Preemptions(plan.node, plan.seed)
        self._notice = plan.node.notice_s > 0
        self._replica = replica
        self._p99_ms: list[float] = replica.p99_ms.tolist()
        self._ongoing = 0.0
        self._past: list[tuple[float, float, float]] = []

    @property
    def _ready(self) -> int:
        return self._on_demand.ready + self._spot.ready

    def live(self, second: int, arrived: float) -> tuple[float, ...]:
        """One second; the fields of `Run` after `arrived`."""
        lost, preempted = self._preempt()
        decided = self._scaler.decided
        self._on_demand.settle(min(decided, self._floor), second)
        self._spot.settle(max(decided - self._floor, 0), second)
        answered, refused, place = self._answer(arrived)
        self._past.append((self._ongoing, answered, answered * self._p99(place)))
        if (second + 1) % REPORT_EVERY_S == 0:
            self._decide(second + 1)
        nodes = self._on_demand.nodes, self._spot.nodes
        return (answered, refused, lost, self._ongoing, self._ready, decided, place, *nodes, preempted)

    def _answer(self, arrived: float) -> tuple[float, float, float]:
        ready, before = self._ready, self._ongoing
        if ready == 0:
            # Who was on a draining replica still gets the answer; nobody listens for those that come.
            self._ongoing = 0.0
            return before, arrived, 0.0
        after, answered, place = self._replica.second(before / ready, arrived / ready)
        self._ongoing = ready * after
        refused = before + arrived - ready * (after + answered)
        return ready * answered, max(refused, 0.0), place

    def _preempt(self) -> tuple[float, int]:
        """Requests lost and nodes taken away."""
        lost, nodes = 0.0, 0
        for which in self._ends.within(self._spot.nodes):
            ready = self._ready
            gone = self._spot.lose_node(which)
            nodes += 1
            if gone and not self._notice:
                lost += self._ongoing * gone / ready
                self._ongoing -= self._ongoing * gone / ready
        return lost, nodes

    def _p99(self, place: float) -> float:
        low = min(int(place), len(self._p99_ms) - 2)
        return self._p99_ms[low] + (place - low) * (self._p99_ms[low + 1] - self._p99_ms[low])

    def _decide(self, now: float) -> None:
        """With what replicas report of the last seconds."""
        self._past = self._past[-int(WINDOW_S) :]
        ongoing, answered, weighted_ms = (sum(values) for values in zip(*self._past, strict=True))
        seconds = len(self._past)
        p99_ms = weighted_ms / answered if answered else 0.0
        self._scaler.decide(self._ready, ongoing / seconds, answered / seconds, p99_ms, now)


class _Preemptions:
    """A Poisson process over node-seconds: the same luck for every policy, until it has used more of them."""

    def __init__(self, node: NodePlan, seed: int) -> None:
        self._per_s = node.preemptions_per_hour / 3_600
        self._random = np.random.default_rng([seed, 1])
        self._left = float(self._random.exponential())

    def within(self, nodes: int, seconds: float = 1.0) -> Iterator[float]:
        """For each node that is taken away, which one it is: from 0 to 1."""
        self._left -= nodes * self._per_s * seconds
        while self._left <= 0 and nodes > 0:
            yield float(self._random.random())
            nodes -= 1
            self._left += float(self._random.exponential())
