"""Where labels come from: a plain file, one that DVC has recorded, one that DVC fetches."""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from retrain.checks import CheckSettings
from retrain.dvc_fetch import fetch, shown
from retrain.dvc_files import tracked
from retrain.labels_settings import DvcSettings
from retrain.source import LabelsFile, forget_others, labels_file, source_findings
from taxiway.errors import ConfigError
from tests.unit.test_retrain_settings import settings

CONTENT = b"labels"
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
OUT = f"outs:\n- md5: {MD5}\n  size: 6\n  hash: md5\n  path: labels.parquet\n"
IDENTITY = ["-c", "user.name=t", "-c", "user.email=t@example.com", "-c", "commit.gpgsign=false"]


def git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", "-C", str(folder), *IDENTITY, *arguments], check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def repo(tmp_path: Path) -> Path:
    """A repository of DVC's, whose files nobody has described yet."""
    repo = tmp_path / "repo"
    (repo / "data").mkdir(parents=True)
    (repo / ".dvc").mkdir()
    (repo / "data" / "labels.parquet").write_bytes(CONTENT)
    return repo


def of(path: Path) -> LabelsFile:
    return labels_file(settings(labels=str(path)))


def test_a_file_that_nothing_tracks_is_its_path(repo: Path) -> None:
    path = repo / "data" / "labels.parquet"
    (repo / "data" / "other.parquet.dvc").write_text(OUT.replace("labels", "other"))
    found = of(path)
    assert (found.path, found.facts, found.has_changed) == (str(path), {"path": str(path)}, False)
    path.write_bytes(b"other labels")
    assert of(path).identity != found.identity


def test_what_is_no_path_of_this_machine_is_left_as_it_is() -> None:
    assert labels_file(settings(labels="s3://bucket/l.parquet")).facts == {"path": "s3://bucket/l.parquet"}


def test_a_dvc_file_beside_it_is_recorded(repo: Path) -> None:
    (repo / "data" / "labels.parquet.dvc").write_text(OUT)
    git(repo, "init", "--quiet")
    git(repo, "add", "data/labels.parquet.dvc")
    git(repo, "commit", "--quiet", "-m", "one")
    commit = git(repo, "rev-parse", "HEAD")
    found = of(repo / "data" / "labels.parquet")
    assert found.facts == {"repo": str(repo), "path": "data/labels.parquet", "md5": MD5, "commit": commit}
    assert source_findings(found, CheckSettings()) == []
    (repo / "data" / "labels.parquet.dvc").write_text(OUT.replace(MD5, "f" * 32))
    changed = of(repo / "data" / "labels.parquet")
    assert changed.facts["commit"] == f"{commit}-dirty"
    assert changed.identity != found.identity


def test_a_file_that_is_not_as_recorded_is_a_warning(repo: Path) -> None:
    (repo / "data" / "labels.parquet.dvc").write_text(OUT)
    (repo / "data" / "labels.parquet").write_bytes(b"others")
    found = of(repo / "data" / "labels.parquet")
    assert found.facts["md5"] == MD5
    assert found.facts["md5_on_disk"] == hashlib.md5(b"others", usedforsecurity=False).hexdigest()
    (finding,) = source_findings(found, CheckSettings())
    assert (finding.severity, finding.code) == ("warning", "labels_changed")
    assert f"and DVC has recorded {MD5}; `dvc add` it" in finding.sentence
    assert source_findings(found, CheckSettings(severity={"labels_changed": "error"}))[0].severity == "error"
    assert source_findings(found, CheckSettings(severity={"labels_changed": "off"})) == []


LOCK = """schema: '2.0'
stages:
  other:
    cmd: x
  collect{item}:
    cmd: python collect.py
    deps:
    - path: {path}
      md5: {other}
    outs:
    - path: {path}
      hash: md5
      md5: {md5}
"""


