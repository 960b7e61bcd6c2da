"""`python -m retrain` as a user runs it: a small Parquet file, a registry that does not exist yet, a Ray of its own."""

import hashlib
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
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
    "search": {"trials": 3, "max_iterations": 10, "report_every": 5, "seed": 5, "seeds": 2},
}


def start(home: Path, *arguments: str) -> "subprocess.Popen[str]":
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    return subprocess.Popen(
        [sys.executable, "-m", "retrain", *arguments],
        cwd=ROOT,
        env=environment | {"TAXIWAY_HOME": str(home), "PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def retrain(home: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    process = start(home, *arguments)
    out, err = process.communicate(timeout=240)
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


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
    spread = json.loads(mlflow.artifacts.load_text(f"{run.info.artifact_uri}/stability.json"))
    assert spread["seeds"] == [5, 6]
    assert spread["auc"][0] == run.data.metrics["evaluate_auc"]
    assert run.data.metrics["seeds_auc_range"] == abs(spread["auc"][0] - spread["auc"][1])
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


def test_the_profile_of_the_held_out_rows_travels_with_the_version(registry: Registry) -> None:
    profile = registry.load(registry.resolve("models:/tiny@champion")).package.reference_profile
    assert profile is not None
    assert set(profile.inputs) == {"kind", "x", "size"}
    assert profile.outputs["late_probability"].rows == profile.inputs["x"].rows > 500


def test_report_and_card_are_kept_with_the_run(registry: Registry) -> None:
    challenger = registry.resolve("models:/tiny@challenger")
    uri = mlflow.get_run(challenger.run_id).info.artifact_uri
    report = mlflow.artifacts.load_text(f"{uri}/report.html")
    assert "tiny, version 2" in report
    assert "Gate passed" in report
    card = mlflow.artifacts.load_text(f"{uri}/model_card.md")
    assert card.startswith("# tiny, version 2")


def test_lineage_is_one_command(home: Path, registry: Registry) -> None:
    registry.resolve("models:/tiny@champion")
    done = subprocess.run(
        [sys.executable, "-m", "taxiway", "lineage", "models:/tiny@champion", "--json"],
        cwd=ROOT,
        env=os.environ | {"TAXIWAY_HOME": str(home)},
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout)
    assert told["data_window"] == "2024-01-01T00:00:00+00:00/2024-01-25T00:00:00+00:00"
    assert told["verdict"]["passed"] is True
    assert told["trigger"] == "by hand"
    assert told["promoted"]["by"] == "retrain"
    assert told["parameters"]["iterations"] in (5, 10)
    assert told["labels"] == {"path": str(home / "labels.parquet")}
    run = mlflow.get_run(told["run_id"])
    listed = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/environment.txt")
    assert told["environment"]["digest"] == hashlib.sha256(listed.encode()).hexdigest()
    assert f"mlflow=={mlflow.__version__}" in listed.splitlines()


@pytest.fixture
def other(home: Path, tmp_path: Path) -> Path:
    """A home of its own with the same labels."""
    shutil.copy(home / "labels.parquet", tmp_path)
    return tmp_path


def config(home: Path, **changes: object) -> str:
    path = home / "retrain.yaml"
    path.write_text(yaml.safe_dump(SETTINGS | changes))
    return str(path)


def test_what_fails_its_gate_is_rejected_and_no_alias_moves(home: Path, registry: Registry) -> None:
    before = registry.live("tiny").aliases
    (home / "strict.yaml").write_text(yaml.safe_dump(SETTINGS | {"gate": {"min_auc": 0.99}}))
    done = retrain(home, str(home / "strict.yaml"))
    assert done.returncode == 3, done.stderr
    assert "models:/tiny/3 as rejected" in done.stdout
    assert re.search(r"gate +not passed: the AUC is 0\.\d+, less than the required 0\.99", done.stdout)
    assert registry.live("tiny").aliases == before == {"champion": "1", "challenger": "2"}
    rejected = registry.describe(registry.resolve("models:/tiny/3"))
    assert rejected is not None
    assert rejected.tags["taxiway.stage"] == "rejected"
    assert json.loads(rejected.tags["taxiway.verdict"])["passed"] is False


def test_a_training_set_with_a_leak_ends_the_run_before_anything_is_learned(other: Path) -> None:
    frame = pd.read_parquet(other / "labels.parquet")
    frame["size"] = np.where(frame["late"] == 1, 8, 7)
    frame.to_parquet(other / "labels.parquet")
    done = retrain(other, config(other, checks={"severity": {"leakage": "error"}}))
    assert done.returncode == 1
    assert "size" in done.stderr
    assert "search ..." not in done.stdout


def test_windows_and_known_labels_follow_the_date_of_the_run(other: Path) -> None:
    frame, now = pd.read_parquet(other / "labels.parquet"), pd.Timestamp("2024-02-01", tz="UTC")
    frame["known"] = frame["event_timestamp"] + pd.Timedelta(days=2)
    frame.to_parquet(other / "labels.parquet")
    relative = {
        "train": {"start": "now-31d", "end": "now-7d"},
        "validate_from": "now-12d",
        "evaluate": {"start": "now-7d", "end": "now"},
        "label_arrived": "known",
    }
    done = retrain(other, config(other, **relative), "--now", "2024-02-01", "--trigger", "a test")
    assert done.returncode == 0, done.stderr
    registry = Registry(RegistrySettings(tracking_uri=f"sqlite:///{other}/mlflow.db"))
    state = registry.describe(registry.resolve("models:/tiny/1"))
    assert state is not None
    assert state.tags["taxiway.window"] == "2024-01-01T00:00:00+00:00/2024-01-25T00:00:00+00:00"
    assert state.tags["taxiway.trigger"] == "a test"
    unknown = int((frame["late"].isna() | (frame["known"] > now)).sum())
    assert f"left out: {unknown} without label" in done.stdout


@pytest.mark.timeout(600)
def test_killed_in_every_stage_a_run_goes_on_and_registers_once(other: Path) -> None:
    path = config(other)
    for stage in ("labels ...", "  trial", "seeds ...", "judge ...", "register ..."):
        process = start(other, path)
        assert process.stdout is not None
        for line in process.stdout:
            if stage in line:
                break
        else:
            pytest.fail(f"it never came to {stage}: {process.communicate()[1]}")
        time.sleep(0.5 if stage == "register ..." else 0.0)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
    done = retrain(other, path)
    assert done.returncode == 0, done.stderr
    assert re.search(r"goes on with \S+; done before: .*labels.*looks.*model", done.stdout)
    assert "(3 of 3 done)" not in done.stdout
    registry = Registry(RegistrySettings(tracking_uri=f"sqlite:///{other}/mlflow.db"))
    assert registry.live("tiny").aliases == {"champion": "1"}
    assert len(mlflow.search_model_versions(filter_string="name = 'tiny'")) == 1
    assert len(mlflow.search_runs([registry.experiment("tiny")], output_format="list")) == 1
    assert not (other / "retrain" / "tiny" / "unfinished").exists()


def test_a_second_retraining_of_the_model_is_told_to_come_later(other: Path) -> None:
    path = config(other)
    first = start(other, path)
    assert first.stdout is not None
    next(line for line in first.stdout if "search ..." in line)
    second = retrain(other, path)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert second.returncode == 75
    assert f"a retraining of 'tiny' is under way: process {first.pid}" in second.stderr


def test_an_alarm_sets_it_off_once_the_model_has_cooled_down(home: Path, registry: Registry) -> None:
    path = str(home / "retrain.yaml")
    assert retrain(home, path, "--alarm", "x has drifted", "--endpoint", "tiny").returncode == 0
    early = retrain(home, path, "--if-due")
    assert (early.returncode, early.stdout.count("not due: it cools down until")) == (0, 1)
    later = (datetime.now(UTC) + timedelta(hours=7)).isoformat()
    due = retrain(home, path, "--if-due", "--now", later)
    assert due.returncode == 0, due.stderr
    assert "due: alarm of tiny: x has drifted" in due.stdout
    state = registry.describe(registry.resolve("models:/tiny@challenger"))
    assert state is not None
    assert state.tags["taxiway.trigger"] == "alarm of tiny: x has drifted"
    assert list((home / "retrain" / "tiny" / "alarms").iterdir()) == []
