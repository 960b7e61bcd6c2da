"""Where paths lie: local folders, S3 with patience, whatever else pyarrow and fsspec know."""

import errno
from functools import lru_cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pyarrow as pa
from pyarrow import fs

from taxiway.errors import ConfigError, JobError, TryLater
from taxiway.storage import s3_filesystem

_S3_ATTEMPTS = 10
_CONNECT_S, _REQUEST_S = 5.0, 60.0
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_DENIED = (errno.EACCES, errno.EPERM, errno.EROFS)


@lru_cache(maxsize=64)
def _system_of(root: str) -> tuple[fs.FileSystem, str]:
    return _open(root)


def locate(path: str) -> tuple[fs.FileSystem, str]:
    """The file system of a local path or a URI, and the path in it; pyarrow's own systems first, then fsspec's.

    An S3 URI may end with `?region=…&endpoint_override=…&scheme=http`; without them the environment says it
    (`AWS_REGION`, `AWS_ENDPOINT_URL`).

    Raises:
        ConfigError: nobody here knows the URI's scheme.
    """
    if "://" not in path:
        return fs.LocalFileSystem(), str(Path(path).resolve())
    split = urlsplit(path)
    if split.scheme == "s3":
        system, _ = _system_of(f"s3://{split.netloc}?{split.query}")
        return system, f"{split.netloc}{unquote(split.path)}".rstrip("/")
    return _open(path)


def below(path: str, name: str) -> str:
    """`name` in the folder `path`; a URI's query stays at its end."""
    if "://" not in path:
        return f"{path.rstrip('/')}/{name}"
    root, question, query = path.partition("?")
    return f"{root.rstrip('/')}/{name}{question}{query}"


def is_remote(path: str) -> bool:
    scheme, _, rest = path.partition("://")
    return bool(rest) and scheme not in ("file", "local")


def _open(path: str) -> tuple[fs.FileSystem, str]:
    try:
        if path.startswith("s3://"):
            return _s3(path), ""
        return fs.FileSystem.from_uri(path)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
        return _with_fsspec(path)


def _s3(path: str) -> fs.S3FileSystem:
    try:
        return s3_filesystem(path, _S3_ATTEMPTS, _CONNECT_S, _REQUEST_S)
    except OSError as error:
        raise ConfigError(f"{path}: the bucket's region is unknown ({error}); set AWS_REGION") from error


def _with_fsspec(path: str) -> tuple[fs.FileSystem, str]:
    from fsspec.core import url_to_fs

    try:
        system, inside = url_to_fs(path)
    except (ValueError, ImportError) as error:
        raise ConfigError(f"input: {path}: {error}") from error
    handler = fs.FSSpecHandler(system)  # type: ignore[abstract]
    return fs.PyFileSystem(handler), inside


def storage_error(what: str, where: str, error: OSError) -> JobError:
    """An operating system's error as a sentence: a full disk, a missing permission, or a storage that is away."""
    if error.errno in _FULL or "No space left" in str(error):
        return JobError(f"{what}: no space is left in {where}; free some and run the same command again")
    if error.errno in _DENIED or "ACCESS_DENIED" in str(error):
        return JobError(f"{what}: {where} does not let this user in: {error}")
    if is_remote(where) and not isinstance(error, FileNotFoundError):
        return TryLater(f"{what}: {where} does not answer as it should: {error}")
    return JobError(f"{what}: {error}")
