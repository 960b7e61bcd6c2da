"""MLflow: log the run with its evidence, register the model version once, and hand it over or reject it."""

import csv
import hashlib
import io
import json
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import mlflow
import pyarrow.parquet as pq
from matplotlib.figure import Figure
from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException

from retrain.card import Account, Window, card
from retrain.checks import Finding
from retrain.compare import facts, plain_evaluation
from retrain.dataset import Dataset
from retrain.judgement import Judgement
from retrain.page import page
from retrain.search import Look
from retrain.settings import RetrainSettings, WindowSettings
from retrain.source import LabelsFile
from retrain.trainers.contract import FittedModel
from retrain.usual import usual_of
from retrain.windows import Windows
from taxiway.environment import Environment
from taxiway.errors import RegistryError
from taxiway.feature_binding import FeatureBinding
from taxiway.lineage import (
    ENVIRONMENT_FILE,
    ENVIRONMENT_TAG,
    LABELS_TAG,
    SERVICE_VERSION_TAG,
    TRIGGER_TAG,
    VERDICT_FILE,
    WINDOW_TAG,
)
from taxiway.package import Lineage, ModelPackage, log_package
from taxiway.profile import profile
from taxiway.promotion import VERDICT_TAG, challenge, promote, reject
from taxiway.registry import CHALLENGER, CHAMPION, ModelVersion, Registry
from taxiway.signature import Signature

RETRAINING_TAG = "taxiway.retraining"
"""On the MLflow run and on the version: which retraining made it, so that one that goes on makes no second."""
REJECTED = "rejected"
_DATASET_DIGEST_CHARACTERS = 36
"""As many as MLflow's database has room for; the tag and the lineage hold all of them."""
_BY = "retrain"


@dataclass(frozen=True)
class Candidate:
    """A fitted model with everything that its version will say about it."""

    run_id: str
    trigger: str
    fitted: FittedModel
    features: FeatureBinding | None
    windows: Windows
    findings: Sequence[Finding]
    looks: Sequence[Look]
    best: Look
    judgement: Judgement
    figures: dict[str, Figure]
    code_revision: str
    labels: LabelsFile
    environment: Environment

    @property
    def parameters(self) -> dict[str, Any]:
        return {**self.best.parameters, "iterations": self.best.iterations}

    @property
    def metrics(self) -> dict[str, float]:
        task, latency, stability = self.fitted.task, self.judgement.latency, self.judgement.stability
        spread = stability.metrics if stability else {}
        return (
            self.judgement.comparison.challenger.metrics
            | spread
            | {
                f"validate_{task.score}": self.best.score,
                f"validate_{task.loss}": self.best.loss,
                "predict_p50_ms": latency.p50_ms,
                "predict_p99_ms": latency.p99_ms,
                "predict_rows_per_s": latency.rows_per_s,
                "model_mb": self.judgement.model_mb,
            }
        )

    def tags(self, settings: RetrainSettings) -> dict[str, str]:
        train = settings.train
        return {
            RETRAINING_TAG: self.run_id,
            TRIGGER_TAG: self.trigger,
            WINDOW_TAG: f"{train.start.isoformat()}/{train.end.isoformat()}",
            VERDICT_TAG: self.judgement.verdict.model_dump_json(),
            **({SERVICE_VERSION_TAG: _digest(self.features)} if self.features else {}),
            LABELS_TAG: json.dumps(self.labels.facts),
            ENVIRONMENT_TAG: json.dumps(self.environment.summary),
            "data_digest": self.windows.train.digest,
            "code_revision": self.code_revision,
        }


def _digest(features: FeatureBinding) -> str:
    """Changes when the service has other views, features, keys or policies; Feast counts no versions."""
    return hashlib.sha256(features.model_dump_json().encode()).hexdigest()[:12]


def signature_of(settings: RetrainSettings) -> Signature:
    return Signature(inputs=settings.inputs, outputs=(settings.learning_task.output(settings.output),))


