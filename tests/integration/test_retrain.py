"""`python -m retrain` as a user runs it: a small Parquet file, a registry that does not exist yet, a Ray of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import yaml

from taxiway.registry import CHALLENGER, CHAMPION, Registry
from taxiway.settings import RegistrySettings

ROOT = Path(__file__).parents[2]
SETTINGS = {
    "model": "tiny",
    "labels": "${TAXIWAY_HOME}/labels.parquet",
    "label": "late",
    "inputs": [
        {"name": "kind", "dtype": "string", "categories": ["a", "b", "c"]},
        {"name": "x", "dtype": "float64"},
        {"name": "size", "dtype": "int64", "minimum": 0},
    ],
    "output": "late_probability",
    "train": {"start": "2024-01-01", "end": "2024-01-25"},
    "validate_from": "2024-01-20",
    "evaluate": {"start": "2024-01-25", "end": "2024-02-01"},
    "slices": ["kind"],
    "search": {"trials": 3, "max_iterations": 10, "report_every": 5, "seed": 5},
}


def retrain(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.run(
        [sys.executable, "-m", "retrain", *arguments],
        cwd=ROOT,
        env=environment | {"TAXIWAY_HOME": str(home)},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("retrain")
    random, rows = np.random.default_rng(0), 3_000
    kind, x = random.choice(["a", "b", "c"], rows), random.normal(size=rows)
    late = (random.random(rows) < 1 / (1 + np.exp(1 - x - (kind == "b")))).astype(float)
    late[::100] = np.nan
    moments = pd.date_range("2024-01-01", "2024-01-31T23:59", periods=rows, tz="UTC")
    size = np.where(np.arange(rows) % 500 == 1, -1, 7)
    columns = {"row_id": np.arange(rows), "event_timestamp": moments, "kind": kind, "x": x, "size": size, "late": late}
    pd.DataFrame(columns).to_parquet(home / "labels.parquet")
    (home / "retrain.yaml").write_text(yaml.safe_dump(SETTINGS))
    return home


@pytest.fixture(scope="module")
def runs(home: Path) -> list["subprocess.CompletedProcess[str]"]:
    return [retrain(home, str(home / "retrain.yaml")) for _ in range(2)]


@pytest.fixture
def registry(home: Path, runs: list["subprocess.CompletedProcess[str]"]) -> Registry:
    assert [run.returncode for run in runs] == [0, 0], runs[0].stderr + runs[1].stderr
    return Registry(RegistrySettings(tracking_uri=f"sqlite:///{home}/mlflow.db"))


def test_the_first_version_becomes_champion_and_the_second_challenger(registry: Registry) -> None:
    champion, challenger = registry.alias("tiny", CHAMPION), registry.alias("tiny", CHALLENGER)
    assert champion is not None
    assert challenger is not None
    assert (champion.version, challenger.version) == ("1", "2")


def test_the_same_data_has_the_same_digest_and_the_same_suggestions(registry: Registry) -> None:
    first, second = (mlflow.get_run(registry.resolve(f"models:/tiny/{version}").run_id) for version in (1, 2))
    assert first.data.tags["data_digest"] == second.data.tags["data_digest"]
    trials = [mlflow.artifacts.load_text(f"{run.info.artifact_uri}/trials.csv").splitlines() for run in (first, second)]
    suggestions = [sorted({(line.split(",")[0], *line.split(",")[4:]) for line in lines}) for lines in trials]
    assert suggestions[0] == suggestions[1]
    assert len(suggestions[0]) == 1 + 3


def test_the_registered_package_predicts_and_knows_where_it_comes_from(registry: Registry) -> None:
    loaded = registry.load(registry.resolve("models:/tiny@champion"))
    rows = {"kind": np.array(["b", "a"], dtype=object), "x": np.array([3.0, -3.0]), "size": np.array([7, 7])}
    high, low = loaded.predictor.predict(rows)["late_probability"]
    assert high > 0.5 > low
    lineage = loaded.package.lineage
    assert lineage.run_id == loaded.version.run_id
    assert lineage.metrics["evaluate_auc"] > 0.65
    assert lineage.parameters["iterations"] in (5, 10)
    assert len(lineage.data_digest) == 64
    assert lineage.data_rows == pytest.approx(3_000 * 24 / 31, rel=0.02)


def test_the_run_keeps_its_evidence(registry: Registry) -> None:
    run = mlflow.get_run(registry.resolve("models:/tiny@champion").run_id)
    names = {item.path for item in mlflow.artifacts.list_artifacts(run_id=run.info.run_id)}
    assert names >= {"evaluation.json", "slices.csv", "trials.csv", "roc.png", "calibration.png", "dataset"}
    evaluation = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/evaluation.json"))
    assert evaluation["auc"] == run.data.metrics["evaluate_auc"]
    assert [it.dataset.name for it in run.inputs.dataset_inputs] == ["tiny-training", "tiny-evaluation"]


def test_the_output_is_short_and_says_what_was_left_out(runs: list["subprocess.CompletedProcess[str]"]) -> None:
    output = runs[0].stdout
    assert "left out: 30 without label, 6 set aside (6 out_of_range)" in output
    assert "models:/tiny/1 as champion" in output
    assert output.count("done)") == 3
    assert len(output.splitlines()) < 30
    assert "Traceback" not in runs[0].stderr


def test_a_config_error_is_one_line_and_status_2(home: Path) -> None:
    (home / "broken.yaml").write_text(yaml.safe_dump(SETTINGS | {"trails": 3}))
    run = retrain(home, str(home / "broken.yaml"))
    assert run.returncode == 2
    assert run.stdout == ""
    assert "unknown key 'trails'" in run.stderr
    assert len(run.stderr.splitlines()) == 1
