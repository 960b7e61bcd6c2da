"""The ingress replica: loads the models of its endpoints and answers. A plain class; `serve.app` deploys it."""

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from serve.admin import admin_app
from serve.administration import Administration
from serve.asgi import FromAsgi
from serve.batching import BatchRules
from serve.catalog import Catalog
from serve.drifting import DriftCounter
from serve.endpoint import Endpoint
from serve.feedback import feedback, feedback_routes
from serve.freshness import Ask, FollowedViews, no_store
from serve.grpc_listener import GrpcListener
from serve.heap import settle, settle_later
from serve.http import HttpApplication, Route
from serve.http_protocol import Bounds, Connections
from serve.listener import Companion, Listener
from serve.live import Live, OnLoop
from serve.loading import Loader, Versions
from serve.measured import timed, timed_reads
from serve.multiplexed import Multiplexed, MultiplexedEndpoints
from serve.multiplexed_paths import MultiplexedPaths
from serve.people import people_routes
from serve.port_claim import PortClaim, claim
from serve.progress import progress_of
from serve.recording import Recorder
from serve.reports import Reporter, by_handle, drift_by_handle
from serve.sampled import Sampler
from serve.serve_loop import ServeLoop
from serve.service import Service
from serve.settings import ListenerSettings, LiveSettings, ServeSettings, VariantSettings
from serve.shadowing import Shadowing
from serve.status import Observed, StatusPages
from serve.telemetry import open_telemetry
from serve.to_asgi import ToAsgi
from serve.variant import Slot, make_slot
from taxiway.drift.calibration import usual_for
from taxiway.errors import ConfigError, TaxiwayError
from taxiway.feature_binding import FeatureViewBinding
from taxiway.predictions.truth_log import GroundTruthLog
from taxiway.predictions.writer import PredictionLog
from taxiway.registry import Registry
from taxiway.scoring import ReadFeatures
from taxiway.signature import Array, Columns
from taxiway.telemetry.metrics import ServingMetrics
from taxiway.telemetry.predictions import PredictionLogMetrics

if TYPE_CHECKING:
    from taxiway.features import FeatureRead

_log = logging.getLogger(__name__)

_LAME_DUCK_LOOKS_S = 0.1


