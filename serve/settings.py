"""The `args` and the `user_config` of a Taxiway application in a `serve run` file."""

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from taxiway.drift.settings import DriftSettings
from taxiway.graph import GraphSettings
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.rollout.experiment import ExperimentSettings, ValueMetric
from taxiway.rollout.plan import RolloutSettings
from taxiway.settings import FeatureStoreSettings, FileSettings, RegistrySettings, Settings
from taxiway.slo import SloSettings
from taxiway.telemetry.settings import LogSettings, TracingSettings
from taxiway.traffic import TrafficSettings, check

Name = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"


class ListenerSettings(Settings):
    """Where the ingress replicas listen: all replicas of a node share the ports."""

    host: str = "0.0.0.0"  # noqa: S104 - in a pod every interface is the pod's own
    port: int = Field(default=8000, ge=1, le=65535)
    grpc_port: int | None = Field(default=None, ge=1, le=65535, description="null: no gRPC")
    lame_duck_s: float = Field(
        default=0.0,
        ge=0,
        description="the last replica on a port is not ready, but answers new connections, for so long before it "
        "closes the port: what a load balancer needs to notice",
    )
    drain_s: float = Field(
        default=10.0,
        ge=0,
        description="for clients to leave a replica that takes no new connections; requests that are being answered "
        "then still have their timeout",
    )
    connections: int = Field(default=4_096, ge=1, description="open connections of one replica")
    idle_s: float = Field(default=75.0, gt=0, description="a connection without a request is closed after it")
    receive_s: float = Field(default=30.0, gt=0, description="for the bytes of one request to arrive")
    connection_age_s: float = Field(
        default=600.0, gt=0, description="an older connection is closed with its next answer, so that load spreads anew"
    )


def _serve_or_own(value: Any) -> Any:
    """So that an error names the wrong key, and not each form that was expected."""
    if value == "serve" or isinstance(value, ListenerSettings):
        return value
    if isinstance(value, dict):
        return ListenerSettings.model_validate(value)
    raise ValueError(f"expected serve, or the keys of a listener of our own, found {value!r}")


ListenerChoice = Annotated[ListenerSettings | Literal["serve"], BeforeValidator(_serve_or_own)]


class LimitSettings(Settings):
    """What one request and one replica take at most."""

    body_bytes: int = Field(default=8_388_608, ge=1, description="of one request, after decompression")
    rows: int = Field(default=10_000, ge=1, description="rows of one request")
    batch_rows: int = Field(default=1_024, ge=1, description="rows of one call of the model")
    batch_bytes: int = Field(default=67_108_864, ge=1, description="bytes of one call's inputs")
    queue_rows: int = Field(default=20_000, ge=1, description="rows waiting for one model; over it requests get 503")
    queue_requests: int = Field(
        default=512, ge=1, description="requests of one replica between arrival and answer; over it they get 503"
    )
    timeout_s: float = Field(default=30.0, gt=0, description="of one request, unless it names a shorter one")


