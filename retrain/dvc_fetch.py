"""A file of a DVC repository, at a revision: fetched once into a folder, under the digest of its content."""

import re
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retrain.dvc_files import md5_of, tracked
from retrain.labels_settings import DvcSettings
from taxiway.errors import ConfigError

_CREDENTIALS = re.compile(r"//[^/@\s]*@")


@dataclass(frozen=True)
class Fetched:
    """Where the file lies now, and the commit that `rev` meant: as `retrain.dvc_files.Tracked` has it."""

    path: Path
    commit: str | None
    md5: str


def fetch(source: DvcSettings, folder: Path) -> Fetched:
    """The file, from DVC's cache or its remote; one that is in `folder` already is not fetched again.

    Raises:
        ConfigError: DVC is not installed, repository, revision or path are unknown, or the remote does not give
            what was recorded.
    """
    where = f"{shown(source.repo)}{f' at {source.rev}' if source.rev else ''}"
    with _opened(source, where) as files:
        md5 = _md5(files, source.path, where)
        path = folder / f"{md5}{Path(source.path).suffix}"
        if not path.exists():
            _download(files, source.path, md5, path, where)
        return Fetched(path, _commit(source, files), md5)


def shown(repo: str) -> str:
    """A repository as it may be told: without the credentials in its URL, a folder as a whole path."""
    return str(Path(repo).resolve()) if Path(repo).exists() else _CREDENTIALS.sub("//***@", repo)


@contextmanager
def _opened(source: DvcSettings, where: str) -> Iterator[Any]:
    try:
        from dvc.api import DVCFileSystem
        from dvc.repo.open_repo import clean_repos
    except ImportError as error:
        raise ConfigError(f"labels.dvc: {error}; DVC comes with pip install 'taxiway[dvc]'") from error
    try:
        with _telling(f"the repository {where} can't be opened"):
            files = DVCFileSystem(source.repo, rev=source.rev)
            files.repo.get_rev()
        yield files
    finally:
        clean_repos()  # DVC leaves its clones in the folder of temporary files


def _md5(files: Any, path: str, where: str) -> str:
    with _telling(f"{where}: what it says of {path} can't be read"):
        try:
            found = files.info(path)
        except FileNotFoundError as error:
            raise ConfigError(f"labels.dvc: {where} has no {path}") from error
    md5 = (found.get("dvc_info") or {}).get("md5")
    if found["type"] != "file" or not md5:
        raise ConfigError(f"labels.dvc: {path} of {where} is no file that DVC tracks; name the output of a `dvc add`")
    return str(md5)


def _download(files: Any, path: str, md5: str, into: Path, where: str) -> None:
    unfinished = into.with_name(f".{md5}-{secrets.token_hex(4)}")
    try:
        with _telling(f"{path} of {where} can't be fetched; was it pushed, and does the remote answer?"):
            into.parent.mkdir(parents=True, exist_ok=True)
            files.get_file(path, str(unfinished))
        if (found := md5_of(unfinished)) != md5:
            # Without a revision DVC reads the working tree, changed or not.
            raise ConfigError(
                f"labels.dvc: {path} of {where} has MD5 {found}, and DVC has recorded {md5}; "
                "`dvc add` the change, or name a rev"
            )
        unfinished.replace(into)
    finally:
        unfinished.unlink(missing_ok=True)


def _commit(source: DvcSettings, files: Any) -> str | None:
    """Without a revision a folder is read as it stands: what has changed since its commit is told."""
    if source.rev is None and (Path(source.repo) / source.path).parent.exists():
        known = tracked(Path(source.repo) / source.path)
        if known is not None:
            return known.commit
    found = None
    with suppress(Exception):  # a repository of DVC without git
        found = str(files.repo.get_rev())
    return found


@contextmanager
def _telling(what: str) -> Iterator[None]:
    try:
        yield
    except ConfigError:
        raise
    except Exception as error:  # each storage's client raises errors of its own
        raise ConfigError(f"labels.dvc: {what}: {_told(error)}") from error


def _told(error: BaseException) -> str:
    """The innermost cause, on one line: DVC's own errors often say no more than `SCM error`."""
    while isinstance(error.__cause__, Exception) and str(error.__cause__):
        error = error.__cause__
    return _CREDENTIALS.sub("//***@", " ".join(str(error).split()) or type(error).__name__)
