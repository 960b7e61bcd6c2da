# Rights go to service accounts of Kubernetes directly (Workload Identity Federation): there is no key, and no
# service account of Google's between.
locals {
  rights = merge([
    for name, it in var.workloads : {
      for bucket in setunion(it.reads, it.writes) : "${name}-${bucket}" => {
        bucket = bucket
        role   = contains(it.writes, bucket) ? "roles/storage.objectUser" : "roles/storage.objectViewer"
        member = join("/", [
          "principal://iam.googleapis.com/projects", data.google_project.this.number,
          "locations/global/workloadIdentityPools", "${var.project}.svc.id.goog",
          "subject/ns", it.namespace, "sa", it.service_account,
        ])
      }
    }
  ]...)
}

resource "google_storage_bucket_iam_member" "workload" {
  for_each = local.rights

  bucket = google_storage_bucket.this[each.value.bucket].name
  role   = each.value.role
  member = each.value.member
}