class AutoscalingSettings(Settings):
    """How many replicas there are: docs/autoscaling.md."""

    min_replicas: int = Field(default=1, ge=0, description="0: none while nobody asks; for dedicated variants only")
    max_replicas: int = Field(ge=1)
    target_ongoing_requests: float | None = Field(
        default=None,
        gt=0,
        description="per replica; null: 32 for the ingress, 2 for a dedicated variant, which is asked once a batch",
    )
    target_p99_ms: float | None = Field(
        default=None, gt=0, description="of the ingress's slowest endpoint, or of a dedicated variant's calls"
    )
    upscale_delay_s: float = Field(default=10.0, ge=0, description="more are needed for so long before they start")
    downscale_delay_s: float = Field(
        default=300.0, ge=0, description="fewer are enough for so long before the rest stops; also the last one"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "AutoscalingSettings":
        if self.min_replicas > self.max_replicas:
            raise ValueError("min_replicas is more than max_replicas")
        return self


class ReplicaSettings(Settings):
    """How Ray Serve runs the replicas of a deployment."""

    replicas: int = Field(default=1, ge=1)
    cpus: float = Field(default=1.0, ge=0)
    gpus: float = Field(default=0.0, ge=0, description="a fraction shares a GPU")
    autoscaling: AutoscalingSettings | None = Field(default=None, description="instead of `replicas`")


class RunSettings(Settings):
    """How a model runs, wherever it runs."""

    run_in: Literal["auto", "loop", "thread"] = Field(
        default="auto",
        description="loop: models of a few milliseconds; thread: slower ones; auto measures when it warms up",
    )
    batch_wait_s: float = Field(
        default=0.0, ge=0, le=1, description="wait for a batch to fill; pays for some models on GPUs"
    )
    device: str = Field(default="auto", pattern=r"^(auto|cpu|cuda(:\d+)?)$")
    precision: Literal["fp32", "fp16", "bf16"] = "fp32"
    accept_without_signature: bool = Field(default=False, description="serve a model that was logged without one")


class VariantSettings(RunSettings):
    """A model version behind an endpoint."""

    name: str = Field(pattern=Name)
    model: str | None = Field(default=None, description="models:/NAME@ALIAS or models:/NAME/VERSION")
    graph: GraphSettings | None = Field(default=None, description="several models instead of one")
    placement: Literal["inline", "dedicated"] = Field(
        default="inline", description="inline: in the ingress replicas; dedicated: a deployment of its own"
    )
    dedicated: ReplicaSettings = ReplicaSettings()
    nodes: dict[str, ReplicaSettings] = Field(
        default_factory=dict, description="replicas of a graph's dedicated nodes, where they differ from `dedicated`"
    )

    @model_validator(mode="after")
    def _one_of(self) -> "VariantSettings":
        models = set() if self.graph is None else set(self.graph.models)
        if unknown := sorted(set(self.nodes) - models):
            raise ValueError(f"variant {self.name!r}: nodes: {unknown[0]!r} is no model of its graph")
        if (self.model is None) == (self.graph is None):
            raise ValueError(f"variant {self.name!r}: give either model or graph")
        if self.graph is not None and self.placement == "dedicated":
            raise ValueError(f"variant {self.name!r}: a graph is inline; its nodes can be dedicated")
        return self


class SplitBy(Settings):
    """What decides which variant a request gets; without it each request is drawn anew."""

    header: str | None = Field(default=None, description="requests with the same value stay together")
    column: str | None = Field(default=None, description="the value in a request's first row")
    caller: bool = Field(default=False, description="the Authorization header, else the client's address")

    @model_validator(mode="after")
    def _one_of(self) -> "SplitBy":
        if sum((self.header is not None, self.column is not None, self.caller)) != 1:
            raise ValueError("split_by takes one of header, column, caller")
        return self


class ShadowSettings(Settings):
    """How much an endpoint's shadows may cost."""

    queue_rows: int = Field(default=1_024, ge=1, description="rows that may wait for one shadow; more are dropped")
    timeout_s: float = Field(default=5.0, gt=0, description="a copy that has waited longer is dropped")


class EndpointSettings(RunSettings):
    """A public route and what answers on it: a model, a graph, or variants that share its traffic."""

    name: str = Field(pattern=Name)
    model: str | None = Field(default=None, description="models:/NAME@ALIAS or models:/NAME/VERSION")
    graph: GraphSettings | None = None
    variants: tuple[VariantSettings, ...] = Field(default=(), description="the first one is the baseline")
    split_by: SplitBy | None = None
    shadow: ShadowSettings = ShadowSettings()
    timeout_s: float | None = Field(default=None, gt=0, description="instead of limits.timeout_s")
    rollout: RolloutSettings | None = Field(default=None, description="how a challenger becomes champion")
    experiment: ExperimentSettings | None = Field(
        default=None, description="which variant is the best; instead of a rollout"
    )
    slo: SloSettings | None = Field(
        default=None, description="what is promised; the status page shows what is left of it"
    )
    drift: DriftSettings | None = Field(
        default=None, description="watch whether live rows and answers still look like the reference profile"
    )

    @model_validator(mode="after")
    def _one_of(self) -> "EndpointSettings":
        if sum((self.model is not None, self.graph is not None, bool(self.variants))) != 1:
            raise ValueError(f"endpoint {self.name!r}: give one of model, graph, variants")
        names = [variant.name for variant in self.variants]
        if len(set(names)) < len(names):
            raise ValueError(f"endpoint {self.name!r}: two variants have the same name; names must differ")
        return self

    @model_validator(mode="after")
    def _can_roll_out(self) -> "EndpointSettings":
        if self.rollout is None:
            return self
        models = {variant.name: variant.model or "" for variant in self.variants}
        for role, name in (("champion", self.rollout.champion), ("challenger", self.rollout.challenger)):
            if not models.get(name, "").endswith(f"@{role}"):
                raise ValueError(
                    f"endpoint {self.name!r}: rollout.{role}: the variant {name!r} must have a model "
                    f"models:/NAME@{role}; variants: {', '.join(models) or 'none'}"
                )
        if len({models[name].rpartition("@")[0] for name in (self.rollout.champion, self.rollout.challenger)}) > 1:
            raise ValueError(f"endpoint {self.name!r}: rollout: champion and challenger must be of one model")
        if self.variants[0].name != self.rollout.champion:
            raise ValueError(f"endpoint {self.name!r}: rollout: the champion must be the first variant, the baseline")
        return self

    @model_validator(mode="after")
    def _can_experiment(self) -> "EndpointSettings":
        if self.experiment is None:
            return self
        if self.rollout is not None:
            raise ValueError(f"endpoint {self.name!r}: give either rollout or experiment: both split its traffic")
        if len(self.variants) < 2:
            raise ValueError(f"endpoint {self.name!r}: experiment needs at least two variants")
        try:
            self.experiment.shares(tuple(variant.name for variant in self.variants))
        except ValueError as error:
            raise ValueError(f"endpoint {self.name!r}: experiment.{error}") from error
        return self

    @model_validator(mode="after")
    def _can_drift(self) -> "EndpointSettings":
        if self.drift is not None and all(variant.graph is not None for variant in self.all_variants):
            raise ValueError(
                f"endpoint {self.name!r}: drift compares with the reference profile of a model's package, and a graph "
                "has none; give the endpoint a model, or leave the key out"
            )
        return self

    @property
    def all_variants(self) -> tuple[VariantSettings, ...]:
        """The variants; of an endpoint with one model that one, named by its alias or version."""
        if self.variants:
            return self.variants
        run = {name: getattr(self, name) for name in RunSettings.model_fields}
        name = "graph" if self.model is None else self.model.replace("@", "/").rpartition("/")[2]
        return (VariantSettings(name=name or "model", model=self.model, graph=self.graph, **run),)


class MultiplexedSettings(RunSettings):
    """Many registered models behind one entry: each answers under its own name, and is loaded when it is asked for.

    They have no variants, and so no rollout, experiment, shadow or drift: what has those is an endpoint.
    """

    name: str = Field(pattern=Name, description="what metrics call all of them")
    models: tuple[str, ...] = Field(
        min_length=1, description="names of registered models; * and ? stand for any characters"
    )
    alias: str = Field(default="champion", pattern=Name, description="which version of each")
    kept: int = Field(
        default=32, ge=1, description="models in a replica's memory; the one asked for longest ago goes first"
    )
    loads: int = Field(default=2, ge=1, description="at once; more requests for models that are not there wait")
    follow_s: float = Field(
        default=10.0, gt=0, description="how often a model that is asked for is looked up again for a moved alias"
    )
    timeout_s: float | None = Field(default=None, gt=0, description="instead of limits.timeout_s; loading counts")


class AdminSettings(Settings):
    """Calls that change what is served; there are none without a token."""

    token: str | None = Field(default=None, min_length=16, description="the bearer token that admin calls must bring")


class CostSettings(Settings):
    """What the computing costs, in any currency, for the metric `taxiway_cost_total`."""

    cpu_second: float = Field(default=0.0, ge=0, description="of CPU time that was used")
    gpu_second: float = Field(default=0.0, ge=0, description="of a whole GPU that was held")


class ServeSettings(FileSettings):
    """The `args` of an application in a `serve run` file."""

    endpoints: tuple[EndpointSettings, ...] = ()
    multiplexed: tuple[MultiplexedSettings, ...] = Field(
        default=(), description="many models each, too many for an endpoint of their own"
    )
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    feature_store: FeatureStoreSettings | None = None
    listener: ListenerChoice = Field(
        default=ListenerSettings(),
        description="serve: behind Ray Serve's HTTP and gRPC proxies, for several applications on one port",
    )
    limits: LimitSettings = LimitSettings()
    ingress: ReplicaSettings = ReplicaSettings()
    admin: AdminSettings = AdminSettings()
    predictions: PredictionLogSettings | None = Field(
        default=None, description="the log of what was answered, and where ground truth is kept; null: neither"
    )
    tracing: TracingSettings | None = Field(
        default=None, description="spans by OTLP, where the variables OTEL_EXPORTER_OTLP_… say; null: none"
    )
    logs: LogSettings = LogSettings()
    cost: CostSettings = CostSettings()
    status_page: bool = Field(
        default=False, description="/status and /status.json for everybody; without it they need the admin token"
    )
    poll_s: float = Field(default=1.0, gt=0, description="how often replicas look for moved aliases and new weights")

    @property
    def entries(self) -> tuple[EndpointSettings | MultiplexedSettings, ...]:
        """All that has a name in metrics."""
        return (*self.endpoints, *self.multiplexed)

    @property
    def longest_s(self) -> float:
        """How long a request may take."""
        return max(it.timeout_s or self.limits.timeout_s for it in self.entries)

    @property
    def drain_s(self) -> float:
        """How long a leaving replica may take: until its clients have left, and then its longest request."""
        if isinstance(self.listener, ListenerSettings):
            return self.listener.lame_duck_s + self.listener.drain_s + self.longest_s
        return self.longest_s

    @model_validator(mode="after")
    def _consistent(self) -> "ServeSettings":
        names = [it.name for it in self.entries]
        if not names:
            raise ValueError("nothing is served; give endpoints or multiplexed")
        if len(set(names)) < len(names):
            raise ValueError("two endpoints have the same name; names must differ")
        scaling = self.ingress.autoscaling
        if scaling is not None and scaling.min_replicas == 0:
            raise ValueError("ingress.autoscaling.min_replicas: somebody must listen, at least 1")
        for endpoint in self.endpoints:
            quality = endpoint.rollout.checks.quality if endpoint.rollout else None
            if quality is not None and (self.predictions is None or not self.predictions.enabled):
                raise ValueError(
                    f"endpoint {endpoint.name!r}: rollout.checks.quality needs ground truth; add `predictions: {{}}`"
                )
            self._check_experiment(endpoint)
        return self

    def _check_experiment(self, endpoint: EndpointSettings) -> None:
        if endpoint.experiment is None:
            return
        if self.predictions is None or not self.predictions.enabled:
            raise ValueError(f"endpoint {endpoint.name!r}: experiment needs ground truth; add `predictions: {{}}`")
        metric = endpoint.experiment.metric
        if isinstance(metric, ValueMetric) and metric.without_feedback == "zero" and self.predictions.sample < 1:
            raise ValueError(
                f"endpoint {endpoint.name!r}: experiment.metric.without_feedback: zero needs every answer in the log; "
                "set predictions.sample to 1"
            )


class LiveSettings(FileSettings):
    """The `user_config` of the deployment `ingress`: what changes without a restart."""

    traffic: dict[str, TrafficSettings] = Field(default_factory=dict, description="by endpoint")

    def check(self, settings: ServeSettings) -> None:
        """Whether it fits the application.

        Raises:
            ConfigError: an endpoint or a variant is not there.
        """
        for name in self.traffic:
            endpoint = next((found for found in settings.endpoints if found.name == name), None)
            variants = () if endpoint is None else [variant.name for variant in endpoint.all_variants]
            check(self.traffic[name], variants)