def register(registry: Registry, settings: RetrainSettings, candidate: Candidate) -> ModelVersion:
    """The version of this retraining; made once, however often it is asked for.

    Raises:
        RegistryError: MLflow refuses something or does not answer.
    """
    with _telling(f"the model {settings.model!r} could not be registered"):
        if (found := _registered(settings.model, candidate.run_id)) is not None:
            return found
        experiment = registry.experiment(settings.model)
        _forget_unfinished(experiment, candidate.run_id)
        tags = candidate.tags(settings)
        # MLflow shows it at the run; the version has it as a tag, which has more room there.
        run_tags = {name: value for name, value in tags.items() if name != VERDICT_TAG}
        with mlflow.start_run(experiment_id=experiment, tags=run_tags) as run:
            mlflow.log_params(candidate.parameters | {"seed": settings.search.seed, "trials": settings.search.trials})
            mlflow.log_metrics(candidate.metrics)
            _log_evidence(candidate)
            _log_datasets(settings, candidate)
            package = _package(settings, candidate, run.info.run_id)
            uri = log_package(candidate.fitted.model, package, dict(candidate.fitted.requirements))
        return registry.register(settings.model, uri, run.info.run_id, tags)


def log_account(settings: RetrainSettings, candidate: Candidate, version: ModelVersion, created: datetime) -> None:
    """The report and the model card, as files of the version's run; a second time replaces them.

    Raises:
        RegistryError: as `register`.
    """
    account = _account(settings, candidate, version, created)
    with _telling(f"the report of {version.uri} could not be kept"):
        client = mlflow.MlflowClient()
        client.log_text(version.run_id, page(account, candidate.figures), "report.html")
        client.log_text(version.run_id, card(account), "model_card.md")
        client.update_model_version(version.name, version.version, card(account))


def hand_over(
    registry: Registry, settings: RetrainSettings, candidate: Candidate, version: ModelVersion, now: datetime
) -> str:
    """Champion when there is none, challenger when the gate lets it pass, else rejected; may be done twice.

    Raises:
        RegistryError: the registry does not answer.
    """
    verdict = candidate.judgement.verdict
    came_from = f"retraining {candidate.run_id} ({candidate.trigger})"
    if not verdict.passed:
        reason = f"{came_from}: {'; '.join(verdict.reasons)}"
        reject(registry, version, _BY, reason, now, verdict.model_dump(mode="json"))
        return REJECTED
    if registry.alias(settings.model, CHAMPION) in (None, version):
        promote(registry, version, _BY, f"{came_from}: the first version", now)
        return CHAMPION
    challenge(registry, version, _BY, f"{came_from}: passed its gate", now)
    return CHALLENGER


@contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except MlflowException as error:
        raise RegistryError(f"{what}: {error.message}") from error


def _registered(model: str, run_id: str) -> ModelVersion | None:
    found = mlflow.search_model_versions(filter_string=f"name = '{model}' and tags.`{RETRAINING_TAG}` = '{run_id}'")
    return ModelVersion(str(found[0].name), str(found[0].version), str(found[0].run_id)) if found else None


def _forget_unfinished(experiment: str, run_id: str) -> None:
    """Runs of a process that was killed before it had registered anything."""
    found = mlflow.search_runs(
        experiment_ids=[experiment], filter_string=f"tags.`{RETRAINING_TAG}` = '{run_id}'", output_format="list"
    )
    for run in found:
        mlflow.delete_run(run.info.run_id)


def _package(settings: RetrainSettings, candidate: Candidate, run_id: str) -> ModelPackage:
    signature, evaluate = signature_of(settings), candidate.windows.evaluate
    features = candidate.features.optional_inputs if candidate.features else ()
    # Rows that the model has not learned from: of those it knows the answers too well.
    reference = profile(evaluate.columns, signature, features, {settings.output: candidate.judgement.answers})
    return ModelPackage(
        flavor=candidate.fitted.flavor,
        signature=signature,
        features=candidate.features,
        output_kind=settings.learning_task.output_kind,
        predict_method=None if settings.task == "binary" else candidate.fitted.method,
        reference_profile=reference,
        usual_drift=usual_of(reference, candidate.fitted, candidate.windows.train, settings.output),
        lineage=Lineage(
            data_digest=candidate.windows.train.digest,
            data_rows=len(candidate.windows.train),
            code_revision=candidate.code_revision,
            run_id=run_id,
            parameters=candidate.parameters,
            metrics=candidate.metrics,
        ),
    )