class Ingress:
    """Has its models loaded when it is constructed, and answers from `listen` (or `listen_behind_serve`) until it is
    drained.

    Ray Serve constructs it, hands over the `user_config`, asks `check_health` and drains it before it ends
    the process.

    Args:
        handles: of the dedicated variants and nodes.
        cluster: the Ray cluster's address; a port belongs to one application of one cluster.
        controller: the handle of the rollouts' controller, when there is one.
    """

    def __init__(
        self,
        application: str,
        settings: ServeSettings,
        handles: Mapping[str, Any] | None = None,
        cluster: str = "this process",
        controller: Any = None,
    ) -> None:
        self._settings = settings
        self._owner = f"the application {application!r} on {cluster}"
        self._claims: list[PortClaim] = []
        self._load_s: dict[tuple[str, str], float] = {}
        self.metrics = ServingMetrics()
        self._predictions, self._truth = _logs(settings)
        self._log_metrics = _log_metrics(self._predictions, self._truth)
        self._drift = DriftCounter()
        self._recorder = _recorder(self._predictions, controller, self._drift)
        self._telemetry = open_telemetry(application, settings)
        self._shadowing = Shadowing(self.metrics, self._recorder, self._telemetry.tracing)
        registry = Registry(settings.registry)
        self._read_features, ask_freshness = _features(settings, self.metrics)
        as_of = settings.feature_store.online.as_of if settings.feature_store else None
        self._freshness = FollowedViews(ask_freshness, self.metrics, as_of)
        self._loader = Loader(settings, registry, handles or {}, self._read_features)
        limits = settings.limits
        self._endpoints = [Endpoint(endpoint, limits.timeout_s) for endpoint in settings.endpoints]
        self.live = Live(
            application,
            registry,
            self._endpoints,
            self._slot,
            self._models_changed,
            self.metrics.load_failed,
            settings.poll_s,
        )
        self.live.load_all()
        self.service = Service(
            self._endpoints,
            self.metrics,
            self._shadowing,
            limits.queue_requests,
            self._recorder,
            self._freshness.status,
            self._telemetry.tracing,
            self._telemetry.request_log,
            [it.name for it in settings.multiplexed],
        )
        if self._recorder is not None and controller is not None:
            self._recorder.tell = Reporter(by_handle(controller), self.service.endpoints, self.live, self._drift)
        admin = None
        if settings.admin.token is not None:
            ask = drift_by_handle(controller)
            backend = Administration(application, registry, self.service, self.live, settings.predictions, ask)
            admin = FromAsgi(admin_app(backend, settings.admin.token))
        self._sampler = Sampler(self.metrics, self.service, settings, self._load_s, self._recorder)
        self._multiplexed = MultiplexedEndpoints(
            [
                Multiplexed(it, limits.timeout_s, limits.queue_requests, registry.resolve, self._slot, self.metrics)
                for it in settings.multiplexed
            ]
        )
        status = self._status_routes(application, registry, controller)
        refused = self._log_metrics.refused if self._log_metrics is not None else lambda _: None
        given = feedback(self._truth, refused)
        routes = {**people_routes(self.service, admin), **status, **feedback_routes(self.service.names(), given)}
        self.http = HttpApplication(application, self.service, limits.body_bytes, routes)
        if settings.multiplexed:
            self._multiplexed.join(self.http, self.service)
            MultiplexedPaths(self._multiplexed, Catalog(registry), given).join(self.http, self.service)
        self._listener: Listener | None = None
        self._serve_loop: ServeLoop | None = None

    def _status_routes(self, application: str, registry: Registry, controller: Any) -> Mapping[str, Route]:
        """None where nobody may see the status: it is not for everybody, and there is no token."""
        settings = self._settings
        if not settings.status_page and settings.admin.token is None:
            return {}
        views, recent = self._freshness.status, self.metrics.recent
        multiplexed = self._multiplexed.endpoints
        observed = Observed(application, self.service, self.live, recent, views, multiplexed, started=time.monotonic())
        ask = progress_of(registry, application, self._endpoints, drift_by_handle(controller))
        return StatusPages(observed, ask, None if settings.status_page else settings.admin.token).routes()

    def _flush(self) -> None:
        """Hands what was counted to Ray."""
        self._sampler.look()
        self.metrics.flush()
        if self._log_metrics is not None:
            self._log_metrics.flush()

    def _models_changed(self) -> None:
        self.http.refresh()
        settle_later()

    def declare(self, declared: LiveSettings) -> None:
        """Takes the `user_config`: what may change while requests are answered.

        Raises:
            ConfigError: it names an endpoint or a variant that is not there.
        """
        declared.check(self._settings)
        self.live.declare(declared)

    def listen(self) -> None:
        """Opens the ports.

        Raises:
            ConfigError: a port is taken, or the settings leave listening to Ray Serve.
        """
        settings, limits = self._settings.listener, self._settings.limits
        if not isinstance(settings, ListenerSettings):
            raise ConfigError("listener: serve has no port of its own; deploy it with Ray Serve")
        for name, port in (("port", settings.port), ("grpc_port", settings.grpc_port)):
            if port is not None:
                self._claims.append(claim(f"listener.{name}", settings.host, port, self._owner))
        bounds = Bounds(
            limits.body_bytes, settings.connections, settings.idle_s, settings.receive_s, settings.connection_age_s
        )
        companions: tuple[Companion, ...] = ()
        if settings.grpc_port is not None:
            # A gRPC client stays on its connection: while draining, age is what makes it leave.
            age_s = min(settings.connection_age_s, max(settings.drain_s / 2, 1.0))
            companions = (GrpcListener(self.service, settings.host, settings.grpc_port, limits.body_bytes, age_s),)
        connections = Connections(self.http, bounds, self.http.refused)
        listener = Listener(connections, settings, self._flush, companions, self._settings.longest_s)
        settle()
        self._begin_to_record()
        listener.start()
        self._connections, self._listener = connections, listener
        self._follow(listener.call_soon)
        _log.info("listening on %s:%d", settings.host, settings.port)

    def listen_behind_serve(self) -> None:
        """From now on what Ray Serve's proxies pass on is answered, on the running event loop."""
        settle()
        self._begin_to_record()
        self._serve_loop = ServeLoop(self._flush)
        self._follow(self._serve_loop.call_soon)

    def _follow(self, on_loop: OnLoop) -> None:
        self.live.follow(on_loop)
        if self._settings.feature_store is not None:
            self._freshness.follow(on_loop)

    def asgi(self) -> ToAsgi:
        """The HTTP application for Ray Serve to mount."""
        limits = self._settings.limits
        return ToAsgi(self.http, limits.body_bytes, limits.timeout_s, self.http.refused)

    @property
    def listens(self) -> bool:
        return self._listener is not None or self._serve_loop is not None

    def check_health(self) -> None:
        """Raises when the listener has died: Serve then replaces the replica."""
        if self._listener is not None and not self._listener.alive:
            raise TaxiwayError("the listener has stopped")

    def drain(self) -> None:
        """Is not ready for a while, then refuses new connections, finishes what is in flight, flushes metrics."""
        self._be_lame_duck()
        self.live.stop()
        self._freshness.stop()
        if self._listener is None:
            self.service.draining = True
            if self._serve_loop is not None:
                self._serve_loop.drain()
            self._remember()
            return
        # In this order: a client that is told to connect anew must not come back here.
        self._listener.stop_accepting()
        self.service.draining = self._connections.draining = True
        self._listener.drain()
        for held in self._claims:
            held.release()
        self._remember()

    def _be_lame_duck(self) -> None:
        """Where nobody else listens on the port, it is closed only when load balancers know that we leave."""
        settings = self._settings.listener
        if self._listener is None or not isinstance(settings, ListenerSettings):
            return
        deadline = time.monotonic() + settings.lame_duck_s
        while self._listener.alive and time.monotonic() < deadline and not self._claims[0].release_unless_last():
            self.service.draining = self._connections.draining = True
            time.sleep(_LAME_DUCK_LOOKS_S)

    def _begin_to_record(self) -> None:
        self._telemetry.start()
        if self._recorder is not None:
            self._recorder.start()

    def _remember(self) -> None:
        """Nothing is answered any more: what was counted is told, what was logged is written."""
        self._multiplexed.stop()
        self._sampler.look(now=True)
        self.metrics.flush(now=True)
        if self._recorder is not None:
            self._recorder.stop()
        for log in (self._predictions, self._truth):
            if log is not None:
                log.close()
        if self._log_metrics is not None:
            self._log_metrics.flush(now=True)
        self._telemetry.stop()

    def _slot(self, endpoint: Endpoint, variant: VariantSettings, versions: Versions) -> Slot:
        limits = self._settings.limits
        observe_node = partial(self.metrics.node, endpoint.label, variant.name)
        observe_phase = partial(self.metrics.phase, endpoint.label, variant.name)
        began = time.monotonic()
        loaded = self._loader.load(endpoint.name, variant, versions, observe_node)
        self._load_s[endpoint.label, variant.name] = time.monotonic() - began
        self._freshness.add(loaded.features)
        rules = BatchRules(limits.batch_rows, limits.batch_bytes, limits.queue_rows, variant.batch_wait_s)
        slot = make_slot(
            endpoint.name,
            variant.name,
            timed(loaded, observe_phase),
            timed_reads(self._read_features, observe_phase, self.metrics.features_missing),
            self._settings.feature_store.online.on_failure if self._settings.feature_store else "refuse",
            rules,
            replace(rules, queue_rows=endpoint.settings.shadow.queue_rows, wait_s=0.0),
            limits.rows,
            partial(self.metrics.batch, endpoint.label, variant.name),
            self._shadowing.executor,
            self._recorder,
            self._telemetry.tracing,
        )
        if endpoint.settings.drift is not None and loaded.reference is not None:
            drift = endpoint.settings.drift
            usual = usual_for(loaded.usual_drift, drift.window)
            self._drift.follow(slot.stream, loaded.reference, drift.max_rows_per_s, usual)
        return slot


