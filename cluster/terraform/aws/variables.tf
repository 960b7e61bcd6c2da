variable "name" {
  description = "The cluster's name. Every resource bears it, and the tag Project has it as its value."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,23}[a-z0-9]$", var.name))
    error_message = "name has 3 to 25 lower-case letters, digits and hyphens, and begins with a letter: bucket names are made of it."
  }
}

variable "tags" {
  description = "Tags of every resource, beside Project and ManagedBy."
  type        = map(string)
  default     = {}
}

variable "existing_network" {
  description = "A VPC that is there already, with private subnets in two zones or more. null: one is made."
  type        = object({ vpc_id = string, private_subnet_ids = list(string) })
  default     = null

  validation {
    condition     = var.existing_network == null || length(try(var.existing_network.private_subnet_ids, [])) >= 2
    error_message = "existing_network.private_subnet_ids needs two subnets in different zones: EKS and RDS ask for them."
  }
}

variable "network" {
  description = "The VPC to make: its addresses, its zones, and whether each zone has a NAT gateway of its own."
  type = object({
    cidr         = optional(string, "10.40.0.0/16")
    zones        = optional(number, 3)
    nat_per_zone = optional(bool, true)
  })
  default = {}

  validation {
    condition     = can(cidrsubnet(var.network.cidr, 4, 15)) && try(tonumber(split("/", var.network.cidr)[1]) <= 20, false)
    error_message = "network.cidr is a block of addresses of /20 or larger, such as 10.40.0.0/16: each pod takes an address."
  }
  validation {
    condition     = var.network.zones >= 2 && var.network.zones <= 4
    error_message = "network.zones is 2 to 4: RDS and ElastiCache need two, and a region seldom has more than four."
  }
}

variable "kubernetes" {
  description = "Version, roles or users that administer (ARNs by a name of yours), networks from which the API server is reached from outside, and days that its logs are kept."
  type = object({
    version       = optional(string, "1.33")
    admins        = map(string)
    public_from   = optional(list(string), [])
    log_kept_days = optional(number, 90)
  })

  validation {
    condition     = contains(["1.30", "1.31", "1.32", "1.33", "1.34"], var.kubernetes.version)
    error_message = "kubernetes.version is one of 1.30 to 1.34: the chart is checked against these."
  }
  validation {
    condition     = length(var.kubernetes.admins) > 0
    error_message = "kubernetes.admins names one role or user at least; otherwise nobody may use the cluster, not even who makes it."
  }
  validation {
    condition     = !contains(var.kubernetes.public_from, "0.0.0.0/0")
    error_message = "kubernetes.public_from must not hold 0.0.0.0/0; name the networks of your office or runners."
  }
}

variable "pools" {
  description = <<-E
    Pools of nodes by name. `spot` pools and `gpu` pools are tainted, so that only pods that ask for them run there.
    A pool may begin at zero. Sizes are the cluster autoscaler's bounds.
  E
  type = map(object({
    instance_types = list(string)
    spot           = optional(bool, false)
    gpu            = optional(bool, false)
    min            = number
    max            = number
    disk_gb        = optional(number, 100)
    labels         = optional(map(string), {})
  }))
  default = {
    system   = { instance_types = ["m7i.large", "m6i.large"], min = 2, max = 4 }
    ondemand = { instance_types = ["m7i.2xlarge", "m6i.2xlarge"], min = 1, max = 20 }
    spot     = { instance_types = ["c7i.2xlarge", "c6i.2xlarge", "c6a.2xlarge", "m6i.2xlarge"], spot = true, min = 0, max = 50 }
    gpu      = { instance_types = ["g6.2xlarge"], gpu = true, min = 0, max = 4, disk_gb = 200 }
  }

  validation {
    condition     = alltrue([for pool in values(var.pools) : pool.min >= 0 && pool.max >= max(pool.min, 1)])
    error_message = "pools: each pool has 0 <= min <= max, and max is at least 1."
  }
  validation {
    condition     = alltrue([for pool in values(var.pools) : !pool.spot || length(distinct(pool.instance_types)) >= 3])
    error_message = "pools: a spot pool names three instance types or more; with fewer it is often empty all at once."
  }
  validation {
    condition     = anytrue([for pool in values(var.pools) : !pool.spot && !pool.gpu && pool.min >= 1])
    error_message = "pools: one on-demand pool without GPUs has min >= 1; the Ray head and the controllers run there."
  }
}

variable "workloads" {
  description = <<-E
    Who may do what: a service account of Kubernetes, the buckets that it reads and those that it also writes.
    Pods of other service accounts get no AWS credentials.
  E
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

  validation {
    condition = alltrue(flatten([
      for it in values(var.workloads) : [for bucket in setunion(it.reads, it.writes) : contains(["artifacts", "data", "predictions"], bucket)]
    ]))
    error_message = "workloads: reads and writes name buckets, which are artifacts, data and predictions."
  }
}

variable "storage" {
  description = "Days that old versions of objects are kept, days that predictions are kept (0: for ever), and whether a bucket that holds something may be destroyed."
  type = object({
    old_versions_days = optional(number, 30)
    predictions_days  = optional(number, 0)
    force_destroy     = optional(bool, false)
  })
  default = {}
}

variable "database" {
  description = "PostgreSQL for MLflow. null: there is none, and the chart gets an address of your own."
  type = object({
    instance_class   = optional(string, "db.t4g.medium")
    version          = optional(string, "16")
    storage_gb       = optional(number, 50)
    max_storage_gb   = optional(number, 500)
    multi_az         = optional(bool, true)
    backup_days      = optional(number, 14)
    delete_protected = optional(bool, true)
    final_snapshot   = optional(bool, true) # of a database that is destroyed; its automatic backups go with it
  })
  default = {}

  validation {
    condition     = var.database == null || try(var.database.backup_days >= 1 && var.database.backup_days <= 35, false)
    error_message = "database.backup_days is 1 to 35: without a backup the registry can't be restored to a moment."
  }
}

variable "cache" {
  description = "Redis-compatible cache for Feast's online store and Ray's head. null: there is none."
  type = object({
    node_type           = optional(string, "cache.t4g.medium")
    replicas            = optional(number, 1)
    snapshot_days       = optional(number, 7)
    password_generation = optional(number, 1)
  })
  default = {}

  validation {
    condition     = var.cache == null || try(var.cache.replicas >= 0 && var.cache.replicas <= 5, false)
    error_message = "cache.replicas is 0 to 5; with 0 nothing takes over when the node fails."
  }
}

variable "github" {
  description = "The repository whose workflows may push images and deploy, without any stored key; null: none. cluster_wide lets them change what belongs to no namespace, as the PriorityClasses of the chart do."
  type = object({
    repository   = string
    environments = optional(list(string), ["production", "production-decide"])
    namespace    = optional(string, "taxiway")
    cluster_wide = optional(bool, false)
    provider_arn = optional(string)
  })
  default = null

  validation {
    condition     = var.github == null || can(regex("^[A-Za-z0-9-]+/[A-Za-z0-9._-]+$", var.github.repository))
    error_message = "github.repository is OWNER/NAME."
  }
}

variable "budget" {
  description = "US dollars a month, and who is told at 50, 80 and 100 percent and when the forecast is higher. null: none."
  type        = object({ usd = number, emails = list(string) })
  default     = null

  validation {
    condition     = var.budget == null || try(var.budget.usd > 0 && length(var.budget.emails) > 0, false)
    error_message = "budget needs usd above 0 and an address in emails; a budget that tells nobody is none."
  }
}
