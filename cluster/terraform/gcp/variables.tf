variable "project" {
  description = "The project's id."
  type        = string
}

variable "region" {
  description = "Where everything lies, such as europe-west1."
  type        = string
}

variable "name" {
  description = "The cluster's name. Every resource bears it, and the label `project` has it as its value."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,18}[a-z0-9]$", var.name))
    error_message = "name has 3 to 20 lower-case letters, digits and hyphens, and begins with a letter: service accounts are named after it."
  }
}

variable "labels" {
  description = "Labels of every resource, beside project and managed-by."
  type        = map(string)
  default     = {}
}

variable "kubernetes" {
  description = "GKE's release channel, and the networks (CIDR by a name of yours) from which the API server is reached."
  type = object({
    channel     = optional(string, "REGULAR")
    public_from = map(string)
    protected   = optional(bool, true)
  })

  validation {
    condition     = length(var.kubernetes.public_from) > 0 && !contains(values(var.kubernetes.public_from), "0.0.0.0/0")
    error_message = "kubernetes.public_from names the networks of your office or runners, and never 0.0.0.0/0."
  }
}

variable "pools" {
  description = "Pools of nodes by name; sizes are bounds over all zones. `spot` and `gpu` pools are tainted."
  type = map(object({
    machine_type = string
    spot         = optional(bool, false)
    gpu          = optional(object({ type = string, count = optional(number, 1) }))
    min          = number
    max          = number
    disk_gb      = optional(number, 100)
    labels       = optional(map(string), {})
  }))
  default = {
    system   = { machine_type = "e2-standard-2", min = 2, max = 4 }
    ondemand = { machine_type = "c3-standard-8", min = 1, max = 20 }
    spot     = { machine_type = "c3-standard-8", spot = true, min = 0, max = 50 }
    gpu      = { machine_type = "g2-standard-8", gpu = { type = "nvidia-l4" }, min = 0, max = 4, disk_gb = 200 }
  }

  validation {
    condition     = alltrue([for pool in values(var.pools) : pool.min >= 0 && pool.max >= max(pool.min, 1)])
    error_message = "pools: each pool has 0 <= min <= max, and max is at least 1."
  }
  validation {
    condition     = anytrue([for pool in values(var.pools) : !pool.spot && pool.gpu == null && pool.min >= 1])
    error_message = "pools: one pool without spot and GPUs has min >= 1; the Ray head and the controllers run there."
  }
}

variable "workloads" {
  description = "Who may do what: a service account of Kubernetes, the buckets that it reads and those that it also writes."
  type = map(object({
    namespace       = optional(string, "taxiway")
    service_account = string
    reads           = optional(set(string), [])
    writes          = optional(set(string), [])
  }))
  default = {
    head    = { service_account = "taxiway-head", writes = ["artifacts", "data", "predictions"] }
    workers = { service_account = "taxiway-workers", writes = ["artifacts", "data", "predictions"] }
    mlflow  = { service_account = "taxiway-mlflow", writes = ["artifacts"] }
  }
}

variable "storage" {
  description = "Days that old versions of objects are kept, and whether a bucket that holds something may be destroyed."
  type        = object({ old_versions_days = optional(number, 30), force_destroy = optional(bool, false) })
  default     = {}
}

variable "database" {
  description = "PostgreSQL for MLflow. null: there is none."
  type = object({
    tier         = optional(string, "db-custom-2-7680")
    version      = optional(string, "POSTGRES_16")
    regional     = optional(bool, true)
    backups_kept = optional(number, 14)
    protected    = optional(bool, true)
  })
  default = {}
}

variable "cache" {
  description = "Redis for Feast's online store and Ray's head. null: there is none."
  type        = object({ memory_gb = optional(number, 4), replicated = optional(bool, true) })
  default     = {}
}

variable "budget" {
  description = "Units of the account's currency a month, and the billing account that it belongs to. null: none."
  type        = object({ billing_account = string, units = number, currency = optional(string, "USD") })
  default     = null
}
