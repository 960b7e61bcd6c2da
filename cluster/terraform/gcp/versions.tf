# One Taxiway cluster on Google Cloud. `../release` installs the charts on it; docs/deploy.md says how.
terraform {
  required_version = ">= 1.7"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8.0"
    }
  }
}

locals {
  labels = merge({ project = var.name, managed-by = "terraform" }, var.labels)
}

# An empty project has them all off.
resource "google_project_service" "this" {
  for_each = toset([
    "artifactregistry", "billingbudgets", "cloudkms", "compute", "container", "iam", "redis", "secretmanager",
    "servicenetworking", "sqladmin",
  ])

  project            = var.project
  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false
}
