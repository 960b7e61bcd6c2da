"""The registered models of the application that is observed, and rows for them."""

from pathlib import Path

import mlflow
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from retrain.publish import RETRAINING_TAG
from taxiway.encoder import ColumnEncoder
from taxiway.features import bind
from taxiway.package import ModelPackage, log_package
from taxiway.profile import Profile, profile
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.signature import Array, Column, Signature
from tests.integration.test_features import make
from tests.spoiled_model import fitted
from tests.talking_model import register_talking
from tests.tiny_model import SIGNATURE, parcels, register_fitted, registry_settings

DELIVERY, BOX, TALKING, SHOPS = "delivery", "box", "talking", "shops"
ROWS = 250
"""Of one request that is counted for drift."""


def register_all(folder: Path) -> Profile:
    """Registers them in the folder's registry; the reference profile of `box`.

    `delivery` has a weak champion and a better challenger, `shops` reads features, `talking` logs.
    """
    for alias, model in ((CHAMPION, fitted(iterations=4)), (CHALLENGER, fitted())):
        register_fitted(registry_settings(folder), model, alias, DELIVERY)
    register_talking(folder, TALKING)
    registry = Registry(registry_settings(folder))
    _register_shops(registry, folder)
    return _register_box(registry)


def _register_box(registry: Registry) -> Profile:
    """As a retraining would have: with a reference window."""
    model, rows = fitted(iterations=4), parcels(4_000, seed=7)
    reference = profile(rows, SIGNATURE, (), {"probability": model.predict_proba(rows)[:, 1]})
    package = ModelPackage(signature=SIGNATURE, reference_profile=reference)
    registry.point(CHAMPION, _registered(registry, BOX, model, package, {RETRAINING_TAG: "the first"}))
    return reference


def _register_shops(registry: Registry, folder: Path) -> None:
    (folder / SHOPS).mkdir()
    features = bind(make(folder / SHOPS), "shops", {"sales": "default"}, {"sales": {"sold": 0.0}})
    model = Pipeline([("columns", ColumnEncoder(("sold",), {})), ("model", LogisticRegression())])
    model.fit({"sold": np.array([0.0, 100.0])}, [0, 1])
    signature = Signature(
        inputs=(Column(name="shop", dtype="string"),), outputs=(Column(name="probability", dtype="float64"),)
    )
    package = ModelPackage(signature=signature, features=features)
    registry.point(CHAMPION, _registered(registry, SHOPS, model, package, {}))


def _registered(
    registry: Registry, name: str, model: Pipeline, package: ModelPackage, tags: dict[str, str]
) -> ModelVersion:
    with mlflow.start_run(experiment_id=registry.experiment(name)) as run:
        uri = log_package(model, package, {"scikit-learn": sklearn.__version__})
    return registry.register(name, uri, run.info.run_id, tags)


def like_the_reference(seed: int) -> dict[str, Array]:
    return parcels(ROWS, seed)


def shifted(seed: int) -> dict[str, Array]:
    """Small parcels that nobody has weighed."""
    found = parcels(ROWS, seed)
    return found | {"size": found["size"] / 4, "weight": np.full(ROWS, np.nan)}