@pytest.mark.parametrize(
    ("path", "item", "pipeline"),
    [
        ("data/labels.parquet", "", None),
        ("labels.parquet", "", "stages: {collect: {cmd: x, wdir: data}}"),
        ("labels.parquet", "@2024", "stages: {collect: {foreach: [2024], do: {cmd: x, wdir: data}}}"),
        ("../data/labels.parquet", "", "stages: {collect: {cmd: x, wdir: code}}"),
    ],
)
def test_the_output_of_a_pipeline_is_recorded(repo: Path, path: str, item: str, pipeline: str | None) -> None:
    (repo / "dvc.lock").write_text(LOCK.format(path=path, item=item, md5=MD5, other="f" * 32))
    if pipeline:
        (repo / "dvc.yaml").write_text(pipeline)
    assert of(repo / "data" / "labels.parquet").facts == {
        "repo": str(repo),
        "path": "data/labels.parquet",
        "md5": MD5,
    }


def test_a_lock_of_the_first_schema_is_read(repo: Path) -> None:
    (repo / "dvc.lock").write_text(f"collect:\n  cmd: x\n  outs:\n  - path: data/labels.parquet\n    md5: {MD5}\n")
    known = tracked(repo / "data" / ".." / "data" / "labels.parquet")
    assert known is not None
    assert (known.md5, known.commit) == (MD5, None)


def test_a_lock_above_the_repository_is_another_ones(repo: Path) -> None:
    (repo.parent / "dvc.lock").write_text(LOCK.format(path="repo/data/labels.parquet", item="", md5=MD5, other=MD5))
    assert tracked(repo / "data" / "labels.parquet") is None


def test_a_link_into_dvcs_cache_is_tracked_where_it_stands(repo: Path) -> None:
    path, cached = repo / "data" / "labels.parquet", repo / ".dvc" / "cache"
    path.rename(cached)
    path.symlink_to(cached)
    (repo / "data" / "labels.parquet.dvc").write_text(OUT)
    assert not of(path).has_changed


@pytest.mark.parametrize("text", ["outs: [", "- a list", "outs: \x00"])
def test_a_file_that_is_none_of_dvcs_is_named(repo: Path, text: str) -> None:
    (repo / "data" / "labels.parquet.dvc").write_text(text)
    with pytest.raises(ConfigError, match=r"labels\.parquet\.dvc is no file of DVC's"):
        of(repo / "data" / "labels.parquet")


@pytest.mark.parametrize("text", ["outs:", "outs: [1, {path: labels.parquet}, {md5: 7}]", "stages: 3"])
def test_a_file_that_says_nothing_of_it_tracks_nothing(repo: Path, text: str) -> None:
    (repo / "data" / "labels.parquet.dvc").write_text(text)
    (repo / "dvc.lock").write_text(text)
    assert tracked(repo / "data" / "labels.parquet") is None


def test_without_dvc_its_repositories_are_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "dvc", None)
    monkeypatch.setitem(sys.modules, "dvc.api", None)
    with pytest.raises(ConfigError, match=r"labels\.dvc: .*pip install 'taxiway\[dvc\]'"):
        fetch(DvcSettings(path="labels.parquet"), tmp_path)


def test_credentials_are_not_told(tmp_path: Path) -> None:
    assert shown("https://ada:secret@git.example/x.git") == "https://***@git.example/x.git"
    assert shown("git@git.example:x.git") == "git@git.example:x.git"
    assert shown(str(tmp_path / ".." / tmp_path.name)) == str(tmp_path)


def test_copies_from_before_go_and_later_ones_stay(tmp_path: Path) -> None:
    for place, name in enumerate(("old", "used", "later")):
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (place, place))
    forget_others(LabelsFile(str(tmp_path / "used"), "", {}, fetched=True))
    assert sorted(it.name for it in tmp_path.iterdir()) == ["later", "used"]
    forget_others(LabelsFile(str(tmp_path / "later"), "", {}))
    assert (tmp_path / "used").exists()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two versions of the labels in DVC's hands, tagged v1 and v2, both pushed to a remote."""
    pytest.importorskip("dvc", reason="DVC is not installed: pip install 'taxiway[dvc]'")
    repo = tmp_path_factory.mktemp("dvc") / "repo"
    (repo / "data").mkdir(parents=True)
    git(repo, "init", "--quiet", "--initial-branch=main")
    dvc(repo, "init", "--quiet")
    dvc(repo, "config", "core.analytics", "false")
    dvc(repo, "remote", "add", "--quiet", "--default", "there", str(repo.parent / "remote"))
    for tag, content in (("v1", CONTENT), ("v2", b"more labels")):
        (repo / "data" / "labels.parquet").write_bytes(content)
        dvc(repo, "add", "--quiet", "data/labels.parquet")
        git(repo, "add", "--all")
        git(repo, "commit", "--quiet", "-m", tag)
        git(repo, "tag", tag)
        dvc(repo, "push", "--quiet")
    return repo


