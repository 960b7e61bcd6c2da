"""A monitor job over a real log and registry: drift, quality by day, its alarm and its reports."""

import json
import subprocess
import sys
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import sklearn
import yaml

from batch.__main__ import main
from batch.monitor.job import monitor
from batch.monitor.reference import reference_of
from batch.monitor.settings import MonitorSettings
from taxiway.alarms import alarms
from taxiway.errors import ConfigError
from taxiway.package import ModelPackage, log_package
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.ground_truth import GroundTruth
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.storage import Storage
from taxiway.predictions.truth_log import GroundTruthLog
from taxiway.profile import profile
from taxiway.registry import Registry
from tests.prediction_records import NOON, an_id
from tests.tiny_model import SIGNATURE, parcels, registry_settings, train

ROWS = 600
DAY = timedelta(days=1)


class World:
    """A version with a reference profile and the data set that a retraining logs."""

    def __init__(self, folder):
        self.folder = folder
        self.registry = Registry(registry_settings(folder))
        self.fitted = train()
        columns = parcels(2_000, 7)
        labels = self.labels(columns, 8)
        moments = pa.array(np.full(2_000, NOON.replace(tzinfo=None), "datetime64[us]"), pa.timestamp("us", "UTC"))
        own = {"parcel_id": pa.array(np.arange(2_000)), "event_timestamp": moments, "late": pa.array(labels)}
        table = pa.table(own | {name: pa.array(it, from_pandas=True) for name, it in columns.items()})
        pq.write_table(table, folder / "evaluation.parquet")
        taken = profile(columns, SIGNATURE, (), {"probability": self.answers(columns)})
        self.register(folder / "evaluation.parquet", taken)

    def answers(self, columns):
        return self.fitted.predict_proba(columns)[:, 1]

    def labels(self, columns, seed):
        """Drawn as the model says: nobody could know them better."""
        return (np.random.default_rng(seed).random(len(columns["size"])) < self.answers(columns)).astype(np.int64)

    def register(self, data_set, reference):
        with mlflow.start_run(experiment_id=self.registry.experiment("parcel")) as run:
            package = ModelPackage(signature=SIGNATURE, reference_profile=reference)
            uri = log_package(self.fitted, package, {"scikit-learn": sklearn.__version__})
            mlflow.log_artifact(str(data_set), "dataset")
        self.registry.register("parcel", uri, run.info.run_id, {})

    def put(self, log, columns, moment=NOON, version="1"):
        names = [an_id(moment, number) for number in range(len(columns["size"]))]
        source = Source("parcels", "champion", version, "live", SIGNATURE.input_by_name)
        ones, outputs = [1.0] * len(names), {"probability": self.answers(columns)}
        times = [moment.timestamp()] * len(names)
        batch = LoggedBatch(source, columns, outputs, names, [1] * len(names), times, ones)
        for file in encode([(batch, None)], FieldRules({}), FileNames()):
            Storage(log).write(file.path, file.content)
        return names

    def settings(self, log, **more):
        keys = {
            "monitor": "models:/parcel/1",
            "predictions": log,
            "endpoint": "parcels",
            "window": {"start": "2026-01-01", "end": "2026-01-08"},
            "output": f"{log}-report",
            "mlflow": None,
            "evidently": False,
            "registry": registry_settings(self.folder).model_dump(),
        }
        return keys | more

    def monitor(self, log, dry_run=False, **more):
        lines = []
        holds = monitor(MonitorSettings(**self.settings(log, **more)), None, dry_run, lines.append)
        return holds, lines


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("monitor"))


@pytest.fixture
def log(tmp_path, monkeypatch):
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path))
    return str(tmp_path / "log")


def told(log, name):
    return Path(f"{log}-report", name).read_text()


def report_of(log):
    return json.loads(told(log, "report.json"))


def drifted(rows=ROWS):
    columns = parcels(rows, 11)
    return columns | {"size": columns["size"] / 2}


def tell(log, names, labels, moment):
    truths = GroundTruthLog(log, gather_s=0.0)
    reports = [GroundTruth(name, 0, float(label), moment, moment) for name, label in zip(names, labels, strict=True)]
    truths.add(reports).result(10)
    truths.close()


def test_a_window_like_the_reference_keeps_its_limits_and_raises_no_alarm(world, log):
    world.put(log, parcels(ROWS, 11))
    holds, lines = world.monitor(log)
    assert holds
    report = report_of(log)
    assert (report["reference"], report["rows"], report["broken"]) == ("evaluation", ROWS, [])
    keys = {f"{it['group']}/{it['column']}" for it in report["columns"]}
    assert keys == {*(f"inputs/{it.name}" for it in SIGNATURE.inputs), "outputs/probability"}
    assert report["quality"] is None
    assert "  quality: nothing of the window can be judged yet" in lines
    assert alarms("parcel") == {}


