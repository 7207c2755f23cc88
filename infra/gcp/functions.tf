# The entry points of functions/gcp/main.py, each deployed by itself: an account, a list of callers
# and rights of its own.
locals {
  functions = {
    check_credential = { memory = "512Mi", seconds = 60, store = false, objects = false, machines = false }
    score_placement  = { memory = "512Mi", seconds = 60, store = false, objects = true, machines = false }
    machines         = { memory = "512Mi", seconds = 60, store = false, objects = true, machines = true }
    metadata         = { memory = "256Mi", seconds = 30, store = true, objects = false, machines = false }
    sweep            = { memory = "512Mi", seconds = 300, store = true, objects = false, machines = true }
  }

  # Installations that share a project each see what is their own: an owner is one a cloud, region and
  # name. What a control plane elsewhere drives, whose jobs are not in our store, is none of `sweep`'s.
  owner        = "${var.name}-gcp-${var.region}"
  remote_owner = "${local.owner}-remote"

  store      = { FEDSPAN_STORE_URL = "firestore://${var.project}/${google_firestore_database.store.name}" }
  objects    = { FEDSPAN_OBJECTS_URL = "gs://${google_storage_bucket.objects.name}" }
  master_key = { FEDSPAN_MASTER_KEY = google_kms_crypto_key.credentials.id }
}

resource "google_cloudfunctions2_function" "each" {
  for_each    = local.functions
  name        = "${var.name}-${replace(each.key, "_", "-")}"
  description = "Fedspan: ${each.key}"
  location    = var.region

  build_config {
    runtime         = "python312"
    entry_point     = each.key
    service_account = google_service_account.build.id

    source {
      storage_source {
        bucket = google_storage_bucket.source.name
        object = google_storage_bucket_object.package.name
      }
    }
  }

  service_config {
    available_memory                 = each.value.memory
    timeout_seconds                  = each.value.seconds
    min_instance_count               = 0
    max_instance_count               = each.key == "sweep" ? 1 : 10
    max_instance_request_concurrency = 1
    ingress_settings                 = "ALLOW_ALL" # IAM stands at the door: nobody is invoker but callers
    all_traffic_on_latest_revision   = true
    service_account_email            = google_service_account.function[each.key].email

    environment_variables = merge(
      { FEDSPAN_OWNER = each.key == "machines" ? local.remote_owner : local.owner },
      each.value.store ? local.store : {},
      each.value.objects ? local.objects : {},
      each.key == "sweep" ? local.master_key : {},
      var.settings,
    )
  }

  depends_on = [google_project_service.needed, google_project_iam_member.build]
}

# Every function is a Cloud Run service; without a member here nobody calls it.
resource "google_cloud_run_service_iam_member" "caller" {
  for_each = {
    for pair in setunion(
      setproduct(setsubtract(keys(local.functions), ["machines", "sweep"]), var.callers),
      setproduct(["machines"], var.machines_callers),
    ) : "${pair[0]} ${pair[1]}" => pair
  }

  location = var.region
  service  = google_cloudfunctions2_function.each[each.value[0]].name
  role     = "roles/run.invoker"
  member   = each.value[1]
}

resource "google_cloud_run_service_iam_member" "scheduler" {
  location = var.region
  service  = google_cloudfunctions2_function.each["sweep"].name
  role     = "roles/run.invoker"
  member   = google_service_account.scheduler.member
}

resource "google_cloud_scheduler_job" "sweep" {
  count            = var.sweep_minutes > 0 ? 1 : 0
  name             = "${var.name}-sweep"
  description      = "Fedspan: remove machines that nobody wants"
  schedule         = "*/${var.sweep_minutes} * * * *"
  attempt_deadline = "300s"
  region           = var.region
  depends_on       = [google_project_service.needed]

  http_target {
    http_method = "POST"
    uri         = google_cloudfunctions2_function.each["sweep"].service_config[0].uri

    oidc_token {
      service_account_email = google_service_account.scheduler.email
      audience              = google_cloudfunctions2_function.each["sweep"].service_config[0].uri
    }
  }
}
