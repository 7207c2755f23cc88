"""From a URL to the objects there."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fedspan.errors import InvalidRequest
from fedspan.objects.base import Objects
from fedspan.objects.keys import check_key


def open_objects(url: str, **s3_options: Any) -> Objects:
    """The objects at ``file:///absolute/folder`` or ``s3://bucket/prefix``.

    A folder is made if need be. S3 takes endpoint, region and credentials from the usual AWS_*
    environment where `s3_options`, those of obstore's `S3Store`, say nothing.

    Raises:
        InvalidRequest: neither of the two.
    """
    parts = urlsplit(url)
    # The message does not repeat the URL: somebody may have put a password into it.
    if parts.query or parts.fragment or "@" in parts.netloc:
        raise InvalidRequest("objects: the URL has only a scheme, a bucket and a path")
    match parts.scheme:
        case "file" if parts.netloc in ("", "localhost") and parts.path.startswith("/"):
            from fedspan.objects.folder import FolderObjects

            return FolderObjects(Path(unquote(parts.path)))
        case "s3" if parts.netloc:
            from fedspan.objects.s3 import S3Objects  # obstore loads only where it is needed

            prefix = unquote(parts.path).strip("/")
            return S3Objects(parts.netloc, prefix and check_key(prefix), **s3_options)
        case scheme:
            raise InvalidRequest(
                f"objects: {scheme or 'no'}: is neither file:///folder nor s3://bucket/prefix"
            )
