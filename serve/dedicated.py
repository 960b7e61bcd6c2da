"""A variant in a deployment of its own: what runs there, and the predictor that asks it by handle, once a batch."""

import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from ray.exceptions import ActorDiedError, RayError, RayTaskError
from ray.serve.exceptions import DeploymentUnavailableError, RayServeException

from serve.away import Away
from serve.settings import RunSettings
from serve.used import Place, Used
from serve.workload import Workload
from taxiway.errors import VariantUnavailable
from taxiway.package import ModelPackage, empty_columns
from taxiway.registry import LoadedModel, ModelVersion, Registry
from taxiway.settings import RegistrySettings
from taxiway.signature import Array, Columns
from taxiway.telemetry.logs import instance, of_this_process, switch_on
from taxiway.telemetry.work import Part, Work, add, current, doing, part, shifted

_log = logging.getLogger(__name__)

_KEPT_VERSIONS = 2
"""The one that answers and the one that replaces it."""
_ANSWER_TIMEOUT_S = 300.0
_FIRST_LOOK_S, _NEXT_LOOK_S, _LOOK_S = 0.2, 2.0, 0.5
"""A call without an answer makes its caller look whether there are replicas, and how long that takes at most."""
_PREDICT = "predict"
_SERVICE = "taxiway"


@dataclass(frozen=True, slots=True)
class Computed:
    """What a replica answers to one call.

    Args:
        parts: what it did, by its own clock in seconds since 1970. Whether a request leaves spans is known at its end,
            to its ingress replica: so they are told to that one, and not sent from here.
        logged: whether lines were logged meanwhile, with the trace's id.
    """

    outputs: dict[str, Array]
    parts: Sequence[Part]
    logged: bool


def load(registry: Registry, version: ModelVersion, run: RunSettings) -> LoadedModel:
    return registry.load(
        version,
        device=run.device,
        precision=run.precision,
        accept_without_signature=run.accept_without_signature,
    )


class DedicatedModel:
    """Holds the versions that its ingress replicas ask for. A plain class; `serve.app` deploys it.

    Serve calls it on several threads.

    Args:
        model: the URI of what is asked for first, so that a replica that is added has it before it is asked.
        place: of which variant it is, and how it logs; None where nobody counts.
        load: what loads a version.
    """

    def __init__(
        self,
        registry: RegistrySettings,
        run: RunSettings,
        home: str,
        model: str | None = None,
        place: Place | None = None,
        load: Callable[[Registry, ModelVersion, RunSettings], LoadedModel] = load,
    ) -> None:
        self._load, self._here = load, {"taxiway.replica": instance()}
        self._used = None if place is None else _told(place)
        os.environ["TAXIWAY_HOME"] = home
        self._registry = Registry(registry)
        self._run = run
        self._models: OrderedDict[str, LoadedModel] = OrderedDict()
        self._loading = threading.Lock()
        self._workload = Workload((_PREDICT,))
        self._counting = threading.Lock()
        if model is not None:
            try:
                self._model(self._registry.resolve(model))
            except Exception:  # noqa: BLE001 - an author's code runs here; whoever asks for the version is told
                _log.warning("%s can't be loaded", model, exc_info=True)

    def prepare(self, version: ModelVersion) -> ModelPackage:
        """Loads a version beside those that are there and predicts once.

        Raises:
            TaxiwayError: it can't be had, or can't predict.
        """
        return self._model(version).package

    def predict(self, version: ModelVersion, columns: dict[str, Array], trace_id: str | None = None) -> Computed:
        """
        Args:
            trace_id: that lines which are logged meanwhile belong to.
        """
        began = time.monotonic()
        with self._counting:
            self._workload.began(began)
        try:
            with doing(Work(trace_id)) as work, part("replica", self._here):
                outputs = self._model(version).predictor.predict(columns)
            return Computed(outputs, shifted(work.parts, time.time() - time.monotonic()), work.logged)
        finally:
            with self._counting:
                self._workload.ended(_PREDICT, began, time.monotonic())

    def record_autoscaling_stats(self) -> dict[str, float]:
        """Serve asks every few seconds, and hands it to the policy."""
        with self._counting:
            return self._workload.stats()

    def _model(self, version: ModelVersion) -> LoadedModel:
        found = self._models.get(version.uri) or self._loaded(version)
        with suppress(KeyError):
            self._models.move_to_end(version.uri)
        return found

    def _loaded(self, version: ModelVersion) -> LoadedModel:
        with self._loading:  # of several calls that come first, one loads
            if version.uri not in self._models:
                with part("load"):
                    model = self._load(self._registry, version, self._run)
                    model.predictor.predict(empty_columns(model.package, 1))
                self._models[version.uri] = model
                while len(self._models) > _KEPT_VERSIONS:
                    self._models.popitem(last=False)
            return self._models[version.uri]


