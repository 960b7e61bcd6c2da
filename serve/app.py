"""What `serve run` deploys: `import_path: serve.app:build`."""

# No `from __future__ import annotations` here: Serve reads the builder's annotation to validate `args`.
import asyncio

from ray import serve
from ray.serve import Application

from serve.ingress import Ingress
from serve.settings import ServeSettings

_SHUTDOWN_MARGIN_S = 5.0


class IngressDeployment(Ingress):
    """An ingress under Ray Serve, which places, watches, replaces and drains it."""

    def __init__(self, settings: ServeSettings) -> None:
        super().__init__(serve.get_replica_context().app_name, settings)

    async def __del__(self) -> None:
        """Serve awaits this before it ends a replica that was constructed."""
        await asyncio.to_thread(self.drain)


def build(settings: ServeSettings) -> Application:
    """The application of one serve file; `args` there are `ServeSettings`."""
    deployment = serve.deployment(IngressDeployment).options(
        name="ingress",
        num_replicas=settings.ingress.replicas,
        ray_actor_options={"num_cpus": settings.ingress.cpus},
        # Serve's default stops old replicas first: with one replica, seconds without an answer.
        max_surge_percent=100,
        graceful_shutdown_timeout_s=settings.listener.drain_s + _SHUTDOWN_MARGIN_S,
    )
    return deployment.bind(settings)
