"""An output folder appears at once, is replaced only on request, and never by accident."""

from pathlib import Path

import pytest

from batch import layout
from batch.layout import MANIFEST, SUCCESS, OutputFolder
from taxiway.errors import ConfigError, JobError


@pytest.fixture
def source(tmp_path):
    (tmp_path / "input").mkdir()
    return str(tmp_path / "input")


def _run(output: OutputFolder, source: str, name: str, overwrite: bool = False) -> None:
    output.check(source, overwrite)
    with output.staging(name) as staging:
        (staging / f"part-{name}.parquet").touch()
        (staging / MANIFEST).touch()
        output.publish(staging, source, overwrite)


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def _visible(folder: Path) -> list[str]:
    return [name for name in _names(folder) if not name.startswith(("_", "."))]


def _fail(output: OutputFolder) -> None:
    with output.staging("failed") as staging:
        (staging / "part-failed.parquet").touch()
        raise JobError("no")


def _lose_the_place(output: OutputFolder, source: str) -> None:
    with output.staging("late") as staging:
        output.path.mkdir()
        (output.path / "thesis.txt").touch()
        output.publish(staging, source, True)


def test_an_output_appears_complete_and_leaves_nothing_beside_it(tmp_path, source):
    output = OutputFolder(str(tmp_path / "deep/er/scores"))
    with output.staging("a") as staging:
        (staging / "part-a.parquet").touch()
        (staging / MANIFEST).touch()
        assert not output.path.exists()
        output.publish(staging, source, False)
    assert _visible(output.path) == ["part-a.parquet"]
    assert (output.path / SUCCESS).is_file()
    assert _names(output.path.parent) == ["scores"]


def test_a_finished_output_is_refused(tmp_path, source):
    output = OutputFolder(str(tmp_path / "scores"))
    _run(output, source, "a")
    with pytest.raises(ConfigError, match="holds a finished job; set overwrite: true"):
        _run(output, source, "b")
    assert _visible(output.path) == ["part-a.parquet"]


@pytest.mark.parametrize("exchange", [True, False], ids=["swapped", "renamed twice"])
def test_overwrite_replaces_a_finished_output_as_a_whole(tmp_path, source, exchange, monkeypatch):
    if not exchange:
        monkeypatch.setattr(layout.ctypes, "CDLL", lambda *_, **__: object())
    output = OutputFolder(str(tmp_path / "scores"))
    _run(output, source, "a")
    _run(output, source, "b", overwrite=True)
    assert _visible(output.path) == ["part-b.parquet"]
    assert _names(tmp_path) == ["input", "scores"]


def test_a_failed_job_leaves_the_old_output_and_nothing_of_its_own(tmp_path, source):
    output = OutputFolder(str(tmp_path / "scores"))
    _run(output, source, "a")
    with pytest.raises(JobError):
        _fail(output)
    assert _visible(output.path) == ["part-a.parquet"]
    assert _names(tmp_path) == ["input", "scores"]


def test_files_of_somebody_else_are_never_replaced(tmp_path, source):
    output = OutputFolder(str(tmp_path / "scores"))
    output.path.mkdir()
    output.check(source, overwrite=False)
    (output.path / "thesis.txt").touch()
    with pytest.raises(ConfigError, match="no finished scoring job"):
        output.check(source, overwrite=True)


def test_what_takes_the_place_meanwhile_is_not_replaced(tmp_path, source):
    output = OutputFolder(str(tmp_path / "scores"))
    with pytest.raises(ConfigError, match="no finished scoring job"):
        _lose_the_place(output, source)
    assert _names(output.path) == ["thesis.txt"]


def test_leftovers_of_a_killed_job_are_removed(tmp_path, source):
    leftover = tmp_path / ".scores.run-dead" / "_quarantine"
    leftover.mkdir(parents=True)
    _run(OutputFolder(str(tmp_path / "scores")), source, "a")
    assert _names(tmp_path) == ["input", "scores"]


def test_an_output_whose_job_was_killed_between_two_renames_comes_back(tmp_path, source):
    output = OutputFolder(str(tmp_path / "scores"))
    _run(output, source, "a")
    output.path.rename(tmp_path / ".scores.old-dead")
    with pytest.raises(ConfigError, match="holds a finished job"):
        _run(output, source, "b")
    assert _visible(output.path) == ["part-a.parquet"]


def test_two_jobs_with_one_output_do_not_meet(tmp_path):
    output = OutputFolder(str(tmp_path / "scores"))
    with output.staging("a") as staging:
        with pytest.raises(JobError, match="another scoring job"), output.staging("b"):
            pass
        assert staging.is_dir()


def test_an_output_and_its_input_do_not_lie_in_one_another(tmp_path, source):
    for path in (source, f"{source}/scores", str(tmp_path)):
        with pytest.raises(ConfigError, match="lie in one another"):
            OutputFolder(path).check(source, overwrite=True)
    OutputFolder(str(tmp_path / "input-scores")).check(source, overwrite=True)


def test_a_scheme_that_can_not_be_written_yet_is_named(tmp_path):
    with pytest.raises(ConfigError, match="output: s3:// is not supported yet"):
        OutputFolder("s3://bucket/scores")
    assert OutputFolder((tmp_path / "a b").as_uri()).path == tmp_path / "a b"


def test_a_mount_point_is_refused():
    with pytest.raises(ConfigError, match="mount point"):
        OutputFolder("/proc")
