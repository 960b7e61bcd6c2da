# Credentials by EKS Pod Identity: a role belongs to one service account of this cluster, and nothing is stored.
locals {
  assumed_by = {
    for service in ["eks.amazonaws.com", "ec2.amazonaws.com"] :
    service => { Effect = "Allow", Principal = { Service = service }, Action = "sts:AssumeRole" }
  }
  assumed_by_pods = {
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "pods.eks.amazonaws.com" }
      Action    = ["sts:AssumeRole", "sts:TagSession"]
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnEquals    = { "aws:SourceArn" = aws_eks_cluster.this.arn }
      }
    }]
  }

  use_key = { Effect = "Allow", Action = ["kms:Decrypt", "kms:GenerateDataKey"], Resource = aws_kms_key.this.arn }

  workload_statements = {
    for name, it in var.workloads : name => concat(
      [
        for bucket in setunion(it.reads, it.writes) :
        { Effect = "Allow", Action = ["s3:ListBucket", "s3:GetBucketLocation"], Resource = aws_s3_bucket.this[bucket].arn }
      ],
      [
        for bucket in setunion(it.reads, it.writes) : {
          Effect = "Allow"
          Action = concat(
            ["s3:GetObject"],
            contains(it.writes, bucket) ? ["s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"] : [],
          )
          Resource = "${aws_s3_bucket.this[bucket].arn}/*"
        }
      ],
      [local.use_key],
    )
  }

  controllers = {
    cluster-autoscaler = {
      namespace       = "kube-system"
      service_account = "cluster-autoscaler"
      statements = [
        {
          Effect   = "Allow"
          Resource = "*"
          Action = [
            "autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeAutoScalingInstances",
            "autoscaling:DescribeLaunchConfigurations", "autoscaling:DescribeScalingActivities",
            "ec2:DescribeImages", "ec2:DescribeInstanceTypes", "ec2:DescribeLaunchTemplateVersions",
            "ec2:GetInstanceTypesFromInstanceRequirements", "eks:DescribeNodegroup",
          ]
        },
        {
          Effect    = "Allow"
          Action    = ["autoscaling:SetDesiredCapacity", "autoscaling:TerminateInstanceInAutoScalingGroup"]
          Resource  = "*"
          Condition = { StringEquals = { "aws:ResourceTag/k8s.io/cluster-autoscaler/${var.name}" = "owned" } }
        },
      ]
    }
    external-secrets = {
      namespace       = "external-secrets"
      service_account = "external-secrets"
      statements = concat(
        [{
          Effect   = "Allow"
          Action   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
          Resource = concat(local.secret_arns, ["arn:${local.partition}:secretsmanager:${local.region}:${local.account}:secret:${var.name}/*"])
        }],
        [local.use_key],
      )
    }
  }

  pod_roles = merge(
    {
      for name, it in var.workloads : name => {
        namespace = it.namespace, service_account = it.service_account, policy = jsonencode({ Version = "2012-10-17", Statement = local.workload_statements[name] })
      }
    },
    {
      for name, it in local.controllers : name => {
        namespace = it.namespace, service_account = it.service_account, policy = jsonencode({ Version = "2012-10-17", Statement = it.statements })
      }
    },
    { ebs-csi = { namespace = "kube-system", service_account = "ebs-csi-controller-sa", policy = null } },
  )
}

resource "aws_iam_role" "pod" {
  for_each = local.pod_roles

  name               = "${var.name}-${each.key}"
  assume_role_policy = jsonencode(local.assumed_by_pods)
  tags               = local.tags
}

resource "aws_iam_role_policy" "pod" {
  for_each = toset(concat(keys(var.workloads), keys(local.controllers)))

  name   = "what-it-needs"
  role   = aws_iam_role.pod[each.key].id
  policy = local.pod_roles[each.key].policy
}

resource "aws_iam_role_policy_attachment" "ebs_csi" {
  role       = aws_iam_role.pod["ebs-csi"].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonEBSCSIDriverPolicy"
}

resource "aws_eks_pod_identity_association" "this" {
  for_each = local.pod_roles

  cluster_name    = aws_eks_cluster.this.name
  namespace       = each.value.namespace
  service_account = each.value.service_account
  role_arn        = aws_iam_role.pod[each.key].arn
  tags            = local.tags
}
