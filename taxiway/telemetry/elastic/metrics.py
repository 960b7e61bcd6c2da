"""What shipping the prediction log exports, on a port of its own and without Ray's prefix."""

import time

import prometheus_client

from taxiway.telemetry.elastic.bulk import Outcome


class ShippingMetrics:
    """Label: outcome (created, present: it was there before, dead: it was refused)."""

    def __init__(self) -> None:
        self.registry = prometheus_client.CollectorRegistry()
        self._documents = prometheus_client.Counter(
            "taxiway_elastic_documents_total", "Documents by what became of them.", ("outcome",), registry=self.registry
        )
        self._lag = prometheus_client.Gauge(
            "taxiway_elastic_lag_seconds",
            "Since a moment at which everything had been shipped.",
            registry=self.registry,
        )
        self.caught_up()
        for outcome in ("created", "present", "dead"):
            self._documents.labels(outcome)

    def sent(self, outcome: Outcome) -> None:
        self._documents.labels("created").inc(outcome.created)
        self._documents.labels("present").inc(outcome.present)
        self._documents.labels("dead").inc(len(outcome.dead))

    def caught_up(self) -> None:
        """Everything that was in the log a moment ago has been shipped."""
        since = time.time()
        self._lag.set_function(lambda: time.time() - since)
