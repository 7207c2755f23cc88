variable "name" {
  description = "Prefix of all that is made and, with the region, FEDSPAN_OWNER of the machines; one a region and account."
  type        = string
  default     = "fedspan"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,19}$", var.name))
    error_message = "2 to 20 of a-z, 0-9 and -, beginning with a letter: bucket names take no others."
  }
}

variable "region" {
  description = "Where; default: what the AWS environment says."
  type        = string
  default     = null
}

variable "package" {
  description = "Folder with deployment.zip and chalice.tf.json, as `make package-aws` makes it."
  type        = string
}

variable "state_machine" {
  description = "File of the state machine, with the names of its functions as $${name}."
  type        = string
}

variable "signing_key" {
  description = "Key of the tokens, at least 32 bytes. It goes to SSM and into no state."
  type        = string
  sensitive   = true
  ephemeral   = true

  validation {
    condition     = length(var.signing_key) >= 32
    error_message = "At least 32 characters."
  }
}

variable "signing_key_version" {
  description = "Raise it to send another key: all tokens issued before are refused from then on."
  type        = number
  default     = 1
}

variable "credentials_key" {
  description = "Make the KMS key that wraps the credentials of clouds: $1 a month. Needed before the first is registered."
  type        = bool
  default     = false
}

variable "settings" {
  description = "More of FEDSPAN_*, such as { FEDSPAN_REMOTE_URL = \"https://...\" }."
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

variable "alarm_each_function" {
  description = "An alarm for every function, $0.10 a month each, not only for those that answer to nobody else."
  type        = bool
  default     = false
}

variable "monthly_budget_usd" {
  description = "A budget for all that is tagged with our name; 0: none."
  type        = number
  default     = 20
}

variable "api_gateway_account" {
  description = "Let API Gateway write logs: a setting of account and region. False where another stack has made it."
  type        = bool
  default     = true
}

variable "keep_objects" {
  description = "Refuse to destroy a bucket that still holds models. False: they go with it."
  type        = bool
  default     = true
}

variable "tags" {
  description = "More tags for everything."
  type        = map(string)
  default     = {}
}

variable "offline" {
  description = "Plan without an account: what would be made. Never apply so."
  type        = bool
  default     = false
}

variable "s3_path_style" {
  description = "Buckets in the path of a URL, as test clouds want them."
  type        = bool
  default     = false
}
