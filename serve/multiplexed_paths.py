"""Paths of a multiplexed endpoint's models that don't load them: readiness, feedback, and the index of all models."""

from functools import partial

from serve.catalog import Catalog, Entry
from serve.http import GET, POST, Handler, HttpApplication, Route
from serve.http_protocol import Answer, Cancel, HttpRequest, Respond
from serve.later import Later
from serve.multiplexed import Multiplexed, MultiplexedEndpoints
from serve.service import Service
from taxiway.errors import Draining
from taxiway.protocols import open_inference

INDEX = "/v2/repository/index"


class MultiplexedPaths:
    """On the event loop.

    Args:
        feedback: takes what proved true; it names predictions, and no model has to be there for it.
    """

    def __init__(self, endpoints: MultiplexedEndpoints, catalog: Catalog, feedback: Handler) -> None:
        self._endpoints, self._catalog, self._feedback = endpoints, catalog, feedback
        self._later = Later()

    def join(self, http: HttpApplication, service: Service) -> None:
        """From now on requests find them."""
        self._http, self._service = http, service
        self._endpoints.paths = self.route
        http.instead[INDEX] = Route(POST, self._index)
        http.refresh()

    def route(self, name: str, operation: str) -> Route | None:
        """Of `/v2/models/NAME/OPERATION`; None for what a model answers itself."""
        endpoint = self._endpoints.of(name)
        if operation == "/feedback" and (endpoint is not None or self._is_entry(name)):
            return Route(POST, self._feedback)
        if operation == "/ready" and endpoint is not None:
            return Route(GET, partial(self._ready, endpoint, name))
        return None

    def _is_entry(self, name: str) -> bool:
        return any(it.name == name for it in self._endpoints.endpoints)

    def _ready(self, endpoint: Multiplexed, name: str, request: HttpRequest, respond: Respond) -> Cancel:
        if self._service.draining:
            raise Draining("this replica is going away")
        return self._later(self._when_checked(endpoint, name), request.path, respond)

    async def _when_checked(self, endpoint: Multiplexed, name: str) -> Answer:
        await endpoint.check(name)
        return Answer(200, open_inference.model_ready(name, True))

    def _index(self, request: HttpRequest, respond: Respond) -> Cancel:
        only_ready = open_inference.wants_only_ready(request.body)
        return self._later(self._indexed(only_ready), request.path, respond)

    async def _indexed(self, only_ready: bool) -> Answer:
        entries: list[Entry] = [it for it in self._http.repository_entries() if not only_ready or it[2] == "READY"]
        for endpoint in self._endpoints.endpoints:
            entries += await self._catalog.entries(endpoint, only_ready)
        return Answer(200, open_inference.repository_index(entries))
