# The REST API as Chalice describes it: every route but /v1/health asks the authorizer first.
locals {
  stage    = "api"
  openapi  = local.chalice.locals.chalice_api_swagger
  invoking = { for name, arn in local.function_arns : name => { invoke_arn = "arn:${local.partition}:apigateway:${local.region}:lambda:path/2015-03-31/functions/${arn}/invocations" } }
}

resource "aws_api_gateway_rest_api" "front" {
  name = var.name
  body = templatestring(local.openapi, { aws_lambda_function = local.invoking })

  endpoint_configuration {
    types = ["REGIONAL"]
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_lambda_permission" "front" {
  for_each      = toset(["api_handler", "authorize"])
  function_name = aws_lambda_function.each[each.key].function_name
  action        = "lambda:InvokeFunction"
  principal     = "apigateway.amazonaws.com"
  source_arn    = "${aws_api_gateway_rest_api.front.execution_arn}/*"
}

# What the gateway itself refuses, it refuses as our views do (RFC 9457): machines and the command
# line read the status and the type.
resource "aws_api_gateway_gateway_response" "refused" {
  for_each = {
    UNAUTHORIZED                 = { status = 401, type = "Unauthorized", detail = "\"a token is needed: send `Authorization: Bearer TOKEN`\"" }
    ACCESS_DENIED                = { status = 401, type = "Unauthorized", detail = "\"$context.authorizer.detail\"" }
    MISSING_AUTHENTICATION_TOKEN = { status = 404, type = "NotFound", detail = "\"no such resource\"" }
    REQUEST_TOO_LARGE            = { status = 413, type = "TooLarge", detail = "$context.error.messageString" }
    THROTTLED                    = { status = 503, type = "Throttled", detail = "$context.error.messageString" }
    DEFAULT_5XX                  = { status = null, type = "FedspanError", detail = "$context.error.messageString" }
  }

  rest_api_id   = aws_api_gateway_rest_api.front.id
  response_type = each.key
  status_code   = each.value.status

  response_templates = {
    "application/json" = "{\"type\":\"${each.value.type}\",\"status\":${coalesce(each.value.status, 500)},\"detail\":${each.value.detail}}"
  }

  response_parameters = {
    "gatewayresponse.header.Content-Type" = "'application/problem+json'"
  }
}

resource "aws_api_gateway_deployment" "front" {
  rest_api_id = aws_api_gateway_rest_api.front.id

  triggers = {
    body = sha1(jsonencode([aws_api_gateway_rest_api.front.body, aws_api_gateway_gateway_response.refused]))
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_api_gateway_stage" "front" {
  rest_api_id   = aws_api_gateway_rest_api.front.id
  deployment_id = aws_api_gateway_deployment.front.id
  stage_name    = local.stage
  depends_on    = [aws_api_gateway_account.logs]

  access_log_settings {
    destination_arn = aws_cloudwatch_log_group.front.arn
    format = jsonencode({
      request = "$context.requestId"
      ip      = "$context.identity.sourceIp"
      caller  = "$context.authorizer.principalId"
      method  = "$context.httpMethod"
      path    = "$context.path"
      status  = "$context.status"
      millis  = "$context.responseLatency"
    })
  }
}

# A limit for all together, so that a flood costs little; machines report every ten seconds.
resource "aws_api_gateway_method_settings" "front" {
  rest_api_id = aws_api_gateway_rest_api.front.id
  stage_name  = aws_api_gateway_stage.front.stage_name
  method_path = "*/*"

  settings {
    throttling_rate_limit  = 100
    throttling_burst_limit = 200
  }
}

resource "aws_cloudwatch_log_group" "front" {
  name              = "/aws/apigateway/${var.name}"
  retention_in_days = var.log_days
}

# One setting for all APIs of the account in this region.
resource "aws_api_gateway_account" "logs" {
  count               = var.api_gateway_account ? 1 : 0
  cloudwatch_role_arn = aws_iam_role.front[0].arn
  depends_on          = [aws_iam_role_policy_attachment.front]
}

resource "aws_iam_role" "front" {
  count              = var.api_gateway_account ? 1 : 0
  name               = "${var.name}-${local.region}-api-gateway-logs"
  assume_role_policy = data.aws_iam_policy_document.apigateway.json
}

resource "aws_iam_role_policy_attachment" "front" {
  count      = var.api_gateway_account ? 1 : 0
  role       = aws_iam_role.front[0].name
  policy_arn = "arn:${local.partition}:iam::aws:policy/service-role/AmazonAPIGatewayPushToCloudWatchLogs"
}

data "aws_iam_policy_document" "apigateway" {
  statement {
    actions = ["sts:AssumeRole"]

    principals {
      type        = "Service"
      identifiers = ["apigateway.amazonaws.com"]
    }
  }
}
