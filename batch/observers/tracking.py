"""A run in MLflow for each attempt: which version scored which input into which output, and how it went."""

import re
import warnings
from collections.abc import Mapping

from mlflow.data.dataset_source_registry import resolve_dataset_source
from mlflow.data.meta_dataset import MetaDataset
from mlflow.entities import DatasetInput, InputTag, Metric, Param, RunStatus
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_DATASET_CONTEXT, MLFLOW_RUN_NOTE, MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE

from batch.observers.page import page
from batch.observers.report import Report
from batch.observers.settings import MlflowSettings
from batch.summaries import NumberSummary
from taxiway.registry import Registry, parts_of
from taxiway.settings import RegistrySettings

_DATASET_DIGEST_CHARACTERS = 36
_LONGEST_VALUE = 5_000
_METRICS_AT_A_TIME = 1_000
_NOT_IN_A_KEY = re.compile(r"[^\w\-. /]", re.ASCII)


def log_run(report: Report, settings: MlflowSettings, registry: RegistrySettings) -> None:
    """Raises what MLflow and its storages raise."""
    experiment = Registry(registry).experiment(settings.experiment)
    client = MlflowClient(registry.tracking_uri)
    begin, end = (int(moment.timestamp() * 1000) for moment in (report.started, report.ended))
    run = client.create_run(experiment, begin, tags_of(report), report.job_id).info.run_id
    client.log_batch(run, params=[Param(key, value[:_LONGEST_VALUE]) for key, value in params_of(report).items()])
    metrics = [Metric(_key(key), value, end, 0) for key, value in metrics_of(report).items()]
    client.log_batch(run, metrics=[*metrics, *_over_time(report, begin)][:_METRICS_AT_A_TIME])
    if report.input_digest is not None:
        client.log_inputs(run, [_dataset(report, report.input_digest)])
    # Before the artifacts: their storage is another system, which may be the one that fails.
    client.set_terminated(run, status_of(report), end)
    client.log_text(run, page(report), "report.html")
    client.log_text(run, report.model_dump_json(indent=2), "report.json")


def status_of(report: Report) -> str:
    if report.failure is None:
        return str(RunStatus.to_string(RunStatus.FINISHED))
    is_killed = report.failure.code == "interrupted"
    return str(RunStatus.to_string(RunStatus.KILLED if is_killed else RunStatus.FAILED))


def tags_of(report: Report) -> dict[str, str]:
    """What runs are searched by: a version's scores, an input's, a job's attempts."""
    name, _, version = parts_of(report.model)
    told = {
        MLFLOW_SOURCE_TYPE: "JOB",
        MLFLOW_SOURCE_NAME: "python -m batch",
        MLFLOW_RUN_NOTE: f"`{report.model}` scored `{report.input}` into `{report.output}`.",
        "job_id": report.job_id,
        "model_name": name,
        "model_version": version,
        "model_digest": report.model_digest,
        "compared": report.compared,
        "input_digest": report.input_digest,
        "output": report.output,
        "error_code": report.failure.code if report.failure else None,
        "error": report.failure.message if report.failure else None,
    }
    return {key: value[:_LONGEST_VALUE] for key, value in told.items() if value is not None}


def params_of(report: Report) -> dict[str, str]:
    return {"model": report.model, "input": report.input, "output": report.output, **report.settings}


def metrics_of(report: Report) -> Mapping[str, float]:
    """Numbers of the whole run; those of each code, stage and output have their name after a slash."""
    told: dict[str, float] = {
        "rows_read": report.rows.read,
        "rows_written": report.rows.written,
        "rows_rejected": report.rows.rejected,
        "rows_filtered": report.rows.filtered,
        "reject_share": report.reject_share,
        "rows_per_s": report.rows_per_s,
        "seconds": report.seconds,
        "resumed_pieces": report.resumed_pieces,
    }
    told |= {f"rejects/{code}": count for code, count in report.rejects.items()}
    told |= {f"seconds/{stage}": spent for stage, spent in report.seconds_by_stage.items()}
    for name, scores in report.scores.items():
        if isinstance(scores, NumberSummary) and scores.mean is not None:
            told[f"mean/{name}"] = scores.mean
    return told


def _over_time(report: Report, begin_ms: int) -> list[Metric]:
    return [
        Metric("throughput_rows_per_s", it.rows_per_s, begin_ms + int(1000 * it.end_s), step)
        for step, it in enumerate(report.throughput)
    ]


def _dataset(report: Report, digest: str) -> DatasetInput:
    with warnings.catch_warnings(action="ignore"):  # MLflow finds its own local source twice
        source = resolve_dataset_source(report.input)
    name = f"{parts_of(report.model)[0]}-input"
    described = MetaDataset(source, name, digest[:_DATASET_DIGEST_CHARACTERS])  # type: ignore[abstract]
    return DatasetInput(described._to_mlflow_entity(), [InputTag(MLFLOW_DATASET_CONTEXT, "scoring")])


def _key(name: str) -> str:
    return _NOT_IN_A_KEY.sub("_", name)[:250]
