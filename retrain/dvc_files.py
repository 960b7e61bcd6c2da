"""What the files of DVC beside a data file have recorded of it; read without DVC."""

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from retrain.revision import file_revision
from taxiway.errors import ConfigError


@dataclass(frozen=True)
class Tracked:
    """A file that DVC keeps.

    Attributes:
        repo: the folder of DVC's repository.
        path: of the file, inside it.
        commit: of git, with `-dirty` where what DVC has recorded is not committed; None without git.
        md5: as recorded; with `.dir` at its end for a folder.
    """

    repo: Path
    path: str
    commit: str | None
    md5: str


def tracked(path: Path) -> Tracked | None:
    """What `PATH.dvc` or a `dvc.lock` above the file says of it; None when neither does.

    Raises:
        ConfigError: one of these files can't be read.
    """
    # Not resolved: DVC may put a link into its cache where the file was.
    file = Path(os.path.abspath(path))  # noqa: PTH100
    found = next(_recorded(file), None)
    if found is None:
        return None
    told_by, md5 = found
    repo = next((folder for folder in file.parents if (folder / ".dvc").is_dir()), told_by.parent)
    return Tracked(repo, file.relative_to(repo).as_posix(), file_revision(told_by), md5)


def md5_of(path: Path) -> str:
    """Of a file's content, as DVC computes it since its version 3."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _recorded(file: Path) -> Iterator[tuple[Path, str]]:
    """The file of DVC that tells of `file`, and the MD5 that it tells."""
    beside = file.with_name(f"{file.name}.dvc")
    if beside.is_file():
        said = _read(beside)
        yield from _of(file, beside, said, str(said.get("wdir", ".")))
    for folder in file.parents:
        lock = folder / "dvc.lock"
        if lock.is_file():
            for name, stage in _stages(_read(lock)).items():
                yield from _of(file, lock, stage, _working_folder(folder, name))
        if (folder / ".dvc").is_dir():
            return


def _of(file: Path, told_by: Path, said: Any, working_folder: str) -> Iterator[tuple[Path, str]]:
    outs = said.get("outs") if isinstance(said, dict) else None
    for out in outs if isinstance(outs, list) else ():
        if isinstance(out, dict) and isinstance(out.get("md5"), str):
            its = os.path.normpath(told_by.parent / working_folder / str(out.get("path", "")))
            if its == str(file):
                yield told_by, out["md5"]


def _stages(lock: dict[str, Any]) -> dict[str, Any]:
    """Since version 2 of its schema they are one level deeper."""
    found = lock.get("stages", {}) if "schema" in lock else lock
    return found if isinstance(found, dict) else {}


def _working_folder(folder: Path, stage: str) -> str:
    """Paths in `dvc.lock` are relative to it, and only `dvc.yaml` names it; `stage@item` comes from a loop."""
    pipeline = folder / "dvc.yaml"
    stages = _read(pipeline).get("stages") if pipeline.is_file() else None
    said = stages.get(stage.partition("@")[0]) if isinstance(stages, dict) else None
    if isinstance(said, dict) and isinstance(said.get("do"), dict):
        said = said["do"]
    return str(said.get("wdir", ".")) if isinstance(said, dict) else "."


def _read(path: Path) -> dict[str, Any]:
    try:
        found = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"labels: {path} is no file of DVC's: {' '.join(str(error).split())}") from error
    if not isinstance(found, dict):
        raise ConfigError(f"labels: {path} is no file of DVC's: expected keys and values")
    return found
