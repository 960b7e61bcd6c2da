"""Multiplexed endpoints: many registered models behind one entry of the serve file, loaded when they are asked for."""

import asyncio
import fnmatch
import logging
import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from itertools import islice
from typing import Any

from serve.caller import code_of
from serve.endpoint import Endpoint
from serve.http import ANY, HttpApplication, Route, error_answer
from serve.http_protocol import Cancel, HttpRequest, Respond
from serve.loading import PLAIN, Versions
from serve.model_cache import CacheCounts, CacheRules, ModelCache
from serve.service import Service
from serve.settings import EndpointSettings, MultiplexedSettings, Name, RunSettings, VariantSettings
from serve.variant import Slot
from taxiway.errors import (
    DeadlineExceeded,
    MalformedRequest,
    NotFound,
    RegistryAway,
    RegistryError,
    TaxiwayError,
    Unavailable,
)
from taxiway.registry import ModelVersion
from taxiway.telemetry.metrics import ServingMetrics

_log = logging.getLogger(__name__)

MODEL_HEADER = b"serve_multiplexed_model_id"
"""Ray Serve's own name for it."""
_V2 = "/v2/models/"
_ERRORS_TOLD = 20
_LOOKS = 2
"""At the registry, at once, of those who only want to know."""
_NAMED = re.compile(r"(/(?:v1/models|v2/models|models|endpoints|predictions)/)([^/:]+)(.*)", re.DOTALL)

Resolve = Callable[[str], ModelVersion]
MakeSlot = Callable[[Endpoint, VariantSettings, Versions], Slot]
RoutesOf = Callable[[Endpoint], Mapping[str, Route]]


@dataclass(frozen=True)
class Model:
    """A model that is loaded: an endpoint of its name with one variant, and what answers on its paths."""

    version: ModelVersion
    endpoint: Endpoint
    routes: Mapping[str, Route]

    def route(self, path: str) -> Route:
        return self.routes.get(path) or self.routes.get(path.rstrip("/")) or Route(ANY, self._nothing_there)

    def _nothing_there(self, request: HttpRequest, _: Respond) -> None:
        raise NotFound(f"{request.path[:200]}: {self.endpoint.name} has no such version or operation")


@dataclass(frozen=True)
class MultiplexedFacts:
    """How a multiplexed endpoint stands in this replica.

    Attributes:
        loaded: name -> version of the models in memory, the one that was asked for last first.
        most: so many are kept.
        errors: why models could not be loaded a moment ago.
        counts: since the start.
    """

    patterns: tuple[str, ...]
    alias: str
    loaded: Mapping[str, str]
    most: int
    loading: tuple[str, ...]
    errors: Mapping[str, str]
    counts: CacheCounts


