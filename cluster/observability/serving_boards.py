"""The dashboards of requests: all endpoints at a glance, and one endpoint by variant (rate, errors, duration)."""

from cluster.observability.grafana import Dashboard, Panel, Query, Row, Variable
from cluster.observability.promql import REQUESTS, SECONDS, failing, failing_share, per_second, quantile

ENDPOINT = Variable("endpoint", "endpoint", REQUESTS)
_HERE = 'endpoint=~"$endpoint"'
_PHASES = "ray_taxiway_phase_duration_seconds"
_PHASE_WORDS = ("none", "running", "holding", "paused", "promoting", "rolling back")
_STATUS_WORDS = ("unknown", "deploy failed", "unhealthy", "updating", "upscaling", "downscaling", "healthy")


def overview() -> Dashboard:
    """What whoever is on call looks at first."""
    by = "endpoint"
    now = [
        Panel("Requests", [Query("sum(rate(ray_taxiway_requests_total[5m]))")], "reqps", "stat", width=4, height=4),
        Panel("Failing", [Query(_share_of_all())], "percentunit", "stat", width=4, height=4),
        Panel("p99", [Query(_p99_of_all())], "s", "stat", width=4, height=4),
        Panel(
            "Healthy replicas", [Query("sum(ray_serve_deployment_replica_healthy)")], "short", "stat", width=4, height=4
        ),
        Panel("Nodes", [Query("sum(ray_cluster_active_nodes)")], "short", "stat", width=4, height=4),
        Panel("Targets that are down", [Query("count(up) - sum(up)")], "short", "stat", width=4, height=4),
    ]
    endpoints = [
        Panel("Requests a second", [Query(per_second(REQUESTS, by), "{{endpoint}}")], "reqps"),
        Panel("Share that fails", [Query(failing_share(by), "{{endpoint}}")], "percentunit"),
        Panel("p99", [Query(quantile(0.99, SECONDS, by), "{{endpoint}}")], "s"),
    ]
    states = [
        _rollout_phase(),
        Panel(
            "Deployments",
            [Query("max by (application, deployment) (ray_serve_deployment_status)", "{{application}} {{deployment}}")],
            mappings=_STATUS_WORDS,
        ),
        Panel(
            "Feature views that are stale",
            [Query("max by (view) (ray_taxiway_feature_view_stale)", "{{view}}")],
            needs="features",
            mappings=("fresh", "stale"),
        ),
    ]
    log = [
        Panel("Prediction log: rows written", [Query(_summed("ray_taxiway_prediction_log_rows_total"))], "wps"),
        Panel("Prediction log: rows that wait", [Query("sum(ray_taxiway_prediction_log_backlog_rows)")]),
        Panel("Storage of the prediction log fails", [Query("sum(ray_taxiway_prediction_log_failing)")]),
    ]
    rows = [Row("Now", now), Row("Endpoints", endpoints), Row("State", states), Row("Prediction log", log)]
    return Dashboard("taxiway-overview", "Taxiway: overview", rows)


