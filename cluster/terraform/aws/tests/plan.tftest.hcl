# terraform test: no account, no network; the provider's schema and checks are real, its answers are made up.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name       = "taxiway-test"
  kubernetes = { admins = { operators = "arn:aws:iam::123456789012:role/operators" } }
}

run "defaults" {
  command = plan

  assert {
    condition     = length(aws_subnet.private) == 3 && length(aws_nat_gateway.this) == 3
    error_message = "Three private subnets and three NAT gateways were expected."
  }
  assert {
    condition     = length(distinct([for it in concat(values(aws_subnet.private), values(aws_subnet.public)) : it.cidr_block])) == 6
    error_message = "Two subnets have the same addresses."
  }
  assert {
    condition     = aws_subnet.public["eu-west-1c"].cidr_block == "10.40.8.0/22" && aws_subnet.private["eu-west-1a"].cidr_block == "10.40.32.0/19"
    error_message = "Public subnets lie in the first eighth of the VPC and private ones after it."
  }
  assert {
    condition     = !aws_eks_cluster.this.vpc_config[0].endpoint_public_access
    error_message = "The API server is reached from outside, and nobody has asked for it."
  }
  assert {
    condition     = aws_eks_node_group.this["spot"].capacity_type == "SPOT" && one(aws_eks_node_group.this["spot"].taint).key == "taxiway.dev/spot"
    error_message = "The spot pool is not spot, or not tainted."
  }
  assert {
    condition     = aws_eks_node_group.this["gpu"].ami_type == "BOTTLEROCKET_x86_64_NVIDIA" && one(aws_eks_node_group.this["gpu"].taint).key == "nvidia.com/gpu"
    error_message = "The GPU pool has another image, or no taint."
  }
  assert {
    condition     = length(aws_eks_node_group.this["ondemand"].taint) == 0 && aws_eks_node_group.this["ondemand"].labels["taxiway.dev/capacity"] == "on-demand"
    error_message = "The on-demand pool is tainted, or labelled wrongly."
  }
  assert {
    condition = alltrue([
      for it in values(aws_launch_template.pool) : it.metadata_options[0].http_tokens == "required" && it.metadata_options[0].http_put_response_hop_limit == 1
    ])
    error_message = "A pod could read the node's credentials."
  }
  assert {
    condition     = toset(keys(aws_s3_bucket_versioning.this)) == toset(["artifacts", "data", "predictions"])
    error_message = "A bucket has no versions."
  }
  assert {
    condition     = alltrue([for it in values(aws_s3_bucket_public_access_block.this) : it.block_public_acls && it.block_public_policy && it.ignore_public_acls && it.restrict_public_buckets])
    error_message = "A bucket may become public."
  }
  assert {
    condition     = aws_db_instance.mlflow[0].storage_encrypted && !aws_db_instance.mlflow[0].publicly_accessible && aws_db_instance.mlflow[0].deletion_protection
    error_message = "The database is open, plain or easily deleted."
  }
  assert {
    condition     = alltrue([for it in values(aws_s3_bucket.this) : !it.force_destroy]) && !aws_ecr_repository.this.force_delete
    error_message = "A destroy would empty buckets or throw images away."
  }
  assert {
    condition     = tobool(aws_elasticache_replication_group.this[0].at_rest_encryption_enabled) && aws_elasticache_replication_group.this[0].transit_encryption_enabled
    error_message = "The cache is not encrypted."
  }
  assert {
    condition     = length(aws_budgets_budget.this) + length(aws_iam_role.deployer) == 0
    error_message = "A budget or a deployer was made that nobody has asked for."
  }
}

run "an_existing_network_without_database_and_cache" {
  command = plan

  variables {
    existing_network = { vpc_id = "vpc-1", private_subnet_ids = ["subnet-a", "subnet-b"] }
    database         = null
    cache            = null
  }
  assert {
    condition     = length(aws_vpc.this) + length(aws_subnet.private) + length(aws_eip.nat) + length(aws_vpc_endpoint.s3) == 0
    error_message = "Something of a network was made."
  }
  assert {
    condition     = aws_eks_cluster.this.vpc_config[0].subnet_ids == toset(["subnet-a", "subnet-b"])
    error_message = "The cluster isn't in the subnets that were given."
  }
  assert {
    condition     = length(aws_db_instance.mlflow) + length(aws_elasticache_replication_group.this) + length(aws_secretsmanager_secret.cache) == 0
    error_message = "A store was made that nobody has asked for."
  }
  assert {
    condition     = output.database == null && output.cache == null && output.deployer_role == null
    error_message = "An output tells of what is not there."
  }
}

run "what_can_be_asked_for" {
  command = plan

  variables {
    tags    = { Team = "planning" }
    network = { nat_per_zone = false, zones = 2 }
    storage = { predictions_days = 400 }
    budget  = { usd = 3000, emails = ["ops@example.com"] }
  }
  assert {
    condition     = length(aws_nat_gateway.this) == 1 && length(aws_route_table.private) == 2
    error_message = "Both zones are to share one NAT gateway."
  }
  assert {
    condition     = length(aws_s3_bucket_lifecycle_configuration.this["predictions"].rule) == 2 && length(aws_s3_bucket_lifecycle_configuration.this["artifacts"].rule) == 1
    error_message = "Predictions expire, and nothing else does."
  }
  assert {
    condition     = length(aws_budgets_budget.this[0].notification) == 4 && one(one(aws_budgets_budget.this[0].cost_filter).values) == "user:Project$taxiway-test"
    error_message = "The budget counts something else, or tells too seldom."
  }
  assert {
    condition = alltrue([
      for it in [aws_eks_cluster.this.tags, aws_db_instance.mlflow[0].tags, aws_elasticache_replication_group.this[0].tags, aws_nat_gateway.this["eu-west-1a"].tags] :
      it["Project"] == "taxiway-test" && it["Team"] == "planning"
    ])
    error_message = "A resource is not counted by the budget."
  }
  assert {
    condition     = alltrue([for it in aws_launch_template.pool["spot"].tag_specifications : it.tags["Project"] == "taxiway-test"])
    error_message = "Nodes or their disks are not counted by the budget."
  }
}

run "a_destroy_that_is_allowed_leaves_a_snapshot" {
  command = plan

  variables {
    database = { delete_protected = false }
  }

  assert {
    condition     = !aws_db_instance.mlflow[0].deletion_protection && !aws_db_instance.mlflow[0].skip_final_snapshot
    error_message = "Who lifts the protection to destroy would lose the registry."
  }
}
