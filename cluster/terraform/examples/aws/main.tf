# A production cluster on AWS. Copy this folder, change what is marked, then:
#   terraform init -backend-config=bucket=YOUR-STATE-BUCKET && terraform apply
terraform {
  required_version = ">= 1.10"

  backend "s3" {
    key          = "taxiway/cluster.tfstate"
    region       = "eu-west-1"
    encrypt      = true
    use_lockfile = true
  }
}

provider "aws" {
  region = "eu-west-1" # yours
}

module "taxiway" {
  source = "../../aws"

  name = "taxiway-prod"
  tags = { Team = "ml-platform", Environment = "production" }

  kubernetes = {
    admins      = { operators = "arn:aws:iam::123456789012:role/operators" } # yours; who applies must be able to assume it
    public_from = ["203.0.113.0/24"]                                         # your office and runners; [] for a private API server
  }
  pools = {
    system   = { instance_types = ["m7i.large", "m6i.large"], min = 2, max = 4 }
    ondemand = { instance_types = ["m7i.2xlarge", "m6i.2xlarge"], min = 2, max = 20 }
    spot     = { instance_types = ["c7i.2xlarge", "c6i.2xlarge", "c6a.2xlarge", "m6i.2xlarge"], spot = true, min = 0, max = 50 }
  }
  github = { repository = "acme/models" }                       # yours
  budget = { usd = 3000, emails = ["ml-platform@example.com"] } # yours
}

output "taxiway" {
  value = module.taxiway
}
