"""Where a job that looks back leaves what it has found: files in a folder and a run in MLflow."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from mlflow.entities import Metric, Param, RunStatus
from mlflow.exceptions import MlflowException
from mlflow.tracking import MlflowClient
from mlflow.utils.mlflow_tags import MLFLOW_SOURCE_NAME, MLFLOW_SOURCE_TYPE
from pyarrow import fs

from batch.inputs.storage import below, locate, storage_error
from batch.observers.settings import MlflowSettings
from taxiway.errors import RegistryError
from taxiway.registry import Registry, parts_of

_NOT_IN_A_KEY = re.compile(r"[^\w\-. /]", re.ASCII)
_LAST = "report.json"
_METRICS_AT_A_TIME = 1_000


@dataclass(frozen=True)
class Findings:
    """What a job says at its end.

    Args:
        model: `models:/NAME/VERSION`.
        window: START/END of the answers, ISO 8601.
        is_broken: a limit is.
        files: name -> content.
        metrics: numbers by name.
    """

    name: str
    model: str
    endpoint: str
    window: str
    is_broken: bool
    files: Mapping[str, str]
    metrics: Mapping[str, float]
    began: datetime
    ended: datetime

    @property
    def tags(self) -> dict[str, str]:
        """What runs are searched by."""
        name, _, version = parts_of(self.model)
        limits = "broken" if self.is_broken else "kept"
        job = {MLFLOW_SOURCE_TYPE: "JOB", MLFLOW_SOURCE_NAME: "python -m batch"}
        return job | {"model_name": name, "model_version": version or "", "endpoint": self.endpoint, "limits": limits}


def leave(findings: Findings, folder: str, mlflow: MlflowSettings | None, registry: Registry) -> None:
    """Writes the files and, where `mlflow` is set, a run.

    Raises:
        ConfigError, JobError, TryLater: the folder can't be written.
        RegistryError: MLflow does not take the run.
    """
    write_files(findings, folder)
    if mlflow is not None:
        log_run(findings, registry.experiment(mlflow.experiment), registry.tracking_uri)


def write_files(findings: Findings, folder: str) -> None:
    """Raises as `leave`. The report as JSON comes last: who finds it finds the others."""
    system, path = locate(folder)
    try:
        if isinstance(system, fs.LocalFileSystem):
            system.create_dir(path, recursive=True)
        for name in sorted(findings.files, key=lambda name: name == _LAST):
            with system.open_output_stream(locate(below(folder, name))[1]) as file:
                file.write(findings.files[name].encode())
    except OSError as error:
        raise storage_error("output", folder, error) from error


def log_run(findings: Findings, experiment: str, tracking_uri: str) -> None:
    """A finished run with everything in the experiment of this id; raises RegistryError."""
    client = MlflowClient(tracking_uri)
    began, ended = (int(moment.timestamp() * 1000) for moment in (findings.began, findings.ended))
    metrics = [Metric(_NOT_IN_A_KEY.sub("_", key)[:250], it, ended, 0) for key, it in findings.metrics.items()]
    try:
        run = str(client.create_run(experiment, began, findings.tags, findings.name).info.run_id)
        params = [Param("model", findings.model), Param("window", findings.window)]
        client.log_batch(run, metrics=metrics[:_METRICS_AT_A_TIME], params=params)
        for name, content in findings.files.items():
            client.log_text(run, content, name)
        client.set_terminated(run, RunStatus.to_string(RunStatus.FINISHED), ended)
    except MlflowException as error:
        raise RegistryError(f"the run of this job could not be kept: {error.message}") from error
