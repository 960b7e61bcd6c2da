"""The keys of a plan file: docs/planning.md."""

from itertools import pairwise

from pydantic import Field, field_validator, model_validator

from taxiway.settings import FileSettings, Settings

_LONGEST_S = 32 * 86_400


class SpikeSettings(Settings):
    """A sudden crowd."""

    at_hour: float = Field(ge=0)
    lasts_s: float = Field(gt=0)
    factor: float = Field(gt=0, description="of the traffic at that hour")


class DailySettings(Settings):
    """A made-up trace: a cosine over the day, noise, spikes."""

    hours: float = Field(default=24.0, gt=0, le=_LONGEST_S / 3_600)
    low_per_s: float = Field(ge=0, description="requests/s at the quietest hour")
    high_per_s: float = Field(gt=0, description="requests/s at the busiest hour")
    busiest_hour: float = Field(default=14.0, ge=0, lt=24)
    noise: float = Field(default=0.0, ge=0, lt=1, description="standard deviation, as a share of the curve")
    spikes: tuple[SpikeSettings, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> "DailySettings":
        if self.low_per_s > self.high_per_s:
            raise ValueError("low_per_s is more than high_per_s")
        return self


class TraceSettings(Settings):
    """Requests/s over time: from a file, or made up."""

    path: str | None = Field(default=None, description="CSV or Parquet with the columns time and requests_per_s")
    daily: DailySettings | None = Field(default=None, description="instead of a file")
    scale: float = Field(default=1.0, gt=0, description="2: what if there were twice the traffic?")

    @model_validator(mode="after")
    def _one(self) -> "TraceSettings":
        if (self.path is None) == (self.daily is None):
            raise ValueError("give either path or daily")
        return self


class MeasuredPoint(Settings):
    """One replica under a closed loop: so many connections, each of which asks again at once."""

    connections: int = Field(ge=1)
    requests_per_s: float = Field(gt=0)
    p50_ms: float = Field(gt=0)
    p99_ms: float = Field(gt=0)

    @model_validator(mode="after")
    def _in_order(self) -> "MeasuredPoint":
        if self.p50_ms > self.p99_ms:
            raise ValueError("p50_ms is more than p99_ms")
        return self


class ReplicaPlan(Settings):
    """What one replica does, and how long it takes to start."""

    measured: tuple[MeasuredPoint, ...] = Field(min_length=1, description="as `python -m benchmarks.serving` says")
    max_ongoing_requests: int = Field(default=512, ge=1, le=10_000, description="one more is refused with 503")
    start_s: float = Field(default=30.0, ge=0, description="from a free slot on a node to the first answer")

    @field_validator("measured")
    @classmethod
    def _rising(cls, points: tuple[MeasuredPoint, ...]) -> tuple[MeasuredPoint, ...]:
        if any(earlier.connections >= later.connections for earlier, later in pairwise(points)):
            raise ValueError("connections must rise from point to point")
        return points


class NodePlan(Settings):
    """The machines below the replicas."""

    replicas: int = Field(ge=1, description="that one node holds; measure capacity with as many on one machine")
    start_s: float = Field(default=90.0, ge=0, description="from the request to a node that can start replicas")
    idle_s: float = Field(default=300.0, ge=0, description="a node that is not needed for so long is given back")
    on_demand_per_hour: float = Field(ge=0, description="price of a node")
    spot_per_hour: float = Field(ge=0, description="price of a node")
    preemptions_per_hour: float = Field(default=0.0, ge=0, description="of one spot node: a Poisson process")
    notice_s: float = Field(default=120.0, ge=0, description="0: the requests on the node are lost")
    currency: str = "USD"


class PolicyPlan(Settings):
    """One way to choose the number of replicas; the keys of `autoscaling` in a serve file, and the on-demand floor."""

    name: str = Field(min_length=1)
    min_replicas: int = Field(default=1, ge=1)
    max_replicas: int = Field(ge=1, description="as min_replicas: a fixed number")
    target_ongoing_requests: float = Field(default=32.0, gt=0)
    target_p99_ms: float | None = Field(default=None, gt=0)
    upscale_delay_s: float = Field(default=10.0, ge=0)
    downscale_delay_s: float = Field(default=300.0, ge=0)
    on_demand_replicas: int | None = Field(
        default=None, ge=0, description="the first so many run on demand, the rest on spot nodes; null: all on demand"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "PolicyPlan":
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas is more than max_replicas")
        return self


class PlanSettings(FileSettings):
    """A plan file."""

    trace: TraceSettings
    replica: ReplicaPlan
    node: NodePlan
    policies: tuple[PolicyPlan, ...] = Field(min_length=1)
    seed: int = Field(default=0, ge=0, description="of noise and preemptions")

    @field_validator("policies")
    @classmethod
    def _names_differ(cls, policies: tuple[PolicyPlan, ...]) -> tuple[PolicyPlan, ...]:
        if len({policy.name for policy in policies}) < len(policies):
            raise ValueError("two policies have the same name")
        return policies
