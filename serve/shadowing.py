"""Copies of requests for shadow variants: after the answer, on a thread of low priority, bounded in rows and time."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from serve.batching import Outputs
from serve.endpoint import Endpoint
from serve.recording import Recorder
from serve.tracing import Kept, Tracing
from serve.variant import Slot
from taxiway.errors import DeadlineExceeded, Overloaded, TaxiwayError
from taxiway.inference import InferRequest
from taxiway.shadow import differences
from taxiway.telemetry.metrics import ServingMetrics

_NICENESS = 15


class Shadowing:
    """Sends copies and compares what comes back; counts what it had to drop."""

    def __init__(self, metrics: ServingMetrics, recorder: Recorder | None, tracing: Tracing | None = None) -> None:
        self._metrics = metrics
        self._recorder = recorder
        self._tracing = tracing
        self.executor = ThreadPoolExecutor(1, "shadows", initializer=_be_nice)

    def copy(
        self,
        endpoint: Endpoint,
        slot: Slot,
        request: InferRequest,
        outputs: Outputs,
        prediction_id: str,
        kept: Kept | None = None,
    ) -> None:
        """Queues a copy for a shadow that takes the same columns, or more than the request brings.

        Args:
            outputs: what was answered, as `prediction_id`.
            kept: where the request leaves a trace.
        """
        columns = {name: values for name, values in request.columns.items() if name in slot.inputs}
        now = time.monotonic()
        compare = partial(self._compare, slot, now, outputs, kept)
        try:
            waiting = slot.shadow.submit(columns, request.rows, now + endpoint.settings.shadow.timeout_s, compare)
            waiting.prediction_id, waiting.live = prediction_id, outputs
            waiting.trace_id = None if kept is None else kept.trace_id
        except Overloaded:
            self._metrics.shadow(endpoint.name, slot.variant, "dropped")

    def _compare(
        self, slot: Slot, since: float, live: Outputs, kept: Kept | None, outcome: "Outputs | TaxiwayError"
    ) -> None:
        endpoint, variant = slot.stream.endpoint, slot.variant
        # A copy that waited too long says nothing of the model: copies give way to everything else.
        late = isinstance(outcome, DeadlineExceeded)
        code = "late" if late else outcome.code if isinstance(outcome, TaxiwayError) else "ok"
        if self._recorder is not None:
            self._recorder.request(slot.shadow_stream, code, time.monotonic() - since)
        if self._tracing is not None and kept is not None:
            self._tracing.copied(kept, slot.shadow_stream, code, since, slot.shadow.handing_out)
        if isinstance(outcome, TaxiwayError):
            self._metrics.shadow(endpoint, variant, "late" if late else "failed")
            return
        self._metrics.shadow(endpoint, variant, "compared")
        for output, difference in differences(live, outcome).items():
            self._metrics.shadow_difference(endpoint, variant, output, difference)


def _be_nice() -> None:
    """On Linux a thread has a priority of its own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
