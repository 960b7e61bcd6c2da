"""What stands in a replica, looked at once a second for the metrics; requests pay nothing for it."""

import time
from collections.abc import Callable, Iterator, Mapping
from typing import Protocol

from serve.service import Service
from serve.settings import ServeSettings
from serve.variant import Slot
from taxiway.rollout.tally import Numbers, Stream
from taxiway.telemetry.metrics import ServingMetrics
from taxiway.telemetry.process import Usage, shared, usage

EVERY_S = 1.0
NOBODY = ("-", "-")
_MISSING = "missing/"
Variant = tuple[str, str]


class CountedInputs(Protocol):
    """The recorder, as far as it is asked here."""

    def counted(self) -> Mapping[Stream, Numbers]: ...


class Sampler:
    """On the event loop.

    Args:
        load_s: how long the present version of a variant took to load.
        recorder: knows the missing inputs; None where nothing is recorded.
    """

    def __init__(
        self,
        metrics: ServingMetrics,
        service: Service,
        settings: ServeSettings,
        load_s: Mapping[Variant, float],
        recorder: CountedInputs | None,
        ask: Callable[[], Usage] = usage,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._metrics, self._service, self._recorder = metrics, service, recorder
        self._prices, self._gpus = settings.cost, settings.ingress.gpus
        self._elsewhere = frozenset(_dedicated(settings))
        self._load_s = load_s
        self._ask, self._clock = ask, clock
        self._at, self._cpu_s = clock(), ask().cpu_s
        self._inference_s: Mapping[Variant, float] = {}
        self._missing: Mapping[tuple[Stream, str], float] = {}

    def look(self, now: bool = False) -> None:
        """Looks, when a second has passed since the last look or it is the last one."""
        at = self._clock()
        elapsed_s = at - self._at
        if elapsed_s < EVERY_S and not now:
            return
        self._at = at
        found = self._ask()
        self._metrics.replica(self._service.ongoing, self._service.draining, found.memory_bytes, found.gpu_bytes)
        for endpoint, slot in self._slots():
            self._metrics.queued(endpoint, slot.variant, "live", slot.live.rows_waiting)
            self._metrics.queued(endpoint, slot.variant, "shadow", slot.shadow.rows_waiting)
            self._metrics.answers(endpoint, slot.variant, slot.version, self._load_s.get((endpoint, slot.variant), 0.0))
        self._share_out(found.cpu_s - self._cpu_s, elapsed_s)
        self._cpu_s = found.cpu_s
        self._count_missing()

    def _slots(self) -> Iterator[tuple[str, Slot]]:
        for name, endpoint in self._service.endpoints.items():
            for slot in endpoint.slots:
                yield name, slot

    def _share_out(self, cpu_s: float, elapsed_s: float) -> None:
        """A dedicated variant computes elsewhere: while this process waits for it, others use the CPU."""
        inference_s = self._metrics.inference_s()
        worked = {
            variant: total - self._inference_s.get(variant, 0.0)
            for variant, total in inference_s.items()
            if variant not in self._elsewhere
        }
        self._inference_s = inference_s
        gpu_s = shared(self._gpus * elapsed_s, worked, NOBODY)
        for variant, cpu in shared(cpu_s, worked, NOBODY).items():
            gpu = gpu_s[variant]
            cost = cpu * self._prices.cpu_second + gpu * self._prices.gpu_second
            self._metrics.used(*variant, cpu, gpu, cost)

    def _count_missing(self) -> None:
        """What the recorder has counted since the last look, which it forgets of the oldest versions."""
        if self._recorder is None:
            return
        found = {
            (stream, name.removeprefix(_MISSING)): value
            for stream, numbers in self._recorder.counted().items()
            if stream.kind == "live"
            for name, value in numbers.items()
            if name.startswith(_MISSING)
        }
        for (stream, column), value in found.items():
            if more := int(value - self._missing.get((stream, column), 0.0)):
                self._metrics.inputs_missing(stream.endpoint, stream.variant, column, more)
        self._missing = found


def _dedicated(settings: ServeSettings) -> Iterator[Variant]:
    for endpoint in settings.endpoints:
        for variant in endpoint.all_variants:
            if variant.placement == "dedicated":
                yield endpoint.name, variant.name
