locals {
  state_machine_name = "${var.name}-federated-job"
  state_machine_arn  = "arn:${local.partition}:states:${local.here}:stateMachine:${local.state_machine_name}"

  # Of all functions, those its file names.
  tasks = {
    for name, function in aws_lambda_function.each : name => function.arn
    if strcontains(file(var.state_machine), "$${${name}}")
  }
}

resource "aws_sfn_state_machine" "federated_job" {
  name       = local.state_machine_name
  role_arn   = aws_iam_role.state_machine.arn
  definition = templatefile(var.state_machine, local.tasks)
  depends_on = [aws_iam_role_policy.state_machine]

  logging_configuration {
    level                  = "ERROR"
    include_execution_data = false
    log_destination        = "${aws_cloudwatch_log_group.state_machine.arn}:*"
  }
}

resource "aws_cloudwatch_log_group" "state_machine" {
  name              = "/aws/vendedlogs/states/${local.state_machine_name}"
  retention_in_days = var.log_days
}

resource "aws_iam_role" "state_machine" {
  name               = "${local.state_machine_name}-${local.region}"
  description        = "Fedspan: what the state machine may do"
  assume_role_policy = data.aws_iam_policy_document.states.json
}

data "aws_iam_policy_document" "states" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["states.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:SourceAccount"
      values   = [local.account]
    }
  }
}

resource "aws_iam_role_policy" "state_machine" {
  name   = "tasks"
  role   = aws_iam_role.state_machine.id
  policy = data.aws_iam_policy_document.state_machine.json
}

data "aws_iam_policy_document" "state_machine" {
  statement {
    sid       = "Tasks"
    actions   = ["lambda:InvokeFunction"]
    resources = values(local.tasks)
  }

  # Step Functions sets up its own log delivery; these actions know no resources.
  statement {
    sid = "Logs"
    actions = [
      "logs:CreateLogDelivery",
      "logs:DeleteLogDelivery",
      "logs:DescribeLogGroups",
      "logs:DescribeResourcePolicies",
      "logs:GetLogDelivery",
      "logs:ListLogDeliveries",
      "logs:PutResourcePolicy",
      "logs:UpdateLogDelivery",
    ]
    resources = ["*"]
  }
}
