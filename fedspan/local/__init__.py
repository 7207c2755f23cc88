"""The embedded default: the real state machine, function code and images on one computer.

Only the adapters differ from a cloud: Step Functions by moto's interpreter in this process,
API Gateway by a small HTTP server on loopback, DynamoDB by SQLite, S3 by a folder, virtual
machines by process groups, EventBridge's schedules by a timer. All state lies in one folder.
"""
