"""A job without Ray: the plan refuses whole files, the scorer refuses rows, and the sums agree."""

import json
from datetime import datetime

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from batch.output.local import MANIFEST
from batch.plan import describe
from taxiway.errors import ConfigError, JobError, TooManyRejects
from tests.scoring_job import Job

ROWS = {
    "row_id": pa.array([10, 11, 12, 13, None, 15]),
    "color": pa.array(["red", "green", "red", None, "blue", "blue"]),
    "count": pa.array([1, 2, None, 4, 5, -6], pa.int32()),
    "weight": pa.array([0.5, None, 1.5, float("inf"), 2.5, 3.5]),
    "note": pa.array([{"at": datetime(2013, 11, 1)}] * 6),
}


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
    assert ds.dataset(job.output).schema.field("row_id").type == pa.string()


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
        part = staging / results[0].parts[0].path
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
        assert not job.output.exists()


def test_too_many_rejects_fail_the_job_and_keep_the_quarantine(tmp_path):
    job = Job(tmp_path, max_reject_share=0.5)
    job.write("a", ROWS)
    with pytest.raises(TooManyRejects, match=r"5 of 6 rows were rejected.*3 missing_value.*_output\.rejected"):
        job.run()
    assert not job.output.exists()
    assert ds.dataset(tmp_path / "_output.rejected").count_rows() == 5
    assert json.loads((tmp_path / "_output.rejected" / MANIFEST).read_text())["rows_rejected"] == 5


def test_a_file_that_breaks_during_the_job_is_named(tmp_path):
    job = Job(tmp_path)
    job.write("a", ROWS)
    plan = job.plan()
    (job.folder / "a.parquet").write_bytes(b"PAR1 not any more")
    with pytest.raises(JobError, match=r"a\.parquet: can't be read"):
        job.scorer(plan).score(plan.pieces[0])


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
    text = describe(job.plan(), job.models, job.settings, 5_000_000_000)
    for words in ("models:/sums/3 (models:/sums@champion)", "1 parquet files, 6 rows", "2 of at most 4", "count int64"):
        assert words in text
    assert "at most about 96 B, 5 GB are free" in text


def test_rows_that_the_filter_leaves_out_are_counted_and_not_judged(tmp_path):
    job = Job(tmp_path, filter="lot < 4 and color is not None", batch_rows=2)
    columns = {"color": ["red", "green", "blue", None, "red"], "count": [21, 22, -1, 24, 25], "lot": [1, 2, 3, 3, 9]}
    job.write("a", columns)
    manifest = job.run()
    assert job.scores()["row_id"] == [0]
    assert [(row["row_id"], json.loads(row["original"])["lot"]) for row in job.quarantine()] == [(1, 2), (2, 3)]
    assert (manifest.rows_read, manifest.rows_written, manifest.rows_rejected, manifest.rows_filtered) == (5, 1, 2, 2)


def test_a_second_model_answers_beside_the_first(tmp_path):
    job = Job(tmp_path, compare={"model": "models:/sums@challenger"})
    job.write("a", {"color": ["red", "green", "blue"], "count": [21, 22, 23]})
    manifest = job.run()
    assert job.scores()["score"] == [21, 23]
    assert job.scores()["score_challenger"] == [121, 123]
    assert job.scores()["compared_version"] == ["4", "4"]
    assert manifest.compared == "models:/sums/4"
    assert manifest.scores["score_challenger"].mean == 122


def test_columns_of_the_output_become_folders(tmp_path):
    job = Job(tmp_path, keep=["lot", "day"], partition_by=["day", "lot"], piece_rows=2)
    days = [datetime(2013, 11, day).date() for day in (1, 2, 1, 2)]
    job.write("a", {"color": ["red"] * 4, "count": [21, 22, 23, 24], "lot": ["a/b", None, "a/b", "c"], "day": days})
    manifest = job.run()
    assert sorted(part.path for part in manifest.parts) == [
        "day=2013-11-01/lot=a%2Fb/part-00000-job.parquet",
        "day=2013-11-01/lot=a%2Fb/part-00001-job.parquet",
        "day=2013-11-02/lot=__HIVE_DEFAULT_PARTITION__/part-00000-job.parquet",
        "day=2013-11-02/lot=c/part-00001-job.parquet",
    ]
    scores = job.scores()
    assert dict(zip(scores["row_id"], scores["lot"], strict=True)) == {0: "a/b", 1: None, 2: "a/b", 3: "c"}


