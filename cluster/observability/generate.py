"""The files that Grafana, Kibana, Prometheus and Kubernetes read, as text by their path below this folder."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from cluster.observability.alerts import rules
from cluster.observability.grafana import Dashboard, dashboard_json
from cluster.observability.kibana import saved_objects
from cluster.observability.model_boards import cluster, jobs, quality
from cluster.observability.serving_boards import endpoint, overview
from cluster.observability.slo import Objectives
from taxiway.settings import load

HERE = Path(__file__).parent
_GENERATED = "# Made by `python -m cluster.observability`; change objectives.yaml or the code.\n"


def dashboards() -> tuple[Dashboard, ...]:
    """All five."""
    return overview(), endpoint(), quality(), jobs(), cluster()


def files(objectives: Objectives | None = None) -> Mapping[str, str]:
    """Every generated file."""
    wanted = objectives or load(HERE / "objectives.yaml", Objectives)
    boards = {f"{board.uid}.json": _json(dashboard_json(board)) for board in dashboards()}
    return {
        **{f"grafana/dashboards/{name}": text for name, text in boards.items()},
        "elastic/kibana.ndjson": saved_objects(),
        "prometheus/rules.yaml": _GENERATED + _yaml(rules(wanted)),
        "kubernetes/dashboards.yaml": _GENERATED + "---\n".join(_yaml(it) for it in _config_maps(boards)),
        "kubernetes/rules.yaml": _GENERATED + _yaml(_prometheus_rule(rules(wanted))),
    }


def _config_maps(boards: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    """One for each: a ConfigMap holds a megabyte. Grafana's sidecar finds them by the label."""
    for name, text in boards.items():
        metadata = {"name": name.removesuffix(".json"), "labels": {"grafana_dashboard": "1"}}
        yield {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {name: text}}


def _prometheus_rule(found: dict[str, Any]) -> dict[str, Any]:
    kind = {"apiVersion": "monitoring.coreos.com/v1", "kind": "PrometheusRule"}
    return {**kind, "metadata": {"name": "taxiway", "labels": {"release": "prometheus"}}, "spec": found}


def _json(value: Any) -> str:
    return json.dumps(value, indent=1) + "\n"


def _yaml(value: Any) -> str:
    return str(yaml.safe_dump(value, sort_keys=False, width=10_000))
