"""What a run came to: money, latency, refusals."""

import math
from dataclasses import dataclass

import numpy as np

from taxiway.planning.replica import Replica
from taxiway.planning.settings import NodePlan
from taxiway.planning.simulate import Run
from taxiway.planning.trace import Values

_HOUR_S = 3_600


@dataclass(frozen=True)
class Summary:
    """One policy over the whole trace.

    Args:
        mean_ms: by Little's law, requests on their way / answers per second. None where nothing was answered.
        p50_ms: of all answers, as `p99_ms`.
        refused_share: of all requests.
        lost_share: of all requests; those on nodes that went without notice.
        cost_per_million: answers.
    """

    policy: str
    cost: float
    on_demand_cost: float
    spot_cost: float
    cost_per_million: float | None
    mean_ms: float | None
    p50_ms: float | None
    p99_ms: float | None
    refused_share: float
    lost_share: float
    replica_hours: float
    node_hours: float
    most_replicas: int
    most_nodes: int
    preemptions: int


def summary(run: Run, node: NodePlan, replica: Replica) -> Summary:
    """A spot node is paid until its notice is over."""
    answered, arrived = float(run.answered.sum()), float(run.arrived.sum())
    on_demand_hours = float(run.on_demand_nodes.sum()) / _HOUR_S
    spot_hours = float(run.spot_nodes.sum() + run.preempted.sum() * node.notice_s) / _HOUR_S
    on_demand, spot = on_demand_hours * node.on_demand_per_hour, spot_hours * node.spot_per_hour
    return Summary(
        policy=run.policy.name,
        cost=on_demand + spot,
        on_demand_cost=on_demand,
        spot_cost=spot,
        cost_per_million=_known((on_demand + spot) / answered * 1e6) if answered else None,
        mean_ms=1_000 * float(run.ongoing.sum()) / answered if answered else None,
        p50_ms=_known(replica.latency_ms(run.places, run.answered, 0.5)),
        p99_ms=_known(replica.latency_ms(run.places, run.answered, 0.99)),
        refused_share=float(run.refused.sum()) / arrived if arrived else 0.0,
        lost_share=float(run.lost.sum()) / arrived if arrived else 0.0,
        replica_hours=float(run.ready.sum()) / _HOUR_S,
        node_hours=on_demand_hours + spot_hours,
        most_replicas=int(run.ready.max()),
        most_nodes=int((run.on_demand_nodes + run.spot_nodes).max()),
        preemptions=int(run.preempted.sum()),
    )


def cost_so_far(run: Run, node: NodePlan) -> Values:
    """Money spent until each second, shape (seconds,)."""
    spot = run.spot_nodes + run.preempted * node.notice_s
    paid: Values = np.cumsum(run.on_demand_nodes * node.on_demand_per_hour + spot * node.spot_per_hour)
    return paid / _HOUR_S


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value
