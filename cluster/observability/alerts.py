"""The alerts that are not about error budgets, and the file of rules that Prometheus reads."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cluster.observability.promql import grew
from cluster.observability.slo import Objectives, burning, recorded

_CAPITAL = re.compile(r"(?<!^)(?=[A-Z])")


@dataclass(frozen=True)
class Alert:
    """`severity`: `page` wakes somebody, `ticket` waits for the morning, `info` is to be known."""

    name: str
    expression: str
    summary: str
    severity: str = "ticket"
    lasts: str = "0m"


SERVING = (
    Alert("TargetDown", "up == 0", "{{ $labels.instance }} can't be scraped", lasts="5m"),
    Alert(
        "ModelCannotBeLoaded",
        grew("ray_taxiway_load_failures_total", "endpoint, variant", "10m"),
        "{{ $labels.endpoint }}: {{ $labels.variant }} has a version that can't be loaded",
    ),
    Alert(
        "ReplicasRestart",
        "count by (application, deployment) "
        "(count by (application, deployment, replica) "
        "(count_over_time(ray_serve_deployment_replica_starts_total[30m])))"
        " - on (application, deployment) "
        "sum by (application, deployment) (ray_serve_deployment_replica_healthy) >= 3",
        "{{ $labels.application }}: {{ $value }} replicas of {{ $labels.deployment }} were lost in half an hour",
        lasts="5m",
    ),
    Alert(
        "DeploymentUnhealthy",
        "max by (application, deployment) (ray_serve_deployment_status) < 3",
        "{{ $labels.application }}: {{ $labels.deployment }} has failed or is unhealthy",
        "page",
        "5m",
    ),
)
LOG = (
    Alert(
        "PredictionLogDropsRows",
        grew("ray_taxiway_prediction_log_dropped_rows_total", "reason", "10m"),
        "{{ $value }} rows did not get into the prediction log: {{ $labels.reason }}",
    ),
    Alert(
        "PredictionLogFailing",
        "max(ray_taxiway_prediction_log_failing) > 0",
        "the storage of the prediction log does not take what is written",
        lasts="5m",
    ),
    Alert(
        "GroundTruthFailing",
        grew("ray_taxiway_ground_truth_labels_total", "outcome", "10m", 'outcome="failed"'),
        "{{ $value }} labels could not be written",
    ),
    Alert(
        "ShippingBehind",
        "max by (instance) (taxiway_elastic_lag_seconds) > 900",
        "the prediction log is {{ $value | humanizeDuration }} ahead of Elasticsearch",
        lasts="10m",
    ),
    Alert(
        "ShippingDeadLetters",
        grew("taxiway_elastic_documents_total", "outcome", "1h", 'outcome="dead"'),
        "Elasticsearch refused {{ $value }} documents of the prediction log",
    ),
)
MODELS = (
    Alert(
        "FeatureDrift",
        "max by (endpoint, variant, group, column) (ray_taxiway_drift_alarm) > 0",
        "{{ $labels.endpoint }}: {{ $labels.group }} {{ $labels.column }} has drifted from the reference",
    ),
    Alert(
        "FeatureViewStale",
        "max by (view) (ray_taxiway_feature_view_stale) > 0",
        "{{ $labels.view }}: its features in the online store have outlived their time to live",
        lasts="10m",
    ),
    Alert(
        "RolloutFailed",
        "("
        + grew("ray_taxiway_rollouts_total", "endpoint", "15m", 'outcome=~"rolled_back|aborted"')
        + ") or max by (endpoint) (ray_taxiway_rollout_phase) == 5",
        "{{ $labels.endpoint }}: the challenger was taken back",
    ),
    Alert(
        "RolloutCannotMeasure",
        "max by (endpoint) (ray_taxiway_rollout_verdict) == 3 and max by (endpoint) (ray_taxiway_rollout_phase) == 1",
        "{{ $labels.endpoint }}: the step of the rollout can't be measured",
        lasts="15m",
    ),
    Alert(
        "RolloutWaits",
        "max by (endpoint) (ray_taxiway_rollout_phase) == 2",
        "{{ $labels.endpoint }}: the rollout holds until a person decides",
        "info",
        "1h",
    ),
)
JOBS = (
    Alert(
        "ScoringJobFailed",
        "max by (output) (taxiway_job_last_run_exit_status) > 0",
        "the last scoring job of {{ $labels.output }} ended with status {{ $value }}",
    ),
    Alert(
        "ScoringJobOverdue",
        "time() - max by (output) (taxiway_job_last_success_timestamp_seconds) > 26 * 3600",
        "{{ $labels.output }}: no scoring job has succeeded for {{ $value | humanizeDuration }}",
    ),
    Alert(
        "RetrainingFailed",
        "max by (model) (taxiway_retraining_last_run_exit_status) != 0 and "
        "max by (model) (taxiway_retraining_last_run_exit_status) != 3",
        "the last retraining of {{ $labels.model }} ended with status {{ $value }}",
    ),
    Alert(
        "RetrainingRejected",
        "max by (model) (taxiway_retraining_last_run_exit_status) == 3",
        "the gate has rejected the new version of {{ $labels.model }}",
        "info",
    ),
)
GROUPS = {"serving": SERVING, "predictions": LOG, "models": MODELS, "jobs": JOBS}


def runbook(alert: str) -> str:
    """The file in docs/runbooks about an alert; a page and its ticket share one."""
    name = alert.replace("Slowly", "")
    return f"{_CAPITAL.sub('-', name).lower()}.md"


def rules(objectives: Objectives) -> dict[str, Any]:
    """What stands in a file of rules."""
    budgets = [
        _rule(Alert(name, told, summary, severity), objectives) for name, told, severity, summary in burning(objectives)
    ]
    groups = [
        {"name": "taxiway-rates", "interval": "30s", "rules": recorded(objectives)},
        {"name": "taxiway-objectives", "rules": budgets},
        *({"name": f"taxiway-{name}", "rules": _rules(alerts, objectives)} for name, alerts in GROUPS.items()),
    ]
    return {"groups": groups}


def _rules(alerts: Sequence[Alert], objectives: Objectives) -> list[dict[str, Any]]:
    return [_rule(alert, objectives) for alert in alerts]


def _rule(alert: Alert, objectives: Objectives) -> dict[str, Any]:
    told = {"summary": alert.summary, "runbook_url": f"{objectives.runbooks.rstrip('/')}/{runbook(alert.name)}"}
    rule = {"alert": alert.name, "expr": alert.expression, "labels": {"severity": alert.severity}, "annotations": told}
    return rule | ({} if alert.lasts == "0m" else {"for": alert.lasts})
