# fedspan.stores.firestore finds documents by their ids alone: no index besides Firestore's own, and
# no TTL, which deletes within a day and so ends no lease.
resource "google_firestore_database" "store" {
  name                              = var.name
  location_id                       = var.region
  type                              = "FIRESTORE_NATIVE"
  point_in_time_recovery_enablement = "POINT_IN_TIME_RECOVERY_ENABLED"
  delete_protection_state           = var.keep_objects ? "DELETE_PROTECTION_ENABLED" : "DELETE_PROTECTION_DISABLED"
  deletion_policy                   = "DELETE"
  depends_on                        = [google_project_service.needed]
}
