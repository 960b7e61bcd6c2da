"""How many replicas a load needs: the autoscaling policy, as a function of what was observed.

Serve's controller runs it (serve/autoscaling.py), and the planner simulates it (`taxiway plan`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

WINDOW_S = 10.0
"""What a latency is about: the requests of the last seconds."""
REPORT_EVERY_S = 2.0

_FULL = 0.8
"""A lower count must leave this much room, or it is not taken."""
_EXPLORED = 1.25
"""How much more than it is known to hold a replica may get when others stop."""
_AT_MOST = 2.0
"""A latency over its target says that there are too few replicas, not how many: at most twice as many follow."""
_ENOUGH_REQUESTS = 20
"""Of fewer requests the p99 is one request's luck."""
_SETTLED_S = WINDOW_S + 2 * REPORT_EVERY_S
"""Until then latencies are, in part, those of another number of replicas."""


@dataclass(frozen=True)
class EndpointLoad:
    """What one replica answered on one endpoint within the window."""

    requests_per_s: float
    p99_ms: float


@dataclass(frozen=True)
class ReplicaLoad:
    """What one replica has reported: `ongoing` is a mean over the window.

    Args:
        replicas: that reported the same; in a simulation they are many, and alike.
    """

    ongoing: float
    endpoints: Mapping[str, EndpointLoad]
    replicas: int = 1

    @property
    def requests_per_s(self) -> float:
        return sum(endpoint.requests_per_s for endpoint in self.endpoints.values())


@dataclass(frozen=True)
class Observed:
    """A deployment at one moment.

    Args:
        running: replicas that run.
        decided: replicas that there should be by the last decision.
        loads: of the running replicas that have reported lately.
        ongoing_in_serve: requests that Serve itself sees, those that wait at handles included.
    """

    running: int
    decided: int
    loads: tuple[ReplicaLoad, ...]
    ongoing_in_serve: float = 0.0

    @property
    def ongoing(self) -> float:
        return max(sum(load.ongoing * load.replicas for load in self.loads), self.ongoing_in_serve)

    @property
    def requests_per_s(self) -> float:
        return sum(load.requests_per_s * load.replicas for load in self.loads)

    @property
    def reported(self) -> int:
        """Replicas that have reported lately."""
        return sum(load.replicas for load in self.loads)


@dataclass(frozen=True)
class Target:
    """What replicas are to hold, and the bounds of their number."""

    ongoing: float
    p99_ms: float | None
    minimum: int
    maximum: int


@dataclass(frozen=True)
class Memory:
    """What the policy knows from before.

    Args:
        running: replicas that ran, since `running_since`.
        decided: as in `Observed`; None before the first look.
        highest: the most that was wanted since less is wanted than there is.
        held_per_s: the most requests of one replica at which there were enough replicas.
        too_much_per_s: requests of one replica at which more were needed.
    """

    running: int = 0
    running_since: float = 0.0
    decided: int | None = None
    highest: int = 0
    held_per_s: float = 0.0
    too_much_per_s: float = math.inf


def replicas_wanted(observed: Observed, target: Target, memory: Memory, now: float) -> tuple[int, Memory]:
    """The replicas that this moment asks for, before any delay."""
    memory = _noted(observed, memory, now)
    if observed.running == 0:
        return _bounded(observed.decided, target), memory
    need = _need(observed, target, memory, now)
    if need <= observed.running:
        memory = _held(memory, observed.requests_per_s / observed.running)
    wanted = _wanted(need, observed)
    if wanted < observed.decided:
        # When the delay is over, what was wanted at the quietest moment of it would be too few.
        wanted = max(wanted, memory.highest)
        return _bounded(wanted, target), replace(memory, highest=wanted)
    return _bounded(wanted, target), replace(memory, highest=0)


