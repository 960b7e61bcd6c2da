"""Whom a scoring job tells of itself, beside the terminal and the report in its output."""

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from taxiway.settings import Settings


def _is_http(url: str) -> str:
    split = urlsplit(url)
    if split.scheme not in ("http", "https") or not split.hostname:
        raise ValueError("expected a URL that begins with http:// or https://")
    return url


HttpUrl = Annotated[str, AfterValidator(_is_http)]


class MlflowSettings(Settings):
    """Runs of scoring jobs in the MLflow of `registry`; a job does not fail when MLflow does."""

    experiment: str = Field(default="scoring", min_length=1, description="made when it does not exist")
