"""The models of the replay: a modest champion, a better one, and five that should not come through."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from sklearn.pipeline import Pipeline

from examples.flights.candidates import Drifting, Failing, Slow, Swap
from retrain.dataset import Dataset
from retrain.features import join_features, open_features
from retrain.labels import read_labels
from retrain.model import Layout, layout
from retrain.revision import code_revision
from retrain.settings import RetrainSettings, WindowSettings, load_retraining
from retrain.trainers.choice import open_trainer
from retrain.trainers.contract import FittedModel
from taxiway.errors import RegistryError
from taxiway.feature_binding import FeatureBinding
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.promotion import REJECTED_TAG
from taxiway.registry import ModelVersion, Registry, VersionState
from taxiway.signature import Column, Signature

MODEL = "flight-delay"
RETRAIN_FILE = "configs/flights/retrain.yaml"
CANDIDATES = ("better", "shuffled_weather", "swapped", "slow", "failing", "drifting")
CANDIDATE_TAG = "flights.candidate"
"""Of a version: which one of them it is."""
URI_TAG = "flights.logged_as"
"""Of a version: what it was registered from, to register it once more."""
SWAPPED = ("overdue", "overdue_minutes")
"""Neighbours in their feature view: flights that wait on the ground, and for how long."""
_LINEAGE_TAGS = ("data_digest", "code_revision")

_NEW_YORK = ZoneInfo("America/New_York")
_CHAMPION_UNTIL = datetime(2013, 4, 1, tzinfo=_NEW_YORK)
_CHAMPION_ITERATIONS = 15
_ITERATIONS = 100
_SEED = 7

Spoil = Callable[[Pipeline, Layout], Pipeline]


@dataclass(frozen=True)
class Taught:
    """What all models learn from: the examples until the end of October, and how their matrix looks."""

    settings: RetrainSettings
    binding: FeatureBinding
    examples: Dataset
    layout: Layout


def taught() -> Taught:
    """Reads the examples and joins the features of each one's moment; takes about half a minute."""
    settings = load_retraining(RETRAIN_FILE, datetime.now(UTC))
    whole = WindowSettings(start=settings.train.start, end=settings.evaluate.end)
    settings = settings.model_copy(update={"train": whole})
    binding, history = open_features(settings)
    assert binding is not None  # noqa: S101 - the file names a feature service
    examples, _ = join_features(read_labels(settings, datetime.now(UTC)).examples, binding, history)
    return Taught(settings, binding, examples, layout(settings.inputs, binding.columns))


def fitted(names: Sequence[str], known: Taught) -> dict[str, FittedModel]:
    """The models of these names; those that differ from another one only in their answers share its fit."""
    found: dict[str, FittedModel] = {}
    fits: dict[str, FittedModel] = {}
    for name in names:
        fit, spoil = _RECIPES[name]
        if fit not in fits:
            fits[fit] = _FITS[fit](known)
        found[name] = replace(fits[fit], model=spoil(fits[fit].model, known.layout))
    return found


def _champion(known: Taught) -> FittedModel:
    """Learned from the first three months only, and stopped early."""
    return _fit(known, _until_april(known), _CHAMPION_ITERATIONS)


def _better(known: Taught) -> FittedModel:
    return _fit(known, known.examples, _ITERATIONS)


def _shuffled_weather(known: Taught) -> FittedModel:
    """The champion once more, with the weather of other flights, as after a join by the wrong key."""
    examples = _until_april(known)
    weather = next(view.columns for view in known.binding.views if view.name == "weather")
    order = np.random.default_rng(_SEED).permutation(len(examples))
    columns = dict(examples.columns)
    columns |= {name: columns[name][order] for name in weather}
    return _fit(known, replace(examples, columns=columns), _CHAMPION_ITERATIONS)


def _until_april(known: Taught) -> Dataset:
    return known.examples.between(known.settings.train.start, _CHAMPION_UNTIL)


def _fit(known: Taught, examples: Dataset, iterations: int) -> FittedModel:
    trainer = open_trainer(known.settings.trainer)
    return trainer.final(examples, known.layout, trainer.space().defaults, iterations, _SEED)


