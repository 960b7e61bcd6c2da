# PostgreSQL for MLflow, Redis for Feast and Ray's head. Set the database's password by
# `gcloud sql users set-password`, into Secret Manager: then it is in no state file.
resource "google_sql_database_instance" "mlflow" {
  count = var.database == null ? 0 : 1

  project             = var.project
  region              = var.region
  name                = "${var.name}-mlflow"
  database_version    = var.database.version
  deletion_protection = var.database.protected

  settings {
    tier              = var.database.tier
    edition           = "ENTERPRISE"
    availability_type = var.database.regional ? "REGIONAL" : "ZONAL"
    disk_type         = "PD_SSD"
    disk_autoresize   = true
    user_labels       = local.labels

    ip_configuration {
      ipv4_enabled    = false
      private_network = google_compute_network.this.id
      ssl_mode        = "ENCRYPTED_ONLY"
    }
    backup_configuration {
      enabled                        = true
      point_in_time_recovery_enabled = true

      backup_retention_settings {
        retained_backups = var.database.backups_kept
      }
    }
  }

  depends_on = [google_service_networking_connection.this]
}

resource "google_sql_database" "mlflow" {
  count = var.database == null ? 0 : 1

  project  = var.project
  instance = google_sql_database_instance.mlflow[0].name
  name     = "mlflow"
}

resource "google_redis_instance" "this" {
  count = var.cache == null ? 0 : 1

  project                 = var.project
  region                  = var.region
  name                    = var.name
  tier                    = var.cache.replicated ? "STANDARD_HA" : "BASIC"
  memory_size_gb          = var.cache.memory_gb
  redis_version           = "REDIS_7_2"
  redis_configs           = { maxmemory-policy = "noeviction" }
  auth_enabled            = true
  transit_encryption_mode = "SERVER_AUTHENTICATION"
  authorized_network      = google_compute_network.this.id
  connect_mode            = "PRIVATE_SERVICE_ACCESS"
  labels                  = local.labels

  depends_on = [google_service_networking_connection.this]
}

resource "google_billing_budget" "this" {
  count = var.budget == null ? 0 : 1

  billing_account = var.budget.billing_account
  display_name    = var.name

  budget_filter {
    projects = ["projects/${data.google_project.this.number}"]
  }
  amount {
    specified_amount {
      currency_code = var.budget.currency
      units         = tostring(var.budget.units)
    }
  }
  dynamic "threshold_rules" {
    for_each = [0.5, 0.8, 1.0]

    content {
      threshold_percent = threshold_rules.value
    }
  }
}
