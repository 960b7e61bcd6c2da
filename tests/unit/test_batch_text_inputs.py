"""CSV, TSV and JSON lines: compressed, cut by bytes, empty, with rows that are none."""

import gzip
import json
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from batch.inputs import text as text_module
from batch.inputs.text import TextForm, blocks
from batch.inputs.text_types import typed
from taxiway.errors import ConfigError, JobError
from tests.scoring_job import Job


def _csv(job, name, lines, header="row_id,color,count,weight"):
    content = "\n".join([header, *lines]) + "\n"
    data = content.encode()
    (job.folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)


def _zst(job, name, content):
    with pa.output_stream(str(job.folder / name), compression="zstd") as sink:
        sink.write(content.encode())


def test_csv_files_are_scored_and_their_ids_are_texts(tmp_path):
    job = Job(tmp_path, keep=["note"])
    _csv(job, "a.csv", ["007,red,1,0.5,ok", "008,blue,2,,", '009,"red",3,NA,"a, b"'], "row_id,color,count,weight,note")
    job.run()
    assert job.scores()["row_id"] == ["007", "008", "009"]
    assert job.scores()["note"] == ["ok", None, "a, b"]
    assert job.scores()["score"] == [1.0, 2.0, 3.0]


def test_values_that_are_not_of_their_column_and_lines_that_are_no_rows_are_set_aside(tmp_path):
    job = Job(tmp_path)
    _csv(job, "a.csv.gz", ["1,red,one,", "2,red,2,", "3,red", "4,green,4,", "5,red,5.5,", "6,red,6,heavy"])
    manifest = job.run()
    assert job.scores()["row_id"] == ["2"]
    found = {row["row_id"]: (row["code"], row["field"], row["original"]) for row in job.quarantine()}
    assert found["1"][:2] == ("wrong_type", "count")
    assert json.loads(found["1"][2]) == {"row_id": "1", "color": "red", "count": "one", "weight": None}
    assert found[None] == ("malformed_row", "", "3,red")
    assert found["4"][0] == "unknown_category"
    assert (found["5"][1], found["6"][1]) == ("count", "weight")
    assert (manifest.rows_read, manifest.rows_written, manifest.rows_rejected) == (6, 1, 5)


def test_tab_separated_files_have_their_own_delimiter(tmp_path):
    job = Job(tmp_path)
    (job.folder / "a.tsv").write_text("row_id\tcolor\tcount\tweight\n1\tred\t5\t\n")
    job.run()
    assert job.scores()["score"] == [5.0]


def test_types_of_other_columns_come_from_the_settings(tmp_path):
    job = Job(tmp_path, keep=["gate"], types={"row_id": "int64", "gate": "int64"})
    _csv(job, "a.csv", ["1,red,1,,7", "x,red,2,,8", "3,red,3,,nine"], "row_id,color,count,weight,gate")
    job.run()
    assert job.scores()["row_id"] == [1]
    assert job.scores()["gate"] == [7]
    assert [row["field"] for row in job.quarantine()] == ["row_id", "gate"]


def test_json_lines_are_scored_and_their_types_are_their_own(tmp_path):
    job = Job(tmp_path, keep=["lot"])
    rows = [
        {"row_id": 1, "color": "red", "count": 1, "lot": {"id": 4}, "weight": 2},
        {"row_id": 2, "color": "red", "count": "2", "lot": {"id": 5}},
        {"row_id": 3, "color": "blue", "count": True, "lot": None},
        {"row_id": 4, "color": "blue", "count": 4, "lot": None, "weight": None},
    ]
    lines = [json.dumps(row) for row in rows]
    _zst(job, "a.jsonl.zst", "\n".join([*lines[:2], "", "{broken", *lines[2:], "[1]"]))
    manifest = job.run()
    assert job.scores()["row_id"] == [1, 4]
    assert job.scores()["lot"] == [{"id": 4}, None]
    quarantine = [(row["row_id"], row["code"], row["field"]) for row in job.quarantine()]
    assert sorted(quarantine, key=str) == [
        (2, "wrong_type", "count"),
        (3, "wrong_type", "count"),
        (None, "malformed_row", ""),
        (None, "malformed_row", ""),
    ]
    assert json.loads(job.quarantine()[-1]["original"])["row_id"] == 3
    assert manifest.rows_read == 6


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_rows_without_an_id_are_numbered_through_files_that_are_cut_by_bytes(tmp_path, suffix, monkeypatch):
    monkeypatch.setattr("batch.pieces._LEAST_BYTES", 200)
    job = Job(tmp_path, piece_rows=10, batch_rows=4)
    for name, numbers in (("a", range(60)), ("b", ()), ("c", range(60, 90))):
        rows = [{"color": "red", "count": number + 20, "weight": number / 2} for number in numbers]
        lines = [json.dumps(row) if suffix == "jsonl" else ",".join(map(str, row.values())) for row in rows]
        header = ["color,count,weight"] if suffix == "csv" else []
        (job.folder / f"{name}.{suffix}").write_text("\n".join([*header, *lines]))
    plan = job.plan()
    assert len(plan.pieces) > 5
    assert plan.rows == 90
    job.run()
    assert job.scores()["row_id"] == list(range(90))
    assert job.scores()["score"] == [float(number + 20) for number in range(90)]