@pytest.mark.parametrize(("keys", "words"), [(["gate"], "no column 'gate'"), (["row_id", "score"], None)])
def test_folders_of_columns_that_are_not_there_are_refused(tmp_path, keys, words):
    job = Job(tmp_path, partition_by=keys)
    job.write("a", GOOD)
    if words is None:
        job.plan()
        return
    with pytest.raises(ConfigError, match=words):
        job.plan()


def test_a_corrupt_file_among_good_ones_fails_the_job_or_is_left_out(tmp_path):
    job = Job(tmp_path, piece_rows=1_000)
    for name in "abc":
        columns = {"color": ["red"] * 2_000, "count": list(range(20, 2_020))}
        job.write(name, columns, row_group_size=500, compression="none", use_dictionary=False)
    path = job.folder / "b.parquet"
    content = bytearray(path.read_bytes())
    content[3_000:9_000] = b"\xff" * 6_000
    path.write_bytes(bytes(content))
    with pytest.raises(JobError, match=r"b\.parquet: can't be read: .*on_corrupt_file: skip"):
        job.run()
    job.settings = job.settings.model_copy(update={"on_corrupt_file": "skip"})
    manifest = job.run()
    assert {share.file for share in manifest.skipped} == {str(path)}
    missing = sum(share.rows_missing for share in manifest.skipped)
    assert 0 < missing <= 2_000
    assert manifest.rows_written == 6_000 - missing
    assert set(range(2_000)) | set(range(4_000, 6_000)) <= set(job.scores()["row_id"])


def test_a_file_that_is_no_parquet_at_all_is_left_out_when_the_settings_say_so(tmp_path):
    job = Job(tmp_path, on_corrupt_file="skip")
    job.write("a", GOOD)
    (job.folder / "b.parquet").write_bytes(b"nothing")
    manifest = job.run()
    assert manifest.rows_written == 1
    assert [file.path for file in manifest.left_out] == [str(job.folder / "b.parquet")]
    assert len(manifest.inputs) == 2


def test_thousands_of_small_files_share_pieces_and_keep_their_order(tmp_path):
    job = Job(tmp_path, piece_rows=500, batch_rows=100)
    for number in range(1_200):
        job.write(f"d{number % 7}/{number:05d}", {"color": ["red"], "count": [number + 20]})
    manifest = job.run()
    assert len(manifest.parts) == 3
    expected = sorted(range(1_200), key=lambda number: (number % 7, number))
    assert job.scores()["score"] == [float(number + 20) for number in expected]


def test_files_may_lack_a_column_that_the_model_does_not_require(tmp_path):
    job = Job(tmp_path)
    job.write("a", {"color": ["red"], "count": [21], "weight": [0.5]})
    job.write("b", {"color": ["red"], "count": [22]})
    job.write("c", {"color": ["red"], "count": [23], "weight": pa.array([1], pa.int8())})
    job.run()
    assert job.scores()["score"] == [21, 22, 23]
    job.write("d", {"color": ["red"], "count": ["many"]})
    with pytest.raises(ConfigError, match=r"d\.parquet: column 'count': expected int64, found string"):
        job.plan()


def test_features_that_the_input_does_not_bring_are_named_when_none_are_joined(tmp_path):
    job = Job(tmp_path, with_features=True, join_features=False)
    job.write("a", GOOD)
    with pytest.raises(ConfigError, match="no column 'wind', a feature, and join_features is off"):
        job.plan()


@pytest.mark.parametrize("compression", ["snappy", "zstd", "lz4", "gzip", "none"])
def test_parts_are_compressed_as_asked(tmp_path, compression):
    job = Job(tmp_path, compression=compression)
    job.write("a", GOOD)
    (part,) = job.run().parts
    found = pq.ParquetFile(job.output / part.path).metadata.row_group(0).column(0).compression
    assert found.lower() == {"none": "uncompressed"}.get(compression, compression)
