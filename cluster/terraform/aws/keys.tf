# One key for what is stored: buckets, images, database, cache, secrets of Kubernetes and of Secrets Manager.
# Disks of nodes have the account's key for EBS: with one of ours a new account can't start a node group, since the
# role of Auto Scaling that would have to be in the key's policy is not there yet.
resource "aws_kms_key" "this" {
  description             = "Taxiway ${var.name}: what is stored"
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "AccountDecidesByIam"
      Effect    = "Allow"
      Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
      Action    = "kms:*"
      Resource  = "*"
    }]
  })
}

resource "aws_kms_alias" "this" {
  name          = "alias/${var.name}"
  target_key_id = aws_kms_key.this.key_id
}
