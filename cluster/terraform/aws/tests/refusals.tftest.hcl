# What must not be planned at all.
mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  name       = "taxiway-test"
  kubernetes = { admins = { operators = "arn:aws:iam::123456789012:role/operators" } }
}

run "two_spot_types_one_subnet_an_unknown_bucket_and_a_budget_that_tells_nobody" {
  command = plan

  variables {
    pools = {
      system = { instance_types = ["m7i.large"], min = 1, max = 2 }
      spot   = { instance_types = ["c7i.large", "c6i.large"], spot = true, min = 0, max = 9 }
    }
    existing_network = { vpc_id = "vpc-1", private_subnet_ids = ["subnet-a"] }
    workloads        = { serve = { service_account = "taxiway-serve", reads = ["artefacts"] } }
    budget           = { usd = 100, emails = [] }
  }
  expect_failures = [var.pools, var.existing_network, var.workloads, var.budget]
}

run "nothing_but_spot_and_an_api_server_open_to_the_world" {
  command = plan

  variables {
    pools      = { spot = { instance_types = ["c7i.large", "c6i.large", "c5.large"], spot = true, min = 3, max = 9 } }
    kubernetes = { admins = { operators = "arn:aws:iam::123456789012:role/operators" }, public_from = ["0.0.0.0/0"] }
  }
  expect_failures = [var.pools, var.kubernetes]
}

run "min_above_max_and_nobody_who_administers" {
  command = plan

  variables {
    pools      = { system = { instance_types = ["m7i.large"], min = 3, max = 2 } }
    kubernetes = { admins = {} }
  }
  expect_failures = [var.pools, var.kubernetes]
}

run "a_name_no_bucket_can_bear_and_a_version_that_is_not_checked" {
  command = plan

  variables {
    name       = "Taxiway_Prod"
    kubernetes = { admins = { operators = "arn:aws:iam::123456789012:role/operators" }, version = "1.29" }
  }
  expect_failures = [var.name, var.kubernetes]
}
