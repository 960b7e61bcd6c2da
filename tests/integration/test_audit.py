"""A skew audit of real answers: features of a real store, online and offline, and a registered model."""

import json
from datetime import UTC, timedelta
from pathlib import Path

import mlflow
import numpy as np
import pytest
import sklearn
import yaml
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline

from batch.__main__ import main
from batch.audit.job import audit
from batch.audit.settings import AuditSettings
from batch.looking_back import Span, Who, sample
from taxiway.encoder import ColumnEncoder
from taxiway.errors import ConfigError, JobError
from taxiway.feature_binding import FeatureBinding
from taxiway.features import OnlineFeatures, bind
from taxiway.package import ModelPackage, log_package
from taxiway.predictions.fields import FieldRules
from taxiway.predictions.files import encode
from taxiway.predictions.partitions import FileNames
from taxiway.predictions.record import LoggedBatch, Source
from taxiway.predictions.storage import Storage
from taxiway.registry import Registry
from taxiway.scoring import score
from taxiway.settings import OnlineReadSettings
from taxiway.signature import Column, Signature
from tests.integration.test_features import NOON, make
from tests.prediction_records import an_id
from tests.tiny_model import registry_settings

SIGNATURE = Signature(
    inputs=(Column(name="shop", dtype="string"), Column(name="article", dtype="int64")),
    outputs=(Column(name="probability", dtype="float64"),),
)
FRESH, LATE = NOON + timedelta(minutes=30), NOON + timedelta(hours=2, minutes=30)


class World:
    """A store that was filled at noon, and a model that reads both of its views."""

    def __init__(self, folder):
        self.folder = folder
        self.store = make(folder, NOON)
        on_missing = {"sales": "null", "stock": "default"}
        self.binding = bind(self.store, "shops_and_stock", on_missing, {"stock": {"pieces": -1.0}})
        self.registry = Registry(registry_settings(folder))
        self.model = self.registry.load(register(self.registry, self.binding))

    def served(self, moment):
        """What a request gets at a moment: the columns that the model saw, and its answers."""
        features = OnlineFeatures(self.store, OnlineReadSettings(as_of=moment, timeout_s=30))
        asked = {"shop": np.array(["north", "south", "north"], np.object_), "article": np.array([1, 1, 2])}
        found = score(asked, SIGNATURE, self.binding, features.read, self.model.predictor)
        assert len(found.rows) == 3
        return dict(found.inputs), found.outputs

    def settings(self, log, **more):
        keys = {
            "audit": "models:/shops/1",
            "predictions": log,
            "endpoint": "shops",
            "window": {"start": "2024-05-01", "end": "2024-05-02"},
            "output": f"{log}-report",
            "mlflow": None,
            "registry": registry_settings(self.folder).model_dump(),
            "feature_store": {"repository": str(self.folder)},
        }
        return keys | more

    def audit(self, log, **more):
        lines = []
        holds = audit(AuditSettings(**self.settings(log, **more)), None, False, lines.append)
        return holds, json.loads(Path(f"{log}-report", "report.json").read_text()), lines


def register(registry, binding: FeatureBinding):
    model = Pipeline([("columns", ColumnEncoder(("sold", "pieces"), {})), ("model", LogisticRegression())])
    model.set_params(model__C=1e-4).fit({"sold": np.array([0.0, 100.0]), "pieces": np.array([1.0, 0.0])}, [0, 1])
    package = ModelPackage(signature=SIGNATURE, features=binding)
    with mlflow.start_run(experiment_id=registry.experiment("shops")) as run:
        uri = log_package(model, package, {"scikit-learn": sklearn.__version__})
    return registry.register("shops", uri, run.info.run_id, {})


def put(log, moment, inputs, outputs, numbers=range(1), version="1", kind="live"):
    """Writes the same answer of three rows once for each number."""
    source = Source("shops", "champion", version, kind, SIGNATURE.input_by_name)
    ids, times = [an_id(moment, number) for number in numbers], len(numbers)
    batch = LoggedBatch(
        source,
        {name: np.tile(values, times) for name, values in inputs.items()},
        {name: np.tile(values, times) for name, values in outputs.items()},
        ids,
        [3] * times,
        [moment.timestamp()] * times,
        [1.0] * times,
    )
    for file in encode([(batch, None)], FieldRules({}), FileNames()):
        Storage(log).write(file.path, file.content)


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    return World(tmp_path_factory.mktemp("audit"))


@pytest.fixture
def log(tmp_path):
    return str(tmp_path / "log")


def by_column(report):
    return {it["column"]: it for it in (*report["features"], *report["outputs"])}


def test_what_was_served_in_time_is_equal_to_the_last_bit(world, log):
    put(log, FRESH, *world.served(FRESH), range(5))
    holds, report, lines = world.audit(log, tolerance=0.0)
    assert holds
    assert (report["rows"], report["answers"], report["broken"]) == (15, 5, [])
    assert set(by_column(report)) == {"sold", "returned", "pieces", "ordered", "weight", "probability"}
    assert {(it["differing"], it["not_bit_equal"]) for it in by_column(report).values()} == {(0, 0)}
    assert "  served and offline agree in every feature and output" in lines


