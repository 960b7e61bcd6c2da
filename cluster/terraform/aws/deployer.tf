# What a workflow on GitHub may do, by its own signed token: push images, and change one namespace of the cluster.
locals {
  with_github     = var.github != null
  github_issuer   = "token.actions.githubusercontent.com"
  github_provider = local.with_github ? coalesce(var.github.provider_arn, one(aws_iam_openid_connect_provider.github[*].arn)) : null
}

# An account has one provider for GitHub; give provider_arn when it is there.
resource "aws_iam_openid_connect_provider" "github" {
  count = local.with_github && try(var.github.provider_arn, null) == null ? 1 : 0

  url            = "https://${local.github_issuer}"
  client_id_list = ["sts.amazonaws.com"]
  tags           = local.tags
}

resource "aws_iam_role" "deployer" {
  count = local.with_github ? 1 : 0

  name                 = "${var.name}-deployer"
  max_session_duration = 7200
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRoleWithWebIdentity"
      Principal = { Federated = local.github_provider }
      Condition = {
        StringEquals = {
          "${local.github_issuer}:aud" = "sts.amazonaws.com"
          "${local.github_issuer}:sub" = [for it in var.github.environments : "repo:${var.github.repository}:environment:${it}"]
        }
      }
    }]
  })
}

resource "aws_iam_role_policy" "deployer" {
  count = local.with_github ? 1 : 0

  name = "push-and-deploy"
  role = aws_iam_role.deployer[0].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      { Effect = "Allow", Action = "ecr:GetAuthorizationToken", Resource = "*" },
      {
        Effect   = "Allow"
        Resource = aws_ecr_repository.this.arn
        Action = [
          "ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:CompleteLayerUpload", "ecr:DescribeImages",
          "ecr:GetDownloadUrlForLayer", "ecr:InitiateLayerUpload", "ecr:PutImage", "ecr:UploadLayerPart",
        ]
      },
      { Effect = "Allow", Action = "eks:DescribeCluster", Resource = aws_eks_cluster.this.arn },
    ]
  })
}

resource "aws_eks_access_entry" "deployer" {
  count = local.with_github ? 1 : 0

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_iam_role.deployer[0].arn
  tags          = local.tags
}

# It may do everything within its scope: the narrower policies of EKS know no custom resources such as RayService.
resource "aws_eks_access_policy_association" "deployer" {
  count = local.with_github ? 1 : 0

  cluster_name  = aws_eks_cluster.this.name
  principal_arn = aws_eks_access_entry.deployer[0].principal_arn
  policy_arn    = "arn:${local.partition}:eks::aws:cluster-access-policy/AmazonEKSClusterAdminPolicy"

  access_scope {
    type       = var.github.cluster_wide ? "cluster" : "namespace"
    namespaces = var.github.cluster_wide ? null : [var.github.namespace]
  }
}
