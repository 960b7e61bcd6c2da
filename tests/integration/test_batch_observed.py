"""`python -m batch` on a real Ray, and all that it says of itself: report, MLflow, Pushgateway, Ray's metrics, S3."""

import json
import os
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
import yaml
from mlflow.tracking import MlflowClient
from prometheus_client.parser import text_string_to_metric_families

from batch.events import Planned
from batch.inputs.storage import below, locate
from batch.observers.kept import keep
from batch.observers.prometheus import RayMetrics
from batch.observers.report import Report
from tests.batch_runs import Run, without_rays_own
from tests.faulty_s3 import ENVIRONMENT, running_s3
from tests.pushgateway import pushgateway
from tests.scoring_events import ROWS, pieces, planned, published
from tests.tiny_model import parcels, register, registry_settings
from tests.unit.test_batch_report import report_of

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
    yield str(ray.get_runtime_context().gcs_address)
    ray.shutdown()


def test_a_job_leaves_a_report_a_run_and_a_push(tmp_path: Path, cluster: str) -> None:
    register(tmp_path)
    columns = {name: values.tolist() for name, values in parcels(1_000).items()}
    columns["color"][7] = "mauve"
    columns["comment"] = [""] * 1_000
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table(columns), tmp_path / "in" / "parcels.parquet")
    config = tmp_path / "score.yaml"
    with pushgateway() as pushed:
        keys = {
            "model": "models:/parcel@champion",
            "input": str(tmp_path / "in"),
            "output": str(tmp_path / "scores"),
            "piece_rows": 300,
            "registry": {"tracking_uri": registry_settings(tmp_path).tracking_uri},
            "mlflow": {"experiment": "nightly"},
            "pushgateway": pushed.url,
        }
        config.write_text(yaml.safe_dump(keys))
        job = Run([str(config)], {**os.environ, "TAXIWAY_HOME": str(tmp_path), "RAY_ADDRESS": cluster})
        out, err = job.communicate()
        assert job.returncode == 0, err
        assert pushed.value("taxiway_job_last_run_rows", outcome="written") == 999
        assert pushed.value("taxiway_job_last_run_rejects", code="unknown_category") == 1
    assert without_rays_own(err) == []
    assert out.splitlines()[-1] == f"report    {tmp_path}/scores/_report.html"
    report = Report.model_validate_json((tmp_path / "scores" / "_report.json").read_text())
    manifest = json.loads((tmp_path / "scores" / "_manifest.json").read_text())
    assert report.rows.written == manifest["rows_written"] == 999
    assert report.rows_per_s > 0
    client = MlflowClient(registry_settings(tmp_path).tracking_uri)
    experiment = client.get_experiment_by_name("nightly")
    assert experiment is not None
    (run,) = client.search_runs([experiment.experiment_id])
    assert (run.info.status, run.data.tags["model_version"]) == ("FINISHED", "1")


def test_ray_exposes_the_counts_of_a_job_while_it_runs(cluster: str) -> None:
    observer = RayMetrics()
    # A model of this test alone: others in this process may have counted rows of the usual one.
    for event in published("/scores")[:-1]:
        observer.observe(replace(event, model="models:/observed/1") if isinstance(event, Planned) else event)
    labels = {"model": "observed", "version": "1"}
    _wait_for("ray_taxiway_job_rows_total", labels | {"outcome": "written"}, 6 * ROWS - 33)
    _wait_for("ray_taxiway_job_rejects_total", labels | {"code": "missing_value"}, 27)
    _wait_for("ray_taxiway_job_progress_ratio", labels, 1.0)
    _wait_for("ray_taxiway_job_piece_duration_seconds_count", labels, 6)


def test_a_report_in_s3_lies_beside_the_manifest() -> None:
    with mock.patch.dict(os.environ, ENVIRONMENT), running_s3() as s3:
        output = s3.uri("scores")
        keep(planned(pieces(), output), report_of())
        system, path = locate(below(output, "_report.html"))
        with system.open_input_stream(path) as source:
            assert source.read().startswith(b"<!DOCTYPE html>")


def _wait_for(name: str, labels: dict[str, str], expected: float) -> None:
    """Ray's agent exposes what is counted some seconds later."""
    (node,) = ray.nodes()
    url = f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics"
    deadline = time.monotonic() + 60
    found: list[float] = []
    while found != [expected]:
        assert time.monotonic() < deadline, f"{name} is {found}, expected {expected}"
        time.sleep(1)
        with urllib.request.urlopen(url, timeout=10) as answer:
            families = list(text_string_to_metric_families(answer.read().decode()))
        samples = [sample for family in families for sample in family.samples if sample.name == name]
        found = [sample.value for sample in samples if labels.items() <= sample.labels.items()]
