# The one table of `fedspan.stores.dynamodb`; the emulated one of the tests is made from TABLE there,
# and tests/infra holds the two together.
resource "aws_dynamodb_table" "store" {
  name         = var.name
  billing_mode = "PAY_PER_REQUEST" # bursts, a job at a time, and nothing in between
  hash_key     = "pk"
  range_key    = "sk"

  attribute {
    name = "pk"
    type = "S"
  }

  attribute {
    name = "sk"
    type = "S"
  }

  server_side_encryption {
    enabled = true # AWS's key for DynamoDB in this account
  }

  point_in_time_recovery {
    enabled = true
  }
}
