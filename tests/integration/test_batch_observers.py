"""Everybody who listens to a scoring job, with an MLflow on SQLite and a Pushgateway behind HTTP; no Ray."""

import io
import json
import logging
import socket
from pathlib import Path

import numpy as np
import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient

from batch.events import Failed, Observers, Totals
from batch.observers.build import observers
from batch.observers.prometheus import Pushgateway
from batch.settings import ScoreSettings
from taxiway.settings import RegistrySettings
from tests.pushgateway import pushgateway
from tests.scoring_events import BEGAN_S, ROWS, failed, piece, published
from tests.tiny_model import registry_settings


def settings(folder: Path, **changes: object) -> ScoreSettings:
    keys = {
        "model": "models:/flight-delay@champion",
        "input": "/data/flights",
        "output": str(folder / "scores"),
        "registry": registry_settings(folder),
        "mlflow": {},
    }
    return ScoreSettings.model_validate(keys | changes)


def told(listening: Observers, events: list[object]) -> None:
    for event in events:
        listening.observe(event)  # type: ignore[arg-type]


def runs_of(folder: Path) -> list[Run]:
    client = MlflowClient(registry_settings(folder).tracking_uri)
    experiment = client.get_experiment_by_name("scoring")
    assert experiment is not None
    return list(client.search_runs([experiment.experiment_id]))


def test_a_job_ends_in_a_report_a_run_and_a_push(tmp_path: Path) -> None:
    stream = io.StringIO()
    with pushgateway() as pushed:
        listening = observers(settings(tmp_path, pushgateway=pushed.url), stream)
        told(listening, published(str(tmp_path / "scores"), source=str(tmp_path)))
        assert pushed.value("taxiway_job_last_run_rows", outcome="written") == 6 * ROWS - 33
    report = json.loads((tmp_path / "scores" / "_report.json").read_text())
    assert report["rows"]["read"] == 6 * ROWS
    assert "written   59,967 rows" in stream.getvalue()
    assert [run.info.status for run in runs_of(tmp_path)] == ["FINISHED"]


def test_a_run_leads_from_the_input_through_the_version_to_the_output(tmp_path: Path) -> None:
    output = str(tmp_path / "scores")
    told(observers(settings(tmp_path), io.StringIO()), published(output, source=str(tmp_path)))
    (run,) = runs_of(tmp_path)
    assert run.data.tags["model_name"] == "flight-delay"
    assert run.data.tags["model_version"] == "7"
    assert run.data.tags["output"] == output
    assert run.data.params["model"] == "models:/flight-delay/7"
    assert run.data.metrics["rows_read"] == 6 * ROWS
    assert run.data.metrics["rejects/missing_value"] == 27
    assert run.data.metrics["seconds/scoring"] == 3.0
    assert 0.2 < run.data.metrics["mean/probability"] < 0.3
    assert run.info.end_time - run.info.start_time == 24_000
    (dataset,) = run.inputs.dataset_inputs
    assert run.data.tags["input_digest"].startswith(dataset.dataset.digest)
    assert [(tag.key, tag.value) for tag in dataset.tags] == [("mlflow.data.context", "scoring")]
    client = MlflowClient(registry_settings(tmp_path).tracking_uri)
    assert {it.path for it in client.list_artifacts(run.info.run_id)} == {"report.html", "report.json"}
    speeds = client.get_metric_history(run.info.run_id, "throughput_rows_per_s")
    assert sum(it.value for it in speeds) / len(speeds) == pytest.approx(2 * ROWS)


@pytest.mark.parametrize(("code", "status"), [("too_many_rejects", "FAILED"), ("interrupted", "KILLED")])
def test_a_job_that_does_not_publish_is_a_run_too(tmp_path: Path, code: str, status: str) -> None:
    told(observers(settings(tmp_path), io.StringIO()), failed(str(tmp_path / "scores"), code))
    (run,) = runs_of(tmp_path)
    assert run.info.status == status
    assert run.data.tags["error_code"] == code
    assert run.data.metrics["rows_read"] == ROWS
    assert not (tmp_path / "scores").exists()


