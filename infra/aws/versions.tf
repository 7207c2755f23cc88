terraform {
  # 1.11 has write-only arguments: the signing key is passed on and kept in no state.
  required_version = ">= 1.11"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.88, < 7"
    }
  }
}

provider "aws" {
  region            = var.region
  s3_use_path_style = var.s3_path_style

  # A plan without an account: nobody is asked who we are.
  access_key                  = var.offline ? "none" : null
  secret_key                  = var.offline ? "none" : null
  skip_credentials_validation = var.offline
  skip_requesting_account_id  = var.offline
  skip_metadata_api_check     = var.offline

  default_tags {
    tags = merge({ application = "fedspan", owner = var.name }, var.tags)
  }
}

data "aws_partition" "this" {}
data "aws_region" "this" {}

data "aws_caller_identity" "this" {
  count = var.offline ? 0 : 1
}

locals {
  partition = data.aws_partition.this.partition
  region    = data.aws_region.this.name
  account   = var.offline ? "123456789012" : data.aws_caller_identity.this[0].account_id
  here      = "${local.region}:${local.account}"
}
