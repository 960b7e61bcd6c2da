"""The plan of an experiment: variants that share an endpoint's traffic while one figure of them is compared."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from taxiway.rollout.bandit import weights
from taxiway.rollout.plan import ErrorsSettings, Percent, QualitySettings, SlowSettings
from taxiway.settings import Settings

Better = Literal["higher", "lower"]


class LossMetric(Settings):
    """The mean loss of rows with ground truth: log loss, share of wrong classes, squared error. Lower is better."""

    kind: Literal["loss"] = "loss"
    output: str | None = Field(default=None, description="the output that is judged; default: the only one")
    task: Literal["binary", "classes", "regression"] = Field(
        default="binary", description="binary: the output is the probability of label 1"
    )
    largest_loss: float = Field(default=4.0, gt=0, description="a single row's loss counts as no more than this")

    @property
    def better(self) -> Better:
        return "lower"

    @property
    def bounds(self) -> tuple[float, float] | None:
        return 0.0, self.largest_loss

    @property
    def quality(self) -> QualitySettings:
        """The same, as the losses of a rollout are asked for."""
        return QualitySettings(task=self.task, output=self.output, largest_loss=self.largest_loss)

    @property
    def unit(self) -> str:
        return {"binary": "log loss", "classes": "share of wrong classes", "regression": "squared error"}[self.task]


class ValueMetric(Settings):
    """The mean of the `value` that feedback brings: revenue, minutes, 1 for who has bought."""

    kind: Literal["value"]
    better: Better = "higher"
    lowest: float | None = Field(default=None, description="a smaller value counts as this")
    highest: float | None = Field(default=None, description="a larger value counts as this")
    without_feedback: Literal["leave_out", "zero"] = Field(
        default="leave_out", description="zero: a row of which nothing was heard counts as 0, as in a conversion rate"
    )

    @model_validator(mode="after")
    def _in_order(self) -> "ValueMetric":
        if self.lowest is not None and self.highest is not None and self.lowest >= self.highest:
            raise ValueError("lowest must be less than highest")
        if self.without_feedback == "zero" and ((self.lowest or 0.0) > 0 or (self.highest or 0.0) < 0):
            raise ValueError("without_feedback: zero needs a range from lowest to highest that holds 0")
        return self

    @property
    def bounds(self) -> tuple[float, float] | None:
        return None if self.lowest is None or self.highest is None else (self.lowest, self.highest)

    @property
    def unit(self) -> str:
        return "value"


Metric = Annotated[LossMetric | ValueMetric, Field(discriminator="kind")]


class ExperimentSettings(Settings):
    """Which variant is the best: the key `experiment` of an endpoint. The first variant is the control."""

    name: str = Field(
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=60, description="another name begins another experiment"
    )
    weights: dict[str, Percent] = Field(
        default_factory=dict, description="percent of the requests by variant; none: even shares of all variants"
    )
    metric: Metric = Field(default_factory=LossMetric, description="what is compared")
    allocation: Literal["fixed", "thompson"] = Field(
        default="fixed", description="thompson: a variant gets as much as it is likely to be the best"
    )
    floor: Percent = Field(default=5.0, description="of thompson: percent that each variant keeps")
    reallocate_s: float = Field(default=60.0, ge=1, description="of thompson: seconds between two splits")
    errors: ErrorsSettings | None = Field(
        default=ErrorsSettings(), description="a variant with so many more errors than the control is taken out"
    )
    slow: SlowSettings | None = Field(
        default=None, description="a variant with so many more slow answers than the control is taken out"
    )
    min_rows: int = Field(
        default=300, ge=100, description="rows of each variant before it is called better, or given another share"
    )
    max_s: float | None = Field(default=None, gt=0, description="the experiment ends then; null: when it is stopped")
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="how likely anything wrong is said of equal variants, in all"
    )
    webhook: str | None = Field(
        default=None, pattern=r"^https?://", description="a URL that gets Slack-compatible JSON of every event"
    )

    @model_validator(mode="after")
    def _possible(self) -> "ExperimentSettings":
        total = sum(self.weights.values())
        if self.weights and abs(total - 100) > 1e-6:
            raise ValueError(f"the weights sum to {total:g}; they must sum to 100")
        if self.weights and min(self.weights.values()) <= 0:
            raise ValueError("a variant with weight 0 is no part of the experiment; leave it out")
        if self.allocation == "thompson" and self.metric.bounds is None:
            raise ValueError("metric: thompson needs `lowest` and `highest`: a split that follows results needs bounds")
        return self

    def shares(self, variants: tuple[str, ...]) -> dict[str, float]:
        """The split at the beginning, percent by variant.

        Raises:
            ValueError: a weight is of no variant, the control has none, or the floors leave nothing.
        """
        found = dict(self.weights) or weights(dict.fromkeys(variants, 1 / len(variants)), {})
        if unknown := [name for name in found if name not in variants]:
            raise ValueError(f"weights: {unknown[0]!r} is no variant of this endpoint; they are {', '.join(variants)}")
        if variants[0] not in found or len(found) < 2:
            raise ValueError(f"weights: the control, {variants[0]!r}, and at least one other variant need a weight")
        if self.allocation == "thompson" and self.floor * len(found) > 100:
            raise ValueError(f"floor: {len(found)} variants can't keep {self.floor:g} percent each")
        return found
