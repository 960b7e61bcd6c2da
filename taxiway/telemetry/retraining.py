"""How the last retraining of a model went, pushed to a Pushgateway, which keeps it until the next one."""

import logging

import prometheus_client
from prometheus_client.exposition import push_to_gateway, pushadd_to_gateway

JOB = "taxiway_retraining"
GATEWAY = "TAXIWAY_PUSHGATEWAY"
"""The environment variable that may name one."""
_TIMEOUT_S = 5.0
_log = logging.getLogger(__name__)


def push_retraining(gateway: str, model: str, ended_s: float, exit_status: int) -> None:
    """Pushes the end of a retraining; a failure leaves the moment of the last success as it was. Raises nothing.

    Args:
        gateway: `http://HOST:PORT`.
        ended_s: since 1970.
        exit_status: of `python -m retrain`; 3 is a version that its gate has rejected.
    """
    registry = prometheus_client.CollectorRegistry()

    def gauge(name: str, description: str) -> prometheus_client.Gauge:
        return prometheus_client.Gauge(name, description, registry=registry)

    gauge("taxiway_retraining_last_run_timestamp_seconds", "When the last run ended.").set(ended_s)
    gauge("taxiway_retraining_last_run_exit_status", "What it ended with; 0 success, 3 rejected.").set(exit_status)
    if exit_status == 0:
        gauge("taxiway_retraining_last_success_timestamp_seconds", "When a run last ended well.").set(ended_s)
    push = push_to_gateway if exit_status == 0 else pushadd_to_gateway
    try:
        push(gateway, JOB, registry, {"model": model}, _TIMEOUT_S)
    except (OSError, ValueError) as error:
        _log.warning("pushgateway: the end of the retraining of %s was not told: %s", model, error)
