output "api_url" {
  description = "Where the REST API answers."
  value       = local.environment.FEDSPAN_API_URL
}

output "bucket" {
  description = "Where models are."
  value       = aws_s3_bucket.objects.id
}

output "state_machine" {
  description = "ARN of the state machine."
  value       = aws_sfn_state_machine.federated_job.arn
}

output "master_key" {
  description = "ARN of the alias of the key that wraps credentials; empty: there is none yet."
  value       = local.master_key
}
