"""Scoring jobs from S3 to S3: one writer, resume, publication by the manifest, faults of the storage."""

import io
import json
import os
from unittest import mock

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest

from batch.inputs.storage import locate
from batch.output import lease as lease_module
from batch.output.lease import Lease
from batch.output.outputs import open_output
from batch.output.workspace import PLAN
from taxiway.errors import ConfigError, OutputHeld, TryLater
from tests.faulty_s3 import ENVIRONMENT, running_s3
from tests.scoring_job import Job


@pytest.fixture(scope="module")
def s3():
    with mock.patch.dict(os.environ, ENVIRONMENT), running_s3() as running:
        yield running


@pytest.fixture
def job(tmp_path, s3, request):
    name = request.node.name
    for number in range(3):
        first = 20 + number * 100
        columns = {
            "row_id": range(first, first + 100),
            "color": ["red"] * 99 + ["mauve"],
            "count": range(first, first + 100),
        }
        sink = io.BytesIO()
        pq.write_table(pa.table(columns), sink, row_group_size=30)
        s3.put(f"{name}/in/day={number}/{number}.parquet", sink.getvalue())
    uris = {"input": s3.uri(f"{name}/in"), "output": s3.uri(f"{name}/out")}
    return Job(tmp_path, piece_rows=60, keep=["day"], **uris)


def _published(job):
    manifest = json.loads(open_output(job.settings.output).finished())
    system, root = locate(job.settings.output)
    files = [f"{root}/{part['path']}" for part in manifest["parts"]]
    return manifest, ds.dataset(files, filesystem=system).to_table()


def test_what_the_manifest_names_is_the_result(job, s3):
    job.run()
    manifest, scores = _published(job)
    assert scores["row_id"].to_pylist() == [row for row in range(20, 320) if (row - 20) % 100 != 99]
    assert scores["score"].to_pylist() == [float(row) for row in scores["row_id"].to_pylist()]
    assert set(scores["day"].to_pylist()) == {0, 1, 2}
    assert manifest["rows_rejected"] == 3
    prefix = f"{job.settings.output.partition('taxiway/')[2].partition('?')[0]}/"
    names = {key.removeprefix(prefix) for key in s3.keys(prefix)}
    expected = {part["path"] for part in (*manifest["parts"], *manifest["quarantine"])}
    assert names == expected | {"_manifest.json", "_SUCCESS"}
    assert not any(name.startswith("part-") for name in names)


def test_a_replaced_run_leaves_nothing_of_the_old_one(job, s3):
    job.run()
    other = open_output(job.settings.output)
    with pytest.raises(ConfigError, match="another run has been published"):
        other.publish(other.workspace("other"), b"{}", overwrite=False)
    before = set(s3.keys(""))
    job.settings = job.settings.model_copy(update={"overwrite": True, "limit": 50})
    job.run()
    manifest, scores = _published(job)
    assert scores.num_rows == manifest["rows_written"] == 50
    assert len(set(s3.keys("")) - before) == 0


def test_a_second_run_is_refused_and_hears_who_has_the_output(job):
    first, second = open_output(job.settings.output), open_output(job.settings.output)
    with first.hold("job a on host b"), pytest.raises(OutputHeld, match=r"job a on host b.*ends in"), second.hold("c"):
        pass
    with second.hold("job c"):
        second.check_held()


def test_the_lease_of_a_dead_process_is_taken_over_at_once(job, s3, monkeypatch):
    uri = s3.uri("dead/lease.json")
    monkeypatch.setattr(lease_module, "_this_process", lambda: f"{os.uname().nodename}:999999999:1")
    dead = Lease(uri, "a dead job")
    dead._take()
    monkeypatch.undo()
    with Lease(uri, "another").held():
        assert not dead._put({"IfMatch": dead._etag})
        dead._renewed -= 60.0
        with pytest.raises(OutputHeld, match="could not be renewed"):
            dead.check()


def test_a_lease_that_nobody_renews_ends(s3, monkeypatch):
    uri = s3.uri("old/lease.json")
    monkeypatch.setattr(lease_module, "_this_process", lambda: "elsewhere:1:1")
    Lease(uri, "a job elsewhere")._take()
    with pytest.raises(OutputHeld, match="a job elsewhere"), Lease(uri, "me").held():
        pass
    monkeypatch.setattr(lease_module, "LEASE_S", -1.0)
    with Lease(uri, "me").held():
        pass


def test_an_unfinished_run_goes_on_with_what_is_committed(job):
    plan, output = job.plan(), open_output(job.settings.output)
    with output.hold("first"):
        workspace = output.workspace("job")
        workspace.store.write(PLAN, plan.model_dump_json().encode())
        scorer = job.scorer(plan)
        done = [scorer.score(piece) for piece in plan.pieces[:3]]
    assert [result.piece for result in workspace.committed()] == [0, 1, 2]
    workspace.store.write(done[1].parts[0].path, b"torn")
    assert [result.piece for result in workspace.committed()] == [0, 2]
    assert output.finished() is None
    output.discard("job")
    assert list(workspace.committed()) == []


def test_answers_of_503_and_slow_ones_are_waited_for(job, s3):
    expected = job.run()
    job.settings = job.settings.model_copy(
        update={
            "input": s3.uri(job.settings.input.partition("taxiway/")[2].partition("?")[0], faulty=True),
            "output": s3.uri("slow/out", faulty=True),
        }
    )
    s3.faults.delay_s, s3.faults.failures = 0.02, 3
    manifest = job.run()
    s3.faults.failures = 3
    assert [part.sha256 for part in manifest.parts] == [part.sha256 for part in expected.parts]
    s3.faults.delay_s, s3.faults.failures = 0.0, 0


def test_a_storage_that_stays_away_is_something_to_try_later(job, s3, monkeypatch):
    monkeypatch.setattr("batch.inputs.storage._S3_ATTEMPTS", 2)
    locate.__globals__["_system_of"].cache_clear()
    job.settings = job.settings.model_copy(update={"input": s3.uri("away/in", faulty=True)})
    s3.faults.failures = 1_000
    try:
        with pytest.raises(TryLater, match="does not answer"):
            job.plan()
        with pytest.raises(TryLater), open_output(s3.uri("away/out", faulty=True)).hold("me"):
            pass
    finally:
        s3.faults.failures = 0
        locate.__globals__["_system_of"].cache_clear()


def test_a_bucket_that_is_not_there_is_named(job, s3):
    missing = s3.uri("x").replace("s3://taxiway", "s3://nobody")
    job.settings = job.settings.model_copy(update={"output": missing})
    with pytest.raises(ConfigError, match="nobody"), open_output(missing).hold("me"):
        pass