def _told(place: Place) -> Used:
    """From now on this process says what it does for a variant."""
    fields = of_this_process(_SERVICE) | {"labels.endpoint": place.endpoint, "labels.variant": place.variant}
    switch_on(place.logs, fields)
    used = Used(place)
    used.start()
    return used


class RemotePredictor:
    """One version of a dedicated variant. Blocks its thread, never the event loop.

    Args:
        patience_s: how long calls wait for a replica when all have died; None where none is no failure (at zero).
    """

    def __init__(self, handle: Any, version: ModelVersion, patience_s: float | None) -> None:
        self._handle = handle
        self._version = version
        self._away = None if patience_s is None else Away(self._prepare_one, patience_s)

    def prepare(self) -> ModelPackage:
        """Has one replica load the version, then all others; waits for a replica when there is none.

        Raises:
            TaxiwayError: it can't be loaded there.
        """
        package = self._prepare_one()
        others = self._handle.broadcast("prepare", self._version)
        _asked(lambda: others.results(timeout_s=_ANSWER_TIMEOUT_S))
        return package

    def predict(self, columns: Columns) -> dict[str, Array]:
        """
        Raises:
            VariantUnavailable: no replica answered.
            Exception: what the model raised there.
        """
        if self._away is not None:
            self._away.check()
        work = current()
        trace_id = None if work is None else work.identity()
        response = self._handle.predict.remote(self._version, dict(columns), trace_id)
        try:
            computed: Computed = _asked(lambda: self._result(response))
        except VariantUnavailable as error:
            if self._away is not None and isinstance(error.__cause__, ActorDiedError | DeploymentUnavailableError):
                self._away.lost()
            raise
        if work is not None:
            work.logged = work.logged or computed.logged
            add(shifted(computed.parts, time.monotonic() - time.time()))
        return computed.outputs

    def _result(self, response: Any) -> Any:
        if self._away is None:
            return response.result(timeout_s=_ANSWER_TIMEOUT_S)
        deadline = time.monotonic() + _ANSWER_TIMEOUT_S
        wait_s = _FIRST_LOOK_S
        while (left_s := deadline - time.monotonic()) > 0:
            try:
                return response.result(timeout_s=min(wait_s, left_s))
            except TimeoutError as error:
                if isinstance(error, RayTaskError):  # the model's own
                    raise
                self._look(response)
                wait_s = _NEXT_LOOK_S
        raise TimeoutError

    def _look(self, response: Any) -> None:
        """Whether there is a replica at all: Serve lets a call wait for one without end.

        Raises:
            DeploymentUnavailableError: there is none.
        """
        try:
            with suppress(TimeoutError):
                self._handle.broadcast("prepare", self._version).results(timeout_s=_LOOK_S, return_exceptions=True)
        except DeploymentUnavailableError:
            response.cancel()
            raise

    def _prepare_one(self) -> ModelPackage:
        response = self._handle.prepare.remote(self._version)
        package: ModelPackage = _asked(lambda: response.result(timeout_s=_ANSWER_TIMEOUT_S))
        return package


def _asked(response: Callable[[], Any]) -> Any:
    try:
        return response()
    except RayTaskError as error:
        # Ray re-raises a class of its own whose text is a traceback: what was raised there is its cause.
        if isinstance(error.cause, Exception):
            raise error.cause from error
        raise
    except (RayError, RayServeException, TimeoutError) as error:
        _log.warning("a dedicated variant did not answer: %s", type(error).__name__)
        raise VariantUnavailable("the replicas of this variant don't answer; try again") from error
