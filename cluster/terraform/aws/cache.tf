# Valkey (Redis' protocol) for Feast's online store and for the state of Ray's head. Nothing is evicted: a feature that
# is thrown away is a wrong answer, and a head that finds half of its state does not start.
locals {
  with_cache = var.cache != null
  cache_text = [for it in terraform_data.cache_password : replace(it.output, "-", "")]
}

resource "aws_security_group" "cache" {
  count = local.with_cache ? 1 : 0

  name_prefix = "${var.name}-cache-"
  description = "Redis, from pods and nodes of ${var.name}"
  vpc_id      = local.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-cache" })

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_vpc_security_group_ingress_rule" "cache" {
  count = local.with_cache ? 1 : 0

  security_group_id            = aws_security_group.cache[0].id
  referenced_security_group_id = local.cluster_security
  ip_protocol                  = "tcp"
  from_port                    = 6379
  to_port                      = 6379
  tags                         = local.tags
}

resource "aws_elasticache_subnet_group" "this" {
  count = local.with_cache ? 1 : 0

  name       = var.name
  subnet_ids = local.private_ids
  tags       = local.tags
}

resource "aws_elasticache_parameter_group" "this" {
  count = local.with_cache ? 1 : 0

  name   = "${var.name}-valkey7"
  family = "valkey7"
  tags   = local.tags

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction"
  }
}

# 122 random bits. ElastiCache can't make a password of its own, so this one is in the state: encrypt where it lies.
# Another password_generation makes another one.
resource "terraform_data" "cache_password" {
  count = local.with_cache ? 1 : 0

  input            = uuid()
  triggers_replace = [var.cache.password_generation]

  lifecycle {
    ignore_changes = [input]
  }
}

resource "aws_elasticache_replication_group" "this" {
  count = local.with_cache ? 1 : 0

  replication_group_id = var.name
  description          = "Taxiway ${var.name}: online features, state of the Ray head"
  engine               = "valkey"
  engine_version       = "7.2"
  node_type            = var.cache.node_type
  port                 = 6379
  tags                 = local.tags

  num_cache_clusters         = 1 + var.cache.replicas
  automatic_failover_enabled = var.cache.replicas > 0
  multi_az_enabled           = var.cache.replicas > 0

  subnet_group_name    = aws_elasticache_subnet_group.this[0].name
  parameter_group_name = aws_elasticache_parameter_group.this[0].name
  security_group_ids   = [aws_security_group.cache[0].id]

  at_rest_encryption_enabled = true
  kms_key_id                 = aws_kms_key.this.arn
  transit_encryption_enabled = true
  auth_token                 = local.cache_text[0]
  auth_token_update_strategy = "ROTATE"

  snapshot_retention_limit   = var.cache.snapshot_days
  auto_minor_version_upgrade = true
  apply_immediately          = true
}

resource "aws_secretsmanager_secret" "cache" {
  count = local.with_cache ? 1 : 0

  name                    = "${var.name}/cache"
  description             = "How pods reach the cache"
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = 7
  tags                    = local.tags
}

resource "aws_secretsmanager_secret_version" "cache" {
  count = local.with_cache ? 1 : 0

  secret_id = aws_secretsmanager_secret.cache[0].id
  secret_string = jsonencode({
    host     = aws_elasticache_replication_group.this[0].primary_endpoint_address
    port     = 6379
    password = local.cache_text[0]
    feast    = "${aws_elasticache_replication_group.this[0].primary_endpoint_address}:6379,ssl=true,password=${local.cache_text[0]}"
  })
}
