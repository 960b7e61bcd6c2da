"""KubeRay's own judgement of its objects: the schemas of its CRDs, and rules that the operator has in code.

The CRDs are data that the project does not carry: TAXIWAY_KUBERAY_CRDS names their folder.
"""

import os
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import jsonschema  # type: ignore[import-untyped]
import pytest
import yaml

_FOLDER = Path(os.environ.get("TAXIWAY_KUBERAY_CRDS", "../shared/kuberay-crds"))
_ANNOTATIONS = ("default", "description", "format")


@cache
def validator(kind: str) -> jsonschema.Draft7Validator:
    """Of one kind, version v1; a key that its CRD does not have is an error."""
    path = _FOLDER / f"ray.io_{kind.lower()}s.yaml"
    if not path.is_file():
        pytest.skip(f"no CRD of {kind}: set TAXIWAY_KUBERAY_CRDS to a folder with {path.name} of KubeRay 1.7")
    # Only the text of version v1 is parsed: a file has half a megabyte.
    (text,) = [
        it for it in path.read_text().split("\n  versions:\n  - ")[1].split("\n  - ") if "\n    name: v1\n" in it
    ]
    schema = yaml.load("    " + text, yaml.CSafeLoader)["schema"]["openAPIV3Schema"]
    return jsonschema.Draft7Validator(_strict(schema))


def _strict(node: Any) -> Any:
    """As the API server reads it with strict field validation."""
    if isinstance(node, list):
        return [_strict(it) for it in node]
    if not isinstance(node, dict):
        return node
    schema = {key: it for key, it in node.items() if key not in _ANNOTATIONS and not key.startswith("x-kubernetes")}
    if "properties" in node:
        schema["properties"] = {key: _strict(it) for key, it in node["properties"].items()}
        if not node.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties", "anyOf", "allOf", "oneOf"):
        if key in node:
            schema[key] = _strict(node[key])
    return schema


def schema_errors(manifest: dict[str, Any]) -> list[str]:
    """Where it breaks its CRD's schema."""
    return [
        f"{'.'.join(str(part) for part in error.path)}: {error.message}"
        for error in validator(manifest["kind"]).iter_errors(manifest)
    ]


def broken_rules(manifest: dict[str, Any]) -> list[str]:
    """What the operator would refuse: its `validation.go`, for the keys that our chart writes."""
    kind, spec, name = manifest["kind"], manifest["spec"], manifest["metadata"].get("name", "")
    broken = [f"the name {name} is longer than {longest}" for longest in (_LONGEST[kind],) if len(name) > longest]
    if kind == "RayService":
        return broken + list(_service(spec)) + list(_cluster(spec["rayClusterConfig"]))
    return broken + list(_job(spec["jobTemplate"] if kind == "RayCronJob" else spec))


# A RayCronJob gives its RayJobs its own name and six characters.
_LONGEST = {"RayService": 41, "RayJob": 47, "RayCronJob": 41}


def _service(spec: dict[str, Any]) -> Iterator[str]:
    strategy = spec["upgradeStrategy"]
    if strategy["type"] not in ("NewCluster", "NewClusterWithIncrementalUpgrade", "None"):
        yield f"upgradeStrategy.type {strategy['type']}"
    if strategy["type"] == "NewClusterWithIncrementalUpgrade":
        options = strategy["clusterUpgradeOptions"]
        if not spec["rayClusterConfig"].get("enableInTreeAutoscaling"):
            yield "an incremental upgrade without autoscaling"
        if not options["gatewayClassName"]:
            yield "an incremental upgrade without gatewayClassName"
        if not 0 <= options["stepSizePercent"] <= options["maxSurgePercent"] <= 100:
            yield "stepSizePercent, maxSurgePercent"
        if options["intervalSeconds"] <= 0:
            yield "intervalSeconds"


def _job(spec: dict[str, Any]) -> Iterator[str]:
    if spec.get("ttlSecondsAfterFinished", 0) and not spec.get("shutdownAfterJobFinishes"):
        yield "ttlSecondsAfterFinished without shutdownAfterJobFinishes"
    if spec.get("activeDeadlineSeconds", 1) <= 0 or spec.get("backoffLimit", 0) < 0:
        yield "activeDeadlineSeconds, backoffLimit"
    yield from _cluster(spec["rayClusterSpec"])


def _cluster(spec: dict[str, Any]) -> Iterator[str]:
    groups = [spec["headGroupSpec"], *spec["workerGroupSpecs"]]
    container = groups[0]["template"]["spec"]["containers"][0]
    refused = {"REDIS_PASSWORD", "REDIS_USERNAME", "RAY_REDIS_ADDRESS", "RAY_enable_autoscaler_v2"}
    if refused & {it["name"] for it in container["env"]}:
        yield "environment of the head"
    if spec.get("enableInTreeAutoscaling") and spec["autoscalerOptions"]["version"] == "v2":
        if {it["template"]["spec"].get("restartPolicy", "Never") for it in groups} != {"Never"}:
            yield "restartPolicy with autoscaler v2"
    elif any("minReplicas" not in it or "maxReplicas" not in it for it in groups[1:]):
        yield "minReplicas and maxReplicas without autoscaling"
    for it in groups:
        if it.get("resources") and {"num-cpus", "num-gpus", "memory", "resources"} & set(it["rayStartParams"]):
            yield "resources in two places"
        if "labels" in it["rayStartParams"]:
            yield "labels in rayStartParams"
