"""The autoscaling policy in Serve's hands.

Serve's controller runs it. Ray pickles it by value with all that it uses of this module and of the policy's: the
controller need not have our packages.
"""

from collections.abc import Mapping
from typing import Any

from ray import cloudpickle
from ray.serve.config import AutoscalingConfig, AutoscalingContext, AutoscalingPolicy

import taxiway.autoscaling
from serve.settings import AutoscalingSettings
from serve.workload import ONGOING, P99_MS, REQUESTS_PER_S
from taxiway.autoscaling import (
    REPORT_EVERY_S,
    WINDOW_S,
    EndpointLoad,
    Memory,
    Observed,
    ReplicaLoad,
    Target,
    replicas_wanted,
)

# Ray does the same for this module, but only while it pickles.
cloudpickle.register_pickle_by_value(taxiway.autoscaling)

REQUESTS_OF_INGRESS = 32.0
CALLS_OF_DEDICATED = 2.0
"""`target_ongoing_requests` where it is not set. The ingress asks a dedicated model once a batch."""

_STALE_S = 15.0
_MEMORY = "taxiway"


def autoscaling_config(settings: AutoscalingSettings, target_ongoing: float) -> AutoscalingConfig:
    """Ray Serve's `autoscaling_config`: Serve applies bounds and delays, the policy is ours.

    Args:
        target_ongoing: where the settings don't name one.
    """
    return AutoscalingConfig(
        min_replicas=settings.min_replicas,
        max_replicas=settings.max_replicas,
        initial_replicas=max(settings.min_replicas, 1),
        target_ongoing_requests=settings.target_ongoing_requests or target_ongoing,
        upscale_delay_s=settings.upscale_delay_s,
        downscale_delay_s=settings.downscale_delay_s,
        metrics_interval_s=REPORT_EVERY_S,
        look_back_period_s=WINDOW_S,
        policy=AutoscalingPolicy(
            policy_function=f"{__name__}:{ReplicasWanted.__name__}",
            policy_kwargs={"target_p99_ms": settings.target_p99_ms},
        ),
    )


class ReplicasWanted:
    """Serve's autoscaling policy: Serve calls it ten times a second, and applies the delays to what it says."""

    def __init__(self, target_p99_ms: float | None) -> None:
        self._target_p99_ms = target_p99_ms

    def __call__(self, context: AutoscalingContext) -> tuple[int, dict[str, Any]]:
        config, now = context.config, context.current_time
        target = Target(
            config.target_ongoing_requests,
            self._target_p99_ms,
            context.capacity_adjusted_min_replicas,
            context.capacity_adjusted_max_replicas,
        )
        observed = Observed(
            context.current_num_replicas,
            context.target_num_replicas,
            _reported(context.raw_metrics, now),
            context.total_num_requests,
        )
        wanted, memory = replicas_wanted(observed, target, context.policy_state.get(_MEMORY, Memory()), now)
        return wanted, {_MEMORY: memory}


def _reported(series: Mapping[str, Mapping[Any, Any]], now: float) -> tuple[ReplicaLoad, ...]:
    """From Serve's points of time and value, by name and replica. What is too old is as good as missing."""
    ongoing = {
        replica: points
        for replica, points in series.get(ONGOING, {}).items()
        if points and now - points[-1].timestamp <= _STALE_S
    }
    # A mean over the time that all of them speak of: load that has moved to a new replica must not count twice.
    begin = max((points[0].timestamp for points in ongoing.values()), default=now) - REPORT_EVERY_S
    loads = []
    for replica, points in ongoing.items():
        values = [point.value for point in points if point.timestamp > begin] or [points[-1].value]
        endpoints = _endpoints(series, replica, points[-1].timestamp)
        loads.append(ReplicaLoad(sum(values) / len(values), endpoints))
    return tuple(loads)


def _endpoints(series: Mapping[str, Mapping[Any, Any]], replica: Any, since: float) -> dict[str, EndpointLoad]:
    """Those of the last report: the points of an endpoint end with its requests."""
    last = {
        name: by_replica[replica][-1].value
        for name, by_replica in series.items()
        if by_replica.get(replica) and by_replica[replica][-1].timestamp >= since
    }
    names = [name.removeprefix(P99_MS) for name in last if name.startswith(P99_MS)]
    return {name: EndpointLoad(last[REQUESTS_PER_S + name], last[P99_MS + name]) for name in names}
