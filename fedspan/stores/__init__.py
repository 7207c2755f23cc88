"""Metadata: versioned documents, written conditionally and all or nothing.

One small interface (`base.Store`) over memory, SQLite, DynamoDB; the typed tables of
`records` stand on it, so an adapter knows nothing of jobs. A document is JSON text: DynamoDB
refuses floats and Firestore refuses Decimals, and neither is asked to query inside one.
"""
