"""MLflow: log the run with its evidence, register the model version, give it an alias."""

import csv
import io
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException
from sklearn.pipeline import Pipeline

from retrain.evaluate import Evaluation
from retrain.search import Look
from retrain.settings import RetrainSettings
from retrain.windows import Windows
from taxiway.errors import RegistryError
from taxiway.feature_binding import FeatureBinding
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.signature import Column, Signature

_DATASET_DIGEST_CHARACTERS = 36
"""As many as MLflow's database has room for; the tag and the lineage hold all of them."""


@dataclass(frozen=True)
class Candidate:
    """A fitted model with everything that its version will say about it."""

    pipeline: Pipeline
    features: FeatureBinding | None
    windows: Windows
    looks: Sequence[Look]
    best: Look
    evaluation: Evaluation
    figures: dict[str, Figure]
    code_revision: str

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self.best.parameters, "iterations": self.best.iterations}

    @property
    def metrics(self) -> dict[str, float]:
        validation = {"validate_auc": self.best.auc, "validate_log_loss": self.best.log_loss}
        return self.evaluation.metrics | validation

    @property
    def tags(self) -> dict[str, str]:
        return {"data_digest": self.windows.train.digest, "code_revision": self.code_revision}


def publish(registry: Registry, settings: RetrainSettings, candidate: Candidate) -> tuple[ModelVersion, str]:
    """Registers the candidate; returns its version and alias.

    The first version of a model is its champion: nothing is there to compare it with.

    Raises:
        RegistryError: MLflow refuses something or does not answer.
    """
    try:
        return _publish(registry, settings, candidate)
    except MlflowException as error:
        raise RegistryError(f"the model could not be registered: {error.message}") from error


def _publish(registry: Registry, settings: RetrainSettings, candidate: Candidate) -> tuple[ModelVersion, str]:
    with mlflow.start_run(experiment_id=registry.experiment(settings.model), tags=candidate.tags) as run:
        mlflow.log_params(candidate.parameters | {"seed": settings.search.seed, "trials": settings.search.trials})
        mlflow.log_metrics(candidate.metrics)
        _log_evidence(candidate)
        _log_datasets(settings, candidate)
        package = _package(settings, candidate, run.info.run_id)
        uri = log_package(candidate.pipeline, package, {"scikit-learn": version("scikit-learn")})
    registered = registry.register(settings.model, uri, run.info.run_id, candidate.tags)
    alias = CHAMPION if registry.alias(settings.model, CHAMPION) is None else CHALLENGER
    registry.point(alias, registered)
    return registered, alias


def _package(settings: RetrainSettings, candidate: Candidate, run_id: str) -> ModelPackage:
    return ModelPackage(
        signature=Signature(inputs=settings.inputs, outputs=(Column(name=settings.output, dtype="float64"),)),
        features=candidate.features,
        lineage=Lineage(
            data_digest=candidate.windows.train.digest,
            data_rows=len(candidate.windows.train),
            code_revision=candidate.code_revision,
            run_id=run_id,
            parameters=candidate.parameters,
            metrics=candidate.metrics,
        ),
    )


def _log_evidence(candidate: Candidate) -> None:
    digests = {
        "training_digest": candidate.windows.train.digest,
        "evaluation_digest": candidate.windows.evaluate.digest,
    }
    mlflow.log_dict(asdict(candidate.evaluation) | digests, "evaluation.json")
    mlflow.log_text(_csv([asdict(it) for it in candidate.evaluation.slices]), "slices.csv")
    looks = [{**asdict(look), **look.parameters} for look in candidate.looks]
    mlflow.log_text(_csv([{key: look[key] for key in look if key != "parameters"} for look in looks]), "trials.csv")
    for name, figure in candidate.figures.items():
        mlflow.log_figure(figure, f"{name}.png")


def _log_datasets(settings: RetrainSettings, candidate: Candidate) -> None:
    with warnings.catch_warnings(action="ignore"):  # MLflow finds its own local source twice
        source = resolve_dataset_source(settings.labels)
    with tempfile.TemporaryDirectory(prefix="taxiway-dataset-") as folder:
        for name, dataset in (("training", candidate.windows.train), ("evaluation", candidate.windows.evaluate)):
            path = Path(folder) / f"{name}.parquet"
            table = dataset.table(settings.row_id, settings.event_timestamp, settings.label)
            pq.write_table(table, path, compression="zstd")
            mlflow.log_artifact(str(path), "dataset")
            digest = dataset.digest[:_DATASET_DIGEST_CHARACTERS]
            described = MetaDataset(source, f"{settings.model}-{name}", digest)  # type: ignore[abstract]
            mlflow.log_input(described, context=name)


def _csv(rows: Sequence[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
