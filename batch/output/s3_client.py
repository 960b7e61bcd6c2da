"""What Arrow can't ask of S3: conditional writes, and deletions that leave nothing behind."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any
from urllib.parse import unquote, urlsplit

from taxiway.errors import ConfigError, TryLater
from taxiway.storage import s3_endpoint, s3_options

_REFUSED = ("AccessDenied", "403", "NoSuchBucket", "InvalidAccessKeyId", "SignatureDoesNotMatch")
_KEYS_A_CALL = 1_000


def client(uri: str) -> Any:
    """Raises ConfigError when boto3 is not installed."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise ConfigError("output: writing to S3 needs boto3: pip install 'taxiway[s3]'") from error
    options = s3_options(uri)
    patience = Config(connect_timeout=5, read_timeout=10, retries={"max_attempts": 5, "mode": "standard"})
    return boto3.client("s3", region_name=options.get("region"), endpoint_url=s3_endpoint(options), config=patience)


def asked(uri: str, ask: Callable[[], Any], refused: Sequence[str] = ()) -> Any:
    """The answer; None when S3 refuses with one of these codes.

    Raises:
        ConfigError: this user may not do it, or there is no such bucket.
        TryLater: S3 does not answer.
    """
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        return ask()
    except ClientError as error:
        code = str(error.response.get("Error", {}).get("Code"))
        if code in refused:
            return None
        if code in _REFUSED:
            raise ConfigError(f"output: {uri}: {error}") from error
        raise TryLater(f"output: {uri}: {error}") from error
    except BotoCoreError as error:
        raise TryLater(f"output: {uri}: {error}") from error


def delete(uri: str, paths: Sequence[str]) -> None:
    """Removes objects by their paths below `uri`; Arrow would leave an empty object for their folder."""
    split = urlsplit(uri)
    prefix = unquote(split.path).strip("/")
    s3 = client(uri)
    for begin in range(0, len(paths), _KEYS_A_CALL):
        keys = [{"Key": f"{prefix}/{path}".lstrip("/")} for path in paths[begin : begin + _KEYS_A_CALL]]
        asked(uri, partial(s3.delete_objects, Bucket=split.netloc, Delete={"Objects": keys, "Quiet": True}))
