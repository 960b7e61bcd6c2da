# PostgreSQL for MLflow. RDS makes the password, keeps it in Secrets Manager and changes it; it is in no state file.
locals {
  with_database     = var.database != null
  cluster_security  = aws_eks_cluster.this.vpc_config[0].cluster_security_group_id
  database_password = [for it in aws_db_instance.mlflow : it.master_user_secret[0].secret_arn]
  cache_password    = [for it in aws_secretsmanager_secret.cache : it.arn]
  secret_arns       = concat(local.database_password, local.cache_password)
}

resource "aws_security_group" "database" {
  count = local.with_database ? 1 : 0

  name_prefix = "${var.name}-database-"
  description = "PostgreSQL, from pods and nodes of ${var.name}"
  vpc_id      = local.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-database" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "database" {
  count = local.with_database ? 1 : 0

  security_group_id            = aws_security_group.database[0].id
  referenced_security_group_id = local.cluster_security
  ip_protocol                  = "tcp"
  from_port                    = 5432
  to_port                      = 5432
  tags                         = local.tags
}

resource "aws_db_subnet_group" "this" {
  count = local.with_database ? 1 : 0

  name       = var.name
  subnet_ids = local.private_ids
  tags       = local.tags
}

resource "aws_db_parameter_group" "this" {
  count = local.with_database ? 1 : 0

  name_prefix = "${var.name}-"
  family      = "postgres${split(".", var.database.version)[0]}"
  tags        = local.tags

  parameter {
    name  = "rds.force_ssl"
    value = "1"
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_db_instance" "mlflow" {
  count = local.with_database ? 1 : 0

  identifier     = "${var.name}-mlflow"
  engine         = "postgres"
  engine_version = var.database.version
  instance_class = var.database.instance_class
  db_name        = "mlflow"
  username       = "mlflow"
  tags           = local.tags

  manage_master_user_password   = true
  master_user_secret_kms_key_id = aws_kms_key.this.key_id

  allocated_storage     = var.database.storage_gb
  max_allocated_storage = var.database.max_storage_gb
  storage_type          = "gp3"
  storage_encrypted     = true
  kms_key_id            = aws_kms_key.this.arn

  db_subnet_group_name   = aws_db_subnet_group.this[0].name
  parameter_group_name   = aws_db_parameter_group.this[0].name
  vpc_security_group_ids = [aws_security_group.database[0].id]
  multi_az               = var.database.multi_az
  publicly_accessible    = false

  backup_retention_period    = var.database.backup_days
  copy_tags_to_snapshot      = true
  auto_minor_version_upgrade = true
  deletion_protection        = var.database.delete_protected
  skip_final_snapshot        = !var.database.final_snapshot
  final_snapshot_identifier  = "${var.name}-mlflow-last"

  performance_insights_enabled    = true
  performance_insights_kms_key_id = aws_kms_key.this.arn
  enabled_cloudwatch_logs_exports = ["postgresql", "upgrade"]
}
