# What each role may do, read from the policies as they would be applied.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name       = "taxiway-test"
  kubernetes = { admins = { operators = "arn:aws:iam::123456789012:role/operators" } }
  workloads = {
    reader = { service_account = "reader", reads = ["artifacts"], writes = ["predictions"] }
  }
  github = { repository = "acme/models" }
}

run "rights" {
  command = apply

  assert {
    condition = alltrue([
      for it in jsondecode(aws_iam_role_policy.pod["reader"].policy).Statement :
      !anytrue([for action in flatten([it.Action]) : endswith(action, ":*") || action == "*"])
    ])
    error_message = "A workload may do everything of a service."
  }
  assert {
    condition = length([
      for it in jsondecode(aws_iam_role_policy.pod["reader"].policy).Statement : it if contains(flatten([it.Action]), "s3:PutObject")
    ]) == 1
    error_message = "It writes to one bucket and reads another."
  }
  assert {
    condition     = alltrue([for it in jsondecode(aws_iam_role.pod["reader"].assume_role_policy).Statement : it.Principal.Service == "pods.eks.amazonaws.com"])
    error_message = "Somebody else than this cluster's pods may take the role."
  }
  assert {
    condition = jsondecode(aws_iam_role.deployer[0].assume_role_policy).Statement[0].Condition.StringEquals["token.actions.githubusercontent.com:sub"] == [
      "repo:acme/models:environment:production", "repo:acme/models:environment:production-decide"
    ]
    error_message = "Another branch or repository may deploy."
  }
  assert {
    condition     = aws_eks_access_policy_association.deployer[0].access_scope[0].namespaces == toset(["taxiway"])
    error_message = "The deployer's rights go beyond its namespace."
  }
  assert {
    condition = alltrue([
      for it in values(aws_s3_bucket_policy.tls) : jsondecode(it.policy).Statement[0].Effect == "Deny" && jsondecode(it.policy).Statement[0].Condition.Bool["aws:SecureTransport"] == "false"
    ])
    error_message = "A bucket answers without TLS."
  }
  assert {
    condition     = jsondecode(aws_secretsmanager_secret_version.cache[0].secret_string).password == aws_elasticache_replication_group.this[0].auth_token
    error_message = "The secret holds another password than the cache has."
  }
}
