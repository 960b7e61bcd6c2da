"""The Helm chart: what its examples render to is what Kubernetes, KubeRay, Ray and our own settings take."""

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from batch.settings import ScoreSettings
from cluster.chart_files import HERE, chart_files
from retrain.settings import RetrainSettings
from serve.settings import ListenerSettings, ServeSettings
from taxiway.settings import parse
from tests import kubernetes
from tests.helm import CHART, EXAMPLES, Manifest, helm, manifests, one, pods, ray_jobs, rendered
from tests.kuberay import broken_rules, schema_errors

GOLDEN = Path("tests/golden/chart")
OTHERS_FILES = "monitoring.dashboards=false,monitoring.rules=false"  # change with the metrics
CORE = {"v1", "apps/v1", "batch/v1", "policy/v1", "networking.k8s.io/v1", "rbac.authorization.k8s.io/v1"}
OTHERS = {"ray.io", "monitoring.coreos.com", "gateway.networking.k8s.io", "external-secrets.io"}

every_example = pytest.mark.parametrize("example", EXAMPLES)


def serve_file(example: str) -> Any:
    return yaml.safe_load(one(manifests(example), "RayService")["spec"]["serveConfigV2"])


def job_files(found: list[Manifest]) -> dict[str, Any]:
    return {name: yaml.safe_load(text) for name, text in one(found, "ConfigMap", "taxiway-jobs")["data"].items()}


@every_example
def test_helm_lint_finds_nothing(example: str) -> None:
    done = helm("lint", "--strict", str(CHART), "-f", str(CHART / "examples" / f"{example}.yaml"))
    assert done.returncode == 0, done.stdout


@every_example
@pytest.mark.parametrize("version", ["1.30", "1.34"])
def test_kubernetes_takes_every_object_and_every_pod(example: str, version: str) -> None:
    found = manifests(example)
    core = [it for it in found if it["apiVersion"].split("/")[0] not in OTHERS]
    assert {it["apiVersion"] for it in core} <= CORE | {"scheduling.k8s.io/v1"}
    for it in [*core, *pods([*found, *ray_jobs(found)])]:
        assert kubernetes.schema_errors(it, version) == []


@every_example
def test_kuberay_takes_every_ray_object(example: str) -> None:
    found = manifests(example)
    ray = [it for it in found if it["apiVersion"] == "ray.io/v1"] + ray_jobs(found)
    assert "RayService" in {it["kind"] for it in ray}
    for it in ray:
        assert broken_rules(it) == []
        assert schema_errors(it) == []