def _logs(settings: ServeSettings) -> tuple[PredictionLog | None, GroundTruthLog | None]:
    if settings.predictions is None or not settings.predictions.enabled:
        return None, None
    return PredictionLog(settings.predictions), GroundTruthLog(settings.predictions.location)


def _log_metrics(predictions: PredictionLog | None, truth: GroundTruthLog | None) -> PredictionLogMetrics | None:
    if predictions is None or truth is None:
        return None
    return PredictionLogMetrics(predictions.statistics, truth.statistics)


def _recorder(predictions: PredictionLog | None, controller: Any, drift: DriftCounter) -> Recorder | None:
    """None where nobody wants to know: then a request pays nothing for it."""
    if predictions is None and controller is None:
        return None
    return Recorder(predictions.add if predictions else None, drift=drift)


def _features(settings: ServeSettings, metrics: ServingMetrics) -> tuple[ReadFeatures, Ask]:
    """What reads the online store, and what says how fresh it is."""
    if settings.feature_store is None:
        return _no_store, no_store
    # Feast takes seconds to import: only a replica with a store pays for it.
    from taxiway.features import OnlineFeatures, freshness, open_store

    store = open_store(settings.feature_store)

    def observe(read: "FeatureRead") -> None:
        for view in read.views:
            metrics.features(view, read.rows, read.outcome)

    return OnlineFeatures(store, settings.feature_store.online, observe).read, partial(freshness, store)


def _no_store(views: Sequence[FeatureViewBinding], columns: Columns) -> dict[str, Array]:
    raise AssertionError("a model that reads features is not loaded without a store")
