"""The dashboards of models, of jobs, and of the cluster and what it costs."""

from cluster.observability.grafana import Dashboard, Panel, Query, Row, Variable
from cluster.observability.promql import REQUESTS, per_second
from cluster.observability.serving_boards import ENDPOINT

_HERE = '{endpoint=~"$endpoint"}'
_PHASE_WORDS = ("none", "running", "holding", "paused", "promoting", "rolling back")
_VERDICT_WORDS = ("inconclusive", "successful", "failed", "error")
_COLUMN = "{{endpoint}} {{variant}} {{group}} {{column}}"


def quality() -> Dashboard:
    """Model quality and drift: rollouts, experiments, ground truth, features."""
    rollout = [
        _by_endpoint("Phase", "ray_taxiway_rollout_phase", mappings=_PHASE_WORDS),
        _by_endpoint("Verdict of the step", "ray_taxiway_rollout_verdict", mappings=_VERDICT_WORDS),
        _by_endpoint("Share of live requests for the challenger", "ray_taxiway_rollout_weight_ratio", "percentunit"),
    ]
    experiment = [
        _by_variant("Metric", "ray_taxiway_experiment_metric"),
        _difference(),
        _by_variant("Probability to be the best", "ray_taxiway_experiment_best_probability", "percentunit"),
    ]
    answers = [
        Panel("Ground truth", [Query(_rate("ray_taxiway_ground_truth_labels_total", "outcome"), "{{outcome}}")], "ops"),
        Panel("Ground truth that waits", [Query("sum(ray_taxiway_ground_truth_backlog_labels)")]),
        Panel(
            "Difference between shadow and live answer, mean",
            [Query(_shadow_difference(), "{{endpoint}} {{variant}} {{output}}")],
            needs="shadow",
        ),
    ]
    drift = [
        Panel(
            "Distance to the reference (PSI)",
            [Query(_drift("ray_taxiway_drift_distance", 'statistic="psi"'), _COLUMN)],
            needs="drift",
        ),
        Panel(
            "Missing values: difference of the shares",
            [Query(_drift("ray_taxiway_drift_distance", 'statistic="missing_difference"'), _COLUMN)],
            "none",
            needs="drift",
        ),
        Panel("Alarms", [Query(_drift("ray_taxiway_drift_alarm"), _COLUMN)], needs="drift"),
    ]
    features = [
        Panel(
            "Age of feature views",
            [Query("max by (view) (ray_taxiway_feature_view_age_seconds)", "{{view}}")],
            "s",
            needs="features",
            width=12,
        ),
        Panel(
            "Rows read of the feature store",
            [Query(_rate("ray_taxiway_feature_rows_total", "view, outcome"), "{{view}} {{outcome}}")],
            "rowsps",
            needs="features",
            width=12,
        ),
    ]
    rows = [
        Row("Rollout", rollout),
        Row("Experiment", experiment),
        Row("Answers and ground truth", answers),
        Row("Drift", drift),
        Row("Features", features),
    ]
    return Dashboard("taxiway-quality", "Taxiway: model quality and drift", rows, [ENDPOINT])


def jobs() -> Dashboard:
    """Scoring and retraining."""
    legend = "{{model}} {{version}}"
    running = [
        Panel(
            "Progress",
            [Query("max by (model, version) (ray_taxiway_job_progress_ratio)", legend)],
            "percentunit",
            needs="job",
        ),
        Panel(
            "Rows a second",
            [Query(_rate("ray_taxiway_job_rows_total", "model, version, outcome"), f"{legend} {{{{outcome}}}}")],
            "rowsps",
            needs="job",
        ),
        Panel(
            "Rejects",
            [Query("sum by (model, code) (ray_taxiway_job_rejects_total)", "{{model}} {{code}}")],
            needs="job",
        ),
    ]
    last = [
        _last("Exit status of the last run", "taxiway_job_last_run_exit_status"),
        _last("Since the last success", "time() - taxiway_job_last_success_timestamp_seconds", "s"),
        _last("Rows of the last run", "taxiway_job_last_run_rows", legend="{{output}} {{outcome}}"),
        _last("Rejects of the last run", "taxiway_job_last_run_rejects", legend="{{output}} {{code}}"),
        _last("Duration of the last run", "taxiway_job_last_run_seconds", "s"),
    ]
    retraining = [
        _retraining("Exit status of the last retraining", "taxiway_retraining_last_run_exit_status"),
        _retraining("Since the last retraining", "time() - taxiway_retraining_last_run_timestamp_seconds", "s"),
        _retraining("Since one ended well", "time() - taxiway_retraining_last_success_timestamp_seconds", "s"),
    ]
    rows = [Row("Scoring, while it runs", running), Row("Scoring, last run", last), Row("Retraining", retraining)]
    return Dashboard("taxiway-jobs", "Taxiway: batch and retraining", rows)


