# A production cluster on Google Cloud. Copy this folder, change what is marked, then:
#   terraform init -backend-config=bucket=YOUR-STATE-BUCKET && terraform apply
terraform {
  required_version = ">= 1.7"

  backend "gcs" {
    prefix = "taxiway/cluster"
  }
}

module "taxiway" {
  source = "../../gcp"

  project = "acme-ml"      # yours
  region  = "europe-west1" # yours
  name    = "taxiway-prod"
  labels  = { team = "ml-platform", environment = "production" }

  kubernetes = { public_from = { office = "203.0.113.0/24" } } # yours
}

output "taxiway" {
  value = module.taxiway
}