def endpoint() -> Dashboard:
    """Rate, errors and duration of each variant, and what a request's time is spent on."""
    by = "endpoint, variant"
    legend = "{{endpoint}} {{variant}}"
    red = [
        Panel("Rate", [Query(per_second(REQUESTS, by, _HERE), legend)], "reqps"),
        Panel("Errors", [Query(failing_share(by, _HERE), legend)], "percentunit"),
        Panel("Duration", _quantiles(SECONDS, by, legend), "s"),
    ]
    detail = [
        Panel("By code", [Query(per_second(REQUESTS, "endpoint, code", _HERE), "{{endpoint}} {{code}}")], "reqps"),
        Panel("Failures a second", [Query(failing(by, _HERE), legend)], "reqps"),
        Panel(
            "Durations",
            [Query(f"sum by (le) (increase({SECONDS}_bucket{{{_HERE}}}[$__rate_interval]))", "{{le}}")],
            kind="heatmap",
        ),
    ]
    inside = [
        Panel(
            "Phases, p99",
            [Query(quantile(0.99, _PHASES, f"{by}, phase", _HERE), f"{legend} {{{{phase}}}}")],
            "s",
            description="`queue`: the wait of a batch's oldest request, `batch_wait`: of it, for more rows. "
            "`score`: rules, features and model.",
        ),
        Panel("Rows of a batch, mean", [Query(_mean("ray_taxiway_batch_rows", by), legend)]),
        Panel(
            "Model versions that could not be loaded", [Query(_or_none("ray_taxiway_load_failures_total", by), legend)]
        ),
    ]
    load = [
        Panel("Requests under way", [Query("sum by (instance) (ray_taxiway_ongoing_requests)", "{{instance}}")]),
        Panel(
            "Rows that wait for a batch",
            [Query(_total("ray_taxiway_queue_rows", f"{by}, kind"), f"{legend} {{{{kind}}}}")],
        ),
        Panel(
            "Missing values of inputs",
            [Query(per_second("ray_taxiway_missing_inputs_total", f"{by}, column", _HERE), f"{legend} {{{{column}}}}")],
            needs="missing",
        ),
        Panel(
            "Versions that answer, replicas of each",
            [Query(f"{_total('ray_taxiway_model_info', f'{by}, version')} > 0", f"{legend} {{{{version}}}}")],
        ),
        Panel(
            "Time to load them",
            [Query(f"max by ({by}) (ray_taxiway_model_load_seconds{{{_HERE}}})", legend)],
            "s",
        ),
        Panel(
            "CPU time a second",
            [Query(per_second("ray_taxiway_cpu_seconds_total", by, _HERE), legend)],
            "s",
        ),
    ]
    shadows = [
        Panel(
            "Copies for shadows",
            [
                Query(
                    per_second("ray_taxiway_shadow_requests_total", f"{by}, outcome", _HERE),
                    f"{legend} {{{{outcome}}}}",
                )
            ],
            "reqps",
            needs="shadow",
            width=12,
        ),
        Panel(
            "Difference between shadow and live answer, mean",
            [Query(_mean("ray_taxiway_shadow_difference", f"{by}, output"), f"{legend} {{{{output}}}}")],
            needs="shadow",
            width=12,
        ),
    ]
    rows = [
        Row("Rate, errors, duration", red),
        Row("In detail", detail),
        Row("Inside", inside),
        Row("Load and versions", load),
        Row("Shadows", shadows),
    ]
    return Dashboard("taxiway-endpoint", "Taxiway: endpoint", rows, [ENDPOINT])


def _rollout_phase() -> Panel:
    query = Query("max by (endpoint) (ray_taxiway_rollout_phase)", "{{endpoint}}")
    return Panel("Rollouts", [query], needs="rollout", mappings=_PHASE_WORDS)


def _share_of_all() -> str:
    return f"(sum({failing('endpoint', window='5m')})) / sum(rate({REQUESTS}[5m]))"


def _p99_of_all() -> str:
    return f"histogram_quantile(0.99, sum by (le) (rate({SECONDS}_bucket[5m])))"


def _quantiles(metric: str, by: str, legend: str) -> list[Query]:
    return [Query(quantile(share, metric, by, _HERE), f"{legend} p{share * 100:g}") for share in (0.5, 0.95, 0.99)]


def _mean(histogram: str, by: str) -> str:
    return f"{per_second(f'{histogram}_sum', by, _HERE)} / {per_second(f'{histogram}_count', by, _HERE)}"


def _total(gauge: str, by: str) -> str:
    return f"sum by ({by}) ({gauge}{{{_HERE}}})"


def _summed(counter: str) -> str:
    return f"sum(rate({counter}[$__rate_interval]))"


def _or_none(counter: str, by: str) -> str:
    """Zero for what answers requests and has never counted."""
    return f"sum by ({by}) ({counter}{{{_HERE}}}) or 0 * sum by ({by}) ({REQUESTS}{{{_HERE}}})"
