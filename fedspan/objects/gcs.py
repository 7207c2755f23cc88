"""Objects in a Cloud Storage bucket."""

from __future__ import annotations

import os
from typing import Any

from obstore.store import GCSStore

from fedspan.objects.bucket import CLIENT_OPTIONS, BucketObjects


def gcs_objects(bucket: str, prefix: str = "", **options: Any) -> BucketObjects:
    """All objects of `bucket` under `prefix`. `options` are those of obstore's `GCSStore`; what
    they leave open comes from the GOOGLE_* environment (GOOGLE_SERVICE_ACCOUNT_KEY,
    GOOGLE_APPLICATION_CREDENTIALS, GOOGLE_BASE_URL), or the machine's own account."""
    endpoint = str(options.get("base_url") or os.environ.get("GOOGLE_BASE_URL", ""))
    # Without TLS only if whoever chose the endpoint chose so.
    client_options = CLIENT_OPTIONS | {"allow_http": endpoint.startswith("http://")}
    defaults = {"client_options": client_options}
    store = GCSStore(bucket, prefix=prefix or None, **defaults | options)
    return BucketObjects(store, f"gs://{bucket}/{prefix}")
