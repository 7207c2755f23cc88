"""Models and checkpoints: bytes by key, in a folder or a bucket.

Everything streams: an object of any size passes through a few MiB of memory.
"""
