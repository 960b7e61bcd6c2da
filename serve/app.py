"""What `serve run` deploys: `import_path: serve.app:build`."""

# No `from __future__ import annotations` here: Serve reads the builder's annotation to validate `args`.
import asyncio
from typing import Any

import ray
from ray import serve
from ray.serve import Application

from serve.autoscaling import autoscaling_config
from serve.dedicated import DedicatedModel
from serve.ingress import Ingress
from serve.settings import LiveSettings, ReplicaSettings, RunSettings, ServeSettings
from taxiway.settings import home

_SHUTDOWN_MARGIN_S = 5.0


class IngressDeployment:
    """An ingress under Ray Serve, which places, watches, replaces and drains it."""

    def __init__(self, settings: ServeSettings, handles: dict[str, Any]) -> None:
        cluster = ray.get_runtime_context().gcs_address
        self._ingress = Ingress(serve.get_replica_context().app_name, settings, handles, cluster)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve hands over the `user_config` before a replica is ready, and whenever it changes."""
        await asyncio.to_thread(self._ingress.declare, LiveSettings.model_validate(user_config))
        if not self._ingress.listens:
            await asyncio.to_thread(self._ingress.listen)

    def check_health(self) -> None:
        self._ingress.check_health()

    async def __del__(self) -> None:
        """Serve awaits this before it ends a replica that was constructed."""
        await asyncio.to_thread(self._ingress.drain)


def build(settings: ServeSettings) -> Application:
    """The application of one serve file; `args` there are `ServeSettings`."""
    handles = {
        where: _dedicated(where, settings, run, replicas) for where, run, replicas in _dedicated_models(settings)
    }
    deployment = serve.deployment(IngressDeployment).options(
        name="ingress",
        **_replicas(settings.ingress),
        # Serve's default stops old replicas first: with one replica, seconds without an answer.
        max_surge_percent=100,
        graceful_shutdown_timeout_s=settings.listener.drain_s + _SHUTDOWN_MARGIN_S,
        # Always there, so that Serve always calls `reconfigure`: a replica listens from then on.
        user_config={},
    )
    return deployment.bind(settings, handles)


def _dedicated_models(settings: ServeSettings) -> list[tuple[str, RunSettings, ReplicaSettings]]:
    found: list[tuple[str, RunSettings, ReplicaSettings]] = []
    for endpoint in settings.endpoints:
        for variant in endpoint.all_variants:
            where = f"{endpoint.name}/{variant.name}"
            if variant.placement == "dedicated":
                found.append((where, variant, variant.dedicated))
            nodes = variant.graph.models if variant.graph is not None else {}
            found += [
                (f"{where}/{name}", variant, variant.nodes.get(name, variant.dedicated))
                for name, node in nodes.items()
                if node.placement == "dedicated"
            ]
    return found


def _dedicated(where: str, settings: ServeSettings, run: RunSettings, replicas: ReplicaSettings) -> Application:
    deployment = serve.deployment(DedicatedModel).options(
        name=where.replace("/", "-"), **_replicas(replicas), max_surge_percent=100, max_ongoing_requests=8
    )
    run = RunSettings(**{name: getattr(run, name) for name in RunSettings.model_fields})
    return deployment.bind(settings.registry, run, str(home()))


def _replicas(settings: ReplicaSettings) -> dict[str, Any]:
    options: dict[str, Any] = {"ray_actor_options": {"num_cpus": settings.cpus, "num_gpus": settings.gpus}}
    if settings.autoscaling is None:
        return options | {"num_replicas": settings.replicas}
    return options | {"autoscaling_config": autoscaling_config(settings.autoscaling)}
