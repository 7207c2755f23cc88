output "urls" {
  description = "Where each function answers; `machines` is FEDSPAN_REMOTE_URL of a control plane elsewhere."
  value       = { for name, one in google_cloudfunctions2_function.each : name => one.service_config[0].uri }
}

output "store_url" {
  description = "FEDSPAN_STORE_URL for this database."
  value       = local.store.FEDSPAN_STORE_URL
}

output "objects_url" {
  description = "FEDSPAN_OBJECTS_URL for this bucket."
  value       = local.objects.FEDSPAN_OBJECTS_URL
}

output "master_key" {
  description = "FEDSPAN_MASTER_KEY for this key."
  value       = google_kms_crypto_key.credentials.id
}
