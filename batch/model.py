"""What a scorer knows of a model version; importing it brings no registry, so that actors start fast."""

from dataclasses import dataclass

from taxiway.feature_binding import FeatureBinding
from taxiway.signature import Column, Signature


@dataclass(frozen=True)
class ScoringModel:
    """A pinned version: its name, number and interface, and the digest of its files."""

    name: str
    version: str
    signature: Signature
    features: FeatureBinding | None
    digest: str = ""

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"

    @property
    def model_columns(self) -> tuple[Column, ...]:
        """What the model itself takes: the input's columns and the store's."""
        return self.signature.inputs + (self.features.optional_inputs if self.features else ())