def _need(observed: Observed, target: Target, memory: Memory, now: float) -> float:
    """The load, in replicas that it would fill."""
    needs = [observed.ongoing / target.ongoing]
    if target.p99_ms is not None:
        settled = now - memory.running_since >= _SETTLED_S
        needs.append(_for_latency(observed, target.p99_ms) if settled else min(observed.decided, observed.ongoing))
    # What is known of one replica keeps those that there are; it calls for no more.
    needs.append(min(observed.decided, _for_rate(observed.requests_per_s, memory)))
    return max(needs)


def _wanted(need: float, observed: Observed) -> int:
    current = observed.decided
    up, down = _ceil(need), _ceil(need / _FULL)
    wanted = up if up > current else min(down, current)
    # Replicas that have just started, or hang, say nothing; what they have to do can't be given to fewer.
    return wanted if observed.reported >= observed.running else max(wanted, current)


def _for_latency(observed: Observed, target_p99_ms: float) -> float:
    """Replicas needed so that the worst endpoint holds its target, were latency proportional to load."""
    if not observed.loads or observed.ongoing == 0:
        return 0.0
    names = {name for load in observed.loads for name in load.endpoints}
    worst = max((_p99_ms(observed, name) for name in names), default=0.0) / target_p99_ms
    # Connections stay where they are for a while: a replica that has nothing to do yet does not share the load.
    total = sum(load.ongoing * load.replicas for load in observed.loads)
    squares = sum(load.ongoing**2 * load.replicas for load in observed.loads)
    sharing = total**2 / squares if squares else 1.0
    needed = sharing * min(worst, _AT_MOST)
    if worst > 1:
        needed = max(needed, observed.decided)
    # With one ongoing request for each replica, one more replica answers nobody sooner.
    return min(needed, observed.ongoing)


def _for_rate(requests_per_s: float, memory: Memory) -> float:
    """Replicas that are known to hold this rate, or nearly: waiting explodes near what a replica can do, and neither
    ongoing requests nor latencies tell from afar.
    """
    known = requests_per_s / memory.too_much_per_s
    if memory.held_per_s == 0:
        return known
    return max(known, requests_per_s / (memory.held_per_s * _EXPLORED) * _FULL)


def _p99_ms(observed: Observed, name: str) -> float:
    """Of an endpoint on all replicas: their p99, weighted by requests."""
    loads = [(load.endpoints[name], load.replicas) for load in observed.loads if name in load.endpoints]
    requests_per_s = sum(load.requests_per_s * replicas for load, replicas in loads)
    if requests_per_s * WINDOW_S < _ENOUGH_REQUESTS:
        return 0.0
    return sum(load.p99_ms * load.requests_per_s * replicas for load, replicas in loads) / requests_per_s


def _noted(observed: Observed, memory: Memory, now: float) -> Memory:
    if observed.running != memory.running:
        memory = replace(memory, running=observed.running, running_since=now)
    if observed.decided == memory.decided:
        return memory
    # Replicas that answer nothing yet, or hang, say nothing of what one can do.
    if memory.decided and observed.decided > memory.decided and observed.requests_per_s > 0:
        memory = _too_much(memory, observed.requests_per_s / observed.reported)
    return replace(memory, decided=observed.decided, highest=0)


def _held(memory: Memory, per_s: float) -> Memory:
    held = max(memory.held_per_s, per_s)
    known = memory.too_much_per_s if held <= memory.too_much_per_s else math.inf
    return replace(memory, held_per_s=held, too_much_per_s=known)


def _too_much(memory: Memory, per_s: float) -> Memory:
    """What a replica has held before is too much for another reason; when it is too much again, for this one."""
    known = per_s if per_s >= memory.held_per_s else memory.too_much_per_s
    return replace(memory, held_per_s=min(memory.held_per_s, _FULL * per_s), too_much_per_s=known)


def _ceil(need: float) -> int:
    """Sums of floats are a bit more than they should be."""
    return math.ceil(round(need, 9))


def _bounded(wanted: int, target: Target) -> int:
    return max(target.minimum, min(wanted, target.maximum))
