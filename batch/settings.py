"""The config file of a scoring job."""

from pydantic import Field

from taxiway.settings import FeatureStoreSettings, FileSettings, RegistrySettings


class ScoreSettings(FileSettings):
    """A scoring job: `model`, `input` and `output` are enough."""

    model: str = Field(description="models:/NAME@ALIAS or models:/NAME/VERSION")
    input: str = Field(description="a Parquet file or a folder of them")
    output: str = Field(description="a folder that does not exist yet")
    row_id: str = Field(default="row_id", description="the column that identifies a row; numbered when absent")
    event_timestamp: str = Field(default="event_timestamp", description="the moment at which each row is asked")
    keep: tuple[str, ...] = Field(default=(), description="input columns that the output repeats")
    overwrite: bool = Field(default=False, description="replace a finished run in `output`")
    piece_rows: int = Field(default=16_384, ge=1, description="rows that one actor reads, scores and writes at a time")
    actors: int | None = Field(default=None, ge=1, description="default: one for each free CPU")
    max_reject_share: float = Field(default=1.0, ge=0, le=1, description="fail when more rows than this are set aside")
    registry: RegistrySettings = Field(default_factory=RegistrySettings)
    feature_store: FeatureStoreSettings | None = None