def test_a_limit_reads_the_first_rows_only(tmp_path):
    job = Job(tmp_path, limit=3)
    _csv(job, "a.csv", ["1,red,1,", "2,red,2,"])
    _csv(job, "b.csv", ["3,red,3,", "4,red,4,"])
    manifest = job.run()
    assert job.scores()["row_id"] == ["1", "2", "3"]
    assert manifest.rows_read == 3


def test_quoted_line_breaks_are_read_when_the_settings_say_so(tmp_path):
    job = Job(tmp_path, keep=["note"], newlines_in_values=True)
    _csv(job, "a.csv", ['1,red,1,,"two\nlines"', "2,red,2,,one"], "row_id,color,count,weight,note")
    job.run()
    assert job.scores()["note"] == ["two\nlines", "one"]


def test_a_byte_order_mark_and_windows_line_ends_are_no_part_of_the_values(tmp_path):
    job = Job(tmp_path)
    content = "\ufeffrow_id,color,count,weight\r\n1,red,1,\r\n2,red,2,3\r\n"
    (job.folder / "a.csv").write_bytes(content.encode())
    job.run()
    assert job.scores()["row_id"] == ["1", "2"]


def test_a_column_that_a_text_file_lacks_is_named(tmp_path):
    job = Job(tmp_path)
    _csv(job, "a.csv", ["1,red"], "row_id,color")
    with pytest.raises(ConfigError, match=r"a\.csv: no column 'count', which the model needs"):
        job.plan()


def test_a_compressed_file_that_ends_too_early_fails_or_is_left_out_in_part(tmp_path):
    job = Job(tmp_path)
    lines = [f"{row},red,{row + 20},{row / 7}" for row in range(200_000)]
    _csv(job, "a.csv.gz", lines)
    path = job.folder / "a.csv.gz"
    path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(JobError, match=r"a\.csv\.gz: can't be read.*on_corrupt_file"):
        job.run()
    job.settings = job.settings.model_copy(update={"on_corrupt_file": "skip"})
    manifest = job.run()
    assert manifest.skipped[0].file == str(path)
    assert 0 < manifest.rows_written < 200_000


@given(
    st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\r\n"), max_size=9), max_size=30),
    st.integers(1, 60),
    st.integers(1, 40),
)
def test_every_line_belongs_to_exactly_one_span_of_bytes(tmp_path_factory, texts, span_bytes, block_bytes):
    path = tmp_path_factory.mktemp("lines") / "a.jsonl"
    content = "\n".join(json.dumps({"text": text}) for text in texts).encode()
    path.write_bytes(content)
    form = TextForm("jsonl", {"text": pa.string()})
    edges = [*range(0, len(content), span_bytes), len(content)]
    spans = pairwise(edges)
    found = [block for span in spans for block in blocks(str(path), span, ["text"], form, block_bytes)]
    assert [text for block in found for text in block.raw["text"]] == texts


@pytest.mark.parametrize(
    ("raw", "kind", "expected", "bad"),
    [
        (pa.array(["1", " 2 ", None, "", "x"]), pa.int64(), [1, 2, None, None, None], [3, 4]),
        (pa.array(["1e3", "nan", "NA", "inf", "1,5"]), pa.float64(), [1e3, None, None, float("inf"), None], [4]),
        (pa.array(["true", "False", "0", "maybe"]), pa.bool_(), [True, False, False, None], [3]),
        ([1, 2.0, "3", None, True], pa.float64(), [1.0, 2.0, None, None, None], [2, 4]),
        ([1, 2.5, "3", None], pa.int64(), [1, None, None, None], [1, 2]),
        (["a", 1, None], pa.string(), ["a", None, None], [1]),
        ([True, 1, None], pa.bool_(), [True, None, None], [1]),
        ([[1, 2], "x"], pa.list_(pa.float64()), [[1.0, 2.0], None], [1]),
        ([2**70, 1], pa.int64(), [None, 1], [0]),
    ],
)
def test_each_value_is_converted_for_itself(raw, kind, expected, bad):
    values, rejects = typed("x", raw, len(raw), kind)
    assert values.to_pylist() == expected
    assert [int(row) for reject in rejects for row in reject.rows] == bad


def test_moments_are_read_with_and_without_a_zone():
    texts = pa.array(["2013-11-01T00:00:00Z", "2013-11-01 02:00:00+02:00"])
    values, rejects = typed("at", texts, 2, pa.timestamp("us", "UTC"))
    assert not rejects
    assert len(set(values.to_pylist())) == 1
    naive, rejects = typed("at", pa.array(["2013-11-01 00:00:00"]), 1, pa.timestamp("us", "UTC"))
    assert naive.to_pylist() == values.to_pylist()[:1]


def test_the_head_of_a_large_file_ends_with_a_whole_line(tmp_path, monkeypatch):
    monkeypatch.setattr(text_module, "_HEAD_BYTES", 40)
    path = tmp_path / "a.jsonl"
    path.write_text("".join(json.dumps({"number": number}) + "\n" for number in range(100)))
    schema, row_bytes = text_module.read_head(str(path), TextForm("jsonl", {}))
    assert schema == pa.schema([("number", pa.int64())])
    assert row_bytes == 14
