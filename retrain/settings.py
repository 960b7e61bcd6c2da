"""The config file of a retraining."""

from typing import Literal

from pydantic import Field

from taxiway.settings import FeatureStoreSettings, FileSettings, RegistrySettings, Settings
from taxiway.signature import Column


class WindowSettings(Settings):
    """A span of event time, `start` inclusive, `end` exclusive (ISO 8601, UTC unless it says otherwise)."""

    start: str
    end: str


class FeaturesSettings(Settings):
    """What the model reads from the feature store."""

    service: str = Field(description="a Feast feature service")
    on_missing: dict[str, Literal["null", "refuse"]] = Field(
        default_factory=dict, description="per feature view: what an unknown entity means; `refuse` unless listed"
    )


class SearchSettings(Settings):
    """The hyperparameter search."""

    trials: int = Field(default=12, ge=1)
    seed: int = 0
    max_iterations: int = Field(default=400, ge=1, description="boosting iterations of a trial that is not stopped")
    report_every: int = Field(default=25, ge=1, description="iterations between two looks at a trial")
    parallel: int | None = Field(default=None, ge=1, description="trials at a time; default: one for each free CPU")


class RetrainSettings(FileSettings):
    """A retraining: training set, search, evaluation, registration."""

    model: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="the registered model's name")
    labels: str = Field(description="a Parquet file with row id, event timestamp, request columns and label")
    label: str = Field(description="the column to predict, 0 or 1; rows without it are left out")
    row_id: str = "row_id"
    event_timestamp: str = "event_timestamp"
    inputs: tuple[Column, ...] = Field(min_length=1, description="the columns that a request will bring")
    output: str = Field(default="probability", description="the name of the answer's column")
    train: WindowSettings
    validate_from: str = Field(description="from here on, the end of the training window judges trials")
    evaluate: WindowSettings
    slices: tuple[str, ...] = Field(default=(), description="columns by whose values the evaluation is split")
    features: FeaturesSettings | None = None
    search: SearchSettings = SearchSettings()
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    feature_store: FeatureStoreSettings | None = None
