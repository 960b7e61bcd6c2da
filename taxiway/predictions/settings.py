"""The prediction log in a config file."""

from typing import Literal

from pydantic import Field, SecretStr, field_validator, model_validator

from taxiway.predictions.keys import FieldKeys, check_key, read_keys
from taxiway.settings import Settings, home

FieldRule = Literal["drop", "hash", "encrypt"]


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
    retention_days: float | None = Field(
        default=None,
        gt=0,
        description="`taxiway predictions retain` deletes answers and ground truth of older hours; null: keep all",
    )
    fields: dict[str, FieldRule] = Field(
        default_factory=dict,
        description="by the name of an input or output: `drop` leaves it out, `hash` writes a keyed digest, "
        "`encrypt` what only those can read who have a key",
    )
    hash_secret: SecretStr | None = Field(
        default=None,
        description="the key of `hash` and `subject`, at least 16 characters; the same key gives the same digests",
    )
    subject: str | None = Field(
        default=None, description="the input that says whom a row is about; its keyed digest is the column `subject`"
    )
    encrypt_keys: dict[str, SecretStr] = Field(
        default_factory=dict,
        description="keys of `encrypt` by ids of your choice: 32 bytes in base64, or file:PATH; the first one "
        "encrypts, older ones stay for readers",
    )

    @field_validator("encrypt_keys")
    @classmethod
    def _are_keys(cls, keys: dict[str, SecretStr]) -> dict[str, SecretStr]:
        for name, key in keys.items():
            check_key(name, key.get_secret_value())
        return keys

    @model_validator(mode="after")
    def _has_keys(self) -> "PredictionLogSettings":
        for use, is_used in (("hash", "hash" in self.fields.values()), ("subject", self.subject is not None)):
            if is_used and len(self.secret) < 16:
                raise ValueError(f"hash_secret: `{use}` needs a secret of at least 16 characters")
        if "encrypt" in self.fields.values() and not self.encrypt_keys:
            raise ValueError("encrypt_keys: `encrypt` needs a key, ID: KEY; `openssl rand -base64 32` makes one")
        return self

    @property
    def secret(self) -> str:
        return self.hash_secret.get_secret_value() if self.hash_secret else ""

    def field_keys(self) -> FieldKeys | None:
        """The keys of encrypted fields, for writers and readers; None where there is none.

        Raises:
            ConfigError: a key's file can't be read.
        """
        texts = {name: key.get_secret_value() for name, key in self.encrypt_keys.items()}
        return read_keys(texts) if texts else None
