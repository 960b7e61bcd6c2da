"""The key `drift` of an endpoint: when a window is judged, what counts as drift, and when an alarm is raised."""

from pydantic import Field, model_validator

from taxiway.settings import Settings


class DriftWindowSettings(Settings):
    """A window ends after so many rows or so much time, whichever comes first, all replicas together."""

    rows: int | None = Field(default=None, ge=100, description="null: by time only")
    max_s: float | None = Field(
        default=86_400.0, gt=0, description="a day: by night other rows come; null: by rows only"
    )
    min_rows: int = Field(default=500, ge=100, description="a window with fewer rows goes on until it has them")

    @model_validator(mode="after")
    def _ends(self) -> "DriftWindowSettings":
        if self.rows is None and self.max_s is None:
            raise ValueError("give rows or max_s, or the window never ends")
        if self.rows is not None and self.rows < self.min_rows:
            raise ValueError(f"rows is {self.rows}, less than min_rows; give at least {self.min_rows}")
        return self


class EffectSettings(Settings):
    """How far a column must lie from the reference to matter, what chance brings taken off; null: does not count."""

    psi: float | None = Field(default=0.1, ge=0, description="population stability index")
    jensen_shannon: float | None = Field(default=0.15, ge=0, lt=1, description="distance, between 0 and 1")
    kolmogorov_smirnov: float | None = Field(default=0.1, ge=0, lt=1, description="of numbers")
    missing: float | None = Field(default=0.05, ge=0, lt=1, description="difference of the shares of missing values")


class DriftSettings(Settings):
    """Whether live rows and answers still look like those of the package's reference profile."""

    window: DriftWindowSettings = DriftWindowSettings()
    alpha: float = Field(
        default=0.01, gt=0, lt=0.5, description="how likely any column of a window without drift is called different"
    )
    effects: EffectSettings = EffectSettings()
    columns: dict[str, EffectSettings] = Field(
        default_factory=dict, description="instead of effects, by column: features/wind"
    )
    raise_after: int = Field(default=2, ge=1, description="windows in a row in which a column drifts: then an alarm")
    clear_after: int = Field(default=3, ge=1, description="windows in a row in which it does not: then it is over")
    ignore: tuple[str, ...] = Field(default=(), description="columns that are not looked at: keys, the date")
    max_rows_per_s: int = Field(
        default=1_000, ge=10, description="of each variant, in each replica; a sample of more is counted"
    )
    retrain: bool = Field(default=True, description="an alarm makes the next `python -m retrain --if-due` retrain")
    webhook: str | None = Field(
        default=None, pattern=r"^https?://", description="a URL that gets Slack-compatible JSON of every event"
    )


class UsualDrift(Settings):
    """How far windows of the training data lay from the reference profile, of columns that lay far."""

    window_s: float = Field(gt=0, description="how long each of them was")
    windows: int = Field(ge=1)
    effects: dict[str, EffectSettings] = Field(description="by GROUP/COLUMN; of others the defaults hold")
