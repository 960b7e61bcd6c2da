"""A local output appears at once, is replaced only on request, and never by accident."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from batch.output import local
from batch.output.local import MANIFEST, SUCCESS, LocalOutput
from batch.output.outputs import open_output
from batch.output.workspace import PLAN
from taxiway.errors import ConfigError, JobError, OutputHeld


@pytest.fixture
def source(tmp_path):
    (tmp_path / "input").mkdir()
    return str(tmp_path / "input")


def _run(output: LocalOutput, source: str, name: str, overwrite: bool = False) -> None:
    output.check(source)
    with output.hold("a test"):
        workspace = output.workspace(name)
        workspace.store.write(PLAN, b"{}")
        workspace.store.write(workspace.part(0), name.encode())
        output.publish(workspace, b"{}", overwrite)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _visible(folder: Path) -> list[str]:
    return [name for name in _names(folder) if not name.startswith(("_", "."))]


def test_an_output_appears_complete_and_leaves_nothing_beside_it(tmp_path):
    output = LocalOutput(str(tmp_path / "deep/er/scores"))
    with output.hold("a test"):
        workspace = output.workspace("a")
        workspace.store.write(PLAN, b"{}")
        workspace.store.write(workspace.part(0), b"rows")
        assert not output.path.exists()
        output.publish(workspace, b"{}", overwrite=False)
    assert _names(output.path) == [SUCCESS, MANIFEST, "part-00000-a.parquet"]
    assert _names(output.path.parent) == ["scores"]


@pytest.mark.parametrize("exchange", [True, False], ids=["swapped", "renamed twice"])
def test_overwrite_replaces_a_finished_output_as_a_whole(tmp_path, source, exchange, monkeypatch):
    if not exchange:
        monkeypatch.setattr(local.ctypes, "CDLL", lambda *_, **__: object())
    output = LocalOutput(str(tmp_path / "scores"))
    _run(output, source, "a")
    with pytest.raises(ConfigError, match="something else has appeared"):
        _run(output, source, "b")
    output.discard("b") if output.staging.exists() else None
    _run(output, source, "b", overwrite=True)
    assert _visible(output.path) == ["part-00000-b.parquet"]
    assert _names(tmp_path) == ["input", "scores"]


def test_a_job_that_fails_before_it_has_a_plan_leaves_nothing(tmp_path, source):
    output = LocalOutput(str(tmp_path / "scores"))
    with pytest.raises(JobError), output.hold("a test"):
        raise JobError("no")
    assert _names(tmp_path) == ["input"]


def test_an_unfinished_run_stays_and_is_found_again(tmp_path):
    output = LocalOutput(str(tmp_path / "scores"))
    with output.hold("a test"):
        output.workspace("a").store.write(PLAN, b"plan")
    with output.hold("a test"):
        assert output.workspace("b").store.read(PLAN) == b"plan"
        output.discard("a")
        assert output.workspace("b").store.read(PLAN) is None
    assert _names(tmp_path) == []


def test_files_of_somebody_else_are_never_replaced(tmp_path, source):
    output = LocalOutput(str(tmp_path / "scores"))
    output.path.mkdir()
    output.check(source)
    (output.path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="no finished scoring job"):
        output.check(source)


def test_what_takes_the_place_meanwhile_is_not_replaced(tmp_path):
    output = LocalOutput(str(tmp_path / "scores"))
    with output.hold("a test"):
        workspace = output.workspace("late")
        workspace.store.write(workspace.part(0), b"rows")
        output.path.mkdir()
        (output.path / "thesis.txt").touch()
        with pytest.raises(ConfigError, match="something else has appeared"):
            output.publish(workspace, b"{}", overwrite=True)
    assert _names(output.path) == ["thesis.txt"]


def test_leftovers_of_a_job_that_died_after_its_publication_are_removed(tmp_path, source):
    output = LocalOutput(str(tmp_path / "scores"))
    _run(output, source, "a")
    (output.path / "_run").mkdir()
    (output.path / PLAN).touch()
    output.staging.mkdir()
    (output.staging / "part-00000-old.parquet").touch()
    _run(output, source, "b", overwrite=True)
    assert _names(tmp_path) == ["input", "scores"]
    assert _names(output.path) == [SUCCESS, MANIFEST, "part-00000-b.parquet"]


def test_an_output_whose_job_was_killed_between_two_renames_comes_back(tmp_path, source):
    output = LocalOutput(str(tmp_path / "scores"))
    _run(output, source, "a")
    output.path.rename(tmp_path / ".scores.old-dead")
    with output.hold("a test"):
        assert output.finished() == b"{}"
    assert _visible(output.path) == ["part-00000-a.parquet"]


def test_two_jobs_with_one_output_do_not_meet_and_the_second_hears_who_has_it(tmp_path):
    output = LocalOutput(str(tmp_path / "scores"))
    with output.hold("job a on host b"), pytest.raises(OutputHeld, match="job a on host b"), output.hold("job c"):
        pass
    with output.hold("job c"):
        pass


def test_a_lock_ends_with_its_process(tmp_path):
    output = LocalOutput(str(tmp_path / "scores"))
    code = (
        "import os, sys; from batch.output.local import LocalOutput\n"
        "with LocalOutput(sys.argv[1]).hold('a job'): os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(output.path)], check=False)
    assert output.staging.is_dir()
    with output.hold("another"):
        pass


def test_an_output_and_its_input_do_not_lie_in_one_another(tmp_path, source):
    for path in (source, f"{source}/scores", str(tmp_path)):
        with pytest.raises(ConfigError, match="lie in one another"):
            LocalOutput(path).check(source)
    LocalOutput(str(tmp_path / "input-scores")).check(source)


def test_a_scheme_that_can_not_be_written_is_named(tmp_path):
    with pytest.raises(ConfigError, match="output: gs:// can't be written to"):
        open_output("gs://bucket/scores")
    assert open_output((tmp_path / "a b").as_uri()).path == tmp_path / "a b"


def test_a_mount_point_is_refused():
    with pytest.raises(ConfigError, match="mount point"):
        LocalOutput("/proc")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_can_not_be_written_is_refused(tmp_path, source):
    tmp_path.chmod(0o500)
    with pytest.raises(ConfigError, match="can't be written to"):
        LocalOutput(str(tmp_path / "scores")).check(source)


def test_half_written_files_never_have_their_name(tmp_path):
    store = LocalOutput(str(tmp_path / "scores")).workspace("a").store
    with suppress(RuntimeError), store.open("part") as sink:
        sink.write(b"half")
        assert len(store.sizes()) == 1
        raise RuntimeError
    assert store.sizes() == {}
