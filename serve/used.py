"""What a replica of a dedicated variant uses, counted for that variant once a second: it works for no other."""

import time
from collections.abc import Callable
from dataclasses import dataclass

from serve.background import Background
from serve.settings import CostSettings
from taxiway.telemetry.metrics import CostMetrics
from taxiway.telemetry.process import Usage, usage
from taxiway.telemetry.settings import LogSettings

EVERY_S = 1.0


@dataclass(frozen=True)
class Place:
    """Of which variant a replica is, and what it tells of itself.

    Args:
        gpus: that one replica holds.
    """

    endpoint: str
    variant: str
    gpus: float
    cost: CostSettings
    logs: LogSettings


class Used:
    """Counts from its construction on, what it takes to load the model included."""

    def __init__(
        self,
        place: Place,
        metrics: CostMetrics | None = None,
        ask: Callable[[], Usage] = usage,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._place, self._metrics = place, metrics or CostMetrics()
        self._ask, self._clock = ask, clock
        self._at, self._cpu_s = clock(), ask().cpu_s
        self._thread = Background("usage", self.look, EVERY_S)

    def start(self) -> None:
        self._thread.start()

    def look(self) -> None:
        """Adds what was used since the last look."""
        at, found = self._clock(), self._ask()
        cpu_s = found.cpu_s
        self._metrics.holds(found.memory_bytes, found.gpu_bytes)
        cpu, gpu = cpu_s - self._cpu_s, self._place.gpus * (at - self._at)
        self._at, self._cpu_s = at, cpu_s
        prices = self._place.cost
        cost = cpu * prices.cpu_second + gpu * prices.gpu_second
        self._metrics.used(self._place.endpoint, self._place.variant, cpu, gpu, cost)
