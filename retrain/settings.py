"""The config file of a retraining."""

from datetime import UTC, datetime
from typing import Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator

from taxiway.feature_binding import OnMissing
from taxiway.settings import FeatureStoreSettings, FileSettings, RegistrySettings, Settings
from taxiway.signature import Column

MAX_CATEGORIES = 255
"""As many as a histogram of HistGradientBoostingClassifier can tell apart."""


def _in_utc(moment: datetime) -> datetime:
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


Moment = Annotated[datetime, AfterValidator(_in_utc)]


class WindowSettings(Settings):
    """A span of event time, `start` inclusive, `end` exclusive (ISO 8601, UTC unless it says otherwise)."""

    start: Moment
    end: Moment

    @field_validator("end")
    @classmethod
    def _not_empty(cls, end: datetime, info: ValidationInfo) -> datetime:
        if "start" in info.data and end <= info.data["start"]:
            raise ValueError("must lie after the window's start")
        return end


class FeaturesSettings(Settings):
    """What the model reads from the feature store."""

    service: str = Field(description="a Feast feature service")
    on_missing: dict[str, OnMissing] = Field(
        default_factory=dict, description="per feature view: what an unknown entity means; `refuse` unless listed"
    )
    defaults: dict[str, dict[str, float]] = Field(
        default_factory=dict, description="per feature view: what its features are where on_missing is `default`"
    )


class SearchSettings(Settings):
    """The hyperparameter search."""

    trials: int = Field(default=12, ge=1)
    seed: int = Field(default=0, ge=0, lt=2**32)
    max_iterations: int = Field(default=300, ge=1, description="boosting iterations of a trial that is not stopped")
    report_every: int = Field(default=50, ge=1, description="iterations between two looks at a trial")
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
    validate_from: Moment = Field(description="from here on, the end of the training window judges trials")
    evaluate: WindowSettings
    slices: tuple[str, ...] = Field(default=(), description="inputs by whose values the evaluation is split")
    features: FeaturesSettings | None = None
    search: SearchSettings = SearchSettings()
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    feature_store: FeatureStoreSettings | None = Field(default=None, validate_default=True)

    @field_validator("inputs")
    @classmethod
    def _usable(cls, inputs: tuple[Column, ...], info: ValidationInfo) -> tuple[Column, ...]:
        names = [column.name for column in inputs]
        if len(set(names)) < len(names):
            raise ValueError("two columns have the same name")
        if info.data.get("label") in names:
            raise ValueError(f"the label {info.data['label']!r} is what the model answers, not an input")
        for column in inputs:
            if len(column.categories or ()) > MAX_CATEGORIES:
                raise ValueError(f"{column.name}: more than {MAX_CATEGORIES} categories")
        return inputs

    @field_validator("validate_from")
    @classmethod
    def _inside_train(cls, moment: datetime, info: ValidationInfo) -> datetime:
        train = info.data.get("train")
        if train is not None and not train.start < moment < train.end:
            raise ValueError("must lie inside the training window")
        return moment

    @field_validator("evaluate")
    @classmethod
    def _after_train(cls, evaluate: WindowSettings, info: ValidationInfo) -> WindowSettings:
        train = info.data.get("train")
        if train is not None and evaluate.start < train.end:
            raise ValueError("must begin after the training window has ended")
        return evaluate

    @field_validator("slices")
    @classmethod
    def _known(cls, slices: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        names = [column.name for column in info.data.get("inputs", ())]
        if names and (strangers := sorted(set(slices) - set(names))):
            raise ValueError(f"{', '.join(strangers)} not among the inputs {', '.join(names)}")
        return slices

    @field_validator("feature_store")
    @classmethod
    def _needed(cls, store: FeatureStoreSettings | None, info: ValidationInfo) -> FeatureStoreSettings | None:
        if store is None and info.data.get("features") is not None:
            raise ValueError("is required when the model has features")
        return store
