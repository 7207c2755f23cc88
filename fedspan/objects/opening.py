"""From a URL to the objects there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fedspan.errors import InvalidRequest
from fedspan.extras import needed
from fedspan.objects.base import Objects
from fedspan.objects.granted import granted
from fedspan.objects.keys import check_key


def open_objects(url: str, **options: Any) -> Objects:
    """The objects at ``file:///absolute/folder``, ``s3://bucket/prefix`` or ``gs://bucket/prefix``.

    A folder is made if need be. A bucket's endpoint, region and credentials come from the usual
    AWS_* or GOOGLE_* environment where `options`, those of obstore's store, say nothing; on a
    machine whose access is granted (``FEDSPAN_GRANT``), from that.

    Raises:
        InvalidRequest: none of the three.
        StoreUnavailable: nothing has been granted yet.
        Unsupported: obstore is not installed.
    """
    parts = urlsplit(url)
    # The message does not repeat the URL: somebody may have put a password into it.
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidRequest("objects: the URL has only a scheme, a bucket and a path")
    match parts.scheme:
        case "file" if parts.netloc in ("", "localhost") and parts.path.startswith("/"):
            from fedspan.objects.folder import FolderObjects

            return FolderObjects(Path(unquote(parts.path)))
        # obstore loads only where it is needed.
        case "s3" if parts.netloc:
            with needed("s3://", "aws"):
                from fedspan.objects.s3 import s3_objects
            return s3_objects(parts.netloc, _prefix(parts.path), **granted().s3() | options)
        case "gs" if parts.netloc:
            with needed("gs://", "gcp"):
                from fedspan.objects.gcs import gcs_objects
            return gcs_objects(parts.netloc, _prefix(parts.path), **granted().gcs() | options)
        case scheme:
            known = "file:///folder, s3://bucket/prefix or gs://bucket/prefix"
            raise InvalidRequest(f"objects: {scheme or 'no'}: is not {known}")


def _prefix(path: str) -> str:
    prefix = unquote(path).strip("/")
    return prefix and check_key(prefix)
