"""A retraining of several classes and one of a number, from the labels file to a version that answers.

The search is left out: its looks are there already, as they are when a run was killed after it.
"""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from sklearn.datasets import load_diabetes, load_wine

from retrain.__main__ import retrain
from retrain.journal import Look
from retrain.settings import RetrainSettings
from retrain.source import labels_file
from retrain.trainers.boosting import Boosting
from retrain.unfinished import Retraining, RunState
from taxiway.registry import CHAMPION, Registry
from taxiway.scoring import score

BEGAN = datetime(2024, 6, 1, tzinfo=UTC)
CHECKS = {"min_rows": 100, "max_gap_days": 30, "max_column_auc": 1.0, "max_column_correlation": 1.0}
WINES = ["barolo", "grignolino", "barbera"]


@dataclass(frozen=True)
class Case:
    settings: RetrainSettings
    frame: pd.DataFrame
    inputs: list[str]


def case(home: Path, name: str, loaded: Any, labels: Any, **changes: Any) -> Case:
    order = np.random.default_rng(3).permutation(len(labels))
    frame = loaded.data.iloc[order].reset_index(drop=True)
    frame.columns = [f"x{place}" for place in range(frame.shape[1])]
    inputs = list(frame.columns)
    frame["row_id"] = np.arange(len(frame))
    frame["event_timestamp"] = pd.date_range("2024-01-01", "2024-05-30", periods=len(frame), tz="UTC")
    frame["y"] = np.asarray(labels)[order]
    frame.to_parquet(home / f"{name}.parquet")
    data = {
        "model": name,
        "labels": str(home / f"{name}.parquet"),
        "label": "y",
        "inputs": [{"name": it, "dtype": "float64"} for it in inputs],
        "train": {"start": "2024-01-01", "end": "2024-04-15"},
        "validate_from": "2024-03-15",
        "evaluate": {"start": "2024-04-15", "end": "2024-06-01"},
        "search": {"trials": 1, "seeds": 2},
        "gate": {"samples": 100},
        "checks": CHECKS,
    }
    return Case(RetrainSettings.model_validate(data | changes), frame, inputs)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = tmp_path_factory.mktemp("tasks")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TAXIWAY_HOME", str(home))
        yield home


def run(case: Case, home: Path, number: int, iterations: int = 20) -> str:
    folder = home / f"{case.settings.model}-{number}"
    folder.mkdir()
    state = RunState(run_id=folder.name, began=BEGAN, trigger="a test", pinned="")
    run = Retraining(state, folder, resumed=True)
    parameters = dict(Boosting().space().defaults)
    run.keep("looks", lambda: [Look(1, parameters, iterations, 0.5, 0.5)])
    return retrain(case.settings, run, labels_file(case.settings), "rev")


def evidence(registry: Registry, model: str, version: int) -> tuple[dict[str, float], set[str], str]:
    found = mlflow.get_run(registry.resolve(f"models:/{model}/{version}").run_id)
    names = {item.path for item in mlflow.artifacts.list_artifacts(run_id=found.info.run_id)}
    return found.data.metrics, names, mlflow.artifacts.load_text(f"{found.info.artifact_uri}/model_card.md")


def test_a_model_of_three_classes_becomes_champion_and_answers(home: Path) -> None:
    wine = load_wine(as_frame=True)
    labels = np.array(WINES, object)[wine.target]
    found = case(home, "wine", wine, labels, task="classes", classes=WINES)
    assert run(found, home, 1) == CHAMPION
    registry = Registry(found.settings.registry)
    loaded = registry.load(registry.resolve("models:/wine@champion"))
    assert loaded.package.output_kind == "tensor"
    assert loaded.package.signature.outputs[0].description.endswith("barolo, grignolino, barbera")
    rows = {name: found.frame[name].to_numpy() for name in found.inputs}
    answers = score(rows, loaded.package.signature, None, lambda views, keys: {}, loaded.predictor)
    probabilities = answers.outputs["probabilities"]
    np.testing.assert_allclose(probabilities.sum(axis=1), 1.0)
    said = np.array(WINES)[probabilities.argmax(axis=1)]
    assert (said == found.frame["y"]).mean() > 0.9
    metrics, names, card = evidence(registry, "wine", 1)
    held_out = found.frame["event_timestamp"] >= pd.Timestamp("2024-04-15", tz="UTC")
    assert metrics["evaluate_accuracy"] == pytest.approx((said == found.frame["y"])[held_out].mean())
    assert names >= {"confusion.png", "pr.png", "calibration.png", "importance.png", "comparison.json", "report.html"}
    assert "| accuracy |" in card
    assert "seeds_log_loss_range" in metrics


def test_a_model_of_a_number_becomes_champion_and_a_worse_one_is_rejected(home: Path) -> None:
    diabetes = load_diabetes(as_frame=True)
    found = case(home, "diabetes", diabetes, diabetes.target, task="regression", output="progression")
    assert run(found, home, 1) == CHAMPION
    registry = Registry(found.settings.registry)
    loaded = registry.load(registry.resolve("models:/diabetes@champion"))
    rows = {name: found.frame[name].to_numpy() for name in found.inputs}
    answers = score(rows, loaded.package.signature, None, lambda views, keys: {}, loaded.predictor)
    said, truth = answers.outputs["progression"], found.frame["y"].to_numpy()
    held_out = (found.frame["event_timestamp"] >= pd.Timestamp("2024-04-15", tz="UTC")).to_numpy()
    metrics, names, card = evidence(registry, "diabetes", 1)
    assert metrics["evaluate_rmse"] == pytest.approx(np.sqrt(np.mean((said - truth)[held_out] ** 2)))
    assert metrics["evaluate_r2"] > 0.2
    assert names >= {"predicted.png", "residuals.png", "errors.png", "importance.png", "stability.json"}
    assert "Calibration" not in card
    assert run(found, home, 2, iterations=1) == "rejected"
    state = registry.describe(registry.resolve("models:/diabetes/2"))
    assert state is not None
    rules = {it["rule"]: it for it in json.loads(state.tags["taxiway.verdict"])["rules"]}
    assert rules["metrics.r2.min_gain"]["passed"] is False
    assert rules["metrics.r2.min_gain"]["measured"] < -0.1
    assert rules["signature"]["passed"] is True
