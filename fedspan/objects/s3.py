"""Objects in an S3 bucket."""

from __future__ import annotations

import os
from typing import Any

from obstore.store import S3Store

from fedspan.objects.bucket import CLIENT_OPTIONS, BucketObjects


def s3_objects(bucket: str, prefix: str = "", **options: Any) -> BucketObjects:
    """All objects of `bucket` under `prefix`. `options` are those of obstore's `S3Store`; what
    they leave open comes from the usual AWS_* environment, or the machine's own role."""
    store = S3Store(bucket, prefix=prefix or None, **_defaults(options) | options)
    return BucketObjects(store, f"s3://{bucket}/{prefix}")


def _defaults(options: dict[str, Any]) -> dict[str, Any]:
    variables = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL")
    named = next((os.environ[v] for v in variables if os.environ.get(v)), "")
    endpoint = str(options.get("endpoint") or named)
    return {
        "copy_if_not_exists": "multipart",
        # Without TLS only if whoever chose the endpoint chose so.
        "client_options": CLIENT_OPTIONS | {"allow_http": endpoint.startswith("http://")},
    }
