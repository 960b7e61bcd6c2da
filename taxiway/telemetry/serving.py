"""What an ingress replica exports, declared once; Ray's agent exposes it with the prefix `ray_`.

Labels: endpoint and variant (configured names, or `-`), code, outcome, phase, protocol and kind (closed lists), node,
output and column (names of a graph and of a signature), view (of the feature store), version (of the registry).
"""

from ray.util.metrics import Counter, Gauge

from taxiway.telemetry.buckets import Buckets

LATENCY_S = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)
LOAD_S = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 4096, 16384)
DIFFERENCES = (1e-9, 1e-6, 1e-4, 1e-3, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 10.0, 100.0)
VARIANT = ("endpoint", "variant")


def counters() -> dict[str, Counter]:
    return {
        "requests": Counter("taxiway_requests_total", "Requests answered.", (*VARIANT, "code")),
        "loads": Counter("taxiway_load_failures_total", "Model versions that could not be loaded.", VARIANT),
        "shadows": Counter("taxiway_shadow_requests_total", "Copies for shadows.", (*VARIANT, "outcome")),
        "features": Counter("taxiway_feature_rows_total", "Rows read from the feature store.", ("view", "outcome")),
        "unknown": Counter(
            "taxiway_feature_missing_rows_total", "Rows of which the feature store knew nothing.", ("view",)
        ),
        "missing": Counter(
            "taxiway_missing_inputs_total",
            "Missing values of what models were given, features included; counted where a prediction log, a rollout, "
            "an experiment or drift is on.",
            (*VARIANT, "column"),
        ),
        "model_loads": Counter(
            "taxiway_multiplexed_loads_total",
            "Models of a multiplexed endpoint that were looked up; outcome: loaded, current, unknown or failed.",
            ("endpoint", "outcome"),
        ),
        "evictions": Counter(
            "taxiway_multiplexed_evictions_total",
            "Models of a multiplexed endpoint that made room for another.",
            ("endpoint",),
        ),
        "registry": Counter(
            "taxiway_feature_registry_failures_total", "Feast's registry did not say how fresh the views are."
        ),
    } | costs()


def costs() -> dict[str, Counter]:
    """Of whatever computes for variants: ingress replicas, and replicas of dedicated ones."""
    return {
        "cpu": Counter(
            "taxiway_cpu_seconds_total",
            "CPU time of the process: of a dedicated variant's replica all of it, of an ingress replica shared out by "
            "the time that models took; `-` while nobody asked.",
            VARIANT,
        ),
        "gpu": Counter(
            "taxiway_gpu_seconds_total", "GPUs that the replica holds times seconds, shared out likewise.", VARIANT
        ),
        "cost": Counter("taxiway_cost_total", "CPU and GPU seconds at the prices of the key `cost`.", VARIANT),
    }


def gauges() -> dict[str, Gauge]:
    return {
        "age": Gauge(
            "taxiway_feature_view_age_seconds",
            "Since the moment up to which the online store was filled; nothing while it never was.",
            ("view",),
        ),
        "stale": Gauge(
            "taxiway_feature_view_stale", "1 when all features of the view have outlived its time to live.", ("view",)
        ),
        "ongoing": Gauge("taxiway_ongoing_requests", "Requests between arrival and answer."),
        "queued": Gauge("taxiway_queue_rows", "Rows that wait for a batch; kind: live or shadow.", (*VARIANT, "kind")),
        "version": Gauge(
            "taxiway_model_info", "1 for the version that answers, 0 for what did.", (*VARIANT, "version")
        ),
        "load_s": Gauge("taxiway_model_load_seconds", "To load and warm up the version that answers.", VARIANT),
        "models": Gauge("taxiway_multiplexed_models", "Models of a multiplexed endpoint in memory.", ("endpoint",)),
        "draining": Gauge("taxiway_replica_draining", "1 while the replica is going away, else 0."),
    } | memory()


def memory() -> dict[str, Gauge]:
    """Of whatever computes for variants."""
    return {
        "memory": Gauge("taxiway_replica_memory_bytes", "Resident memory of the process."),
        "gpu_memory": Gauge("taxiway_replica_gpu_memory_bytes", "GPU memory that PyTorch holds for the process."),
    }


def histograms() -> dict[str, Buckets]:
    return {
        "latency": Buckets(
            "taxiway_request_duration_seconds",
            "From a request's last byte to its answer.",
            LATENCY_S,
            (*VARIANT, "protocol"),
        ),
        "phases": Buckets(
            "taxiway_phase_duration_seconds",
            "Parts of a batch: `queue` is the wait of its oldest request, `batch_wait` how long of it the batch was "
            "held open for more rows where `batch_wait_s` is set; `score` is rules, features and model, "
            "`features` the reading of features and `inference` the model within it; `encode` is of one answer.",
            LATENCY_S,
            (*VARIANT, "phase"),
        ),
        "nodes": Buckets(
            "taxiway_node_duration_seconds",
            "One call of a node of a graph.",
            LATENCY_S,
            (*VARIANT, "node", "outcome"),
        ),
        "load": Buckets(
            "taxiway_multiplexed_load_seconds",
            "Of a model of a multiplexed endpoint, from the first request for it to its answer, the wait for a thread "
            "included.",
            LOAD_S,
            ("endpoint",),
        ),
        "rows": Buckets("taxiway_batch_rows", "Rows of one call of the model.", ROWS, VARIANT),
        "differences": Buckets(
            "taxiway_shadow_difference",
            "Of one request: mean absolute difference of a numeric output, share of other values that differ.",
            DIFFERENCES,
            (*VARIANT, "output"),
        ),
    }
