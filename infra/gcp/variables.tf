variable "project" {
  description = "Id of the Google Cloud project."
  type        = string
}

variable "region" {
  description = "Where functions, database and bucket are."
  type        = string
  default     = "europe-west1"
}

variable "name" {
  description = "Prefix of all that is made and, with the region, FEDSPAN_OWNER of the machines; one a project."
  type        = string
  default     = "fedspan"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "2 to 20 of a-z, 0-9 and -, beginning with a letter."
  }
}

variable "package" {
  description = "Zip of the functions' folder, as `fedspan deploy gcp` makes it of `make package-gcp`."
  type        = string
}

variable "callers" {
  description = "Who may call the functions but `machines` and `sweep`, such as serviceAccount:NAME@PROJECT.iam.gserviceaccount.com. Never the public."
  type        = set(string)
  default     = []

  validation {
    condition     = length(setintersection(var.callers, ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "allUsers and allAuthenticatedUsers are the public."
  }
}

variable "machines_callers" {
  description = "Who may call `machines`: one control plane at most. Its machines have one owner, and a control plane ends all of that owner whose jobs it does not know: a second would end those of the first. Deploy again under another name for it."
  type        = set(string)
  default     = []

  validation {
    condition     = length(var.machines_callers) <= 1
    error_message = "One at most: each would end the machines of the others. Deploy again under another name for each."
  }

  validation {
    condition     = length(setintersection(var.machines_callers, ["allUsers", "allAuthenticatedUsers"])) == 0
    error_message = "allUsers and allAuthenticatedUsers are the public."
  }
}

variable "sweep_minutes" {
  description = "How often machines that nobody wants are looked for; 0: never, for a project whose jobs are in another store."
  type        = number
  default     = 0
}

variable "settings" {
  description = "More of FEDSPAN_*."
  type        = map(string)
  default     = {}
}

variable "log_days" {
  description = "How long logs are kept."
  type        = number
  default     = 30
}

variable "alarm_email" {
  description = "Who hears of alarms; null: they are shown in the console only."
  type        = string
  default     = null
}

variable "keep_objects" {
  description = "Refuse to destroy a bucket or database that still holds something."
  type        = bool
  default     = true
}

variable "labels" {
  description = "More labels for everything."
  type        = map(string)
  default     = {}
}
