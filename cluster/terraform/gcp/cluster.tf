resource "google_container_cluster" "this" {
  project             = var.project
  location            = var.region
  name                = var.name
  network             = google_compute_network.this.id
  subnetwork          = google_compute_subnetwork.nodes.id
  resource_labels     = local.labels
  deletion_protection = var.kubernetes.protected
  datapath_provider   = "ADVANCED_DATAPATH" # NetworkPolicies are enforced

  remove_default_node_pool = true
  initial_node_count       = 1

  release_channel {
    channel = var.kubernetes.channel
  }
  ip_allocation_policy {
    cluster_secondary_range_name  = "pods"
    services_secondary_range_name = "services"
  }
  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
  }
  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.kubernetes.public_from

      content {
        display_name = cidr_blocks.key
        cidr_block   = cidr_blocks.value
      }
    }
  }
  workload_identity_config {
    workload_pool = "${var.project}.svc.id.goog"
  }
  gateway_api_config {
    channel = "CHANNEL_STANDARD"
  }
  database_encryption {
    state    = "ENCRYPTED"
    key_name = google_kms_crypto_key.this.id
  }

  depends_on = [google_kms_crypto_key_iam_member.user]
}

resource "google_service_account" "node" {
  project      = var.project
  account_id   = "${var.name}-node"
  display_name = "Nodes of ${var.name}"
}

resource "google_project_iam_member" "node" {
  for_each = toset(["roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"])

  project = var.project
  role    = each.key
  member  = google_service_account.node.member
}

resource "google_container_node_pool" "this" {
  for_each = var.pools

  project  = var.project
  location = var.region
  cluster  = google_container_cluster.this.name
  name     = each.key

  autoscaling {
    total_min_node_count = each.value.min
    total_max_node_count = each.value.max
    location_policy      = each.value.spot ? "ANY" : "BALANCED"
  }
  management {
    auto_repair  = true
    auto_upgrade = true
  }
  upgrade_settings {
    max_surge       = 1
    max_unavailable = 0
  }
  node_config {
    machine_type    = each.value.machine_type
    spot            = each.value.spot
    disk_size_gb    = each.value.disk_gb
    service_account = google_service_account.node.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    resource_labels = local.labels
    labels          = merge({ "taxiway.dev/pool" = each.key, "taxiway.dev/capacity" = each.value.spot ? "spot" : "on-demand" }, each.value.labels)

    shielded_instance_config {
      enable_secure_boot = each.value.gpu == null # NVIDIA's driver isn't signed for it
    }
    workload_metadata_config {
      mode = "GKE_METADATA"
    }
    dynamic "guest_accelerator" {
      for_each = each.value.gpu == null ? [] : [each.value.gpu]

      content {
        type  = guest_accelerator.value.type
        count = guest_accelerator.value.count

        gpu_driver_installation_config {
          gpu_driver_version = "DEFAULT"
        }
      }
    }
    # GKE taints pools with GPUs by itself.
    dynamic "taint" {
      for_each = each.value.spot ? ["cloud.google.com/gke-spot"] : []

      content {
        key    = taint.value
        value  = "true"
        effect = "NO_SCHEDULE"
      }
    }
  }

  depends_on = [google_project_iam_member.node]
}
