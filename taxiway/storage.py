"""Files that are there as a whole or not at all, and S3 as its URI and the environment describe it."""

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import parse_qs, urlsplit

from pyarrow import fs

WRITING = ".writing"
"""How the name of a file ends that is being written; what has it was left by a process that was killed."""


@contextmanager
def written_aside(path: Path) -> Iterator[BinaryIO]:
    """A file that gets its name, on the disk, when the block ends, and not if it raises; its folder has to be there."""
    aside = path.with_name(f".{path.name}.{secrets.token_hex(4)}{WRITING}")
    try:
        with aside.open("wb") as target:
            yield target
            target.flush()
            os.fsync(target.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise


def flush_folder(path: Path) -> None:
    """Makes the names in a folder survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def s3_options(uri: str) -> dict[str, str]:
    """What the query of an S3 URI and the environment say about `region`, `endpoint` and `scheme`.

    The query is `?region=…&endpoint_override=…&scheme=http`; the environment `AWS_REGION`, `AWS_ENDPOINT_URL`.
    """
    query = {key: values[0] for key, values in parse_qs(urlsplit(uri).query).items()}
    named = {
        "region": query.get("region") or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"),
        "endpoint": query.get("endpoint_override")
        or os.environ.get("AWS_ENDPOINT_URL_S3")
        or os.environ.get("AWS_ENDPOINT_URL"),
        "scheme": query.get("scheme"),
    }
    return {key: value for key, value in named.items() if value}


def s3_endpoint(options: dict[str, str]) -> str | None:
    """The endpoint of `s3_options` with its scheme; None for Amazon's own."""
    endpoint = options.get("endpoint")
    if endpoint is None or "://" in endpoint:
        return endpoint
    return f"{options.get('scheme', 'https')}://{endpoint}"


def s3_filesystem(uri: str, attempts: int, connect_s: float, request_s: float) -> fs.S3FileSystem:
    """
    Raises:
        OSError: nothing says the bucket's region, and it can't be asked for.
    """
    options = s3_options(uri)
    endpoint, region = options.get("endpoint"), options.get("region")
    if region is None and endpoint is None:
        region = fs.resolve_s3_region(urlsplit(uri).netloc)
    return fs.S3FileSystem(
        region=region,
        endpoint_override=endpoint.partition("://")[2] or endpoint if endpoint else None,
        scheme="http" if options.get("scheme") == "http" or (endpoint or "").startswith("http:") else "https",
        connect_timeout=connect_s,
        request_timeout=request_s,
        retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=attempts),
    )
