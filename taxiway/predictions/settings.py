"""The prediction log in a config file."""

from typing import Any, Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from taxiway.settings import Settings, home

FieldRule = Literal["drop", "hash"]


class PredictionLogSettings(Settings):
    """What is written of each answer, where and how soon."""

    enabled: bool = Field(default=True, description="false: nothing is written")
    location: str = Field(
        default_factory=lambda: f"{home()}/predictions",
        description="a local folder or an s3:// prefix; default ${TAXIWAY_HOME}/predictions",
    )
    sample: float = Field(
        default=1.0, gt=0, le=1, description="share of the answers that are kept, chosen by their id: shadows follow"
    )
    flush_s: float = Field(default=5.0, gt=0, description="what was answered is in a file so many seconds later")
    flush_rows: int = Field(default=50_000, ge=1, description="so many rows are written at once, without waiting")
    buffer_rows: int = Field(default=500_000, ge=1, description="rows that may wait in memory; more are dropped")
    buffer_mb: float = Field(default=256.0, gt=0, description="memory for what waits; more is dropped")
    fields: dict[str, FieldRule] = Field(
        default_factory=dict,
        description="by the name of an input or output: `drop` leaves it out, `hash` writes a keyed digest",
    )
    hash_secret: SecretStr | None = Field(
        default=None, description="the key of `hash`, at least 16 characters; the same key gives the same digests"
    )

    @field_validator("fields", mode="before")
    @classmethod
    def _known_rules(cls, fields: Any) -> Any:
        if isinstance(fields, dict) and (found := [name for name, rule in fields.items() if rule == "encrypt"]):
            raise ValueError(f"{found[0]}: encrypt is not there yet; use hash or drop")
        return fields

    @model_validator(mode="after")
    def _has_a_key(self) -> "PredictionLogSettings":
        secret = self.hash_secret.get_secret_value() if self.hash_secret else ""
        if "hash" in self.fields.values() and len(secret) < 16:
            raise ValueError("hash_secret: `hash` needs a secret of at least 16 characters")
        return self
