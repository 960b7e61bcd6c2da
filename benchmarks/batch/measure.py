"""Lets the contestants score a dataset, one after the other, and checks what each has written."""

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.models import ModelSignature
from mlflow.types import ColSpec, Schema

from benchmarks.batch import output
from benchmarks.batch.contestants import IDLE_RAY, Command, Contestant, Job
from benchmarks.batch.data import Dataset, digest
from benchmarks.batch.environments import InstallFailed
from benchmarks.batch.output import WrongOutput
from benchmarks.batch.watch import CommandFailed, Seen, watch
from benchmarks.serving.model import COLUMNS, OUTPUT, Material
from taxiway.settings import home

_START_TIMEOUT_S = 300.0
_SLOWEST_ROWS_PER_S = 10_000
# What the shell of the benchmark may have set must not decide for the contestants.
_NOT_INHERITED = (
    "OMP_NUM_THREADS",
    "PYTHONDONTWRITEBYTECODE",
    "PYTHONPATH",
    "RAY_ADDRESS",
    "RAY_worker_niceness",
    "SPARK_HOME",
)
_PEERS = Path(__file__).parent / "peers"


@dataclass(frozen=True)
class Run:
    """One contestant over one dataset, once; the fields are those of `Seen`."""

    contestant: str
    rows: int
    wall_s: float
    first_row_s: float
    cpu_s: float
    peak_mb: float
    others: float = 0.0

    @property
    def rows_per_s(self) -> float:
        return self.rows / self.wall_s


@dataclass(frozen=True)
class Failure:
    """Why a contestant has no figures, or not all."""

    contestant: str
    why: str


def rounds(
    contestants: Sequence[Contestant], dataset: Dataset, material: Material, number: int
) -> Iterator[Run | Failure]:
    """Every contestant, `number` times, in turns: the machine drifts. One that has failed is not asked again."""
    failed: set[str] = set()
    dataset.warm()
    for _ in range(number):
        for contestant in contestants:
            if contestant.key not in failed:
                result = _measured(contestant, dataset, material)
                if isinstance(result, Failure):
                    failed.add(contestant.key)
                yield result


def idle_ray_mb(material: Material) -> float:
    """PSS of a local Ray that does nothing.

    Raises:
        CommandFailed: Ray does not start.
    """
    return _seen(IDLE_RAY, _job(IDLE_RAY, home(), material), _START_TIMEOUT_S).peak_mb


def _measured(contestant: Contestant, dataset: Dataset, material: Material) -> Run | Failure:
    job = _job(contestant, dataset.folder, material)
    try:
        seen = _seen(contestant, job, _START_TIMEOUT_S + dataset.rows / _SLOWEST_ROWS_PER_S)
        output.check(job.output, dataset)
    except (InstallFailed, CommandFailed, WrongOutput, OSError, subprocess.SubprocessError) as error:
        print(f"  {contestant.key}: {error}", flush=True)
        return Failure(contestant.key, f"{type(error).__name__}: {error}")
    finally:
        shutil.rmtree(job.folder, ignore_errors=True)
        # Written pages go to the disk now, and not in the time of the next one.
        os.sync()
    run = Run(contestant.key, dataset.rows, **vars(seen))
    _show(run)
    return run


def _job(contestant: Contestant, source: Path, material: Material) -> Job:
    folder = home() / "bench" / "batch" / "runs" / contestant.key
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    return Job(material, spark_model(material), source, folder)


def _seen(contestant: Contestant, job: Job, timeout_s: float) -> Seen:
    command: Command = contestant.command(job)
    inherited = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
    environment = {**inherited, "RAY_USAGE_STATS_ENABLED": "0", **command.environment}
    return watch(command.words, environment, job.folder, job.folder.with_suffix(".log"), timeout_s)


def spark_model(material: Material) -> Path:
    """The classifier as MLflow's UDF takes it: fifteen columns to a number."""
    folder = home() / "bench" / "batch" / f"spark-model-{digest(material.joblib)}"
    if not folder.is_dir():
        signature = ModelSignature(
            Schema([ColSpec("double", name) for name in COLUMNS]), Schema([ColSpec("double", OUTPUT)])
        )
        mlflow.pyfunc.save_model(
            str(folder),
            python_model=str(_PEERS / "late_model.py"),
            artifacts={"model": str(material.joblib)},
            signature=signature,
            pip_requirements=["scikit-learn", "joblib"],
        )
    return folder


def _show(run: Run) -> None:
    print(
        f"  {run.contestant:15} {run.rows:11,} rows {run.wall_s:7.1f} s {run.rows_per_s:9,.0f} rows/s"
        f"  first row {run.first_row_s:5.1f} s  CPU {run.cpu_s:7.1f} s  peak {run.peak_mb:6,.0f} MB"
        f"  others' CPU {run.others:4.0%}",
        flush=True,
    )
