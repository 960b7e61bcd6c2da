"""A small real model that reads a feature store."""

import mlflow
import numpy as np
import sklearn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from taxiway.encoder import ColumnEncoder
from taxiway.feature_binding import FeatureBinding
from taxiway.package import ModelPackage, log_package
from taxiway.registry import CHAMPION, ModelVersion, Registry
from taxiway.signature import Column, Signature


def register_reader(registry: Registry, name: str, features: FeatureBinding) -> ModelVersion:
    """Registers as the champion: from a `shop`, and what the store says it has `sold`, to a probability."""
    inputs, outputs = (Column(name="shop", dtype="string"),), (Column(name="probability", dtype="float64"),)
    package = ModelPackage(signature=Signature(inputs=inputs, outputs=outputs), features=features)
    model = Pipeline([("columns", ColumnEncoder(("sold",), {})), ("model", LogisticRegression())])
    model.fit({"sold": np.array([0.0, 100.0, 1.0, 101.0])}, [0, 1, 0, 1])
    with mlflow.start_run(experiment_id=registry.experiment(name)) as run:
        uri = log_package(model, package, {"scikit-learn": sklearn.__version__})
    version = registry.register(name, uri, run.info.run_id, {})
    registry.point(CHAMPION, version)
    return version
