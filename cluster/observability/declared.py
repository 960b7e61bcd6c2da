"""The metrics that Taxiway declares and those of Ray that are used here; Ray itself is not imported."""

import ast
import re
from collections.abc import Iterable
from pathlib import Path

TELEMETRY = Path(__file__).parents[2] / "taxiway" / "telemetry"
RAY_PREFIX = "ray_"
PROMETHEUS = frozenset({"up"})
RAY = frozenset(
    {
        "cluster_active_nodes",
        "node_cpu_count",
        "node_cpu_utilization",
        "node_disk_free",
        "node_disk_usage",
        "node_gpus_available",
        "node_gpus_utilization",
        "node_mem_total",
        "node_mem_used",
        "object_store_memory",
        "resources",
        "serve_deployment_replica_healthy",
        "serve_deployment_replica_starts",
        "serve_deployment_status",
        "serve_health_check_failures_total",
    }
)
"""As Ray declares them: its agent adds the prefix, and `_total` to a counter that does not end so."""
_NAME = re.compile(r"taxiway_[a-z0-9_]+")
_SERIES = ("_bucket", "_count", "_sum", "_total")
_WORD = re.compile(r'"[^"]*"|\[[^\]]*\]|\b(?:by|on|without|ignoring|group_left)\s*\([^)]*\)|[a-zA-Z_][a-zA-Z0-9_:]*')
_METRIC = re.compile(r"(ray_|taxiway_)[a-z0-9_]+|up")


def declared(folder: Path = TELEMETRY) -> frozenset[str]:
    """The names in the files that declare metrics, without a prefix."""
    return frozenset(
        node.value
        for path in folder.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _NAME.fullmatch(node.value)
    )


def used(expression: str) -> frozenset[str]:
    """The metrics that a PromQL expression reads; recorded ones, whose names have colons, are not among them."""
    return frozenset(word for word in _WORD.findall(expression) if _METRIC.fullmatch(word))


def unknown(expressions: Iterable[str]) -> frozenset[str]:
    """What is read and nobody declares."""
    ours = declared()
    exported = {f"{RAY_PREFIX}{name}" for name in ours | RAY} | ours | PROMETHEUS
    return frozenset(
        name for one in expressions for name in used(one) if not (name in exported or _base(name) in exported)
    )


def _base(name: str) -> str:
    return next((name.removesuffix(end) for end in _SERIES if name.endswith(end)), name)
