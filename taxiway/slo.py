"""What is promised of an endpoint, and how much of its error budget is left."""

from pydantic import Field

from taxiway.settings import Settings


class SloSettings(Settings):
    """An objective. It is shown and judged by people and alerts; no request is treated otherwise for it."""

    availability: float = Field(default=0.999, gt=0, lt=1, description="share of requests without a failure of ours")
    latency_ms: float | None = Field(default=None, gt=0, description="null: nothing is promised of latency")
    latency_share: float = Field(default=0.99, gt=0, lt=1, description="share of answers within `latency_ms`")


def budget_left(bad: int, of: int, promised: float) -> float | None:
    """1 where nothing is used, 0 where the promise just holds, below 0 where it does not; None of nothing.

    The error budget is the share that may be bad, `1 - promised` (Beyer et al., Site Reliability Engineering, 2016,
    chapter 3).
    """
    return None if not of else 1.0 - bad / (of * (1.0 - promised))
