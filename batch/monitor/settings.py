"""The config file of a monitor job."""

from typing import Literal

from pydantic import Field, FiniteFloat

from batch.looking_back import LookBackSettings
from taxiway.drift.settings import DriftSettings, EffectSettings
from taxiway.settings import Settings

Snapshot = Literal["evaluation", "training"]


class MonitorLimits(Settings):
    """What ends the job with status 3 and raises an alarm; null: is reported only."""

    drifting_columns: int | None = Field(default=0, ge=0, description="inputs, features and outputs; more break it")
    loss: FiniteFloat | None = Field(
        default=None, description="the window's mean loss; broken when its whole interval lies above"
    )
    loss_increase: float | None = Field(
        default=None,
        ge=0,
        description="over the loss on the reference, which then has to be a snapshot; broken when the whole interval "
        "lies above",
    )


class MonitorSettings(LookBackSettings):
    """A monitor job: `monitor`, `endpoint` and `output` are enough."""

    monitor: str = Field(description="models:/NAME@ALIAS or models:/NAME/VERSION: the answers of this version")
    reference: Snapshot | Literal["profile"] = Field(
        default="evaluation",
        description="a data set that the retraining logged with the version: evaluation has rows that the model has "
        "not learned from; profile (and a version without the data set): the reference profile in its package",
    )
    reference_rows: int = Field(default=20_000, ge=100, description="of the data set, drawn by `seed`")
    min_rows: int = Field(default=500, ge=1, description="fewer rows in the window: drift is reported, not judged")
    min_labels: int = Field(default=200, ge=2, description="fewer labelled rows: quality is reported, not judged")
    alpha: float = Field(
        default=0.01, gt=0, lt=0.5, description="how likely any column of a window without drift is called different"
    )
    effects: EffectSettings = EffectSettings()
    ignore: tuple[str, ...] = Field(default=(), description="columns whose drift does not count: keys, the date")
    limits: MonitorLimits = MonitorLimits()
    alarm: bool = Field(default=True, description="a broken limit makes the next `python -m retrain --if-due` retrain")
    evidently: bool = Field(
        default=True, description="reports of Evidently beside our own; needs `pip install 'taxiway[monitoring]'`"
    )

    def drift(self, absent: tuple[str, ...]) -> DriftSettings:
        """How a window is judged; columns that the log does not have are left out."""
        return DriftSettings(alpha=self.alpha, effects=self.effects, ignore=(*self.ignore, *absent))
