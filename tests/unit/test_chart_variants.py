"""The Helm chart beside its examples: other values, the notes, and both charts in one release."""

import shutil
from pathlib import Path

import pytest

from tests import kubernetes
from tests.helm import CHART, EXAMPLES, helm, manifests, notes, one, pods, ray_jobs
from tests.kuberay import broken_rules, schema_errors

OTHER_VALUES = [
    "auth.mode=disabled",
    "autoscaling.enabled=false",
    "image.pullSecrets[0]=mine,home.existingClaim=shared",
    "jobs=null,networkPolicy.enabled=false,priorityClasses.create=false",
    "workers.gpu.enabled=true,workers.spot.enabled=true,workers.ondemand.minReplicas=2,topologySpread.enabled=true",
]


@pytest.mark.parametrize("values", OTHER_VALUES)
def test_other_values_are_taken_too(values: str) -> None:
    found = manifests("kind", "--set", values)
    ray = [it for it in found if it["apiVersion"] == "ray.io/v1"] + ray_jobs(found)
    for it in [*(it for it in found if it not in ray), *pods([*found, *ray])]:
        assert kubernetes.schema_errors(it, "1.34") == []
    for it in ray:
        assert broken_rules(it) + schema_errors(it) == []


def test_a_replica_finds_a_gpu_in_the_pods_that_have_one() -> None:
    values = "workers.gpu.enabled=true,serve.config.applications[0].args.ingress.gpus=0.25"
    (service,) = [it for it in manifests("kind", "--set", values) if it["kind"] == "RayService"]
    groups = {it["groupName"]: it for it in service["spec"]["rayClusterConfig"]["workerGroupSpecs"]}
    assert set(groups) == {"gpu", "ondemand"}
    (container,) = groups["gpu"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"


def test_pods_take_priority_classes_that_are_there() -> None:
    found = manifests("kind", "--set", "priorityClasses.create=false,priorityClasses.existing.serving=high")
    assert not [it for it in found if it["kind"] == "PriorityClass"]
    names = {pod["spec"].get("priorityClassName") for pod in pods([it for it in found if it["kind"] == "RayService"])}
    assert names == {"high"}


@pytest.mark.parametrize("example", EXAMPLES)
def test_nothing_of_a_release_holds_up_an_uninstall_or_is_kept_by_it(example: str) -> None:
    for it in manifests(example):
        annotations = it["metadata"].get("annotations", {})
        assert annotations.get("helm.sh/hook", "test") == "test"
        assert "helm.sh/resource-policy" not in annotations
        assert "finalizers" not in it["metadata"]


@pytest.mark.parametrize(("example", "notice_s", "for_pods_s"), [("eks", 120, 110), ("gke", 30, 15)])
def test_a_pod_on_a_spot_node_drains_within_the_notice_of_its_cloud(
    example: str, notice_s: int, for_pods_s: int
) -> None:
    cluster = one(manifests(example), "RayService")["spec"]["rayClusterConfig"]
    spot = [it for it in cluster["workerGroupSpecs"] if it["labels"]["ray.io/market-type"] == "spot"]
    assert spot
    for group in spot:
        pod = group["template"]["spec"]
        drain = pod["containers"][0]["lifecycle"]["preStop"]["exec"]["command"]
        assert int(drain[-1]) <= for_pods_s
        assert int(drain[-1]) < pod["terminationGracePeriodSeconds"] <= notice_s


def test_the_notes_tell_the_next_commands(tmp_path: Path) -> None:
    told = notes(tmp_path, "--kube-version", "1.34.0", "-f", str(CHART / "examples" / "eks.yaml"))
    assert "helm -n models test taxiway" in told
    assert "get secret taxiway-external" in told
    assert "create job score-hourly-now --from=cronjob/taxiway-score-hourly" in told
    assert "https://models.example.com" in told


def test_the_chart_with_the_operator_renders(tmp_path: Path) -> None:
    """With a stand-in for the operator's chart, which is not ours to carry."""
    stand_in = tmp_path / "kuberay-operator"
    stand_in.mkdir()
    (stand_in / "Chart.yaml").write_text("{apiVersion: v2, name: kuberay-operator, version: 1.7.0}")
    both = shutil.copytree("cluster/chart-with-operator", tmp_path / "both")
    (both / "charts").mkdir()
    shutil.copytree(stand_in, both / "charts" / "kuberay-operator")
    shutil.copytree(CHART, both / "charts" / "taxiway")
    done = helm(
        "template", "taxiway", str(both), "--kube-version", "1.34.0", "--set", "taxiway.mlflow.bundled.enabled=true",
        "--set-file", "taxiway.serve.config=configs/flights/serve.yaml",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "kind: RayService" in done.stdout