def _as_it_is(pipeline: Pipeline, _: Layout) -> Pipeline:
    return pipeline


def _swapped(pipeline: Pipeline, matrix: Layout) -> Pipeline:
    encode, classify = pipeline.steps
    one, other = (matrix.columns.index(name) for name in SWAPPED)
    swap = Swap(one, other)
    return Pipeline([encode, ("swap", swap), classify])


def _wrapped(wrapper: Callable[[Any], Any], pipeline: Pipeline, _: Layout) -> Pipeline:
    encode, (_, classifier) = pipeline.steps
    return Pipeline([encode, ("classify", wrapper(classifier))])


_FITS: Mapping[str, Callable[[Taught], FittedModel]] = {
    "champion": _champion,
    "better": _better,
    "shuffled_weather": _shuffled_weather,
}
_RECIPES: Mapping[str, tuple[str, Spoil]] = {
    "champion": ("champion", _as_it_is),
    "better": ("better", _as_it_is),
    "shuffled_weather": ("shuffled_weather", _as_it_is),
    "swapped": ("better", _swapped),
    "slow": ("better", partial(_wrapped, partial(Slow, seconds=0.05))),
    "failing": ("better", partial(_wrapped, partial(Failing, share=0.01))),
    "drifting": ("better", partial(_wrapped, partial(Drifting, per_answer=2e-5, most=0.4))),
}


def registered(registry: Registry, names: Sequence[str]) -> dict[str, ModelVersion]:
    """A version of each name that has had no rollout yet; what was fitted before is not fitted again.

    Raises:
        RegistryError: the registry does not answer.
    """
    found = _there(registry)
    missing = [name for name in names if name not in found]
    if missing:
        print(f"replay: fits {', '.join(missing)} ...", flush=True)
        known = taught()
        for name, model in fitted(missing, known).items():
            _publish(registry, name, model, known)
        found = _there(registry)
    return {name: _unused(registry, found[name]) for name in names}


def _there(registry: Registry) -> dict[str, VersionState]:
    """Of each name the newest version."""
    found: dict[str, VersionState] = {}
    # Of a model that does not exist there are none.
    for number in registry.versions(MODEL):
        state = registry.describe(ModelVersion(MODEL, number, ""))
        if state is not None and CANDIDATE_TAG in state.tags:
            found[state.tags[CANDIDATE_TAG]] = state
    return found


def _unused(registry: Registry, state: VersionState) -> ModelVersion:
    """The same model as a further version, where this one has had its rollout or was rejected."""
    if not any(tag.startswith(("taxiway.rollout/", REJECTED_TAG)) for tag in state.tags):
        return state.version
    tags = {tag: state.tags[tag] for tag in (*_LINEAGE_TAGS, CANDIDATE_TAG, URI_TAG)}
    return registry.register(MODEL, tags[URI_TAG], state.version.run_id, tags)


def _publish(registry: Registry, name: str, fitted_model: FittedModel, known: Taught) -> None:
    tags = {"data_digest": known.examples.digest, "code_revision": code_revision(), CANDIDATE_TAG: name}
    try:
        with mlflow.start_run(experiment_id=registry.experiment(MODEL), tags=tags) as run:
            lineage = Lineage(
                **{tag: tags[tag] for tag in _LINEAGE_TAGS},
                data_rows=len(known.examples),
                run_id=run.info.run_id,
                parameters={"candidate": name},
                metrics={},
            )
            outputs = (Column(name=known.settings.output, dtype="float64"),)
            signature = Signature(inputs=known.settings.inputs, outputs=outputs)
            package = ModelPackage(
                flavor=fitted_model.flavor, signature=signature, features=known.binding, lineage=lineage
            )
            uri = log_package(fitted_model.model, package, fitted_model.requirements)
        registry.register(MODEL, uri, run.info.run_id, {**tags, URI_TAG: uri})
    except MlflowException as error:
        raise RegistryError(f"{name} could not be registered: {error.message}") from error
