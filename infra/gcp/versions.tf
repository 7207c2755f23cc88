terraform {
  required_version = ">= 1.11"

  required_providers {
    google = {
      source  = "hashicorp/google"
      version = ">= 6.0, < 8"
    }
  }
}

provider "google" {
  project        = var.project
  region         = var.region
  default_labels = merge({ application = "fedspan", owner = var.name }, var.labels)
}

resource "google_project_service" "needed" {
  for_each = toset([
    "artifactregistry", "cloudbuild", "cloudfunctions", "cloudkms", "cloudscheduler", "compute",
    "firestore", "logging", "monitoring", "run", "storage",
  ])

  service            = "${each.key}.googleapis.com"
  disable_on_destroy = false # others in the project may need it
}
