"""What a rollout does step by step, and what it looks at: the key `rollout` of an endpoint."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from taxiway.settings import Settings
from taxiway.traffic import TrafficSettings

Share = Annotated[float, Field(gt=0, le=1)]
Percent = Annotated[float, Field(ge=0, le=100)]


class StepSettings(Settings):
    """One stage: the challenger answers copies (`shadow`), a share of the requests (`weight`), or both."""

    shadow: Percent = Field(default=0.0, description="percent of the requests of which the challenger gets a copy")
    weight: Percent = Field(default=0.0, description="percent of the requests that the challenger answers")
    min_s: float = Field(default=300.0, ge=0, description="no earlier does the next step begin")
    max_s: float = Field(default=86_400.0, gt=0, description="by then the step has a verdict, or is inconclusive")
    hold: bool = Field(default=False, description="a person lets the next step begin")

    @model_validator(mode="after")
    def _of_use(self) -> "StepSettings":
        if not (self.shadow or self.weight):
            raise ValueError("a step needs a shadow or a weight above 0")
        if self.max_s <= self.min_s:
            raise ValueError("max_s must be more than min_s")
        return self

    @property
    def shares(self) -> str:
        """For people: `100% copies, 5% live`."""
        told = (("copies", self.shadow), ("live", self.weight))
        return ", ".join(f"{share:g}% {kind}" for kind, share in told if share)


class ErrorsSettings(Settings):
    """Of requests: how many end with an error of the variant's own making."""

    max_increase: Share = Field(default=0.005, description="of the share of requests; 0.005 is half a percent")


class SlowSettings(Settings):
    """Of live answers: how many take longer than they may."""

    over_ms: float = Field(default=100.0, gt=0)
    max_increase: Share = Field(default=0.01, description="of the share of answers")


class MissingSettings(Settings):
    """Of rows: how many lack an input or a feature, the worst column."""

    max_increase: Share = 0.05


class DisagreementSettings(Settings):
    """Of a shadow's answers: how far they lie from the live ones.

    Numbers: the mean absolute difference. Labels: the share that differs.
    """

    max: float = Field(gt=0)


class RankCorrelationSettings(Settings):
    """Of a shadow's answers that are one number a row: whether they put rows into the order of the live ones."""

    min: float = Field(gt=-1, lt=1, description="Spearman's rank correlation with the live answers is at least this")
    output: str | None = Field(default=None, description="the output that is judged; default: the worst of all numbers")


class OutputsSettings(Settings):
    """Of numeric outputs: how far the challenger's mean lies from the champion's."""

    max_shift: float = Field(gt=0, description="in standard deviations of the champion's answers")


class QualitySettings(Settings):
    """What ground truth says, where it comes back as feedback.

    Pairs of answers to the same request (of a shadow) are compared by their difference; other answers by group.
    """

    output: str | None = Field(default=None, description="the output that is judged; default: the only one")
    task: Literal["binary", "classes", "regression"] = Field(
        default="binary", description="binary: the output is the probability of label 1"
    )
    max_loss_increase: float = Field(
        default=0.02, gt=0, description="of the mean loss of a row: log loss, share of wrong classes, squared error"
    )
    min_gain: float | None = Field(
        default=None, ge=0, description="the loss must fall by at least so much; null: not being worse is enough"
    )
    largest_loss: float = Field(default=4.0, gt=0, description="a single row's loss counts as no more than this")
    min_labels: int = Field(default=300, ge=10, description="rows with ground truth of each variant before a step ends")


class ChecksSettings(Settings):
    """What must not get worse, by more than the margin. Null leaves a check out."""

    errors: ErrorsSettings | None = ErrorsSettings()
    slow: SlowSettings | None = SlowSettings()
    missing: MissingSettings | None = MissingSettings()
    disagreement: DisagreementSettings | None = None
    rank_correlation: RankCorrelationSettings | None = None
    outputs: OutputsSettings | None = None
    quality: QualitySettings | None = None
    alpha: float = Field(
        default=0.05, gt=0, lt=0.5, description="how likely a rollout of an equal challenger is called worse, in all"
    )
    min_requests: int = Field(default=200, ge=1, description="of the challenger, before a step may end well")


class RolloutSettings(Settings):
    """How a challenger becomes champion."""

    champion: str = Field(default="champion", description="the variant that answers now")
    challenger: str = Field(default="challenger", description="the variant that may replace it")
    start: Literal["automatic", "by_hand"] = Field(
        default="by_hand", description="automatic: as soon as there is a new challenger"
    )
    steps: tuple[StepSettings, ...] = Field(
        default=(
            StepSettings(shadow=100.0),
            StepSettings(weight=5.0),
            StepSettings(weight=25.0),
            StepSettings(weight=50.0),
        ),
        min_length=1,
    )
    on_inconclusive: Literal["hold", "roll_back", "go_on"] = Field(
        default="hold", description="when a step has lasted for max_s without a verdict"
    )
    checks: ChecksSettings = ChecksSettings()
    webhook: str | None = Field(
        default=None, pattern=r"^https?://", description="a URL that gets Slack-compatible JSON of every event"
    )

    @model_validator(mode="after")
    def _two_variants(self) -> "RolloutSettings":
        if self.champion == self.challenger:
            raise ValueError("champion and challenger must be two variants")
        return self

    @model_validator(mode="after")
    def _has_copies_to_compare(self) -> "RolloutSettings":
        if self.checks.rank_correlation is not None and not any(step.shadow for step in self.steps):
            raise ValueError("checks.rank_correlation compares copies; give a step a `shadow`, or leave the check out")
        return self

    def traffic(self, step: int) -> TrafficSettings:
        """The split of one step."""
        asked = self.steps[step]
        weights = {self.champion: 100.0 - asked.weight, self.challenger: asked.weight}
        return TrafficSettings(weights=weights, shadows={self.challenger: asked.shadow} if asked.shadow else {})