def test_drift_ends_with_status_3_an_alarm_and_a_run(world, log, tmp_path, capsys):
    world.put(log, drifted())
    config = tmp_path / "monitor.yaml"
    config.write_text(yaml.safe_dump(world.settings(log, mlflow={"experiment": "watch"})))
    assert main([str(config)]) == 3
    assert "broken: drift of 2 columns, allowed are 0: inputs/size" in capsys.readouterr().out
    (alarm,) = alarms("parcel").values()
    assert (alarm.endpoint, alarm.by) == ("parcels", "batch.monitor")
    assert alarm.reason == report_of(log)["broken"][0]
    assert alarm.details["psi.size"] > 0.1
    (run,) = mlflow.search_runs(experiment_names=["watch"], output_format="list")
    assert run.data.metrics["drifting_columns"] == 2
    assert "inputs/size" in (tmp_path / "log-report" / "report.html").read_text()


def test_a_dry_run_leaves_neither_report_nor_alarm(world, log, tmp_path):
    world.put(log, drifted())
    holds, lines = world.monitor(log, dry_run=True)
    assert not holds
    assert lines[-1].startswith("broken: drift of")
    assert alarms("parcel") == {}
    assert not (tmp_path / "log-report").exists()


def test_a_profile_is_a_reference_too(world, log):
    world.put(log, drifted())
    holds, _ = world.monitor(log, reference="profile")
    assert not holds
    report = report_of(log)
    assert report["reference"] == "profile"
    assert [it["column"] for it in report["columns"] if it["because"]] == ["size", "probability"]


def test_a_version_without_a_data_set_is_compared_with_its_profile(world, log):
    settings = MonitorSettings(**world.settings(log))
    loaded = world.registry.load(world.registry.resolve("models:/parcel/1"))
    of_nobody = replace(loaded, version=replace(loaded.version, run_id=""))
    found = reference_of(world.registry, of_nobody, settings)
    assert (found.source, found.profile, found.has_rows) == ("profile", loaded.package.reference_profile, False)
    bare = replace(of_nobody, package=loaded.package.model_copy(update={"reference_profile": None}))
    with pytest.raises(ConfigError, match="has no logged data set 'evaluation' and no reference profile"):
        reference_of(world.registry, bare, settings)


def test_few_rows_are_reported_and_not_judged(world, log):
    world.put(log, drifted(300))
    holds, lines = world.monitor(log)
    assert holds
    assert lines[0].endswith("too few to judge drift")
    assert report_of(log)["is_judged"] is False


def test_quality_is_told_by_day_and_breaks_its_limit(world, log):
    columns = parcels(ROWS, 11)
    good, bad = world.put(log, columns), world.put(log, columns, NOON + DAY)
    world.put(log, columns, NOON + 2 * DAY)  # of this day nothing is known
    truth = world.labels(columns, 5)
    tell(log, good, truth, NOON + 2 * DAY)
    tell(log, bad, 1 - truth, NOON + 2 * DAY)
    holds, _ = world.monitor(log, limits={"loss_increase": 0.1})
    assert not holds
    report = report_of(log)
    quality = report["quality"]
    assert [(it["day"], it["rows"]) for it in quality["days"]] == [
        (str(date(2026, 1, 1)), ROWS),
        (str(date(2026, 1, 2)), ROWS),
    ]
    first, second = quality["days"]
    assert first["loss"]["low"] < quality["reference"] < first["loss"]["high"]
    assert second["loss"]["low"] > first["loss"]["high"]
    assert first["auc"]["low"] > 0.5 > second["auc"]["high"]
    assert quality["whole"]["rows"] == 2 * ROWS
    assert report["broken"] == [alarm.reason for alarm in alarms("parcel").values()]
    assert "above the reference's" in report["broken"][0]
    holds, _ = world.monitor(log, window={"start": "2026-01-01", "end": "2026-01-02"}, limits={"loss_increase": 0.1})
    assert holds


def test_evidently_that_is_not_installed_is_told_before_anything_is_read(world, log, monkeypatch):
    monkeypatch.setitem(sys.modules, "evidently", None)
    with pytest.raises(ConfigError, match=r"pip install 'taxiway\[monitoring\]'"):
        world.monitor(log, evidently=True)


def test_evidently_reports_the_same_window(world, log):
    names = world.put(log, drifted())
    tell(log, names, world.labels(drifted(), 5), NOON + DAY)
    _, lines = world.monitor(log, evidently=True)
    found = json.loads(told(log, "evidently_drift.json"))
    apart = {it["config"]["column"]: it["value"] for it in found["metrics"] if "column" in it["config"]}
    assert set(apart) == {"color", "size", "count", "weight", "probability"}  # nobody has commented
    assert apart["size"] > 0.1 > apart["count"]  # of so many rows Evidently measures distances
    assert "the report is in" in lines[-1]
    pages = {name: told(log, f"evidently_{name}.html") for name in ("drift", "performance")}
    assert all(len(page) > 10_000 for page in pages.values())


def test_an_empty_window_is_refused(world, log):
    with pytest.raises(ConfigError, match="window: it ends at 2026-01-01"):
        world.monitor(log, window={"start": "2026-01-02", "end": "2026-01-01"})


def test_reading_settings_needs_neither_ray_nor_mlflow():
    code = "import sys, batch.monitor.settings, batch.audit.settings; print({'mlflow', 'ray'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
