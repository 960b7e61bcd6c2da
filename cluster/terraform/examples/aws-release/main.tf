# Operators and the chart on the cluster of ../aws. A state of its own: it needs that cluster to be there.
terraform {
  required_version = ">= 1.10"

  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = ">= 3.0, < 4.0"
    }
  }
  backend "s3" {
    key          = "taxiway/release.tfstate"
    region       = "eu-west-1"
    encrypt      = true
    use_lockfile = true
  }
}

variable "cluster" {
  description = "`terraform -chdir=../aws output -json taxiway | jq .cluster`"
  type        = object({ name = string, region = string, endpoint = string, ca_certificate = string })
}

variable "values_file" {
  description = "Your values of the chart; cluster/chart/examples/eks.yaml is a beginning."
  type        = string
}

provider "helm" {
  kubernetes = {
    host                   = var.cluster.endpoint
    cluster_ca_certificate = base64decode(var.cluster.ca_certificate)
    exec = {
      api_version = "client.authentication.k8s.io/v1beta1"
      command     = "aws"
      args        = ["eks", "get-token", "--cluster-name", var.cluster.name, "--region", var.cluster.region]
    }
  }
}

module "release" {
  source = "../../release"

  eks    = { cluster = var.cluster.name, region = var.cluster.region }
  chart  = "../../../chart"
  values = [file(var.values_file)]
}

output "release" {
  value = module.release.release
}
