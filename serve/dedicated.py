"""A variant in a deployment of its own: what runs there, and the predictor that asks it by handle, once a batch."""

import logging
import os
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

from ray.exceptions import RayError, RayTaskError
from ray.serve.exceptions import RayServeException

from serve.settings import RunSettings
from taxiway.errors import VariantUnavailable
from taxiway.package import ModelPackage, empty_columns
from taxiway.registry import LoadedModel, ModelVersion, Registry
from taxiway.settings import RegistrySettings
from taxiway.signature import Array, Columns

_log = logging.getLogger(__name__)

_KEPT_VERSIONS = 2
"""The one that answers and the one that replaces it."""
_ANSWER_TIMEOUT_S = 300.0


class DedicatedModel:
    """Holds the versions that its ingress replicas ask for. A plain class; `serve.app` deploys it."""

    def __init__(self, registry: RegistrySettings, run: RunSettings, home: str) -> None:
        os.environ["TAXIWAY_HOME"] = home
        self._registry = Registry(registry)
        self._run = run
        self._models: OrderedDict[ModelVersion, LoadedModel] = OrderedDict()

    def prepare(self, version: ModelVersion) -> ModelPackage:
        """Loads a version beside those that are there and predicts once.

        Raises:
            TaxiwayError: it can't be had, or can't predict.
        """
        return self._model(version).package

    def predict(self, version: ModelVersion, columns: dict[str, Array]) -> dict[str, Array]:
        return self._model(version).predictor.predict(columns)

    def _model(self, version: ModelVersion) -> LoadedModel:
        if version not in self._models:
            model = load(self._registry, version, self._run)
            model.predictor.predict(empty_columns(model.package, 1))
            self._models[version] = model
            while len(self._models) > _KEPT_VERSIONS:
                self._models.popitem(last=False)
        self._models.move_to_end(version)
        return self._models[version]


def load(registry: Registry, version: ModelVersion, run: RunSettings) -> LoadedModel:
    return registry.load(
        version,
        device=run.device,
        precision=run.precision,
        accept_without_signature=run.accept_without_signature,
    )


class RemotePredictor:
    """One version of a dedicated variant. Blocks its thread, never the event loop."""

    def __init__(self, handle: Any, version: ModelVersion) -> None:
        self._handle = handle
        self._version = version

    def prepare(self) -> ModelPackage:
        """Has one replica load the version, then all others; waits for a replica when there is none.

        Raises:
            TaxiwayError: it can't be loaded there.
        """
        first = self._handle.prepare.remote(self._version)
        package: ModelPackage = _asked(lambda: first.result(timeout_s=_ANSWER_TIMEOUT_S))
        others = self._handle.broadcast("prepare", self._version)
        _asked(lambda: others.results(timeout_s=_ANSWER_TIMEOUT_S))
        return package

    def predict(self, columns: Columns) -> dict[str, Array]:
        """
        Raises:
            VariantUnavailable: no replica answered.
            Exception: what the model raised there.
        """
        response = self._handle.predict.remote(self._version, dict(columns))
        outputs: dict[str, Array] = _asked(lambda: response.result(timeout_s=_ANSWER_TIMEOUT_S))
        return outputs


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