def test_names_and_texts_that_mlflow_refuses_are_changed_rather_than_lost(tmp_path: Path) -> None:
    odd = piece(0, {"p:<é>\n" + "x" * 300: np.array([0.5])}, {"code with 'quotes'": 3})
    told(observers(settings(tmp_path), io.StringIO()), published(str(tmp_path / "scores"), [odd], str(tmp_path)))
    told(observers(settings(tmp_path), io.StringIO()), failed(str(tmp_path / "scores"), "job", "x" * 20_000))
    last, first = runs_of(tmp_path)
    assert (first.info.status, last.info.status) == ("FINISHED", "FAILED")
    assert first.data.metrics["rejects/code with _quotes_"] == 3
    assert 0.5 in first.data.metrics.values()


def test_a_job_without_the_settings_leaves_no_run(tmp_path: Path) -> None:
    told(observers(settings(tmp_path, mlflow=None), io.StringIO()), published(str(tmp_path / "scores")))
    assert (tmp_path / "scores" / "_report.html").is_file()
    assert not (tmp_path / "mlflow.db").exists()


def test_a_registry_that_is_away_at_the_end_is_one_warning_without_its_password(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    away = RegistrySettings(tracking_uri=f"http://user:hunter2@127.0.0.1:{port}", artifact_location=None)
    stream = io.StringIO()
    with caplog.at_level(logging.WARNING, "batch"):
        told(observers(settings(tmp_path, registry=away), stream), published(str(tmp_path / "scores")))
    ours = [record.getMessage() for record in caplog.records if record.name.startswith("batch")]
    assert len(ours) == 1
    assert ours[0].startswith("mlflow: ")
    assert "hunter2" not in caplog.text + stream.getvalue()
    assert (tmp_path / "scores" / "_report.html").is_file()


def test_a_success_replaces_the_group_of_the_job_and_its_output() -> None:
    with pushgateway() as pushed:
        gateway = Pushgateway(pushed.url, "s3://scores/{date}?region=x", BEGAN_S)
        told(Observers([gateway]), published("/scores"))
        assert list(pushed.groups) == [(("job", "taxiway_batch"), ("output", "s3://scores/{date}"))]
        assert pushed.value("taxiway_job_last_run_rejects", code="missing_value") == 27
        assert pushed.value("taxiway_job_last_run_seconds") == 24
        assert pushed.value("taxiway_job_last_run_exit_status") == 0
        assert pushed.value("taxiway_job_last_success_timestamp_seconds") == BEGAN_S + 24


def test_a_failure_leaves_the_time_of_the_last_success() -> None:
    with pushgateway() as pushed:
        told(Observers([Pushgateway(pushed.url, "/scores", BEGAN_S)]), published("/scores"))
        told(Observers([Pushgateway(pushed.url, "/scores", BEGAN_S)]), failed("/scores"))
        assert pushed.value("taxiway_job_last_run_exit_status") == 3
        assert pushed.value("taxiway_job_last_run_rows", outcome="rejected") == 15
        assert pushed.value("taxiway_job_last_success_timestamp_seconds") == BEGAN_S + 24


def test_a_job_that_is_refused_pushes_that_and_keeps_the_counts_of_the_run_before() -> None:
    refused = Failed("output_held", "another job", 4, False, Totals(), BEGAN_S + 99)
    with pushgateway() as pushed:
        told(Observers([Pushgateway(pushed.url, "/scores", BEGAN_S)]), published("/scores"))
        told(Observers([Pushgateway(pushed.url, "/scores", BEGAN_S)]), [refused])
        assert pushed.value("taxiway_job_last_run_exit_status") == 4
        assert pushed.value("taxiway_job_last_run_rows", outcome="written") == 6 * ROWS - 33


def test_a_login_in_the_url_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    with pushgateway() as pushed:
        url = pushed.url.replace("//", "//user:p%40ss@")
        told(Observers([Pushgateway(url, "/scores", BEGAN_S)]), published("/scores"))
        pushed.answer = 500
        told(Observers([Pushgateway(url, "/scores", BEGAN_S)]), published("/scores"))
        assert pushed.logins == ["Basic dXNlcjpwQHNz"] * 2
    told(Observers([Pushgateway(url, "/scores", BEGAN_S)]), published("/scores"))
    assert len(caplog.records) == 2
    assert all(record.getMessage().startswith("pushgateway: http://127.0.0.1") for record in caplog.records)
    assert "p%40ss" not in caplog.text
    assert "p@ss" not in caplog.text
