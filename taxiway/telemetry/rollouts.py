"""What the controller of rollouts exports, declared once; Ray's agent exposes it with the prefix `ray_`."""

from collections.abc import Mapping

from ray.util.metrics import Counter, Gauge

from taxiway.rollout.state import RolloutState
from taxiway.rollout.verdict import Verdict

PHASES: Mapping[str, int] = {"running": 1, "holding": 2, "paused": 3, "promoting": 4, "rolling_back": 5, "ended": 0}
VERDICTS: Mapping[str, int] = {"inconclusive": 0, "successful": 1, "failed": 2, "error": 3}


class RolloutMetrics:
    """Labels: endpoint, and outcome (a closed list)."""

    def __init__(self) -> None:
        endpoint = ("endpoint",)
        self._phase = Gauge(
            "taxiway_rollout_phase",
            "0 none, 1 running, 2 holding for a person, 3 paused, 4 promoting, 5 rolling back.",
            endpoint,
        )
        self._step = Gauge("taxiway_rollout_step", "The step of the rollout, from 1; 0 without one.", endpoint)
        self._weight = Gauge("taxiway_rollout_weight_ratio", "Share of live requests for the challenger.", endpoint)
        self._verdict = Gauge(
            "taxiway_rollout_verdict", "Of the step: 0 inconclusive, 1 successful, 2 failed, 3 error.", endpoint
        )
        self._ended = Counter("taxiway_rollouts_total", "Rollouts that have ended.", ("endpoint", "outcome"))
        self._known: dict[str, str] = {}

    def seen(self, state: RolloutState, verdict: Verdict | None) -> None:
        """A rollout as it is after a look."""
        tags = {"endpoint": state.endpoint}
        self._phase.set(PHASES[state.phase], tags)
        self._step.set(0 if state.is_over else state.step + 1, tags)
        self._weight.set(state.traffic.weights.get(state.plan.challenger, 0.0) / 100.0, tags)
        if verdict is not None:
            self._verdict.set(VERDICTS[verdict.state], tags)
        if state.is_over and self._known.get(state.endpoint) == state.id:
            self._ended.inc(1, tags | {"outcome": str(state.outcome)})
        self._known[state.endpoint] = "" if state.is_over else state.id
