"""The config file of an import of ground truth."""

from datetime import date
from typing import Literal

from pydantic import Field

from batch.moments import fill_in_date
from batch.settings import Format
from taxiway.settings import FileSettings, Settings


class LabelColumns(Settings):
    """What the columns of a report are called in the files."""

    prediction_id: str = Field(default="prediction_id", description="of the answer, as text or as a UUID")
    label: str = Field(default="label", description="what proved true")
    row: str = Field(
        default="row", description="within the request, from 0; empty: every row; 0 where there is no such column"
    )
    became_true: str = Field(default="became_true", description="when, UTC unless it says otherwise; else: now")
    value: str = Field(default="value", description="what it is worth, a number")
    source: str = Field(default="source", description="who says so")


class FeedbackSettings(FileSettings):
    """An import of ground truth: `feedback` and `input` are enough."""

    feedback: str = Field(description="the location of the prediction log: a local folder or an s3:// prefix")
    input: str = Field(
        description="a file, a folder of files or a table; local, s3://, gs:// or whatever fsspec knows; "
        "{date} is what --date says, {date:%Y/%m} in another form"
    )
    input_format: Literal["auto"] | Format = Field(
        default="auto", description="auto: what the files' names end with, delta and iceberg by their folders"
    )
    columns: LabelColumns = LabelColumns()
    label_type: Literal["number", "text", "bool"] | None = Field(
        default=None, description="of text files; null: numbers in CSV, what the first rows hold in JSON"
    )
    newlines_in_values: bool = Field(default=False, description="quoted values of CSV files hold line breaks")
    on_bad_rows: Literal["fail", "skip"] = Field(
        default="fail", description="fail: nothing is taken when a row can't be; skip: such rows are told and left out"
    )

    def on(self, day: date | None) -> "FeedbackSettings":
        """The settings of one logical date. Raises ConfigError as `ScoreSettings.on`."""
        return self.model_copy(update={"input": fill_in_date(self.input, day, "input")})
