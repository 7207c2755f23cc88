# A role for each function. What it may do is written once, beside the code, in
# functions/aws/.chalice/policy-*.json; the patterns there (any partition, region and account,
# because Chalice knows none) become the ARNs of this installation.
resource "aws_iam_role" "function" {
  for_each           = local.functions
  name               = "${var.name}-${local.region}-${each.key}"
  description        = "Fedspan: what ${each.key} may do"
  assume_role_policy = data.aws_iam_policy_document.lambda.json
}

data "aws_iam_policy_document" "lambda" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["lambda.amazonaws.com"]
    }
  }
}

resource "aws_iam_role_policy" "function" {
  for_each = local.functions
  name     = each.key
  role     = aws_iam_role.function[each.key].id
  policy   = jsonencode(local.policies[each.key])
}

locals {
  as_packaged = {
    for name in keys(local.functions) :
    name => jsondecode(local.chalice.resource.aws_iam_role_policy["${name}_role"].policy)
  }

  policies = {
    for name, policy in local.as_packaged : name => {
      Version = policy.Version
      Statement = [
        for one in policy.Statement : merge(
          {
            Sid      = one.Sid
            Effect   = one.Effect
            Action   = one.Action
            Resource = lookup(local.arns, one.Resource, "unknown: ${one.Resource}")
          },
          one.Sid == "Logs" ? { Resource = "${aws_cloudwatch_log_group.function[name].arn}:*" } : {},
          one.Sid == "Credentials" ? {
            Condition = merge(one.Condition, {
              "ForAnyValue:StringEquals" = { "kms:ResourceAliases" = local.credentials_alias }
            })
          } : {},
        )
      ]
    }
  }

  # IAM refuses a resource that is not here, and so does a test.
  arns = {
    "arn:*:logs:*:*:log-group:/aws/lambda/fedspan-*" = "" # each its own: above
    "arn:*:ssm:*:*:parameter/fedspan/signing-key"    = aws_ssm_parameter.signing_key.arn
    "arn:*:dynamodb:*:*:table/fedspan"               = aws_dynamodb_table.store.arn
    "arn:*:s3:::fedspan-*"                           = aws_s3_bucket.objects.arn
    "arn:*:s3:::fedspan-*/*"                         = "${aws_s3_bucket.objects.arn}/*"
    "arn:*:iam::*:role/fedspan-*-objects"            = aws_iam_role.objects.arn
    "arn:*:states:*:*:stateMachine:federated_job"    = local.state_machine_arn
    "arn:*:states:*:*:execution:federated_job:*"     = "${replace(local.state_machine_arn, ":stateMachine:", ":execution:")}:*"
    "arn:*:kms:*:*:key/*" = (
      var.credentials_key ? aws_kms_key.credentials[0].arn : "arn:${local.partition}:kms:${local.here}:key/*"
    )
  }
}

# What machines get is a session of this role, cut down to their job and an hour
# (fedspan.objects.grants); only the API takes it.
resource "aws_iam_role" "objects" {
  name               = "${var.name}-${local.region}-objects"
  description        = "Fedspan: all objects; machines get parts of it"
  assume_role_policy = data.aws_iam_policy_document.grants.json
}

data "aws_iam_policy_document" "grants" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "AWS"
      identifiers = [aws_iam_role.function["api_handler"].arn]
    }
  }
}

resource "aws_iam_role_policy" "objects" {
  name   = "objects"
  role   = aws_iam_role.objects.id
  policy = data.aws_iam_policy_document.all_objects.json
}

data "aws_iam_policy_document" "all_objects" {
  statement {
    sid       = "ListObjects"
    actions   = ["s3:ListBucket"]
    resources = [aws_s3_bucket.objects.arn]
  }

  statement {
    sid       = "Objects"
    actions   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject", "s3:AbortMultipartUpload"]
    resources = ["${aws_s3_bucket.objects.arn}/*"]
  }
}
