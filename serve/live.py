"""What changes while a replica runs: moved aliases and new traffic, looked up in the registry every second."""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from serve.endpoint import Endpoint
from serve.loading import Versions, resolved, uris
from serve.settings import LiveSettings, VariantSettings
from serve.variant import Slot, Variant
from taxiway.errors import ConfigError, RegistryError, TaxiwayError
from taxiway.registry import LiveModel, ModelVersion, Registry, model_name
from taxiway.traffic import TrafficSettings, check, effective, only, parse_override, tag_name

_log = logging.getLogger(__name__)

_RETRY_S = 30.0
_MOST_OF_A_CORE = 0.1
_LONGEST_WAIT = 10
"""Looking may take so much of a core: with hundreds of models it comes less often, after ten times
`poll_s` at the latest."""
LoadSlot = Callable[[Endpoint, VariantSettings, Versions], Slot]
OnLoop = Callable[..., object]


@dataclass
class _Failed:
    versions: Versions
    at: float


class Live:
    """Follows the registry for all endpoints of a replica.

    The registry is read on a thread, and each variant's new version is loaded on one of its own: a slow one keeps
    nobody else from following. What that leads to happens on the event loop, in one step: a request sees the old
    state or the new one.

    Args:
        load: loads a variant's versions and warms them up.
        changed: called on the loop after models were swapped.
        load_failed: counts.
    """

    def __init__(
        self,
        application: str,
        registry: Registry,
        endpoints: Sequence[Endpoint],
        load: LoadSlot,
        changed: Callable[[], None],
        load_failed: Callable[[str, str], None],
        poll_s: float,
    ) -> None:
        self._application = application
        self._registry = registry
        self._endpoints = endpoints
        self._load = load
        self._changed = changed
        self._load_failed = load_failed
        self._poll_s = poll_s
        self.declared = LiveSettings()
        self._on_loop: OnLoop | None = None
        self._failed: dict[tuple[str, str], _Failed] = {}
        self._loading: set[tuple[str, str]] = set()
        self._wake = threading.Event()
        self._stopping = False
        self._registry_answers = True

    def declare(self, declared: LiveSettings) -> None:
        """Takes the traffic that the config file declares: at once when nothing is served yet."""
        self.declared = declared
        if self._on_loop is None:
            self._apply(self._read(), _now)
        self._wake.set()

    def load_all(self) -> None:
        """Before anything is served: loads every variant.

        Raises:
            TaxiwayError: the baseline of an endpoint can't be loaded. Another variant leaves its share to it.
        """
        # Serve constructs a replica on an event loop, where dedicated variants can't be asked.
        with ThreadPoolExecutor(1) as thread:
            thread.submit(self._load_all).result()

    def _load_all(self) -> None:
        models = self._read()
        for endpoint in self._endpoints:
            for settings, variant in _variants(endpoint):
                versions: Versions = {}
                try:
                    versions = resolved(settings, _resolver(self._registry, models))
                    variant.slot = self._load(endpoint, settings, versions)
                except TaxiwayError as error:
                    if variant is endpoint.baseline_variant:
                        raise
                    self._note(endpoint, variant, versions, error)
        self._apply(models, _now)

    def follow(self, on_loop: OnLoop) -> None:
        """Starts to look every `poll_s` seconds."""
        self._on_loop = on_loop
        threading.Thread(target=self._follow, name="live", daemon=True).start()

    def wake(self) -> None:
        """Looks at the registry now."""
        self._wake.set()

    def is_loading(self, endpoint: str, variant: str) -> bool:
        """Whether a newer version is being loaded beside the one that answers."""
        return (endpoint, variant) in self._loading

    def stop(self) -> None:
        self._stopping = True
        self._wake.set()

    def _follow(self) -> None:
        wait_s = self._poll_s
        while not self._stopping:
            self._wake.wait(wait_s)
            self._wake.clear()
            began_s = time.thread_time()
            try:
                self.look()
                self._registry_answers = True
            except RegistryError as error:
                if self._registry_answers:
                    _log.warning("the last known state is served on: %s", error)
                self._registry_answers = False
            except Exception:  # noqa: BLE001
                _log.exception("looking for changes failed")
            wanted_s = (time.thread_time() - began_s) / _MOST_OF_A_CORE
            wait_s = min(max(self._poll_s, wanted_s), _LONGEST_WAIT * self._poll_s)

    def look(self) -> None:
        """Applies what has changed since the last look."""
        models = self._read()
        on_loop = self._on_loop or _now
        self._apply(models, on_loop)
        for endpoint in self._endpoints:
            for settings, variant in _variants(endpoint):
                self._renew(endpoint, settings, variant, models)

    def _apply(self, models: Mapping[str, LiveModel], on_loop: OnLoop) -> None:
        for endpoint in self._endpoints:
            traffic = self._traffic(endpoint, models)
            if traffic != endpoint.traffic:
                _log.info("traffic of %s: %s", endpoint.name, traffic)
                on_loop(endpoint.apply, traffic)

    def _read(self) -> dict[str, LiveModel]:
        """What the registry says of each model, without those that it does not have.

        Raises:
            RegistryError: it says nothing of any.
        """
        names = model_names(self._endpoints)
        models = self._registry.live_of(names)
        if names and not models:
            self._registry.live(min(names))  # fails in the registry's own words
        return models

    def _traffic(self, endpoint: Endpoint, models: Mapping[str, LiveModel]) -> TrafficSettings:
        names = list(endpoint.variants)
        declared = self.declared.traffic.get(endpoint.name) or only(names[0])
        first = models.get(model_name(uris(endpoint.settings.all_variants[0])[0]))
        if first is None:
            return endpoint.traffic
        try:
            override = parse_override(first.tags.get(tag_name(self._application, endpoint.name)))
            traffic = effective(declared, override)
            check(traffic, names)
        except ConfigError as error:
            _log.warning("%s: %s", endpoint.name, error)
            return declared
        return traffic

    def _renew(
        self, endpoint: Endpoint, settings: VariantSettings, variant: Variant, models: Mapping[str, LiveModel]
    ) -> None:
        """Begins to load a new version beside the old one; the old one stays when that fails."""
        key = endpoint.name, variant.name
        if key in self._loading:
            return  # and looks again afterwards
        try:
            versions = resolved(settings, _resolver(self._registry, models))
        except TaxiwayError as error:
            variant.error = str(error)
            return
        if variant.slot is not None and dict(variant.slot.versions) == versions:
            variant.error = None
            return
        failed = self._failed.get(key)
        if failed is not None and failed.versions == versions and time.monotonic() - failed.at < _RETRY_S:
            return
        self._loading.add(key)
        arguments = endpoint, settings, variant, versions
        threading.Thread(target=self._load_beside, args=arguments, name=f"load {'/'.join(key)}", daemon=True).start()

    def _load_beside(self, endpoint: Endpoint, settings: VariantSettings, variant: Variant, versions: Versions) -> None:
        try:
            slot = self._load(endpoint, settings, versions)
        except Exception as error:  # noqa: BLE001 - an author's code runs here
            self._note(endpoint, variant, versions, error)
            self._loaded(endpoint, variant)
        else:
            (self._on_loop or _now)(self._swap, endpoint, variant, slot)

    def _swap(self, endpoint: Endpoint, variant: Variant, slot: Slot) -> None:
        # What waits at the old slot is answered by it; nothing new goes there.
        variant.slot = slot
        variant.error = None
        self._failed.pop((endpoint.name, variant.name), None)
        self._changed()
        self._loaded(endpoint, variant)

    def _loaded(self, endpoint: Endpoint, variant: Variant) -> None:
        self._loading.discard((endpoint.name, variant.name))
        self._wake.set()

    def _note(self, endpoint: Endpoint, variant: Variant, versions: Versions, error: Exception) -> None:
        self._failed[endpoint.name, variant.name] = _Failed(versions, time.monotonic())
        variant.error = f"{type(error).__name__}: {error}"
        rollout = endpoint.settings.rollout
        if rollout is not None and variant.name == rollout.challenger and not versions:
            _log.info("%s has no challenger now: %s", endpoint.name, error)
            return
        self._load_failed(endpoint.name, variant.name)
        _log.error("%s/%s can't be loaded, what was there stays", endpoint.name, variant.name, exc_info=error)


def _now(function: Callable[..., object], *arguments: object) -> None:
    """For what happens before there is a loop."""
    function(*arguments)


def model_names(endpoints: Sequence[Endpoint]) -> set[str]:
    """The registered models that endpoints name."""
    every = [settings for endpoint in endpoints for settings, _ in _variants(endpoint)]
    return {model_name(uri) for settings in every for uri in uris(settings)}


def _variants(endpoint: Endpoint) -> list[tuple[VariantSettings, Variant]]:
    return [(settings, endpoint.variants[settings.name]) for settings in endpoint.settings.all_variants]


def _resolver(registry: Registry, models: Mapping[str, LiveModel]) -> Callable[[str], ModelVersion]:
    def resolve(uri: str) -> ModelVersion:
        name, alias = model_name(uri), uri.partition("@")[2]
        if not alias:
            return ModelVersion(name, uri.rpartition("/")[2], "")
        if name in models and alias in models[name].aliases:
            return ModelVersion(name, models[name].aliases[alias], "")
        return registry.resolve(uri)  # fails in the registry's own words

    return resolve
