# Wraps the data key of each registered credential (fedspan.keys.cloudkms). A key ring cannot be
# deleted, so a teardown leaves it, without versions of its key that would cost.
resource "google_kms_key_ring" "credentials" {
  name       = var.name
  location   = var.region
  depends_on = [google_project_service.needed]
}

resource "google_kms_crypto_key" "credentials" {
  name            = "credentials"
  key_ring        = google_kms_key_ring.credentials.id
  rotation_period = "7776000s" # 90 days

  lifecycle {
    prevent_destroy = false # without it no credential opens again: `deploy --destroy` says so
  }
}
