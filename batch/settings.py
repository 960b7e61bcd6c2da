"""The config file of a scoring job."""

from datetime import date
from typing import Literal

from pydantic import Field, model_validator

from batch.filters import parse_filter
from batch.moments import fill_in_date
from batch.observers.settings import HttpUrl, MlflowSettings
from taxiway.settings import FeatureStoreSettings, FileSettings, RegistrySettings, Settings

Format = Literal["parquet", "csv", "tsv", "jsonl", "delta", "iceberg"]
TextType = Literal["bool", "int64", "float64", "string", "timestamp"]
Compression = Literal["snappy", "zstd", "lz4", "gzip", "none"]


class CompareSettings(Settings):
    """A second model that scores the same rows in the same pass."""

    model: str = Field(description="models:/NAME@ALIAS or models:/NAME/VERSION; it takes what `model` takes")
    suffix: str = Field(default="_challenger", min_length=1, description="what its outputs' names end with")


class ScoreSettings(FileSettings):
    """A scoring job: `model`, `input` and `output` are enough."""

    model: str = Field(description="models:/NAME@ALIAS or models:/NAME/VERSION")
    input: str = Field(
        description="a file, a folder of files or a table; local, s3://, gs:// or whatever fsspec knows; "
        "{date} is what --date says, {date:%Y/%m} in another form"
    )
    output: str = Field(description="a local folder or an s3:// prefix that holds nothing yet; {date} as in `input`")
    input_format: Literal["auto"] | Format = Field(
        default="auto", description="auto: what the files' names end with, delta and iceberg by their folders"
    )
    types: dict[str, TextType] = Field(
        default={}, description="types of columns of text files that the model's signature does not describe"
    )
    newlines_in_values: bool = Field(
        default=False, description="quoted values of CSV files hold line breaks; a file is one piece then"
    )
    row_id: str = Field(default="row_id", description="the column that identifies a row; numbered when absent")
    event_timestamp: str = Field(default="event_timestamp", description="the moment at which each row is asked")
    keep: tuple[str, ...] = Field(default=(), description="input columns that the output repeats")
    filter: str | None = Field(
        default=None,
        description="rows to score, the others are left out: columns compared with values (== != < <= > >=, in, "
        "not in, is None, is not None), joined by and, or, not: distance > 500 and origin in ('JFK', 'EWR')",
    )
    limit: int | None = Field(default=None, ge=1, description="read no more than the first rows; --limit")
    partition_by: tuple[str, ...] = Field(
        default=(), description="columns of the output that become folders (NAME=VALUE) instead"
    )
    compression: Compression = Field(default="snappy", description="of the output's Parquet files")
    overwrite: bool = Field(default=False, description="replace a finished run in `output`")
    piece_rows: int = Field(
        default=262_144,
        ge=1,
        description="rows of one part file: what one actor finishes at a time, and no more than "
        "that is done again after a crash",
    )
    batch_rows: int = Field(default=16_384, ge=1, description="rows that the model is asked at a time")
    actors: int | None = Field(
        default=None, ge=1, description="default: as many as fit the cluster's free CPUs or GPUs"
    )
    cpus: float = Field(default=1.0, ge=0, description="of each actor; fractions are shares of one CPU")
    gpus: float = Field(default=0.0, ge=0, description="of each actor; fractions are shares of one GPU")
    join_features: bool = Field(
        default=True, description="false: the input brings every feature itself, no feature store is asked"
    )
    compare: CompareSettings | None = Field(default=None, description="a second model in the same pass")
    on_corrupt_file: Literal["fail", "skip"] = Field(
        default="fail", description="skip: what can't be read of a file is left out, and the manifest says so"
    )
    max_reject_share: float = Field(default=1.0, ge=0, le=1, description="fail when more rows than this are set aside")
    early_reject_rows: int = Field(
        default=100_000, ge=1, description="rows to read before `max_reject_share` is judged; the end judges always"
    )
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    feature_store: FeatureStoreSettings | None = None
    mlflow: MlflowSettings | None = Field(
        default=None, description="log each attempt as a run in the MLflow of `registry`; {} takes the defaults"
    )
    pushgateway: HttpUrl | None = Field(
        default=None, description="URL of a Prometheus Pushgateway that is told of the job's end"
    )

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> "ScoreSettings":
        if self.filter is not None:
            parse_filter(self.filter)
        if self.cpus == 0 and self.gpus == 0:
            raise ValueError("cpus and gpus: an actor needs a share of one of them")
        return self

    def on(self, day: date | None) -> "ScoreSettings":
        """The settings of one logical date.

        Raises:
            ConfigError: there is a `{date}` and no date, or a date and no `{date}`.
        """
        filled = {key: fill_in_date(getattr(self, key), day, key) for key in ("input", "output")}
        return self.model_copy(update=filled)