class Multiplexed:
    """One multiplexed endpoint of a replica. Everything but loading runs on the event loop.

    To protocols, batching, limits and the prediction log a model is an endpoint of its own name; metrics count all of
    them under the name of the multiplexed one, so that labels stay bounded.

    Args:
        timeout_s: of a request, the time that it waits for its model included.
        waiting: requests that may wait for models.
        resolve: the version that a model URI means now.
        make_slot: loads a version and warms it up.
    """

    def __init__(
        self,
        settings: MultiplexedSettings,
        timeout_s: float,
        waiting: int,
        resolve: Resolve,
        make_slot: MakeSlot,
        metrics: ServingMetrics,
    ) -> None:
        self.name = settings.name
        self.timeout_s = settings.timeout_s or timeout_s
        self._settings, self._resolve, self._make_slot, self._metrics = settings, resolve, make_slot, metrics
        self.alias, self.patterns = settings.alias, settings.models
        self._wanted = re.compile("|".join(fnmatch.translate(pattern) for pattern in settings.models))
        self._looking = asyncio.Semaphore(_LOOKS)
        self.routes_of: RoutesOf = lambda _: {}
        rules = CacheRules(settings.kept, settings.loads, waiting, settings.follow_s)
        self.cache: ModelCache[Model] = ModelCache(self._load, rules, self)

    def matches(self, model: str) -> bool:
        """Whether a name is one of ours; whether there is such a model, the registry knows."""
        return self._wanted.fullmatch(model) is not None and re.fullmatch(Name, model) is not None

    def kept(self) -> dict[str, Model]:
        """The models in memory, the one that was asked for longest ago first."""
        found = {name: self.cache.peek(name) for name in self.cache.names}
        return {name: model for name, model in found.items() if model is not None}

    async def check(self, model: str) -> None:
        """Returns when a model is in memory or would be loaded; nothing is loaded for it.

        Raises:
            NotFound: the registry does not have it.
            Unavailable: it could not be loaded a moment ago, or the registry does not answer.
        """
        if self.cache.peek(model) is not None:
            return
        self.cache.refuse(model)
        async with self._looking:
            await asyncio.to_thread(self.version_of, model)

    def facts(self) -> MultiplexedFacts:
        errors = {name: _cause(error) for name, error in self.cache.refusals().items()}
        return MultiplexedFacts(
            self.patterns,
            self.alias,
            {name: model.version.version for name, model in reversed(self.kept().items())},
            self._settings.kept,
            tuple(self.cache.loading),
            dict(islice(errors.items(), _ERRORS_TOLD)),
            replace(self.cache.counts),
        )

    def refused(self, error: TaxiwayError, began: float) -> None:
        """Counts a request that has not reached a model."""
        self._metrics.request(self.name, "-", code_of(error), time.monotonic() - began)

    # What the cache tells.

    def loaded(self, outcome: str, seconds: float) -> None:
        self._metrics.multiplexed_load(self.name, outcome, seconds)

    def evicted(self) -> None:
        self._metrics.multiplexed_evicted(self.name)

    def keeps(self, models: int) -> None:
        self._metrics.multiplexed_models(self.name, models)

    # On a thread.

    def _load(self, model: str, kept: Model | None) -> Model:
        version = self.version_of(model)
        if kept is not None and kept.version == version:
            return kept
        run = {name: getattr(self._settings, name) for name in RunSettings.model_fields}
        uri = self._uri(model)
        settings = EndpointSettings(name=model, model=uri, timeout_s=self.timeout_s, **run)
        endpoint = Endpoint(settings, self.timeout_s, label=self.name)
        (variant,) = settings.all_variants
        try:
            endpoint.baseline_variant.slot = self._make_slot(endpoint, variant, {PLAIN: version})
        except TaxiwayError as error:
            _log.error("%s can't be loaded for %s", version.uri, self.name, exc_info=error)
            raise Unavailable(f"{model} can't be loaded now; try again later") from error
        return Model(version, endpoint, self.routes_of(endpoint))

    def _uri(self, model: str) -> str:
        return f"models:/{model}@{self.alias}"

    def version_of(self, model: str) -> ModelVersion:
        """What the registry has under a name now.

        Raises:
            NotFound: nothing.
            Unavailable: it does not answer.
        """
        try:
            return self._resolve(self._uri(model))
        except RegistryAway as error:
            raise Unavailable("the registry does not answer; try again later") from error
        except RegistryError as error:
            raise NotFound(f"no such model: {model[:80]!r}, or none with the alias {self.alias}") from error


