"""What a multiplexed endpoint has beside the models in memory: those that the registry has, loaded when asked for."""

import asyncio
import time
from collections.abc import Callable, Mapping

from serve.multiplexed import Multiplexed
from taxiway.errors import RegistryError, Unavailable
from taxiway.registry import Registry

Entry = tuple[str, str, str, str]
"""Name, version, state and the reason for the state, as a repository index has them."""
REMEMBERED_S = 10.0


class Catalog:
    """Of all multiplexed endpoints of a replica; on the event loop. It asks the registry and loads nothing.

    Args:
        clock: monotonic seconds.
    """

    def __init__(self, registry: Registry, clock: Callable[[], float] = time.monotonic) -> None:
        self._registry, self._clock = registry, clock
        self._looking = asyncio.Lock()
        self._versions: dict[str, tuple[Mapping[str, str], float]] = {}

    async def entries(self, endpoint: Multiplexed, only_ready: bool) -> list[Entry]:
        """Every model of an endpoint; with `only_ready` the registry is not asked.

        Raises:
            Unavailable: the registry does not answer.
        """
        cache = endpoint.cache
        found = {name: (name, kept.version.version, "READY", "") for name, kept in endpoint.kept().items()}
        if only_ready:
            return list(found.values())
        versions = await self._registered(endpoint)
        refusals = cache.refusals()
        for name, version in versions.items():
            if name in cache.loading:
                found.setdefault(name, (name, version, "LOADING", ""))
            elif name in refusals:
                found.setdefault(name, (name, version, "UNAVAILABLE", str(refusals[name])))
            else:
                found.setdefault(name, (name, version, "UNAVAILABLE", "unloaded: it is loaded when it is asked for"))
        return [found[name] for name in sorted(found)]

    async def _registered(self, endpoint: Multiplexed) -> Mapping[str, str]:
        """Name -> version; asked for again after a while, however many want to know."""
        async with self._looking:
            found, at = self._versions.get(endpoint.name, ({}, -REMEMBERED_S))
            if self._clock() - at < REMEMBERED_S:
                return found
            try:
                every = await asyncio.to_thread(self._registry.having, endpoint.alias, endpoint.patterns)
            except RegistryError as error:
                raise Unavailable("the registry does not answer; try again later") from error
            found = {name: version for name, version in every.items() if endpoint.matches(name)}
            self._versions[endpoint.name] = found, self._clock()
            return found
