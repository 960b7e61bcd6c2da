"""Copies of requests for shadow variants: after the answer, on a thread of low priority, bounded in rows and time."""

import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from serve.batching import Outputs
from serve.endpoint import Endpoint
from serve.variant import Slot
from taxiway.errors import DeadlineExceeded, Overloaded, TaxiwayError
from taxiway.inference import InferRequest
from taxiway.shadow import differences
from taxiway.telemetry.metrics import ServingMetrics

_NICENESS = 15


class Shadowing:
    """Sends copies and compares what comes back; counts what it had to drop."""

    def __init__(self, metrics: ServingMetrics) -> None:
        self._metrics = metrics
        self.executor = ThreadPoolExecutor(1, "shadows", initializer=_be_nice)

    def copy(self, endpoint: Endpoint, slot: Slot, request: InferRequest, outputs: Outputs) -> None:
        """Queues a copy for a shadow that takes the same columns, or more than the request brings."""
        columns = {name: values for name, values in request.columns.items() if name in slot.inputs}
        expires = time.monotonic() + endpoint.settings.shadow.timeout_s
        compare = partial(self._compare, endpoint.name, slot.variant, outputs)
        try:
            slot.shadow.submit(columns, request.rows, expires, compare)
        except Overloaded:
            self._metrics.shadow(endpoint.name, slot.variant, "dropped")

    def _compare(self, endpoint: str, variant: str, live: Outputs, outcome: "Outputs | TaxiwayError") -> None:
        if isinstance(outcome, TaxiwayError):
            late = isinstance(outcome, DeadlineExceeded)
            self._metrics.shadow(endpoint, variant, "late" if late else "failed")
            return
        self._metrics.shadow(endpoint, variant, "compared")
        for output, difference in differences(live, outcome).items():
            self._metrics.shadow_difference(endpoint, variant, output, difference)


def _be_nice() -> None:
    """On Linux a thread has a priority of its own."""
    os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
