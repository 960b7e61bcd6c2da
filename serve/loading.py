"""Loading what a variant names: one registered version, or a graph of several, in this process or by handle."""

import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from serve.dedicated import RemotePredictor, load
from serve.late import NodeThreads
from serve.settings import ReplicaSettings, RunSettings, ServeSettings, VariantSettings
from taxiway.drift.settings import UsualDrift
from taxiway.errors import ConfigError
from taxiway.feature_binding import FeatureBinding
from taxiway.flavors.inputs import empty_values
from taxiway.graph import GraphPredictor, GraphSettings, Observe, plan, version_of
from taxiway.package import ModelPackage
from taxiway.profile import Profile
from taxiway.registry import ModelVersion, Registry
from taxiway.scoring import Predictor, ReadFeatures
from taxiway.signature import Array, Column, Columns, Signature
from taxiway.telemetry.work import node

_log = logging.getLogger(__name__)

Versions = Mapping[str, ModelVersion]
"""The version of each model of a graph, by node; of a plain model under the empty name."""
Resolve = Callable[[str], ModelVersion]

PLAIN = ""
SLOW_S = 0.005
"""A model that takes longer for one row leaves the event loop."""
_WARM_UP_ROWS = (32, 1)
_REMOTE_BATCHES = 4
_VARIANT_PATIENCE_S = 5.0
_NODE_PATIENCE_S = 0.1
"""A node may have a fallback that answers instead."""


@dataclass(frozen=True)
class Loaded:
    """A model that has answered once. `threads` is 0 when it runs on the event loop, `reference` is what drift compares
    with, None of a graph and where nobody took it; `usual_drift` how far it lay from the training data."""

    versions: Versions
    version: str
    platform: str
    signature: Signature
    features: FeatureBinding | None
    predictor: Predictor
    threads: int
    reference: Profile | None
    usual_drift: tuple[UsualDrift, ...] = ()

    @property
    def inputs(self) -> tuple[Column, ...]:
        """What requests may bring: the signature's columns and those of the feature store."""
        return self.signature.inputs + (self.features.optional_inputs if self.features else ())


@dataclass(frozen=True)
class _Model:
    package: ModelPackage
    predictor: Predictor


class Loader:
    """Loads variants.

    Args:
        handles: those of dedicated variants (`ENDPOINT/VARIANT`) and nodes (`ENDPOINT/VARIANT/NODE`).
    """

    def __init__(
        self, settings: ServeSettings, registry: Registry, handles: Mapping[str, Any], read_features: ReadFeatures
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._handles = handles
        self._read_features = read_features

    def load(self, endpoint: str, variant: VariantSettings, versions: Versions, observe_node: Observe) -> Loaded:
        """Loads and warms up.

        Raises:
            TaxiwayError: something can't be loaded, does not fit together, or can't predict.
        """
        where = f"{endpoint}/{variant.name}"
        if variant.graph is not None:
            loaded = self._graph(where, variant, variant.graph, versions, observe_node)
        else:
            loaded = self._plain(where, variant, versions)
        if loaded.features is not None and self._settings.feature_store is None:
            service = loaded.features.service
            raise ConfigError(
                f"feature_store: {where} reads the feature service {service!r}; set feature_store.repository"
            )
        if loaded.features is not None:
            # A store without the views should fail here, not on every request.
            self._read_features(loaded.features.views, _empty(loaded.inputs, 1))
        _log.info("loaded %s for %s", loaded.version, where)
        return loaded

    def _plain(self, where: str, variant: VariantSettings, versions: Versions) -> Loaded:
        model = self._model(
            where, variant.placement, variant, versions[PLAIN], _patience_s(variant.dedicated, _VARIANT_PATIENCE_S)
        )
        package = model.package
        threads = (
            _REMOTE_BATCHES
            if variant.placement == "dedicated"
            else _threads(variant, model.predictor, package.model_columns)
        )
        return Loaded(
            versions,
            versions[PLAIN].version,
            package.flavor,
            package.signature,
            package.features,
            model.predictor,
            threads,
            package.reference_profile,
            package.usual_drift,
        )

    def _graph(
        self, where: str, variant: VariantSettings, graph: GraphSettings, versions: Versions, observe_node: Observe
    ) -> Loaded:
        models = {
            name: self._model(
                f"{where}/{name}",
                node.placement,
                variant,
                versions[name],
                _patience_s(variant.nodes.get(name, variant.dedicated), _NODE_PATIENCE_S),
            )
            for name, node in graph.models.items()
        }
        signatures = {name: model.package.signature for name, model in models.items()}
        bindings = {name: model.package.features for name, model in models.items()}
        planned = plan(graph, signatures, bindings, f"{where}: graph")
        threads = NodeThreads()
        predictor = GraphPredictor(
            planned,
            {name: model.predictor for name, model in models.items()},
            observe_node,
            time.perf_counter,
            threads.run_with_timeout,
            threads.map_parallel,
            node,
        )
        batches = _REMOTE_BATCHES if planned.blocks else _threads(variant, predictor, planned.model_columns)
        version = version_of({name: found.version for name, found in versions.items()})
        return Loaded(versions, version, "graph", planned.signature, planned.features, predictor, batches, None)

    def _model(
        self, where: str, placement: str, run: RunSettings, version: ModelVersion, patience_s: float | None
    ) -> _Model:
        if placement == "dedicated":
            remote = RemotePredictor(self._handles[where], version, patience_s)
            return _Model(remote.prepare(), remote)
        model = load(self._registry, version, run)
        return _Model(model.package, model.predictor)


def _patience_s(replicas: ReplicaSettings, patience_s: float) -> float | None:
    """None where replicas may be at zero: then a call waits until one has started."""
    return None if replicas.autoscaling is not None and replicas.autoscaling.min_replicas == 0 else patience_s


def resolved(variant: VariantSettings, resolve: Resolve) -> dict[str, ModelVersion]:
    """The versions that a variant's URIs mean now."""
    if variant.graph is not None:
        return {name: resolve(node.model) for name, node in variant.graph.models.items()}
    return {PLAIN: resolve(str(variant.model))}


def uris(variant: VariantSettings) -> list[str]:
    """The registered models that a variant names."""
    graph = variant.graph
    return [str(variant.model)] if graph is None else [node.model for node in graph.models.values()]


def _threads(run: RunSettings, predictor: Predictor, columns: tuple[Column, ...]) -> int:
    """Warms up, and says whether the model leaves the event loop."""
    slow = min(_seconds(predictor, _empty(columns, rows)) for rows in (*_WARM_UP_ROWS, 1, 1)) > SLOW_S
    return int(slow or run.batch_wait_s > 0) if run.run_in == "auto" else int(run.run_in == "thread")


def _empty(columns: tuple[Column, ...], rows: int) -> dict[str, Array]:
    return {column.name: empty_values(column, rows) for column in columns}


def _seconds(predictor: Predictor, columns: Columns) -> float:
    begin = time.perf_counter()
    predictor.predict(columns)
    return time.perf_counter() - begin
