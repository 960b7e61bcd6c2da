"""A job without Ray: the plan refuses whole files, the scorer refuses rows, and the sums agree."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from batch.files import list_files, read_footers
from batch.job import finish
from batch.layout import MANIFEST, OutputFolder
from batch.manifest import make_manifest
from batch.pieces import cut
from batch.plan import Plan
from batch.schema import check_inputs, part_schema
from batch.scorer import PieceScorer, ScorerSpec
from batch.settings import ScoreSettings
from taxiway.errors import ConfigError, JobError
from taxiway.feature_binding import FeatureBinding, FeatureViewBinding
from taxiway.package import Lineage, ModelPackage
from taxiway.registry import LoadedModel, ModelVersion
from taxiway.settings import FeatureStoreSettings
from taxiway.signature import Column, Signature

VERSION = ModelVersion("sums", "3", "run")
SIGNATURE = Signature(
    inputs=(
        Column(name="color", dtype="string", categories=("red", "blue")),
        Column(name="count", dtype="int64", minimum=0),
        Column(name="weight", dtype="float64", nullable=True),
    ),
    outputs=(Column(name="score", dtype="float64"),),
)
WEATHER = FeatureViewBinding(name="weather", entity_keys=("place",), columns=("wind",))
LINEAGE = Lineage(data_digest="", data_rows=0, code_revision="", run_id="", parameters={}, metrics={})
ROWS = {
    "row_id": pa.array([10, 11, 12, 13, None, 15]),
    "color": pa.array(["red", "green", "red", None, "blue", "blue"]),
    "count": pa.array([1, 2, None, 4, 5, -6], pa.int32()),
    "weight": pa.array([0.5, None, 1.5, float("inf"), 2.5, 3.5]),
    "note": pa.array([{"at": datetime(2013, 11, 1)}] * 6),
}


class Sums:
    """Says count plus wind, and fails over 13."""

    def predict(self, columns):
        if (columns["count"] == 13).any():
            raise RuntimeError("thirteen")
        return {"score": columns["count"] + columns.get("wind", np.zeros(len(columns["count"])))}


def wind(views, columns, moments):
    known = np.array([place != "nowhere" for place in columns["place"]])
    return {"wind": np.where(known, moments.astype("datetime64[h]").astype(np.int64) % 24, np.nan)}


def _package(with_features=False):
    binding = FeatureBinding(service="s", views=(WEATHER,)) if with_features else None
    return ModelPackage(signature=SIGNATURE, features=binding, lineage=LINEAGE)


class Job:
    """A job in a folder, piece after piece in this process."""

    def __init__(self, folder, with_features=False, **settings):
        self.folder = folder / "input"
        self.folder.mkdir()
        self.package = _package(with_features)
        store = FeatureStoreSettings(repository="unused") if with_features else None
        paths = {"input": str(self.folder), "output": str(folder / "output")}
        self.settings = ScoreSettings(model="models:/sums@champion", feature_store=store, **paths, **settings)
        self.output = OutputFolder(self.settings.output)

    def write(self, name, columns, **options):
        pq.write_table(pa.table(columns), self.folder / f"{name}.parquet", **options)

    def plan(self):
        files = read_footers(list_files(self.settings.input))
        check_inputs(files, self.package, self.settings)
        schema = part_schema(files, self.package, self.settings)
        return Plan(self.settings, VERSION, self.package, files, cut(files, self.settings.piece_rows), schema)

    def run(self, spoil=lambda staging, results: results):
        plan = self.plan()
        with self.output.staging("job") as staging:
            spec = ScorerSpec(self.settings, VERSION, plan.schema, "job", str(staging), "")
            scorer = PieceScorer(spec, LoadedModel(VERSION, self.package, Sums()), wind)
            results = spoil(staging, [scorer.score(piece) for piece in plan.pieces])
            stages = {"scoring": 1.0}
            manifest = make_manifest(plan, self.output.path, "job", results, datetime.now(UTC), stages)
            finish(manifest, self.output, staging, self.settings)
        return manifest

    def scores(self):
        return ds.dataset(self.output.path).to_table().to_pydict()

    def quarantine(self):
        return ds.dataset(self.output.path / "_quarantine").to_table().to_pylist()


def test_every_row_is_answered_or_set_aside_with_its_reason(tmp_path):
    job = Job(tmp_path, keep=["color"])
    job.write("a", ROWS)
    manifest = job.run()
    assert job.scores() == {
        "row_id": [10],
        "color": ["red"],
        "score": [1.0],
        "model_name": ["sums"],
        "model_version": ["3"],
        "job_id": ["job"],
    }
    assert [(row["row_id"], row["code"], row["field"]) for row in job.quarantine()] == [
        (11, "unknown_category", "color"),
        (12, "missing_value", "count"),
        (13, "missing_value", "color"),
        (None, "missing_value", "row_id"),
        (15, "out_of_range", "count"),
    ]
    assert (manifest.rows_read, manifest.rows_written, manifest.rows_rejected) == (6, 1, 5)
    assert manifest.rejects == {"missing_value": 3, "unknown_category": 1, "out_of_range": 1}


def test_a_row_in_quarantine_is_still_all_there(tmp_path):
    job = Job(tmp_path)
    job.write("a", ROWS)
    job.run()
    row = job.quarantine()[2]
    assert row["reason"] == "got nothing, expected a string"
    assert json.loads(row["original"]) == {
        "row_id": 13,
        "color": None,
        "count": 4,
        "weight": "inf",
        "note": {"at": "2013-11-01T00:00:00"},
    }


def test_a_row_that_the_model_fails_on_stands_alone_in_quarantine(tmp_path):
    job = Job(tmp_path)
    job.write("a", {"row_id": range(9), "color": ["red"] * 9, "count": [1, 2, 13, 4, 5, 13, 7, 8, 9]})
    job.run()
    assert job.scores()["row_id"] == [0, 1, 3, 4, 6, 7, 8]
    assert job.scores()["score"] == [1, 2, 4, 5, 7, 8, 9]
    assert [(row["row_id"], row["code"]) for row in job.quarantine()] == [(2, "model_failed"), (5, "model_failed")]


def test_rows_without_an_id_are_numbered_through_all_files(tmp_path):
    job = Job(tmp_path, piece_rows=2)
    for name, rows in (("b", 3), ("a", 4), ("c", 0)):
        job.write(name, {"color": pa.array(["red"] * rows), "count": pa.array(range(rows), pa.int64())})
    manifest = job.run()
    assert job.scores()["row_id"] == list(range(7))
    assert job.scores()["score"] == [0, 1, 2, 3, 0, 1, 2]
    assert [part.rows for part in manifest.parts] == [2, 2, 2, 1]


def test_an_input_without_rows_gives_an_output_with_a_schema(tmp_path):
    job = Job(tmp_path)
    job.write("a", {"row_id": pa.array([], pa.string()), "color": pa.array([], pa.string()), "count": pa.nulls(0)})
    assert job.run().rows_read == 0
    assert job.scores()["score"] == []
    assert ds.dataset(job.output.path).schema.field("row_id").type == pa.string()


def test_features_are_joined_as_of_the_moment_of_each_row(tmp_path):
    job = Job(tmp_path, with_features=True)
    hours = [datetime(2013, 11, 1, hour) for hour in (3, 4, 5, 6)]
    columns = {"color": ["red", "green", "blue", "red"], "count": [10, 20, 30, 40], "row_id": [1, 2, 3, 4]}
    moments = pa.array([hours[0], hours[1], None, hours[3]], pa.timestamp("ns"))
    job.write("a", columns | {"event_timestamp": moments, "place": ["JFK"] * 4})
    job.run()
    assert job.scores()["score"] == [13, 46]
    assert [(row["row_id"], row["code"], row["field"]) for row in job.quarantine()] == [
        (2, "unknown_category", "color"),
        (3, "missing_value", "event_timestamp"),
    ]


def test_an_entity_that_the_store_does_not_know_is_set_aside(tmp_path):
    job = Job(tmp_path, with_features=True)
    columns = {"color": ["red", "red"], "count": [1, 2], "event_timestamp": [datetime(2013, 11, 1, 3)] * 2}
    job.write("a", columns | {"place": ["nowhere", "JFK"]})
    job.run()
    assert job.scores()["score"] == [5]
    assert job.quarantine()[0]["reason"] == "the feature view 'weather' knows no place='nowhere'"


def test_a_feature_that_the_input_brings_needs_no_store(tmp_path):
    job = Job(tmp_path, with_features=True)
    job.write("a", {"color": ["red"], "count": [1], "wind": pa.array([7], pa.int8())})
    job.run()
    assert job.scores()["score"] == [8]


def test_sums_that_do_not_agree_publish_nothing(tmp_path):
    def lose_a_row(staging, results):
        part = staging / results[0].part.path
        pq.write_table(pq.read_table(part).slice(1), part)
        return results

    def miscount(staging, results):
        return [results[0].model_copy(update={"rejects": {"missing_value": 1}})]

    def lose_a_piece(staging, results):
        return results[1:]

    for number, spoil in enumerate((lose_a_row, miscount, lose_a_piece)):
        folder = tmp_path / str(number)
        folder.mkdir()
        job = Job(folder, piece_rows=2)
        job.write("a", {"color": ["red"] * 4, "count": [1, 2, 3, 4]})
        with pytest.raises(JobError, match="the sums do not agree"):
            job.run(spoil)
        assert not job.output.path.exists()


def test_too_many_rejects_fail_the_job_and_keep_the_quarantine(tmp_path):
    job = Job(tmp_path, max_reject_share=0.5)
    job.write("a", ROWS)
    with pytest.raises(JobError, match=r"5 of 6 rows were rejected.*3 missing_value.*_output\.rejected"):
        job.run()
    assert not job.output.path.exists()
    assert ds.dataset(tmp_path / "_output.rejected").count_rows() == 5
    assert json.loads((tmp_path / "_output.rejected" / MANIFEST).read_text())["rows_rejected"] == 5


def test_a_file_that_breaks_during_the_job_is_named(tmp_path):
    job = Job(tmp_path)
    job.write("a", ROWS)
    plan = job.plan()
    (job.folder / "a.parquet").write_bytes(b"PAR1 not any more")
    spec = ScorerSpec(job.settings, VERSION, plan.schema, "job", str(tmp_path), "")
    scorer = PieceScorer(spec, LoadedModel(VERSION, job.package, Sums()), wind)
    with pytest.raises(JobError, match=r"a\.parquet, from row 0 of the input on"):
        scorer.score(plan.pieces[0])


GOOD = {"color": ["red"], "count": [1], "event_timestamp": [datetime(2013, 11, 1)], "place": ["JFK"]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": ["one"]}, r"a\.parquet: column 'count': expected int64, found string"),
        ({"color": [1]}, "column 'color': expected string, found int64"),
        ({"place": [0.5]}, "column 'place': expected string, found double"),
        ({"event_timestamp": ["now"]}, "column 'event_timestamp': expected a timestamp, found string"),
        ({"count": None}, "no column 'count', which the model needs; it has color, event_timestamp, place"),
        ({"place": None}, "no column 'place', which the model needs"),
        ({"event_timestamp": None}, "no column 'event_timestamp', which event_timestamp needs"),
    ],
)
def test_what_is_wrong_with_a_whole_file_is_refused_before_the_start(tmp_path, change, message):
    job = Job(tmp_path, with_features=True)
    job.write("a", {name: values for name, values in (GOOD | change).items() if values is not None})
    with pytest.raises(ConfigError, match=message):
        job.plan()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"keep": ["gate"]}, "no column 'gate', which keep needs"),
        ({"keep": ["model_name"]}, "keep: the output would have two columns with the name 'model_name'"),
        ({"row_id": "code"}, "row_id: the quarantine has a column 'code' of its own"),
    ],
)
def test_an_output_that_can_not_be_written_is_refused_before_the_start(tmp_path, settings, message):
    job = Job(tmp_path, **settings)
    job.write("a", GOOD | {"model_name": ["mine"], "code": [1]})
    with pytest.raises(ConfigError, match=message):
        job.plan()


def test_a_missing_feature_store_is_named(tmp_path):
    job = Job(tmp_path, with_features=True)
    job.write("a", GOOD)
    job.settings = job.settings.model_copy(update={"feature_store": None})
    with pytest.raises(ConfigError, match="feature_store: the model reads features"):
        job.plan()


def test_files_may_differ_in_width_but_not_in_kind(tmp_path):
    job = Job(tmp_path, keep=["lot"])
    job.write("a", GOOD | {"lot": pa.array([1], pa.int8())})
    job.write("b", GOOD | {"lot": pa.array([300], pa.int32())})
    job.run()
    assert job.scores()["lot"] == [1, 300]
    job.write("c", GOOD | {"lot": ["three"]})
    with pytest.raises(ConfigError, match="disagree about the type of column 'lot': int32, int8, string"):
        job.plan()


def test_an_id_in_only_some_files_is_refused(tmp_path):
    job = Job(tmp_path)
    job.write("a", GOOD | {"row_id": [1]})
    job.write("b", GOOD)
    with pytest.raises(ConfigError, match=r"b\.parquet: no column 'row_id'"):
        job.plan()


def test_the_plan_describes_itself(tmp_path):
    job = Job(tmp_path, piece_rows=4)
    job.write("a", ROWS)
    text = replace(job.plan(), package=_package()).describe()
    for words in ("models:/sums/3 (models:/sums@champion)", "1 files, 6 rows", "2 of at most 4", "count int64"):
        assert words in text
