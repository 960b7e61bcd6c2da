"""What administration changes: the traffic of an endpoint, in the registry, where every replica looks it up."""

import asyncio
from datetime import UTC, datetime
from typing import Any

from serve.live import Live
from serve.service import Service
from serve.traffic import LiveTable, live_table
from taxiway.registry import Registry
from taxiway.traffic import TrafficSettings, TrafficState


class Administration:
    """Behind the admin calls of one replica; the other replicas follow within `poll_s`."""

    def __init__(self, application: str, registry: Registry, service: Service, live: Live) -> None:
        self._application = application
        self._registry = registry
        self._service = service
        self._live = live

    def status(self) -> dict[str, Any]:
        return self._service.status()

    async def traffic(self, endpoint: str) -> TrafficState:
        return await asyncio.to_thread(self._table(endpoint).read)

    async def set_traffic(self, endpoint: str, traffic: TrafficSettings, by: str) -> TrafficState:
        written = await asyncio.to_thread(self._table(endpoint).write, traffic, by, datetime.now(UTC))
        self._live.wake()
        return written

    async def reset_traffic(self, endpoint: str) -> TrafficState:
        declared = await asyncio.to_thread(self._table(endpoint).reset)
        self._live.wake()
        return declared

    def _table(self, endpoint: str) -> LiveTable:
        settings = self._service.endpoint(endpoint).settings
        return live_table(self._registry, self._application, settings, self._live.declared)
