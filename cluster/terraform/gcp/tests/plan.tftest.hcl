mock_provider "google" {}

variables {
  project    = "acme-ml"
  region     = "europe-west1"
  name       = "taxiway-test"
  kubernetes = { public_from = { office = "203.0.113.0/24" } }
}

run "nodes_are_private_and_spot_pools_tainted" {
  command = plan

  assert {
    condition     = google_container_cluster.this.private_cluster_config[0].enable_private_nodes
    error_message = "Nodes have public addresses."
  }
  assert {
    condition     = google_container_node_pool.this["spot"].node_config[0].taint[0].key == "cloud.google.com/gke-spot"
    error_message = "The spot pool is not tainted."
  }
}

run "a_workload_that_reads_may_not_write" {
  command = plan

  variables {
    workloads = { reader = { service_account = "reader", reads = ["artifacts"], writes = ["predictions"] } }
  }
  assert {
    condition     = google_storage_bucket_iam_member.workload["reader-artifacts"].role == "roles/storage.objectViewer"
    error_message = "It may write what it only reads."
  }
  assert {
    condition     = google_storage_bucket_iam_member.workload["reader-predictions"].role == "roles/storage.objectUser"
    error_message = "It may not write its own bucket."
  }
}

run "an_api_server_open_to_the_world" {
  command = plan

  variables {
    kubernetes = { public_from = { all = "0.0.0.0/0" } }
  }
  expect_failures = [var.kubernetes]
}