def cluster() -> Dashboard:
    """Nodes, replicas, and money: what is there times the prices that are typed in at the top."""
    nodes = [
        Panel("CPU", [Query("max by (instance) (ray_node_cpu_utilization)", "{{instance}}")], "percent"),
        Panel(
            "Memory",
            [Query("max by (instance) (ray_node_mem_used) / max by (instance) (ray_node_mem_total)", "{{instance}}")],
            "percentunit",
        ),
        Panel("Free disk", [Query("min by (instance) (ray_node_disk_free)", "{{instance}}")], "bytes"),
        Panel("GPU", [Query("avg by (instance) (ray_node_gpus_utilization)", "{{instance}}")], "percent", needs="gpu"),
        Panel(
            "GPU memory that models hold",
            [Query("sum by (instance) (ray_taxiway_replica_gpu_memory_bytes)", "{{instance}}")],
            "bytes",
        ),
        Panel(
            "CPUs in use, of Ray",
            [
                Query('sum(ray_resources{Name="CPU", State="USED"})', "used"),
                Query('sum(ray_resources{Name="CPU"})', "all"),
            ],
        ),
        Panel("Object store", [Query("sum by (Location) (ray_object_store_memory)", "{{Location}}")], "bytes"),
    ]
    replicas = [
        Panel("Healthy replicas", [Query(_deployed("ray_serve_deployment_replica_healthy"), _DEPLOYMENT)], width=12),
        Panel(
            "Starts of replicas", [Query(_deployed("ray_serve_deployment_replica_starts_total"), _DEPLOYMENT)], width=12
        ),
    ]
    money = [
        Panel("An hour costs", [Query(_COST)], "none", "stat"),
        Panel("1,000 requests cost", [Query(f"{_COST} / (sum(rate({REQUESTS}[1h])) * 3.6)")], "none", "stat"),
        Panel(
            "CPUs that nobody uses",
            [Query('sum(ray_resources{Name="CPU", State="AVAILABLE"}) / sum(ray_resources{Name="CPU"})')],
            "percentunit",
            "stat",
        ),
    ]
    by_endpoint = [
        Panel("CPU seconds a second", [Query(_rate("ray_taxiway_cpu_seconds_total", "endpoint, variant"), _VARIANT)]),
        Panel(
            "Cost of an hour, at the prices of the key `cost`",
            [Query(f"3600 * {_rate('ray_taxiway_cost_total', 'endpoint, variant')}", _VARIANT)],
            "none",
            needs="cost",
        ),
        Panel(
            "Memory of the replicas",
            [Query("sum by (instance) (ray_taxiway_replica_memory_bytes)", "{{instance}}")],
            "bytes",
        ),
    ]
    prices = [
        Variable("cpu_price", "price of a CPU hour", value="0.05"),
        Variable("gpu_price", "price of a GPU hour", value="2"),
    ]
    rows = [Row("Nodes", nodes), Row("Replicas", replicas), Row("Cost", money), Row("By endpoint", by_endpoint)]
    return Dashboard("taxiway-cluster", "Taxiway: cluster and cost", rows, prices)


_VARIANT = "{{endpoint}} {{variant}}"
_DEPLOYMENT = "{{application}} {{deployment}}"
_COST = "(sum(ray_node_cpu_count) * $cpu_price + (sum(ray_node_gpus_available) * $gpu_price or vector(0)))"


def _by_endpoint(title: str, metric: str, unit: str = "short", mappings: tuple[str, ...] = ()) -> Panel:
    query = Query(f"max by (endpoint) ({metric}{_HERE})", "{{endpoint}}")
    return Panel(title, [query], unit, needs="rollout", mappings=mappings)


def _by_variant(title: str, metric: str, unit: str = "none") -> Panel:
    query = Query(f"max by (endpoint, variant) ({metric}{_HERE})", "{{endpoint}} {{variant}}")
    return Panel(title, [query], unit, needs="experiment")


def _difference() -> Panel:
    queries = [
        Query(f"max by (endpoint, variant) (ray_taxiway_experiment_difference_{end}{_HERE})", f"{{{{variant}}}} {end}")
        for end in ("low", "high")
    ]
    told = "The confidence sequence of its mean minus the control's: it holds at every moment."
    return Panel("Difference to the control", queries, "none", needs="experiment", description=told)


def _rate(counter: str, by: str) -> str:
    return per_second(counter, by)


def _drift(metric: str, where: str = "") -> str:
    matchers = ", ".join(part for part in (_HERE.strip("{}"), where) if part)
    return f"max by (endpoint, variant, group, column) ({metric}{{{matchers}}})"


def _shadow_difference() -> str:
    by, where = "endpoint, variant, output", _HERE.strip("{}")
    name = "ray_taxiway_shadow_difference"
    return f"{per_second(f'{name}_sum', by, where)} / {per_second(f'{name}_count', by, where)}"


def _last(title: str, expression: str, unit: str = "short", legend: str = "{{output}}") -> Panel:
    return Panel(title, [Query(expression, legend)], unit, needs="job")


def _retraining(title: str, expression: str, unit: str = "short") -> Panel:
    return Panel(title, [Query(expression, "{{model}}")], unit, needs="retraining")


def _deployed(metric: str) -> str:
    return f"sum by (application, deployment) ({metric})"
