# Tokens are signed with this. It is passed through, so neither state nor plan holds it.
resource "aws_ssm_parameter" "signing_key" {
  name             = "/${var.name}/signing-key"
  description      = "Fedspan: signs and reads the tokens of people and machines"
  type             = "SecureString" # under AWS's key for SSM, which costs nothing
  value_wo         = var.signing_key
  value_wo_version = var.signing_key_version
}

# Wraps the data key of each registered credential (fedspan.keys.kms). A key costs $1 a month and a
# control plane without credentials needs none, so it comes with the first of them.
resource "aws_kms_key" "credentials" {
  count                   = var.credentials_key ? 1 : 0
  description             = "Fedspan: wraps the data keys of cloud credentials"
  enable_key_rotation     = true
  deletion_window_in_days = 7
  policy                  = data.aws_iam_policy_document.credentials_key.json
}

resource "aws_kms_alias" "credentials" {
  count         = var.credentials_key ? 1 : 0
  name          = local.credentials_alias
  target_key_id = aws_kms_key.credentials[0].key_id
}

locals {
  credentials_alias = "alias/${var.name}-credentials"
  master_key        = var.credentials_key ? "arn:${local.partition}:kms:${local.here}:${local.credentials_alias}" : ""
}

# The account stays able to administer its key; who may use it, the roles of the functions say.
data "aws_iam_policy_document" "credentials_key" {
  statement {
    sid       = "TheAccountAdministers"
    actions   = ["kms:*"]
    resources = ["*"] # in a key's policy: this key

    principals {
      type        = "AWS"
      identifiers = ["arn:${local.partition}:iam::${local.account}:root"]
    }
  }
}
