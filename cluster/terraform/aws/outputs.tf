output "cluster" {
  description = "What `aws eks update-kubeconfig` and the Helm provider need."
  value = {
    name           = aws_eks_cluster.this.name
    region         = local.region
    endpoint       = aws_eks_cluster.this.endpoint
    ca_certificate = aws_eks_cluster.this.certificate_authority[0].data
  }
}

output "network" {
  description = "Where it runs."
  value       = { vpc_id = local.vpc_id, private_subnet_ids = local.private_ids }
}

output "image_repository" {
  description = "Where images are pushed to, without a tag."
  value       = aws_ecr_repository.this.repository_url
}

output "buckets" {
  description = "Names of the buckets, by what lies in them."
  value       = { for name, bucket in aws_s3_bucket.this : name => bucket.bucket }
}

output "key_arn" {
  description = "The key of everything that is stored."
  value       = aws_kms_key.this.arn
}

output "database" {
  description = "PostgreSQL for MLflow: its address, and the secret with username and password; null without one."
  value = one([for it in aws_db_instance.mlflow : {
    host       = it.address
    port       = it.port
    name       = it.db_name
    secret_arn = it.master_user_secret[0].secret_arn
  }])
}

output "cache" {
  description = "The cache: its address, and the secret with host, port, password and Feast's connection string; null without one."
  value = one([for it in aws_elasticache_replication_group.this : {
    host        = it.primary_endpoint_address
    port        = it.port
    secret_name = aws_secretsmanager_secret.cache[0].name
  }])
}

output "roles" {
  description = "Roles of pods, by workload. Pod Identity gives them: service accounts need no annotation."
  value       = { for name, role in aws_iam_role.pod : name => role.arn }
}

output "deployer_role" {
  description = "What the deploy workflow assumes; null without `github`."
  value       = one(aws_iam_role.deployer[*].arn)
}
