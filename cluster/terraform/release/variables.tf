variable "eks" {
  description = "Name and region of an EKS cluster, whose pools the cluster autoscaler is to scale. null: another cloud does that itself."
  type        = object({ cluster = string, region = string })
  default     = null
}

variable "namespace" {
  description = "Where Taxiway runs; service accounts get their rights in this one."
  type        = string
  default     = "taxiway"
}

variable "chart" {
  description = "The chart: a folder (cluster/chart), or an address that begins with oci://."
  type        = string
}

variable "chart_version" {
  description = "Of a chart from a registry; null for a folder."
  type        = string
  default     = null

  validation {
    condition     = !startswith(var.chart, "oci://") || var.chart_version != null
    error_message = "chart_version is needed for a chart from a registry, so that an apply doesn't upgrade by itself."
  }
}

variable "values" {
  description = "Values of the chart, as YAML texts; a later one wins."
  type        = list(string)
}

variable "external_secrets" {
  description = "Whether to install External Secrets, which copies secrets of the cloud into Kubernetes."
  type        = bool
  default     = true
}

variable "versions" {
  description = "Versions of the charts of others."
  type = object({
    kuberay            = optional(string, "1.7.0")
    cluster_autoscaler = optional(string, "9.50.1")
    external_secrets   = optional(string, "0.18.2")
  })
  default = {}
}

variable "operator_values" {
  description = "Values of the KubeRay operator, as YAML texts: feature gates, say."
  type        = list(string)
  default     = []
}
