output "release" {
  description = "Name, namespace and revision of the release."
  value = {
    name      = helm_release.taxiway.name
    namespace = helm_release.taxiway.namespace
    version   = helm_release.taxiway.version
  }
}
