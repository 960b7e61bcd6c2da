# What runs on the cluster: operators, and our chart. A state of its own, since the Helm provider needs a cluster that
# is there already. Versions of charts are pinned; `terraform plan` shows what a new one changes.
terraform {
  required_version = ">= 1.9"

  required_providers {
    helm = {
      source  = "hashicorp/helm"
      version = ">= 2.16, < 4.0"
    }
  }
}

resource "helm_release" "kuberay" {
  name             = "kuberay-operator"
  namespace        = "kuberay"
  create_namespace = true
  repository       = "https://ray-project.github.io/kuberay-helm"
  chart            = "kuberay-operator"
  version          = var.versions.kuberay
  values           = var.operator_values
  atomic           = true
}

# On GKE and others the cloud scales its pools itself.
resource "helm_release" "cluster_autoscaler" {
  count = var.eks == null ? 0 : 1

  name       = "cluster-autoscaler"
  namespace  = "kube-system"
  repository = "https://kubernetes.github.io/autoscaler"
  chart      = "cluster-autoscaler"
  version    = var.versions.cluster_autoscaler
  atomic     = true

  values = [yamlencode({
    cloudProvider = "aws"
    awsRegion     = var.eks.region
    autoDiscovery = { clusterName = var.eks.cluster }
    rbac          = { serviceAccount = { name = "cluster-autoscaler" } }
    extraArgs = {
      balance-similar-node-groups   = true
      skip-nodes-with-local-storage = false # Ray's pods keep scratch files only
      expander                      = "least-waste"
      scale-down-unneeded-time      = "5m"
    }
  })]
}

resource "helm_release" "external_secrets" {
  count = var.external_secrets ? 1 : 0

  name             = "external-secrets"
  namespace        = "external-secrets"
  create_namespace = true
  repository       = "https://charts.external-secrets.io"
  chart            = "external-secrets"
  version          = var.versions.external_secrets
  atomic           = true
  values           = [yamlencode({ serviceAccount = { name = "external-secrets" } })]
}

resource "helm_release" "taxiway" {
  name             = "taxiway"
  namespace        = var.namespace
  create_namespace = true
  chart            = var.chart
  version          = var.chart_version
  values           = var.values
  wait             = true
  timeout          = 1800

  depends_on = [helm_release.kuberay, helm_release.cluster_autoscaler, helm_release.external_secrets]
}