def test_the_schemas_refuse_a_misspelt_key() -> None:
    found = manifests("eks")
    pod = next(iter(pods(found)))
    pod["spec"]["container"] = []
    assert "'container' was unexpected" in str(kubernetes.schema_errors(pod, "1.34"))
    service = one(found, "RayService")
    service["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["minReplica"] = 1
    assert "'minReplica' was unexpected" in str(schema_errors(service))


@every_example
def test_ray_serve_and_our_settings_take_the_serve_file(example: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray.serve.schema import ServeDeploySchema

    monkeypatch.setenv("TAXIWAY_ADMIN_TOKEN", "a-token-of-an-administrator")
    config = serve_file(example)
    ServeDeploySchema(**config)
    settings = parse(config["applications"][0]["args"], ServeSettings, example)
    assert isinstance(settings.listener, ListenerSettings)
    assert settings.listener.host == "0.0.0.0"  # noqa: S104
    assert settings.registry.tracking_uri.startswith("http")


@every_example
def test_jobs_take_their_files(example: str) -> None:
    for name, config in job_files(manifests(example)).items():
        parse(config, RetrainSettings if "retrain" in name else ScoreSettings, name)


@every_example
def test_every_pod_fits_the_level_restricted(example: str) -> None:
    found = manifests(example)
    for pod in pods([*found, *ray_jobs(found)]):
        spec = pod["spec"]
        assert spec["securityContext"]["runAsNonRoot"]
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert not {"hostNetwork", "hostPID", "hostIPC"} & set(spec)
        for container in spec["containers"]:
            allowed = container["securityContext"]
            assert allowed["capabilities"] == {"drop": ["ALL"]}
            assert allowed["allowPrivilegeEscalation"] is False
            assert allowed["readOnlyRootFilesystem"]
            assert {"requests", "limits"} <= set(container["resources"])


@every_example
def test_every_volume_and_secret_that_a_pod_names_is_there(example: str) -> None:
    found = manifests(example)
    maps = {it["metadata"]["name"] for it in found if it["kind"] == "ConfigMap"}
    accounts = {it["metadata"]["name"] for it in found if it["kind"] == "ServiceAccount"}
    for pod in pods([*found, *ray_jobs(found)]):
        spec = pod["spec"]
        volumes = {it["name"] for it in spec.get("volumes", ())}
        assert {it["configMap"]["name"] for it in spec.get("volumes", ()) if "configMap" in it} <= maps
        assert spec.get("serviceAccountName", "taxiway-head") in accounts
        for container in spec["containers"]:
            claims = {"data"} if container["name"] in ("mlflow", "redis") else set()
            assert {it["name"] for it in container["volumeMounts"]} <= volumes | claims


@every_example
def test_no_two_objects_share_a_name(example: str) -> None:
    names = [(it["kind"], it["metadata"]["name"]) for it in manifests(example)]
    assert len(set(names)) == len(names)


def test_a_worker_is_ready_when_a_replica_answers_on_its_port() -> None:
    service = one(manifests("eks"), "RayService")["spec"]
    assert service["excludeHeadPodFromServeSvc"]
    for group in service["rayClusterConfig"]["workerGroupSpecs"]:
        container = group["template"]["spec"]["containers"][0]
        ports = {it["name"]: it["containerPort"] for it in container["ports"]}
        assert (ports["serve"], ports["serve-grpc"]) == (8000, 9000)
        assert container["readinessProbe"]["httpGet"] == {"path": "/v2/health/ready", "port": "serve"}


def test_the_same_file_as_for_serve_run_is_taken() -> None:
    arguments = ("--set-file", "serve.config=configs/flights/serve.yaml")
    there = yaml.safe_load(one(manifests("kind", *arguments), "RayService")["spec"]["serveConfigV2"])
    here = yaml.safe_load(Path("configs/flights/serve.yaml").read_text())
    assert here["applications"][0]["args"]["listener"]["host"] == "127.0.0.1"
    here["applications"][0]["args"]["listener"]["host"] = "0.0.0.0"  # noqa: S104
    here["applications"][0]["args"]["registry"] = {
        "tracking_uri": "http://taxiway-mlflow:5000",
        "artifact_location": None,
    }
    assert there == here


def test_behind_serve_the_probe_asks_serves_proxy() -> None:
    found = manifests("kind", "--set-file", "serve.config=configs/flights/behind_serve.yaml")
    container = one(found, "RayService")["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["template"]["spec"][
        "containers"
    ][0]
    assert container["readinessProbe"]["httpGet"]["path"] == "/-/healthz"
    assert {"name": "serve-grpc", "containerPort": 9000} in container["ports"]


def test_a_new_chart_version_replaces_no_cluster() -> None:
    cluster = yaml.safe_dump(one(manifests("eks"), "RayService")["spec"]["rayClusterConfig"])
    assert "helm.sh/chart" not in cluster
    assert "app.kubernetes.io/version" not in cluster


def test_other_models_or_jobs_replace_no_cluster() -> None:
    arguments = ("--set", "serve.config.applications[0].name=others", "--set", "jobs.retrain.config.model=others")
    before, after = (one(manifests("kind", *it), "RayService")["spec"] for it in ((), arguments))
    assert before["serveConfigV2"] != after["serveConfigV2"]
    assert before["rayClusterConfig"] == after["rayClusterConfig"]


def test_an_incremental_upgrade_has_a_service_for_callers_inside() -> None:
    found = manifests("gke")
    selector = one(found, "Service", "taxiway-serve-svc")["spec"]["selector"].items()
    cluster = one(found, "RayService")["spec"]["rayClusterConfig"]
    serving = [it["template"]["metadata"]["labels"].items() for it in cluster["workerGroupSpecs"]]
    others = [pod["metadata"].get("labels", {}).items() for pod in pods([cluster["headGroupSpec"], ray_jobs(found)])]
    assert all(selector <= labels for labels in serving)
    assert not any(selector <= labels for labels in others)
    assert not [it for it in manifests("eks") if it["kind"] == "Service"]


def test_the_disruption_budget_leaves_all_serving_pods_but_one() -> None:
    budget = one(manifests("eks"), "PodDisruptionBudget", "taxiway-serving")["spec"]
    assert budget["minAvailable"] == 2  # of 2 on demand and 1 with a GPU
    assert budget["selector"]["matchLabels"]["app.kubernetes.io/component"] == "serving"


def test_a_schedule_becomes_what_the_operator_can_run() -> None:
    assert one(manifests("gke"), "RayCronJob", "taxiway-retrain-weekly")["spec"]["timeZone"] == "Europe/Berlin"
    daily, hourly = (one(manifests("eks"), "CronJob", f"taxiway-score-{it}")["spec"] for it in ("daily", "hourly"))
    assert daily["jobTemplate"]["spec"]["template"]["spec"]["containers"][0]["command"][-1].endswith(
        "/score-daily.yaml"
    )
    (submits,) = hourly["jobTemplate"]["spec"]["template"]["spec"]["containers"]
    assert (
        "--address http://taxiway-head-svc:8265 -- python -m batch /etc/taxiway/jobs/score-hourly.yaml"
        in submits["args"][0]
    )


def test_the_chart_carries_the_current_dashboards_and_rules() -> None:
    assert {name: (HERE / name).read_text() for name in chart_files()} == chart_files()
    found = manifests("eks")
    rules = one(found, "PrometheusRule")["spec"]
    assert rules == yaml.safe_load((HERE / "rules.yaml").read_text())
    boards = [it for it in found if it["metadata"]["labels"].get("grafana_dashboard")]
    assert len(boards) == len(list((HERE / "dashboards").glob("*.json")))


@every_example
def test_it_renders_as_reviewed(example: str) -> None:
    """TAXIWAY_GOLDEN=write writes the files anew; look at the difference before you commit it."""
    text = re.sub(r"auth_token: .{60,}", "auth_token: RANDOM", rendered(example, "--set", OTHERS_FILES))
    path = GOLDEN / f"{example}.yaml"
    if os.environ.get("TAXIWAY_GOLDEN") == "write":
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    assert path.read_text() == text
