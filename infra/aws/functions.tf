# What Chalice packaged says which functions there are, how each is entered, what it may take and
# what it may do. Chalice's own Terraform is for versions below 1.4, knows neither log groups nor
# environments that name other resources, and so is read here as data.
locals {
  chalice   = jsondecode(file("${var.package}/chalice.tf.json"))
  functions = local.chalice.resource.aws_lambda_function
  zip       = "${var.package}/deployment.zip"

  # ARNs by name, not by reference: functions know the API and the state machine, and both know them.
  function_arns = {
    for name in keys(local.functions) :
    name => "arn:${local.partition}:lambda:${local.here}:function:${var.name}-${name}"
  }

  # One a cloud, region and name: installations that share an account somewhere end nothing of each
  # other's.
  owner = "${var.name}-aws-${local.region}"

  environment = merge({
    FEDSPAN_OWNER                 = local.owner
    FEDSPAN_API_URL               = "https://${aws_api_gateway_rest_api.front.id}.execute-api.${local.region}.${data.aws_partition.this.dns_suffix}/${local.stage}"
    FEDSPAN_STORE_URL             = "dynamodb://${aws_dynamodb_table.store.name}"
    FEDSPAN_OBJECTS_URL           = "s3://${aws_s3_bucket.objects.id}"
    FEDSPAN_OBJECTS_ROLE          = aws_iam_role.objects.arn
    FEDSPAN_STATE_MACHINE_ARN     = local.state_machine_arn
    FEDSPAN_SIGNING_KEY_PARAMETER = aws_ssm_parameter.signing_key.name
    FEDSPAN_MASTER_KEY            = local.master_key
  }, var.settings)
}

resource "aws_lambda_function" "each" {
  for_each         = local.functions
  function_name    = "${var.name}-${each.key}"
  description      = "Fedspan: ${each.key}"
  role             = aws_iam_role.function[each.key].arn
  runtime          = each.value.runtime
  handler          = each.value.handler
  architectures    = each.value.architectures
  memory_size      = each.value.memory_size
  timeout          = each.value.timeout
  s3_bucket        = aws_s3_object.package.bucket
  s3_key           = aws_s3_object.package.key
  source_code_hash = filebase64sha256(local.zip)

  environment {
    variables = local.environment
  }

  logging_config {
    log_format = "Text" # our lines are JSON already
    log_group  = aws_cloudwatch_log_group.function[each.key].name
  }
}

# Uploaded once for all functions: given the file itself, Terraform sends it to each, one by one.
resource "aws_s3_object" "package" {
  bucket = aws_s3_bucket.objects.id
  key    = "deployments/${filesha256(local.zip)}.zip"
  source = local.zip
}

resource "aws_cloudwatch_log_group" "function" {
  for_each          = local.functions
  name              = "/aws/lambda/${var.name}-${each.key}"
  retention_in_days = var.log_days
}

# The schedules of app.py: the sweep.
locals {
  schedules = {
    for name, target in local.chalice.resource.aws_cloudwatch_event_target :
    name => {
      rate     = local.chalice.resource.aws_cloudwatch_event_rule[name].schedule_expression
      function = split(".", target.arn)[1]
    }
  }
}

resource "aws_cloudwatch_event_rule" "schedule" {
  for_each            = local.schedules
  name                = "${var.name}-${each.value.function}"
  schedule_expression = each.value.rate
}

resource "aws_cloudwatch_event_target" "schedule" {
  for_each = local.schedules
  rule     = aws_cloudwatch_event_rule.schedule[each.key].name
  arn      = aws_lambda_function.each[each.value.function].arn

  # The next sweep does what this one did not: an old one need not be repeated.
  retry_policy {
    maximum_retry_attempts       = 0
    maximum_event_age_in_seconds = 60
  }
}

resource "aws_lambda_permission" "schedule" {
  for_each      = local.schedules
  function_name = aws_lambda_function.each[each.value.function].function_name
  action        = "lambda:InvokeFunction"
  principal     = "events.amazonaws.com"
  source_arn    = aws_cloudwatch_event_rule.schedule[each.key].arn
}
