"""What KubeRay's operator and a kubelet make of the chart's pods, done with podman: commands, volumes, environment.

The commands are those of KubeRay 1.7 (`generateRayStartCommand`, `setMissingRayStartParams`).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.helm import Manifest, one

METRICS_PORT = "8080"
AGENT_PORT = "52365"


@dataclass(frozen=True)
class Node:
    """A container as podman takes it."""

    image: str
    options: tuple[str, ...]
    command: tuple[str, ...]


@dataclass(frozen=True)
class Around:
    """What the pods find outside themselves.

    Attributes:
        claims: folder of each PersistentVolumeClaim.
        configs: where ConfigMaps are written.
    """

    network: str
    token: str
    claims: Mapping[str, Path]
    configs: Path


def head(found: list[Manifest], around: Around) -> Node:
    """The head's pod of the RayService."""
    group = one(found, "RayService")["spec"]["rayClusterConfig"]["headGroupSpec"]
    return _node(found, group, around, {"head": "true"})


def worker(found: list[Manifest], around: Around, address: str) -> Node:
    """One pod of the first group of workers; `address` is the head's, with its port."""
    (group,) = one(found, "RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    return _node(found, group, around, {"address": address})


def _node(found: list[Manifest], group: Manifest, around: Around, parameters: dict[str, str]) -> Node:
    pod = group["template"]["spec"]
    (container,) = pod["containers"]
    limits = container["resources"]["limits"]
    start = {"num-cpus": str(limits["cpu"])} | parameters | group["rayStartParams"]
    start |= {"metrics-export-port": METRICS_PORT, "dashboard-agent-listen-port": AGENT_PORT, "block": "true"}
    flags = " ".join(f"--{key}" if value == "true" else f"--{key}={value}" for key, value in start.items())
    options = (
        f"--network={around.network}",
        *_security(pod["securityContext"], container["securityContext"]),
        *_environment(container["env"], around.token),
        *_volumes(found, pod["volumes"], container["volumeMounts"], around),
        "--shm-size=1g",  # KubeRay mounts memory there
        "--no-healthcheck",
    )
    return Node(container["image"], options, ("/bin/bash", "-c", "--", f"ulimit -n 65536; ray start {flags}"))


def _security(pod: Manifest, container: Manifest) -> tuple[str, ...]:
    assert pod["runAsNonRoot"]
    assert container["readOnlyRootFilesystem"]
    assert not container["allowPrivilegeEscalation"]
    dropped = (f"--cap-drop={it}" for it in container["capabilities"]["drop"])
    user = f"--user={pod['runAsUser']}:{pod['runAsGroup']}"
    return (user, "--read-only", "--read-only-tmpfs=false", "--security-opt=no-new-privileges", *dropped)


def _environment(variables: list[dict[str, str]], token: str) -> tuple[str, ...]:
    of_the_operator = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": token}
    of_the_chart = {it["name"]: it["value"] for it in variables}
    return tuple(f"--env={name}={value}" for name, value in (of_the_chart | of_the_operator).items())


def _volumes(
    found: list[Manifest], volumes: list[Manifest], mounts: list[dict[str, Any]], around: Around
) -> tuple[str, ...]:
    by_name = {it["name"]: it for it in volumes}
    return tuple(_mounted(found, by_name[it["name"]], str(it["mountPath"]), around) for it in mounts)


def _mounted(found: list[Manifest], volume: Manifest, path: str, around: Around) -> str:
    if "emptyDir" in volume:
        return f"--tmpfs={path}:rw,exec,mode=1777"
    if claim := volume.get("persistentVolumeClaim"):
        return f"--volume={around.claims[claim['claimName']]}:{path}"
    folder = around.configs / str(volume["configMap"]["name"])
    if not folder.exists():
        folder.mkdir()
        for name, text in one(found, "ConfigMap", folder.name)["data"].items():
            (folder / name).write_text(text)
    return f"--volume={folder}:{path}:ro"