def test_a_view_that_was_left_stale_is_found_with_its_age(world, log, tmp_path, capsys):
    put(log, LATE, *world.served(LATE), range(4))
    config = tmp_path / "audit.yaml"
    config.write_text(yaml.safe_dump(world.settings(log, mlflow={"experiment": "audits"})))
    assert main([str(config)]) == 3
    report = json.loads((tmp_path / "log-report" / "report.json").read_text())
    found = by_column(report)
    sold = found["sold"]
    assert (sold["rows"], sold["differing"], sold["unequal"], sold["missing_online"]) == (12, 12, 12, 0)
    assert sold["difference"]["median"] == 2.0
    assert sold["stale"]["rows"] == 12
    assert sold["stale"]["age_s"]["maximum"] == 2.5 * 3600
    assert sold["stale"]["behind_s"]["median"] == 1.5 * 3600
    assert {found[name]["not_bit_equal"] for name in ("returned", "pieces", "ordered", "weight")} == {0}
    assert found["probability"]["differing"] == 12
    assert "feature sold: 100.00% of 12 rows differ" in capsys.readouterr().out
    assert "12, age 2.5 h, behind 1.5 h" in (tmp_path / "log-report" / "report.html").read_text()
    (run,) = mlflow.search_runs(experiment_names=["audits"], output_format="list")
    assert (run.data.tags["limits"], run.data.metrics["feature/sold/behind_s"]) == ("broken", 5400.0)


def test_a_value_that_had_expired_offline_is_behind_since_then(world, log):
    inputs, outputs = world.served(FRESH)
    put(log, NOON + timedelta(hours=20), inputs, outputs)
    _, report, _ = world.audit(log, window={"start": "2024-05-02T08:00", "end": "2024-05-02T09:00"})
    sold = by_column(report)["sold"]
    assert (sold["differing"], sold["missing_offline"]) == (3, 3)
    assert sold["stale"]["age_s"]["median"] == 20 * 3600
    assert sold["stale"]["behind_s"]["median"] == 19 * 3600


def test_missing_values_are_told_by_side_and_a_default_is_one(world, log):
    inputs, outputs = world.served(FRESH)
    inputs["sold"] = np.array([np.nan, 112.0, 7.5])
    inputs["pieces"] = np.array([-1.0, 7.0, 5.0])
    put(log, FRESH, inputs, outputs)
    _, report, _ = world.audit(log)
    sold, pieces = (by_column(report)[name] for name in ("sold", "pieces"))
    assert (sold["missing_online"], sold["unequal"]) == (1, 1)
    assert sold["stale"] is None  # the history never held 7.5
    assert (pieces["missing_online"], pieces["missing_offline"], pieces["unequal"]) == (1, 0, 0)


def test_a_fixed_moment_joins_every_row_as_of_then(world, log):
    put(log, LATE, *world.served(FRESH))
    holds, report, _ = world.audit(log, as_of=FRESH.isoformat())
    assert holds
    assert by_column(report)["sold"]["not_bit_equal"] == 0


def test_shadows_and_other_versions_are_not_audited(world, log):
    inputs, outputs = world.served(FRESH)
    put(log, FRESH, inputs, outputs, version="2")
    put(log, FRESH, inputs, outputs, kind="shadow")
    with pytest.raises(JobError, match="version 1 has answered nothing between"):
        world.audit(log)
    put(log, FRESH, inputs, outputs, [7])
    assert world.audit(log)[1]["rows"] == 3


def test_a_sample_is_the_same_in_every_run_and_another_one_for_another_seed(world, log):
    inputs, outputs = world.served(FRESH)
    for number in range(0, 60, 20):
        put(log, FRESH, inputs, outputs, range(number, number + 20))
    span = Span(NOON, NOON + timedelta(hours=1), UTC)

    def drawn(seed, answers=10):
        settings = AuditSettings(**world.settings(log, seed=seed, answers=answers))
        found = sample(settings, Who("shops", "1", None), span, ["input.*"])
        assert (found.answers, found.of_answers, found.table.num_rows) == (answers, 60, 3 * answers)
        return set(found.table["prediction_id"].to_pylist())

    assert drawn(1) == drawn(1)
    assert drawn(1) != drawn(2)
    assert drawn(1) < drawn(1, 30)


def test_a_log_without_a_request_column_is_told(world, log):
    inputs, outputs = world.served(FRESH)
    put(log, FRESH, {name: values for name, values in inputs.items() if name != "article"}, outputs)
    with pytest.raises(ConfigError, match=r"the log has no input\.article"):
        world.audit(log)


def test_an_output_without_a_place_for_the_date_is_refused(world, log, tmp_path, capsys):
    config = tmp_path / "audit.yaml"
    config.write_text(yaml.safe_dump(world.settings(log)))
    assert main([str(config), "--date", "2024-05-02"]) == 2
    assert "has no {date}" in capsys.readouterr().err
    assert main([str(config), "--limit", "3"]) == 2
