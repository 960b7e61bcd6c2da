"""Who takes part: how each scores a folder of Parquet files with the model."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import yaml

from benchmarks.batch.environments import spark_programs
from benchmarks.serving.model import NAME, Material
from taxiway.registry import CHAMPION

Role = Literal["loop", "reference", "ray", "spark", "taxiway", "idle"]
CORES = len(os.sched_getaffinity(0))
_PEERS = Path(__file__).parent / "peers"
_ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Job:
    """What is to be scored with what; `folder` is the contestant's own, `output` does not exist yet."""

    material: Material
    spark_model: Path
    input: Path
    folder: Path

    @property
    def output(self) -> Path:
        return self.folder / "scored"


@dataclass(frozen=True)
class Command:
    """A command line and what it adds to the environment."""

    words: list[str]
    environment: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Contestant:
    """One line of the comparison; `role` is what the ratios are made of."""

    key: str
    title: str
    role: Role
    command: Callable[[Job], Command]

    @property
    def on_ray(self) -> bool:
        return self.role in ("ray", "taxiway")


def _loop(threads: int, processes: int = 1) -> Callable[[Job], Command]:
    def command(job: Job) -> Command:
        words = [sys.executable, _PEERS / "plain_loop.py", job.material.joblib, job.input, job.output]
        words += ["--processes", processes]
        return Command(list(map(str, words)), {"OMP_NUM_THREADS": str(threads)})

    return command


def _ray_actors(job: Job) -> Command:
    words = [sys.executable, _PEERS / "ray_actors.py", job.material.joblib, job.input, job.output, CORES]
    return Command(list(map(str, words)))


def _ray_idle(job: Job) -> Command:
    return Command([sys.executable, str(_PEERS / "ray_idle.py"), str(job.folder)])


def _spark(way: Literal["udf", "pandas"]) -> Callable[[Job], Command]:
    def command(job: Job) -> Command:
        programs = spark_programs()
        model = job.spark_model if way == "udf" else job.material.joblib
        words = [programs / "python", _PEERS / "spark_app.py", way, model, job.input, job.output, "--cores", CORES]
        # One thread for each of Spark's Python workers, of which there is one a core.
        return Command(list(map(str, words)), {"PYSPARK_PYTHON": str(programs / "python"), "OMP_NUM_THREADS": "1"})

    return command


def _taxiway(job: Job) -> Command:
    settings = {
        "model": f"models:/{NAME}@{CHAMPION}",
        "input": str(job.input),
        "output": str(job.output),
        "registry": job.material.registry.model_dump(mode="json"),
    }
    config = job.folder.with_suffix(".yaml")
    config.write_text(yaml.safe_dump(settings))
    # The module is found from the project's folder, wherever the benchmark was started.
    return Command([sys.executable, "-m", "batch", str(config)], {"PYTHONPATH": str(_ROOT)})


IDLE_RAY = Contestant("ray-idle", "Ray alone, doing nothing", "idle", _ray_idle)
CONTESTANTS: tuple[Contestant, ...] = (
    Contestant("loop", f"pyarrow loop, {CORES} threads", "reference", _loop(CORES)),
    Contestant("loop-1", "pyarrow loop, 1 thread", "loop", _loop(1)),
    Contestant("loop-processes", f"pyarrow loop, {CORES} processes", "loop", _loop(1, CORES)),
    Contestant("ray-data", "Ray Data, map_batches", "ray", _ray_actors),
    Contestant("spark-udf", "Spark, mlflow.pyfunc.spark_udf", "spark", _spark("udf")),
    Contestant("spark-pandas", "Spark, mapInPandas", "spark", _spark("pandas")),
    Contestant("taxiway", "Taxiway", "taxiway", _taxiway),
)
