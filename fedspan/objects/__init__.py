"""Models and checkpoints: bytes by key, in a folder or an S3 bucket.

Everything streams: an object of any size passes through a few MiB of memory.
"""
