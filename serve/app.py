"""What `serve run` deploys: `import_path: serve.app:build`."""

# No `from __future__ import annotations` here: Serve reads the builder's annotation to validate `args`.
from typing import Any

from ray import serve
from ray.serve import Application

from serve.autoscaling import CALLS_OF_DEDICATED, REQUESTS_OF_INGRESS, autoscaling_config
from serve.controller import RolloutController
from serve.dedicated import DedicatedModel
from serve.deployments import IngressBehindServe, IngressDeployment
from serve.settings import ReplicaSettings, RunSettings, ServeSettings
from serve.used import Place
from taxiway.settings import home

_SHUTDOWN_MARGIN_S = 5.0


def build(settings: ServeSettings) -> Application:
    """The application of one serve file; `args` there are `ServeSettings`."""
    handles = {
        where: _dedicated(where, model, settings, run, replicas)
        for where, model, run, replicas in _dedicated_models(settings)
    }
    behind_serve = settings.listener == "serve"
    kind = serve.ingress()(IngressBehindServe) if behind_serve else IngressDeployment
    deployment = serve.deployment(kind).options(
        name="ingress",
        **_replicas(settings.ingress, REQUESTS_OF_INGRESS),
        # Serve's default stops old replicas first: with one replica, seconds without an answer.
        max_surge_percent=100,
        graceful_shutdown_timeout_s=settings.drain_s + _SHUTDOWN_MARGIN_S,
        # Above what a replica answers: it refuses in the protocol's own words, where Serve would let callers wait.
        max_ongoing_requests=2 * settings.limits.queue_requests,
        # Always there, so that Serve always calls `reconfigure`: a replica listens from then on.
        user_config={},
    )
    return deployment.bind(settings, handles, _controller(settings))


def _controller(settings: ServeSettings) -> Application | None:
    """One replica, when an endpoint has a rollout, an experiment or drift; a second one for a moment does no harm."""
    if not any(it.rollout or it.experiment or it.drift for it in settings.endpoints):
        return None
    deployment = serve.deployment(RolloutController).options(
        name="rollouts", num_replicas=1, ray_actor_options={"num_cpus": 0}, max_ongoing_requests=100
    )
    return deployment.bind(settings, str(home()))


def _dedicated_models(settings: ServeSettings) -> list[tuple[str, str, RunSettings, ReplicaSettings]]:
    found: list[tuple[str, str, RunSettings, ReplicaSettings]] = []
    for endpoint in settings.endpoints:
        for variant in endpoint.all_variants:
            where = f"{endpoint.name}/{variant.name}"
            if variant.placement == "dedicated":
                found.append((where, str(variant.model), variant, variant.dedicated))
            nodes = variant.graph.models if variant.graph is not None else {}
            found += [
                (f"{where}/{name}", node.model, variant, variant.nodes.get(name, variant.dedicated))
                for name, node in nodes.items()
                if node.placement == "dedicated"
            ]
    return found


def _dedicated(
    where: str, model: str, settings: ServeSettings, run: RunSettings, replicas: ReplicaSettings
) -> Application:
    deployment = serve.deployment(DedicatedModel).options(
        name=where.replace("/", "-"),
        **_replicas(replicas, CALLS_OF_DEDICATED),
        max_surge_percent=100,
        # A call is a batch of requests, none of which waits longer.
        graceful_shutdown_timeout_s=settings.longest_s + _SHUTDOWN_MARGIN_S,
        max_ongoing_requests=8,
        # Serve would write a line for each batch.
        logging_config={"enable_access_log": False},
    )
    run = RunSettings(**{name: getattr(run, name) for name in RunSettings.model_fields})
    endpoint, variant = where.split("/")[:2]
    place = Place(endpoint, variant, replicas.gpus, settings.cost, settings.logs)
    return deployment.bind(settings.registry, run, str(home()), model, place)


def _replicas(settings: ReplicaSettings, target_ongoing: float) -> dict[str, Any]:
    options: dict[str, Any] = {"ray_actor_options": {"num_cpus": settings.cpus, "num_gpus": settings.gpus}}
    if settings.autoscaling is None:
        return options | {"num_replicas": settings.replicas}
    return options | {"autoscaling_config": autoscaling_config(settings.autoscaling, target_ongoing)}
