"""The ingress as Ray Serve deploys it: with a listener of its own, or behind Serve's proxies."""

import asyncio
from typing import Any

import ray
from ray import serve

from serve.grpc_serve import ServeRpcs
from serve.ingress import Ingress
from serve.settings import LiveSettings, ServeSettings
from serve.to_asgi import ToAsgi


class IngressDeployment:
    """An ingress under Ray Serve, which places, watches, replaces and drains it."""

    def __init__(self, settings: ServeSettings, handles: dict[str, Any], controller: Any = None) -> None:
        cluster = ray.get_runtime_context().gcs_address
        self._ingress = Ingress(serve.get_replica_context().app_name, settings, handles, cluster, controller)

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Serve hands over the `user_config` before a replica is ready, and whenever it changes."""
        await asyncio.to_thread(self._ingress.declare, LiveSettings.model_validate(user_config))
        if not self._ingress.listens:
            await self._listen()

    async def _listen(self) -> None:
        await asyncio.to_thread(self._ingress.listen)

    def check_health(self) -> None:
        self._ingress.check_health()

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks every few seconds, and hands it to the policy."""
        return self._ingress.service.workload.stats()

    async def __del__(self) -> None:
        """Serve awaits this before it ends a replica that was constructed."""
        await asyncio.to_thread(self._ingress.drain)


class IngressBehindServe(ServeRpcs, IngressDeployment):
    """With `listener: serve`: Serve calls it for every request, on the event loop of everything else here."""

    def __init__(self, settings: ServeSettings, handles: dict[str, Any], controller: Any = None) -> None:
        super().__init__(settings, handles, controller)
        self.backend, self.body_bytes = self._ingress.service, settings.limits.body_bytes

    def __serve_build_asgi_app__(self) -> ToAsgi:
        return self._ingress.asgi()

    async def _listen(self) -> None:
        self._ingress.listen_behind_serve()
