"""Files of the lake that are not tables: the pages people open.

What belongs here: putting a text at a place under the lake root, on a folder or in a bucket, whole or not at all.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.settings import Settings


def put_text(settings: Settings, place: str, text: str) -> str:
    """Write `text` to `<lake root>/<place>` atomically; its address, `file://…` or `s3://…`."""
    address = f"{settings.lake_root}/{place}"
    url = urlsplit(address)
    if url.scheme == "s3":
        s3_client(settings).put_object(
            Bucket=url.netloc, Key=url.path.lstrip("/"), Body=text.encode(), ContentType="text/html; charset=utf-8"
        )
        return address
    target = Path(url.path)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        handle, scratch = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}")
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        Path(scratch).replace(target)
    except OSError as error:
        raise StorageUnavailable(
            f"{target} cannot be written ({error.strerror})", "Make the lake's folder writable, or set LAKE_URL"
        ) from None
    return address


def has_file(settings: Settings, place: str) -> bool:
    """Whether something lies at `<lake root>/<place>`."""
    url = urlsplit(f"{settings.lake_root}/{place}")
    if url.scheme == "s3":
        found = s3_client(settings).list_objects_v2(Bucket=url.netloc, Prefix=url.path.lstrip("/"), MaxKeys=1)
        return bool(found.get("KeyCount"))
    return Path(url.path).is_file()


def s3_client(settings: Settings) -> Any:
    """A boto3 client for the endpoint and keys of the settings; unset ones: AWS and the machine's role."""
    import boto3

    key, secret = settings.aws_access_key_id, settings.aws_secret_access_key
    return boto3.client(
        "s3",
        endpoint_url=settings.aws_endpoint_url,
        region_name=settings.aws_region,
        aws_access_key_id=key.get_secret_value() if key else None,
        aws_secret_access_key=secret.get_secret_value() if secret else None,
    )