def dvc(folder: Path, *arguments: str) -> None:
    subprocess.run([sys.executable, "-m", "dvc", *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def home(published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("TAXIWAY_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def from_dvc(repo: str, rev: str | None = None, path: str = "data/labels.parquet") -> LabelsFile:
    where: dict[str, Any] = {"repo": repo, "path": path} | ({"rev": rev} if rev else {})
    return labels_file(settings(labels={"dvc": where}))


def test_real_dvc_gives_each_revision_and_says_which_commit_it_was(published: Path, home: Path) -> None:
    first = from_dvc(str(published), "v1")
    assert Path(first.path) == home / "retrain" / "m" / "labels" / f"{MD5}.parquet"
    assert Path(first.path).read_bytes() == CONTENT
    assert first.facts == {
        "repo": str(published),
        "path": "data/labels.parquet",
        "rev": "v1",
        "commit": git(published, "rev-parse", "v1"),
        "md5": MD5,
    }
    cloned = from_dvc(f"file://{published}", "main")
    assert Path(cloned.path).read_bytes() == b"more labels"
    assert cloned.facts["commit"] == git(published, "rev-parse", "v2")
    assert cloned.identity != first.identity
    as_it_stands = from_dvc(str(published))
    assert as_it_stands.path == cloned.path
    assert as_it_stands.facts["commit"] == git(published, "rev-parse", "v2")


def test_real_dvc_fetches_once(published: Path, home: Path) -> None:
    path = Path(from_dvc(str(published), "v1").path)
    made = path.stat().st_mtime_ns
    away = {folder: folder.with_name("away") for folder in (published / ".dvc" / "cache", published.parent / "remote")}
    for folder, aside in away.items():
        folder.rename(aside)
    try:
        assert from_dvc(str(published), "v1").path == str(path)
        assert path.stat().st_mtime_ns == made
        with pytest.raises(ConfigError, match=r"data/labels.parquet of .* at v2 can't be fetched; was it pushed"):
            from_dvc(str(published), "v2")
    finally:
        for folder, aside in away.items():
            shutil.rmtree(folder, ignore_errors=True)
            aside.rename(folder)
    assert [it.name for it in path.parent.iterdir()] == [path.name]


def test_real_dvc_takes_no_working_tree_that_has_changed(published: Path, home: Path) -> None:
    file = published / "data" / "labels.parquet"
    file.write_bytes(b"changed")
    try:
        with pytest.raises(ConfigError, match=r"and DVC has recorded .*`dvc add` the change, or name a rev"):
            from_dvc(str(published))
    finally:
        file.write_bytes(b"more labels")


@pytest.mark.parametrize(
    ("place", "rev", "path", "message"),
    [
        ("{}", "v9", "data/labels.parquet", "repository .* at v9 can't be opened: unknown Git revision 'v9'"),
        ("{}", "v1", "data/nothing.parquet", "at v1 has no data/nothing.parquet"),
        ("{}", "v1", "data/labels.parquet.dvc", "is no file that DVC tracks"),
        ("{}", "v1", "data", "is no file that DVC tracks"),
        ("{}/nowhere", None, "data/labels.parquet", "nowhere can't be opened: (No git repository|Failed to clone)"),
        ("http://ada:secret@localhost:9/x.git", "v1", "l.parquet", r"http://\*\*\*@localhost:9/x.git at v1 can't be"),
    ],
)
@pytest.mark.usefixtures("home")
def test_real_dvc_says_what_is_unknown(published: Path, place: str, rev: str | None, path: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        from_dvc(place.format(published), rev, path)
    assert "secret" not in str(raised.value)
