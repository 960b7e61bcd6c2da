"""A job without Ray that is killed at random moments, and one whose disk is full: what is finished stays."""

import multiprocessing
import multiprocessing.process
import random
import resource
import signal
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pyarrow.dataset as ds
import pytest

from batch.output.outputs import open_output
from taxiway.errors import JobError
from tests.scoring_job import Job

_ROWS, _PIECE_ROWS, _KILLS = 6_000, 100, 20
_FORKING = multiprocessing.get_context("fork")


def _go_on(job: Job, limit: int) -> None:
    if limit:
        # Otherwise the signal that comes with it ends the process.
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    job.go_on()


@contextmanager
def _started(job: Job) -> Iterator[multiprocessing.process.BaseProcess]:
    """The job in a process of its own; it is killed in the end."""
    process = _FORKING.Process(target=_go_on, args=(job, 0), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


def _job(folder: Path) -> Job:
    job = Job(folder, piece_rows=_PIECE_ROWS, batch_rows=40, keep=["lot"])
    counts = [number if number % 50 else -1 for number in range(20, 20 + _ROWS)]
    job.write("a", {"color": ["red"] * _ROWS, "count": counts, "lot": list(range(_ROWS))}, row_group_size=1_000)
    return job


def _rows(job: Job) -> dict[str, list[object]]:
    parts = sorted(job.output.glob("part-*"))
    return dict(ds.dataset(parts).to_table().to_pydict())


def test_a_job_that_is_killed_twenty_times_has_the_same_rows_in_the_same_order(tmp_path):
    (tmp_path / "reference").mkdir()
    reference = _job(tmp_path / "reference")
    reference.run()
    job, dice, kills = _job(tmp_path), random.Random(7), 0  # noqa: S311
    while kills < _KILLS:
        with _started(job) as process:
            process.join(dice.uniform(0.0, 0.15))
            kills += process.is_alive()
        if job.output.exists():
            assert _rows(job) == _rows(reference)
            job.settings = job.settings.model_copy(update={"overwrite": True})
            open_output(str(job.output))
            _forget(job)
    found, manifest = job.go_on()
    assert _rows(job) == _rows(reference)
    assert len(job.quarantine()) == manifest.rows_rejected == len(reference.quarantine())
    assert [path.name for path in tmp_path.glob(".output*")] == []
    assert found.repeated <= 1


def _forget(job: Job) -> None:
    """A finished run makes room for the next attempts."""
    for path in sorted(job.output.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    job.output.rmdir()


def test_no_more_than_the_piece_at_hand_is_done_again(tmp_path):
    job = _job(tmp_path)
    commits = tmp_path / ".output.run" / "_run" / "job"
    with _started(job) as process:
        while len(list(commits.glob("piece-*"))) < 10:
            assert process.is_alive()
    done = {path.name for path in commits.glob("piece-*")}
    found, manifest = job.go_on()
    assert len(found.before) == len(done)
    assert found.repeated <= 1
    assert manifest.resumed_pieces == len(done)


def test_a_full_disk_is_a_sentence_and_what_is_finished_stays(tmp_path):
    job = Job(tmp_path, keep=["note"], compression="none", piece_rows=1_000)
    notes = ["short"] * 1_000 + [f"{number:0200d}" for number in range(1_000)]
    job.write("a", {"color": ["red"] * 2_000, "count": list(range(20, 2_020)), "note": notes})
    with pytest.raises(JobError, match="no space is left"), ProcessPoolExecutor(1, _FORKING) as pool:
        pool.submit(_go_on, job, 100_000).result()
    assert list((tmp_path / ".output.run").glob("**/*.writing")) == []
    found, manifest = job.go_on()
    assert [result.piece for result in found.before] == [0]
    assert manifest.rows_written == 2_000


def test_settings_that_change_how_but_not_what_may_change_on_the_way(tmp_path):
    job = _job(tmp_path)
    with _started(job) as process:
        process.join(0.05)
    job.settings = job.settings.model_copy(update={"actors": 3, "max_reject_share": 0.5, "overwrite": True})
    if not job.output.exists():
        job.go_on()
    assert job.output.exists()


def test_a_changed_setting_stops_the_resume_until_a_restart(tmp_path):
    job = _job(tmp_path)
    output = open_output(job.settings.output)
    with output.hold("a test"):
        workspace = output.workspace("job")
        plan = job.plan()
        workspace.store.write("_run/plan.json", plan.model_dump_json().encode())
        job.scorer(plan).score(plan.pieces[0])
    job.settings = job.settings.model_copy(update={"keep": (), "compression": "zstd"})
    with pytest.raises(JobError, match=r'compression was "snappy", now "zstd"; keep was \["lot"\], now \[\]'):
        job.go_on()
    found, manifest = job.go_on(restart=True)
    assert found.before == ()
    assert manifest.rows_read == _ROWS


def test_a_torn_commit_record_or_part_means_that_the_piece_is_done_again(tmp_path):
    job = _job(tmp_path)
    output = open_output(job.settings.output)
    with output.hold("a test"):
        workspace, plan = output.workspace("job"), job.plan()
        workspace.store.write("_run/plan.json", plan.model_dump_json().encode())
        results = [job.scorer(plan).score(piece) for piece in plan.pieces[:4]]
        workspace.store.write("_run/job/piece-00001.json", b'{"piece": 1')
        workspace.store.write(results[2].parts[0].path, b"torn")
        workspace.store.write("part-00003-another.parquet", b"from a run that is no more")
    found, manifest = job.go_on()
    assert [result.piece for result in found.before] == [0, 3]
    assert found.repeated == 3
    assert manifest.rows_read == _ROWS
    assert not (job.output / "part-00003-another.parquet").exists()
