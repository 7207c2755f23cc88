resource "google_service_account" "function" {
  for_each     = local.functions
  account_id   = "${var.name}-${substr(replace(each.key, "_", "-"), 0, 9)}" # an id has 30 characters
  display_name = "Fedspan: ${each.key}"
}

resource "google_service_account" "scheduler" {
  account_id   = "${var.name}-schedule"
  display_name = "Fedspan: calls the sweep, and may do nothing else"
}

resource "google_service_account" "build" {
  account_id   = "${var.name}-build"
  display_name = "Fedspan: builds the functions"
}

resource "google_project_iam_member" "build" {
  for_each = toset(["roles/logging.logWriter", "roles/artifactregistry.writer"])
  project  = var.project
  role     = each.key
  member   = google_service_account.build.member
}

resource "google_storage_bucket_iam_member" "build" {
  bucket = google_storage_bucket.source.name
  role   = "roles/storage.objectViewer"
  member = google_service_account.build.member
}

# Documents are read, and by the sweep written; no database is administered.
resource "google_project_iam_custom_role" "reader" {
  role_id     = "${replace(var.name, "-", "_")}_reader"
  title       = "Fedspan: read metadata"
  permissions = ["datastore.databases.get", "datastore.entities.get", "datastore.entities.list"]
}

resource "google_project_iam_custom_role" "writer" {
  role_id = "${replace(var.name, "-", "_")}_writer"
  title   = "Fedspan: read and write metadata"
  permissions = [
    "datastore.databases.get",
    "datastore.entities.create",
    "datastore.entities.delete",
    "datastore.entities.get",
    "datastore.entities.list",
    "datastore.entities.update",
  ]
}

resource "google_project_iam_member" "store" {
  for_each = {
    metadata = google_project_iam_custom_role.reader.id
    sweep    = google_project_iam_custom_role.writer.id
  }

  project = var.project
  role    = each.value
  member  = google_service_account.function[each.key].member

  condition {
    title      = "this database only"
    expression = "resource.name == \"projects/${var.project}/databases/${google_firestore_database.store.name}\""
  }
}

# Prices: the book that was refreshed lies among the objects.
resource "google_storage_bucket_iam_member" "prices" {
  for_each = toset([for name, one in local.functions : name if one.objects])
  bucket   = google_storage_bucket.objects.name
  role     = "roles/storage.objectViewer"
  member   = google_service_account.function[each.key].member
}

# Exactly what `fedspan credential policy gcp` prints: a test holds the two together.
resource "google_project_iam_custom_role" "machines" {
  role_id     = "${replace(var.name, "-", "_")}_machines"
  title       = "Fedspan: its machines and their firewalls"
  permissions = jsondecode(file("${path.module}/machines.json"))
}

resource "google_project_iam_member" "machines" {
  for_each = toset([for name, one in local.functions : name if one.machines])
  project  = var.project
  role     = google_project_iam_custom_role.machines.id
  member   = google_service_account.function[each.key].member
}

resource "google_kms_crypto_key_iam_member" "sweep" {
  crypto_key_id = google_kms_crypto_key.credentials.id
  role          = "roles/cloudkms.cryptoKeyDecrypter"
  member        = google_service_account.function["sweep"].member
}
