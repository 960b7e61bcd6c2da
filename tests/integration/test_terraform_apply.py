"""The AWS module applied to moto: what moto knows is made, is as it should be, and goes again.

Moto knows no add-ons, access entries and Pod Identity, no parameter groups of ElastiCache, no subscribers of budgets.
What depends on them (node groups, the cache, the budget) is only planned, in cluster/terraform/aws/tests.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import boto3
import pytest
from moto.server import ThreadedMotoServer

from tests.terraform import initialised, run

NAME = "taxiway-test"
MADE = (
    "aws_db_instance.mlflow",
    "aws_ecr_lifecycle_policy.this",
    "aws_eks_cluster.this",
    "aws_iam_role_policy.deployer",
    "aws_iam_role_policy.pod",
    "aws_kms_alias.this",
    "aws_launch_template.pool",
    "aws_route_table_association.private",
    "aws_route_table_association.public",
    "aws_s3_bucket_lifecycle_configuration.this",
    "aws_s3_bucket_ownership_controls.this",
    "aws_s3_bucket_policy.tls",
    "aws_s3_bucket_server_side_encryption_configuration.this",
    "aws_vpc_endpoint.s3",
)
PROVIDER = """
provider "aws" {
  region                      = "eu-west-1"
  max_retries                 = 2
  s3_use_path_style           = true
  skip_credentials_validation = true
  skip_metadata_api_check     = true
}
"""
VARIABLES = {
    "name": NAME,
    "kubernetes": {"admins": {"operators": "arn:aws:iam::123456789012:role/operators"}},
    "github": {"repository": "acme/models"},
    "budget": {"usd": 100, "emails": ["ops@example.com"]},
    "workloads": {"reader": {"service_account": "reader", "reads": ["artifacts"], "writes": ["predictions"]}},
}


@pytest.fixture(scope="module")
def aws() -> Iterator[dict[str, str]]:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    with pytest.MonkeyPatch.context() as around:
        around.setenv("MOTO_IAM_LOAD_MANAGED_POLICIES", "true")
        server.start()
        host, port = server.get_host_and_port()
        yield {
            "AWS_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "testing",
            "AWS_SECRET_ACCESS_KEY": "testing",
            "AWS_DEFAULT_REGION": "eu-west-1",
        }
        server.stop()


@pytest.fixture(scope="module")
def applied(aws: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    module = initialised("aws", tmp_path_factory.mktemp("applied"))
    (module / "provider.tf").write_text(PROVIDER)
    (module / "terraform.tfvars.json").write_text(json.dumps(VARIABLES))
    run("terraform", "apply", "-auto-approve", "-input=false", "-no-color", *targets(), cwd=module, env=aws)
    return module


def targets(addresses: Sequence[str] = MADE) -> list[str]:
    return [f"-target={address}" for address in addresses]


def client(aws: dict[str, str], service: str) -> Any:
    return boto3.client(
        service,
        endpoint_url=aws["AWS_ENDPOINT_URL"],
        region_name="eu-west-1",
        aws_access_key_id="testing",
        aws_secret_access_key=aws["AWS_SECRET_ACCESS_KEY"],
    )


def test_what_was_made_is_as_it_should_be(aws: dict[str, str], applied: Path) -> None:
    assert client(aws, "eks").describe_cluster(name=NAME)["cluster"]["version"] == "1.33"
    s3 = client(aws, "s3")
    for bucket in ("artifacts", "data", "predictions"):
        rules = s3.get_bucket_encryption(Bucket=f"{NAME}-{bucket}-123456789012")["ServerSideEncryptionConfiguration"]
        assert rules["Rules"][0]["ApplyServerSideEncryptionByDefault"]["SSEAlgorithm"] == "aws:kms"
    database = client(aws, "rds").describe_db_instances(DBInstanceIdentifier=f"{NAME}-mlflow")["DBInstances"][0]
    assert database["StorageEncrypted"]
    assert not database["PubliclyAccessible"]


def test_a_pod_may_write_its_own_bucket_and_only_read_the_other(aws: dict[str, str], applied: Path) -> None:
    policy = client(aws, "iam").get_role_policy(RoleName=f"{NAME}-reader", PolicyName="what-it-needs")
    writes = {
        statement["Resource"]
        for statement in policy["PolicyDocument"]["Statement"]
        if "s3:PutObject" in statement["Action"]
    }
    assert writes == {f"arn:aws:s3:::{NAME}-predictions-123456789012/*"}


def test_a_second_plan_of_network_and_buckets_changes_nothing(aws: dict[str, str], applied: Path) -> None:
    """Of others moto forgets attributes, such as how the cluster was begun."""
    kept = [address for address in MADE if address.startswith(("aws_route", "aws_s3", "aws_vpc", "aws_ecr", "aws_kms"))]
    run("terraform", "plan", "-detailed-exitcode", "-input=false", "-no-color", *targets(kept), cwd=applied, env=aws)


def test_a_destroy_stops_at_what_is_protected_and_leaves_a_snapshot_when_it_may_go_on(
    aws: dict[str, str], applied: Path
) -> None:
    s3, rds, bucket = client(aws, "s3"), client(aws, "rds"), f"{NAME}-artifacts-123456789012"
    s3.delete_bucket_policy(Bucket=bucket)  # it asks for TLS, which moto has not
    for body in (b"first", b"second"):
        s3.put_object(Bucket=bucket, Key="model", Body=body)
    kept = targets(["aws_db_instance.mlflow", "aws_s3_bucket.this"])
    quietly = ("-auto-approve", "-input=false", "-no-color", "-refresh=false", *kept)
    with pytest.raises(AssertionError, match="disable deletion protection"):
        run("terraform", "destroy", *quietly, cwd=applied, env=aws)
    assert len(s3.list_object_versions(Bucket=bucket)["Versions"]) == 2

    lifted = VARIABLES | {"database": {"delete_protected": False}, "storage": {"force_destroy": True}}
    (applied / "terraform.tfvars.json").write_text(json.dumps(lifted))
    run("terraform", "apply", *quietly, cwd=applied, env=aws)
    run("terraform", "destroy", *quietly, cwd=applied, env=aws)
    assert s3.list_buckets()["Buckets"] == []
    assert rds.describe_db_instances()["DBInstances"] == []
    assert [it["DBSnapshotIdentifier"] for it in rds.describe_db_snapshots()["DBSnapshots"]] == [f"{NAME}-mlflow-last"]