def _account(settings: RetrainSettings, candidate: Candidate, version: ModelVersion, created: datetime) -> Account:
    judged, windows = candidate.judgement, candidate.windows
    spans = (("training", settings.train, windows.train), ("evaluation", settings.evaluate, windows.evaluate))
    found = {f"check: {it.code}": it.sentence for it in candidate.findings}
    labels = {f"labels: {name}": told for name, told in candidate.labels.facts.items()}
    made_with = {f"environment: {name}": told for name, told in candidate.environment.summary.items()}
    service = {"feature service": candidate.features.service} if candidate.features else {}
    return Account(
        model=settings.model,
        version=version.version,
        champion_version=judged.champion.version if judged.champion else None,
        created=created,
        label=settings.label,
        signature=signature_of(settings),
        features=candidate.features.columns if candidate.features else (),
        windows=[_window(settings, name, span, dataset) for name, span, dataset in spans],
        comparison=judged.comparison,
        verdict=judged.verdict,
        parameters=candidate.parameters,
        code_revision=candidate.code_revision,
        latency=judged.latency,
        champion_latency=judged.champion_latency,
        model_mb=judged.model_mb,
        stability=judged.stability,
        lineage={
            "MLflow run": version.run_id,
            "retraining": candidate.run_id,
            "trigger": candidate.trigger,
            **service,
            **labels,
            **made_with,
            **found,
        },
        intended_use=settings.intended_use,
        limits=settings.limits,
    )


def _window(settings: RetrainSettings, name: str, span: WindowSettings, dataset: Dataset) -> Window:
    base = settings.learning_task.base(dataset.labels)
    return Window(name, span.start, span.end, len(dataset), base, dataset.digest)


def _log_evidence(candidate: Candidate) -> None:
    evaluation, verdict = candidate.judgement.comparison.challenger, candidate.judgement.verdict
    digests = {
        "training_digest": candidate.windows.train.digest,
        "evaluation_digest": candidate.windows.evaluate.digest,
    }
    mlflow.log_dict(plain_evaluation(evaluation) | digests, "evaluation.json")
    mlflow.log_dict(json.loads(json.dumps(facts(candidate.judgement.comparison))), "comparison.json")
    mlflow.log_dict(verdict.model_dump(mode="json"), VERDICT_FILE)
    mlflow.log_dict({"findings": [asdict(finding) for finding in candidate.findings]}, "checks.json")
    if (stability := candidate.judgement.stability) is not None:
        mlflow.log_dict(stability.facts, "stability.json")
    mlflow.log_text(candidate.environment.text, ENVIRONMENT_FILE)
    mlflow.log_text(_csv([plain_evaluation(it) for it in evaluation.slices]), "slices.csv")
    mlflow.log_text(_csv(_importances(candidate)), "importance.csv")
    mlflow.log_text(_csv([_look(candidate, it) for it in candidate.looks]), "trials.csv")
    for name, figure in candidate.figures.items():
        mlflow.log_figure(figure, f"{name}.png")


def _importances(candidate: Candidate) -> list[dict[str, Any]]:
    lost = f"lost_{candidate.fitted.task.importance}"
    return [
        {"column": it.column, lost: it.lost, "low": it.low, "high": it.high} for it in candidate.judgement.importances
    ]


def _look(candidate: Candidate, look: Look) -> dict[str, Any]:
    task = candidate.fitted.task
    reached = {"iterations": look.iterations, task.loss: look.loss, task.score: look.score}
    return {"trial": look.trial, **reached, **look.parameters}


def _log_datasets(settings: RetrainSettings, candidate: Candidate) -> None:
    with warnings.catch_warnings(action="ignore"):  # MLflow finds its own local source twice
        source = resolve_dataset_source(candidate.labels.path)
    with tempfile.TemporaryDirectory(prefix="taxiway-dataset-") as folder:
        for name, dataset in (("training", candidate.windows.train), ("evaluation", candidate.windows.evaluate)):
            path = Path(folder) / f"{name}.parquet"
            table = dataset.table(settings.row_id, settings.event_timestamp, settings.label)
            pq.write_table(table, path, compression="zstd")
            mlflow.log_artifact(str(path), "dataset")
            digest = dataset.digest[:_DATASET_DIGEST_CHARACTERS]
            described = MetaDataset(source, f"{settings.model}-{name}", digest)  # type: ignore[abstract]
            mlflow.log_input(described, context=name)


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]) if rows else [], lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()
