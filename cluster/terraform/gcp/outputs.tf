output "cluster" {
  description = "What `gcloud container clusters get-credentials` and the Helm provider need."
  value = {
    name           = google_container_cluster.this.name
    location       = google_container_cluster.this.location
    endpoint       = google_container_cluster.this.endpoint
    ca_certificate = google_container_cluster.this.master_auth[0].cluster_ca_certificate
  }
}

output "image_repository" {
  description = "Where images are pushed to, without name and tag."
  value       = "${var.region}-docker.pkg.dev/${var.project}/${google_artifact_registry_repository.this.repository_id}"
}

output "buckets" {
  description = "Names of the buckets, by what lies in them."
  value       = { for name, bucket in google_storage_bucket.this : name => bucket.name }
}

output "database" {
  description = "PostgreSQL for MLflow; null without one."
  value       = one([for it in google_sql_database_instance.mlflow : { host = it.private_ip_address, name = "mlflow" }])
}

output "cache" {
  description = "Redis, without its password: `gcloud redis instances get-auth-string` tells it; null without one."
  value       = one([for it in google_redis_instance.this : { host = it.host, port = it.port }])
}
