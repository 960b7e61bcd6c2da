"""The ingress replica: loads the models of its endpoints and listens. A plain class; `serve.app` deploys it."""

import logging
from collections.abc import Sequence

from serve.endpoint import Endpoint
from serve.http import HttpApplication
from serve.listener import Listener
from serve.settings import EndpointSettings, ServeSettings
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.feature_binding import FeatureViewBinding
from taxiway.features import OnlineFeatures, open_store
from taxiway.package import empty_columns
from taxiway.registry import Registry
from taxiway.scoring import ReadFeatures
from taxiway.signature import Array, Columns
from taxiway.telemetry.metrics import ServingMetrics

_log = logging.getLogger(__name__)
_WARM_UP_ROWS = (1, 32)


class Ingress:
    """Answers on its own port from construction until it is drained.

    Ray Serve constructs it, asks `check_health` and drains it before it ends the process.
    """

    def __init__(self, application: str, settings: ServeSettings) -> None:
        self._metrics = ServingMetrics()
        self._registry = Registry(settings.registry)
        self._read_features = _reader(settings)
        self._settings = settings
        endpoints = [self._load(endpoint) for endpoint in settings.endpoints]
        self._http = HttpApplication(application, endpoints, settings.limits, self._metrics)
        self._listener = Listener(self._http, settings.listener, self._metrics.flush)
        self._listener.start()
        _log.info("listening on %s:%d", settings.listener.host, settings.listener.port)

    def check_health(self) -> None:
        """Raises when the listener has died: Serve then replaces the replica."""
        if not self._listener.alive:
            raise TaxiwayError("the listener has stopped")

    def drain(self) -> None:
        """Refuses new connections, finishes what is in flight, flushes metrics."""
        # In this order: a client that is told to connect anew must not come back here.
        self._listener.stop_accepting()
        self._http.draining = True
        self._listener.drain()

    def _load(self, settings: EndpointSettings) -> Endpoint:
        model = self._registry.load(self._registry.resolve(settings.model))
        if model.package.features is not None and self._settings.feature_store is None:
            raise ConfigError(
                f"feature_store: {model.version.uri} reads the feature service "
                f"{model.package.features.service!r}; set feature_store.repository"
            )
        if model.package.features is not None:
            # A store without the views should fail here, not on every request.
            self._read_features(model.package.features.views, empty_columns(model.package, 1))
        for rows in _WARM_UP_ROWS:
            model.predictor.predict(empty_columns(model.package, rows))
        _log.info("loaded %s for endpoint %s", model.version.uri, settings.name)

        def observe_batch(rows: int) -> None:
            self._metrics.batch(settings.name, rows)

        return Endpoint(settings.name, model, self._read_features, self._settings.limits, observe_batch)


def _reader(settings: ServeSettings) -> ReadFeatures:
    if settings.feature_store is not None:
        return OnlineFeatures(open_store(settings.feature_store)).read
    return _no_store


def _no_store(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
    raise AssertionError("a model that reads features is not loaded without a store")
