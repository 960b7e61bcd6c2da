"""The autoscaling policy as it decides over time: the function that Serve's controller runs, and Serve's delays."""

from dataclasses import dataclass

from taxiway.autoscaling import EndpointLoad, Memory, Observed, ReplicaLoad, Target, replicas_wanted
from taxiway.planning.settings import PolicyPlan

_ELAPSED_S = 1e-6
"""As Serve: a delay is over although the difference of two floats is a bit less."""


@dataclass(frozen=True)
class Waiting:
    """More (1) or fewer (-1) replicas have been wanted since."""

    direction: int = 0
    since: float = 0.0


def delayed(wanted: int, decided: int, waiting: Waiting, now: float, policy: PolicyPlan) -> tuple[int, Waiting]:
    """What Serve decides when its policy wants so many (`_apply_delay_logic` of Ray 2.60): a test compares both."""
    direction = (wanted > decided) - (wanted < decided)
    if direction == 0:
        return decided, Waiting()
    since = waiting.since if waiting.direction == direction else now
    delay_s = policy.upscale_delay_s if direction > 0 else policy.downscale_delay_s
    if now - since + _ELAPSED_S < delay_s:
        return decided, Waiting(direction, since)
    return (wanted if direction > 0 or decided == 1 else max(wanted, 1)), Waiting()


class Scaler:
    """Asks the policy, and remembers what was decided."""

    def __init__(self, policy: PolicyPlan, replicas: int) -> None:
        self.decided = replicas
        self._policy = policy
        self._target = Target(
            policy.target_ongoing_requests, policy.target_p99_ms, policy.min_replicas, policy.max_replicas
        )
        self._memory = Memory()
        self._waiting = Waiting()

    def decide(self, running: int, ongoing: float, requests_per_s: float, p99_ms: float, now: float) -> int:
        """How many there are to be.

        Args:
            running: replicas that answer; they share the load evenly.
            ongoing: of all of them together, as `requests_per_s`.
        """
        loads: tuple[ReplicaLoad, ...] = ()
        if running:
            endpoint = EndpointLoad(requests_per_s / running, p99_ms)
            loads = (ReplicaLoad(ongoing / running, {"planned": endpoint}, running),)
        observed = Observed(running, self.decided, loads)
        wanted, self._memory = replicas_wanted(observed, self._target, self._memory, now)
        self.decided, self._waiting = delayed(wanted, self.decided, self._waiting, now, self._policy)
        return self.decided
