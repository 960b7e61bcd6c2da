"""Terraform, CloudFormation and pipelines: valid, and in step with the chart and with each other."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.terraform import FOLDER as TERRAFORM
from tests.terraform import initialised, run

ROOT = Path(__file__).parents[2]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
GITLAB = ROOT / "cluster" / "ci" / "gitlab-ci.yml"
JENKINS = ROOT / "cluster" / "ci" / "Jenkinsfile"
TEMPLATES = sorted((ROOT / "cluster" / "cloudformation").glob("*.yaml"))
PIPELINES = [*WORKFLOWS, GITLAB, JENKINS]


def test_terraform_files_are_in_the_usual_form() -> None:
    run("terraform", "fmt", "-check", "-recursive", str(TERRAFORM))


def test_the_aws_module_is_valid_and_plans_what_it_promises(tmp_path: Path) -> None:
    module = initialised("aws", tmp_path)
    run("terraform", "validate", cwd=module)
    told = run("terraform", "test", "-no-color", cwd=module)
    assert re.search(r"Success! (\d+) passed, 0 failed", told)


def test_the_aws_example_is_valid(tmp_path: Path) -> None:
    run("terraform", "validate", cwd=initialised("examples/aws", tmp_path))


def test_cloudformation_templates_are_clean() -> None:
    run("cfn-lint", *map(str, TEMPLATES))


@pytest.mark.parametrize(("schema", "files"), [("github-workflows", WORKFLOWS), ("gitlab-ci", [GITLAB])])
def test_pipelines_follow_their_schemas(schema: str, files: list[Path]) -> None:
    run("check-jsonschema", "--builtin-schema", f"vendor.{schema}", *map(str, files))


class _Template(yaml.SafeLoader):
    """CloudFormation's short forms (`!Ref`) as plain values."""


def _short_form(loader: yaml.SafeLoader, _: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    return loader.construct_sequence(node) if isinstance(node, yaml.SequenceNode) else None


_Template.add_multi_constructor("!", _short_form)


def template(name: str) -> Any:
    text = (ROOT / "cluster" / "cloudformation" / f"{name}.yaml").read_text()
    return yaml.load(text, _Template)  # noqa: S506 - a SafeLoader


def test_an_output_of_one_template_is_a_parameter_of_the_next() -> None:
    told = {**template("network")["Outputs"], **template("cluster")["Outputs"]}
    asked = {**template("cluster")["Parameters"], **template("stores")["Parameters"]}
    wired = {"VpcId", "PrivateSubnetIds", "SecurityGroupId", "KeyArn"}
    assert wired <= told.keys() & asked.keys()


def test_templates_fit_into_one_call() -> None:
    """A template that is given as text may have 51,200 bytes."""
    assert max(path.stat().st_size for path in TEMPLATES) <= 51_200


def taints_of_terraform() -> set[str]:
    text = (TERRAFORM / "aws" / "nodes.tf").read_text()
    return set(re.findall(r'\{ "([a-z./]+)" = "(?:true|present)" \}', text))


def test_both_descriptions_of_aws_taint_alike() -> None:
    groups = [it for it in template("cluster")["Resources"].values() if it["Type"] == "AWS::EKS::Nodegroup"]
    taints = {taint["Key"] for group in groups for taint in group["Properties"].get("Taints", [])}
    assert taints == taints_of_terraform() == {"taxiway.dev/spot", "nvidia.com/gpu"}


@pytest.mark.parametrize(("cloud", "taint"), [("eks", "taxiway.dev/spot"), ("gke", "cloud.google.com/gke-spot")])
def test_the_charts_pods_tolerate_the_taint_of_the_spot_pool(cloud: str, taint: str) -> None:
    values = yaml.safe_load((ROOT / "cluster" / "chart" / "examples" / f"{cloud}.yaml").read_text())
    assert taint in {it["key"] for it in values["workers"]["spot"]["tolerations"]}


@pytest.mark.parametrize("module", ["aws", "gcp"])
def test_rights_belong_to_the_service_accounts_of_the_chart(module: str) -> None:
    accounts = set(re.findall(r'service_account = "(taxiway-\w+)"', (TERRAFORM / module / "variables.tf").read_text()))
    made = (ROOT / "cluster" / "chart" / "templates" / "accounts.yaml").read_text()
    suffixes = set(re.findall(r'"suffix" "(\w+)"', made))
    assert {"taxiway-head", "taxiway-workers"} <= accounts
    assert {"head", "workers"} <= suffixes


def workflow(path: Path) -> Any:
    return yaml.safe_load(path.read_text())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_workflow_starts_with_reading_rights_only(path: Path) -> None:
    found = workflow(path)["permissions"]
    assert found["contents"] == "read"
    assert {name for name, right in found.items() if right == "write"} <= {"id-token"}


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_every_job_has_a_time_limit(path: Path) -> None:
    assert all("timeout-minutes" in job for job in workflow(path)["jobs"].values())


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_a_step_with_credentials_uses_nothing_that_may_change(path: Path) -> None:
    """Actions are pinned to a commit; Docker's own are by their major version, in jobs without a cluster."""
    used = re.findall(r"uses: (\S+)@(\S+)", path.read_text())
    moving = {name for name, version in used if not re.fullmatch(r"[0-9a-f]{40}", version)}
    assert all(name.startswith("docker/") for name in moving)
    assert path.stem != "deploy" or not moving


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)
def test_what_users_type_reaches_a_shell_as_a_variable(path: Path) -> None:
    """`${{ inputs.version }}` inside `run` would be a way to run anything."""
    steps = [step for job in workflow(path)["jobs"].values() for step in job["steps"]]
    assert not [
        step for step in steps if re.search(r"\$\{\{\s*(inputs|github\.(event|head_ref|ref_name))", step.get("run", ""))
    ]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_a_pipeline_names_files_and_targets_that_exist(path: Path) -> None:
    text = path.read_text()
    targets = set(re.findall(r"^([a-z]+):.*##", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert set(re.findall(r"(?:run: |script: |- |sh ')make ([a-z]+)", text)) <= targets
    named = set(re.findall(r"cluster/(?:ci|chart|terraform|cloudformation)/[\w/.-]*\w", text))
    assert not [name for name in named if not (ROOT / name).exists()]


@pytest.mark.parametrize("path", PIPELINES, ids=lambda path: path.name)
def test_no_pipeline_holds_a_key(path: Path) -> None:
    assert not re.search(
        r"AKIA[0-9A-Z]{16}|aws_secret_access_key|BEGIN [A-Z ]*PRIVATE KEY", path.read_text(), re.IGNORECASE
    )
