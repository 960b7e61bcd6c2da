"""Traces and logs in a config file; where traces go is said by the standard variables `OTEL_…`."""

from collections.abc import Mapping
from typing import Literal

from pydantic import Field, model_validator

from taxiway.settings import Settings

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class TracingSettings(Settings):
    """Which requests leave spans. Those that fail on our side (5xx) and slow ones always do, up to the bound."""

    sample: float = Field(default=0.01, ge=0, le=1, description="share of the requests whose callers do not decide")
    slow_ms: float = Field(default=500.0, gt=0, description="a request that takes longer always leaves spans")
    follow_callers: bool = Field(
        default=True, description="a caller's `traceparent` decides by its sampled flag; false: `sample` decides"
    )
    requests_per_s: int = Field(
        default=200, ge=1, description="traced by one replica at most, so that an overload is not made worse"
    )
    exemplars: bool = Field(
        default=False, description="send the histogram of latencies by OTLP too, with trace ids as exemplars"
    )


class LogSettings(Settings):
    """What a replica's log looks like and what does not stand in it."""

    format: Literal["text", "json"] = Field(default="text", description="json: Elastic Common Schema, one line each")
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    requests: float = Field(default=0.0, ge=0, le=1, description="share of the requests that leave a line each")
    request_headers: tuple[str, ...] = Field(default=(), description="headers that stand in such a line")
    redact: tuple[str, ...] = Field(
        default=(),
        description="fields of log lines and spans whose values are replaced before they leave the process, such as "
        "client.address or labels.customer_*",
    )

    @model_validator(mode="after")
    def _has_lines(self) -> "LogSettings":
        if self.requests > 0 and self.format != "json":
            raise ValueError("logs.requests needs logs.format: json; a line of text has no place for its fields")
        return self


def wants_traces(environment: Mapping[str, str]) -> bool:
    """Whether a job is to be traced: a variable says where spans go, and none says that they don't."""
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return False
    return any(environment.get(name) for name in _ENDPOINTS)
