"""Judges the steps of one endpoint's rollouts: tallies at each look, ground truth as often as it can be read."""

import logging
import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from taxiway.predictions.losses import Versions, read_losses
from taxiway.predictions.settings import PredictionLogSettings
from taxiway.rollout.judge_step import Losses, Seen, judge_step
from taxiway.rollout.state import RolloutState
from taxiway.rollout.tally import Tally
from taxiway.rollout.verdict import Verdict

_log = logging.getLogger(__name__)

READ_EVERY_S = 3.0


class Judgement:
    """Called at each look. Ground truth is read on a thread beside, so that a large log delays no rollback.

    Args:
        drawn: whether each request is drawn by itself, rather than by a key that it shares with others.
    """

    def __init__(self, endpoint: str, log: PredictionLogSettings | None, drawn: bool) -> None:
        self._endpoint, self._log, self._drawn = endpoint, log, drawn
        self._reader = ThreadPoolExecutor(1, "ground truth")
        self._reading: Future[Losses] | None = None
        self._about: tuple[str, int, datetime] | None = None
        self._read_at = 0.0
        self._losses: Losses | None = None

    @property
    def losses(self) -> Losses | None:
        """Of the step that was judged last, as far as they were read."""
        return self._losses

    def __call__(
        self, state: RolloutState, champion: Tally, challenger: Tally, shadow: Tally, elapsed_s: float
    ) -> Verdict:
        losses = self._losses_of(state)
        return judge_step(state.plan, state.step, Seen(champion, challenger, shadow, self._drawn, losses), elapsed_s)

    def _losses_of(self, state: RolloutState) -> Losses | None:
        quality, about = state.plan.checks.quality, (state.id, state.step, state.step_began)
        if quality is None or self._log is None:
            return None
        if self._about != about:
            self._about, self._losses, self._reading, self._read_at = about, None, None, 0.0
        if self._reading is not None and self._reading.done():
            self._take(self._reading)
        if self._reading is None and time.monotonic() - self._read_at >= READ_EVERY_S:
            plan = state.plan
            versions = Versions((plan.champion, state.champion_version), (plan.challenger, state.challenger_version))
            self._reading = self._reader.submit(
                read_losses,
                self._log.location,
                self._endpoint,
                state.step_began,
                datetime.now(UTC),
                quality,
                versions,
            )
        return self._losses

    def _take(self, reading: "Future[Losses]") -> None:
        self._reading, self._read_at = None, time.monotonic()
        try:
            self._losses = reading.result()
        except Exception:  # noqa: BLE001 - the check says that it could not be measured
            _log.exception("the ground truth of %s can't be read", self._endpoint)
            self._losses = None
