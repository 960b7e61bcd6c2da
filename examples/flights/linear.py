"""A second model for the example's graph: a logistic regression on the columns that the champion sees."""

import sys
import time
from datetime import UTC, datetime
from importlib.metadata import version

import mlflow
import numpy as np
from mlflow.exceptions import MlflowException
from numpy.typing import NDArray
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from retrain.dataset import Dataset
from retrain.features import join_features, open_features
from retrain.labels import read_labels
from retrain.model import Layout, layout, one_thread, predict
from retrain.revision import code_revision
from retrain.settings import RetrainSettings, load_retraining
from retrain.windows import Windows, split
from taxiway.errors import RegistryError, TaxiwayError
from taxiway.feature_binding import FeatureBinding
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.promotion import challenge, promote
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.signature import Column, Signature

RETRAIN_FILE = "configs/flights/retrain.yaml"
MODEL = "flight-delay-linear"
_ONE_IN = 8
"""So few examples are enough for as many weights, and their features are joined in seconds."""


def main() -> int:
    """Trains on a sample of the champion's examples and registers a version; the first one is the champion."""
    start = time.monotonic()
    try:
        settings = load_retraining(RETRAIN_FILE, datetime.now(UTC))
        binding, windows = _sampled(settings)
        pipeline = fit(windows.train, layout(settings.inputs, binding.columns if binding else ()))
        metrics = _metrics(windows.evaluate.labels, predict(pipeline, windows.evaluate))
        registered, alias = _publish(settings, pipeline, binding, windows, metrics)
    except TaxiwayError as error:
        print(f"linear: {error}", file=sys.stderr)
        return 1
    print(
        f"linear: {MODEL} version {registered.version}, {alias}: AUC {metrics['auc']:.3f} from "
        f"{len(windows.train)} examples in {time.monotonic() - start:.1f} s"
    )
    return 0


def fit(examples: Dataset, layout: Layout) -> Pipeline:
    """A pipeline from named columns to probabilities."""
    numbers = [position for position in range(len(layout.columns)) if position not in layout.categorical]
    prepare = ColumnTransformer(
        [
            ("categories", OneHotEncoder(handle_unknown="ignore", sparse_output=False), layout.categorical),
            ("numbers", make_pipeline(SimpleImputer(strategy="median", add_indicator=True), StandardScaler()), numbers),
        ]
    )
    classify = LogisticRegression(max_iter=300)
    pipeline = Pipeline([("encode", layout.encoder()), ("prepare", prepare), ("classify", classify)])
    with one_thread():
        return pipeline.fit(examples.columns, examples.labels)


def _sampled(settings: RetrainSettings) -> tuple[FeatureBinding | None, Windows]:
    binding, history = open_features(settings)
    examples = read_labels(settings, datetime.now(UTC)).examples.take(slice(None, None, _ONE_IN))
    joined, _ = join_features(examples, binding, history)
    return binding, split(joined, settings)


def _metrics(labels: NDArray[np.int64], probabilities: NDArray[np.float64]) -> dict[str, float]:
    auc, loss = roc_auc_score(labels, probabilities), log_loss(labels, probabilities)
    return {"auc": float(auc), "log_loss": float(loss)}


def _publish(
    settings: RetrainSettings,
    pipeline: Pipeline,
    binding: FeatureBinding | None,
    windows: Windows,
    metrics: dict[str, float],
) -> tuple[ModelVersion, str]:
    registry = Registry(settings.registry)
    tags = {"data_digest": windows.train.digest, "code_revision": code_revision()}
    parameters = {"one_in": _ONE_IN, "C": pipeline[-1].C}
    try:
        with mlflow.start_run(experiment_id=registry.experiment(MODEL), tags=tags) as run:
            mlflow.log_params(parameters)
            mlflow.log_metrics(metrics)
            lineage = Lineage(
                **tags, data_rows=len(windows.train), run_id=run.info.run_id, parameters=parameters, metrics=metrics
            )
            output = Column(name=settings.output, dtype="float64")
            signature = Signature(inputs=settings.inputs, outputs=(output,))
            package = ModelPackage(signature=signature, features=binding, lineage=lineage)
            uri = log_package(pipeline, package, {"scikit-learn": version("scikit-learn")})
        registered = registry.register(MODEL, uri, run.info.run_id, tags)
        alias = CHAMPION if registry.alias(MODEL, CHAMPION) is None else CHALLENGER
        hand_over = promote if alias == CHAMPION else challenge
        hand_over(registry, registered, "examples.flights.linear", "the graph's second model", datetime.now(UTC))
    except MlflowException as error:
        raise RegistryError(f"the model could not be registered: {error.message}") from error
    return registered, alias


if __name__ == "__main__":
    sys.exit(main())