class MultiplexedEndpoints:
    """All multiplexed endpoints of a replica, as the listeners ask them. On the event loop only."""

    def __init__(self, endpoints: Sequence[Multiplexed]) -> None:
        self.endpoints = endpoints
        self.paths: Callable[[str, str], Route | None] = lambda name, operation: None

    def join(self, http: HttpApplication, service: Service) -> None:
        """From now on both ask here for what is no endpoint of theirs."""
        self._http = http
        for endpoint in self.endpoints:
            endpoint.routes_of = http.endpoint_routes
        http.others, service.others = self.route, self

    def stop(self) -> None:
        for endpoint in self.endpoints:
            endpoint.cache.stop()

    def status(self) -> dict[str, Any]:
        return {endpoint.name: asdict(endpoint.facts()) for endpoint in self.endpoints}

    def of(self, model: str) -> Multiplexed | None:
        """Whose pattern a name has; whether there is such a model, the registry knows."""
        return next((it for it in self.endpoints if it.matches(model)), None)

    def _owner(self, model: str) -> Multiplexed:
        if (endpoint := self.of(model)) is None:
            raise NotFound(f"no such model: {model[:80]!r}")
        return endpoint

    def kept(self, model: str) -> Endpoint | None:
        """The endpoint of a model that is loaded."""
        found = (endpoint.cache.peek(model) for endpoint in self.endpoints)
        return next((it.endpoint for it in found if it is not None), None)

    def loaded(self) -> list[Endpoint]:
        """Those of all models that are loaded, by name."""
        every = {name: model.endpoint for endpoint in self.endpoints for name, model in endpoint.kept().items()}
        return [every[name] for name in sorted(every)]

    async def check(self, model: str) -> None:
        """Raises NotFound for a name that no pattern has, and as `Multiplexed.check` does."""
        await self._owner(model).check(model)

    async def find(self, model: str, timeout_s: float | None) -> Endpoint:
        """The endpoint of a model, loaded if it has to be.

        Raises:
            NotFound: no pattern or no registered model has the name.
            DeadlineExceeded: it took longer than the endpoint's timeout or `timeout_s`.
            Unavailable: it can't be loaded now.
        """
        endpoint = self._owner(model)
        if (kept := endpoint.cache.get(model)) is not None:
            return kept.endpoint
        began = time.monotonic()
        try:
            return (await _loaded(endpoint, model, min(timeout_s or endpoint.timeout_s, endpoint.timeout_s))).endpoint
        except TaxiwayError as error:
            endpoint.refused(error, began)
            raise

    def route(self, path: str) -> Route | None:
        """What answers on a path, when a model of ours is named in it, or one of our endpoints."""
        named = _NAMED.fullmatch(path)
        if named is None:
            return None
        before, name, after = named.groups()
        if before == _V2 and (found := self.paths(name, after)) is not None:
            return found
        for endpoint in self.endpoints:
            if (kept := endpoint.cache.get(name)) is not None:
                return kept.route(path)
            if endpoint.matches(name):
                return Route(ANY, partial(self._when_loaded, endpoint, name))
            if name == endpoint.name:
                return Route(ANY, partial(self._by_header, endpoint, before, after))
        return None

    def _by_header(
        self, endpoint: Multiplexed, before: str, after: str, request: HttpRequest, respond: Respond
    ) -> "Cancel | None":
        header = request.headers.get(MODEL_HEADER)
        if header is None:
            here = f"in the path, as {before}MODEL{after[:80]}, or in the header {MODEL_HEADER.decode()}"
            raise MalformedRequest(f"{endpoint.name} stands for many models: name one {here}")
        model = header.decode("latin-1")
        if not endpoint.matches(model):
            raise NotFound(f"{endpoint.name} has no such model: {model[:80]!r}")
        request.path = f"{before}{model}{after}"
        return self._http.answer(self.route(request.path), request, respond)

    def _when_loaded(
        self, endpoint: Multiplexed, model: str, request: HttpRequest, respond: Respond
    ) -> "Cancel | None":
        waiting = _Waiting(self._http, endpoint, request, respond)
        try:
            waiting.leave = endpoint.cache.wait(model, waiting.done)
        except TaxiwayError as error:
            endpoint.refused(error, request.arrived)
            raise
        waiting.expire_after(request.arrived + endpoint.timeout_s - time.monotonic())
        return waiting.cancel


class _Waiting:
    """An HTTP request that waits for its model."""

    def __init__(self, http: HttpApplication, endpoint: Multiplexed, request: HttpRequest, respond: Respond) -> None:
        self._http, self._endpoint, self._request, self._respond = http, endpoint, request, respond
        self._timer: asyncio.TimerHandle | None = None
        self._inner: Cancel | None = None
        self.leave: Callable[[], None] = lambda: None

    def expire_after(self, seconds: float) -> None:
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def done(self, found: Model | TaxiwayError) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if isinstance(found, TaxiwayError):
            self._endpoint.refused(found, self._request.arrived)
            self._respond(error_answer(found, self._request.path))
        else:
            self._inner = self._http.answer(found.route(self._request.path), self._request, self._respond)

    def cancel(self) -> None:
        """The client has gone."""
        if self._timer is not None:
            self._timer.cancel()
        self.leave()
        if self._inner is not None:
            self._inner()

    def _expire(self) -> None:
        self.leave()
        self.done(_too_late())


async def _loaded(endpoint: Multiplexed, model: str, timeout_s: float) -> Model:
    future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
    leave = endpoint.cache.wait(model, lambda found: None if future.done() else future.set_result(found))
    try:
        async with asyncio.timeout(timeout_s):
            found: Model | TaxiwayError = await future
    except TimeoutError:
        raise _too_late() from None
    finally:
        leave()
    if isinstance(found, TaxiwayError):
        raise found
    return found


def _cause(error: TaxiwayError) -> str:
    """For operators: a client is told less."""
    return str(error) if error.__cause__ is None else f"{type(error.__cause__).__name__}: {error.__cause__}"


def _too_late() -> DeadlineExceeded:
    return DeadlineExceeded("the time for this request is over: its model is still being loaded")
