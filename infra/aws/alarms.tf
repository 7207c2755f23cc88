# Errors of a task are no alarm: NoCapacity and its like are how a task tells the state machine,
# which retries, catches and goes on. What it could not mend ends an execution, and that is one.
# The functions that nobody stands behind have an alarm each.
locals {
  alone   = toset(["api_handler", "authorize", "score_placement", "sweep"])
  watched = var.alarm_each_function ? toset(keys(local.functions)) : local.alone
  told    = [aws_sns_topic.alarms.arn]
}

resource "aws_sns_topic" "alarms" {
  name = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "email" {
  count     = var.alarm_email == null ? 0 : 1
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}

resource "aws_cloudwatch_metric_alarm" "errors" {
  for_each            = local.watched
  alarm_name          = "${var.name}-${each.key}-errors"
  alarm_description   = "The function ${each.key} failed; its log group says why"
  namespace           = "AWS/Lambda"
  metric_name         = "Errors"
  dimensions          = { FunctionName = aws_lambda_function.each[each.key].function_name }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = each.key == "sweep" ? 2 : 1 # one sweep mends what another could not
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.told
}

resource "aws_cloudwatch_metric_alarm" "executions" {
  alarm_name          = "${var.name}-executions-failed"
  alarm_description   = "An execution of the state machine ended without its job being finished"
  namespace           = "AWS/States"
  metric_name         = "ExecutionsFailed"
  dimensions          = { StateMachineArn = aws_sfn_state_machine.federated_job.arn }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 1
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.told
}

resource "aws_cloudwatch_metric_alarm" "front" {
  alarm_name          = "${var.name}-api-5xx"
  alarm_description   = "The API answered with 5xx five times in five minutes"
  namespace           = "AWS/ApiGateway"
  metric_name         = "5XXError"
  dimensions          = { ApiName = aws_api_gateway_rest_api.front.name, Stage = local.stage }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanOrEqualToThreshold"
  threshold           = 5
  treat_missing_data  = "notBreaching"
  alarm_actions       = local.told
}

# Of what carries our tag (the tag must be activated for billing once, in the console).
resource "aws_budgets_budget" "month" {
  count        = var.monthly_budget_usd == 0 ? 0 : 1
  name         = "${var.name}-${local.region}"
  budget_type  = "COST"
  limit_amount = tostring(var.monthly_budget_usd)
  limit_unit   = "USD"
  time_unit    = "MONTHLY"

  cost_filter {
    name   = "TagKeyValue"
    values = [format("user:owner$%s", var.name)]
  }

  dynamic "notification" {
    for_each = var.alarm_email == null ? [] : [var.alarm_email]

    content {
      comparison_operator        = "GREATER_THAN"
      notification_type          = "ACTUAL"
      threshold                  = 80
      threshold_type             = "PERCENTAGE"
      subscriber_email_addresses = [notification.value]
    }
  }
}
