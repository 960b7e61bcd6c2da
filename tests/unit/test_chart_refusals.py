"""Values that the Helm chart refuses: unknown keys by its schema, impossible combinations by its checks."""

import pytest

from tests.helm import CHART, helm, template

BAD = {
    "an unknown key": (["--set", "workers.ondemand.minReplica=2"], "minReplica"),
    "an unknown top key": (["--set", "autoscale.enabled=true"], "autoscale"),
    "an unknown choice": (["--set", "serve.upgrade.type=Rolling"], "serve.upgrade.type"),
    "no serve file": (["--set-string", "serve.config="], "serve.config: is empty"),
    "a serve file that is no YAML": (["--set-string", "serve.config=a: [b"], "serve.config: is not YAML"),
    "no registry": (["--set", "mlflow.bundled.enabled=false"], "mlflow.trackingUri: serve.config.applications[0].args"),
    "an incremental upgrade without autoscaling": (
        ["--set", "serve.upgrade.type=NewClusterWithIncrementalUpgrade,autoscaling.enabled=false"],
        "serve.upgrade.type: NewClusterWithIncrementalUpgrade moves capacity with the autoscaler; set autoscaling",
    ),
    "an incremental upgrade without a gateway": (
        ["--set", "serve.upgrade.type=NewClusterWithIncrementalUpgrade"],
        "serve.upgrade.gatewayClassName",
    ),
    "two routes to an incremental upgrade": (
        ["--set", "serve.upgrade.type=NewClusterWithIncrementalUpgrade,serve.upgrade.gatewayClassName=eg"],
        "expose.type: with the incremental upgrade",
    ),
    "a fraction of a GPU that nobody has": (
        ["--set", "serve.config.applications[0].args.ingress.gpus=0.25"],
        "set workers.gpu.enabled to true",
    ),
    "two applications on one port": (
        ["--set", "serve.config.applications[1].args.listener.port=8000"],
        "serve.config.applications: an application that listens itself is alone",
    ),
    "a floor above the ceiling": (["--set", "workers.ondemand.minReplicas=9"], "workers.ondemand.minReplicas: is more"),
    "nowhere to serve": (["--set", "workers.ondemand.enabled=false"], "set workers.ondemand.enabled to true"),
    "workers of a shared cluster": (["--set", "jobs.retrain.cluster=shared"], "jobs.retrain.workers"),
    "a job without a module": (["--set", "jobs.score.config.model=m"], "module is required"),
    "two registries": (["--set", "mlflow.trackingUri=http://m:5000"], "mlflow.trackingUri: mlflow.bundled.enabled"),
    "priority classes of others and of our own": (
        ["--set", "priorityClasses.existing.batch=low"],
        "priorityClasses.existing: priorityClasses.create",
    ),
    "fault tolerance without Redis": (
        ["--set", "gcsFaultTolerance.enabled=true,redis.bundled.enabled=false"],
        "gcsFaultTolerance.redisAddress",
    ),
    "TLS without a name": (["--set", "expose.tls.enabled=true,expose.host="], "expose.host: TLS needs the name"),
    "a variable that KubeRay refuses": (["--set", "env.REDIS_PASSWORD=x"], "env"),
    "a secret in plain text": (["--set", "secrets.env.TOKEN=abc"], "secrets.env.TOKEN"),
}


@pytest.mark.parametrize("case", BAD)
def test_it_is_refused_with_a_sentence_that_names_the_key(case: str) -> None:
    arguments, sentence = BAD[case]
    done = template("-f", str(CHART / "examples" / "kind.yaml"), *arguments)
    assert done.returncode != 0
    assert sentence in done.stderr


def test_lint_without_values_finds_nothing() -> None:
    assert helm("lint", "--strict", str(CHART)).returncode == 0
