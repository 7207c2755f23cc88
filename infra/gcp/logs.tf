# The project's default bucket keeps logs for thirty days; ours are kept as long as is said.
resource "google_logging_project_bucket_config" "functions" {
  project        = var.project
  location       = var.region
  bucket_id      = var.name
  retention_days = var.log_days
  depends_on     = [google_project_service.needed]
}

resource "google_logging_project_sink" "functions" {
  name                   = var.name
  destination            = "logging.googleapis.com/${google_logging_project_bucket_config.functions.id}"
  filter                 = "resource.type=\"cloud_run_revision\" AND resource.labels.service_name=~\"^${var.name}-\""
  unique_writer_identity = true
}

resource "google_monitoring_notification_channel" "email" {
  count        = var.alarm_email == null ? 0 : 1
  display_name = "${var.name} alarms"
  type         = "email"
  labels       = { email_address = var.alarm_email }
}

resource "google_monitoring_alert_policy" "errors" {
  display_name          = "${var.name}: a function answered with 5xx"
  combiner              = "OR"
  notification_channels = google_monitoring_notification_channel.email[*].id
  depends_on            = [google_project_service.needed]

  conditions {
    display_name = "5xx"

    condition_threshold {
      filter          = "resource.type = \"cloud_run_revision\" AND resource.labels.service_name = starts_with(\"${var.name}-\") AND metric.type = \"run.googleapis.com/request_count\" AND metric.labels.response_code_class = \"5xx\""
      comparison      = "COMPARISON_GT"
      threshold_value = 0
      duration        = "0s"

      aggregations {
        alignment_period   = "300s"
        per_series_aligner = "ALIGN_DELTA"
      }
    }
  }
}
