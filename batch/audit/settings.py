"""The config file of a skew audit."""

from pydantic import AwareDatetime, Field

from batch.looking_back import LookBackSettings
from taxiway.settings import FeatureStoreSettings, Settings


class SkewLimits(Settings):
    """What ends the job with status 3; null: is reported only."""

    feature_share: float | None = Field(
        default=0.01, ge=0, le=1, description="of one feature's rows that differ; more breaks it"
    )
    output_share: float | None = Field(
        default=0.01, ge=0, le=1, description="of one output's rows that differ; more breaks it"
    )
    refused_share: float | None = Field(
        default=0.01, ge=0, le=1, description="of the rows that were answered and that batch would set aside"
    )


class AuditSettings(LookBackSettings):
    """A skew audit: `audit`, `endpoint` and `output` are enough, and `feature_store` where the model reads features."""

    audit: str = Field(description="models:/NAME@ALIAS or models:/NAME/VERSION: the answers of this version")
    feature_store: FeatureStoreSettings | None = None
    as_of: AwareDatetime | None = Field(
        default=None,
        description="the moment at which every row is joined, for a server whose store stands in the past "
        "(feature_store.online.as_of, with a time zone); null: when its request arrived",
    )
    tolerance: float = Field(
        default=1e-6, ge=0, lt=1, description="numbers that differ by less than this share of the larger one are equal"
    )
    limits: SkewLimits = SkewLimits()
