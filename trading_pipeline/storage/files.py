"""Files of the lake that are not tables: the pages people open.

What belongs here: putting a text at a place under the lake root, on a folder or in a bucket, whole or not at all, and
finding it again.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.settings import Settings


def put_text(settings: Settings, place: str, text: str) -> str:
    """Write `text` to `<lake root>/<place>` atomically; its address, `file://…` or `s3://…`.

    `StorageUnavailable` where it cannot be written.
    """
    address = f"{settings.lake_root}/{place}"
    if address.startswith("s3://"):
        bucket, key = _in_bucket(address)
        with reaching(address):
            s3_client(settings).put_object(
                Bucket=bucket, Key=key, Body=text.encode(), ContentType="text/html; charset=utf-8"
            )
        return address
    target = Path(address.removeprefix("file://"))
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
    """Whether something lies at `<lake root>/<place>`; `StorageUnavailable` where the bucket cannot be asked."""
    address = f"{settings.lake_root}/{place}"
    if address.startswith("s3://"):
        bucket, key = _in_bucket(address)
        with reaching(address):
            found = s3_client(settings).list_objects_v2(Bucket=bucket, Prefix=key, MaxKeys=1)
        return bool(found.get("KeyCount"))
    return Path(address.removeprefix("file://")).is_file()


def names_in(settings: Settings, folder: str) -> list[str]:
    """Names of the files directly in `<lake root>/<folder>`; none where it does not exist."""
    address = f"{settings.lake_root}/{folder}"
    if address.startswith("s3://"):
        bucket, key = _in_bucket(f"{address}/")
        with reaching(address):
            pages = (
                s3_client(settings).get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=key, Delimiter="/")
            )
            return sorted(item["Key"].removeprefix(key) for page in pages for item in page.get("Contents", []))
    path = Path(address.removeprefix("file://"))
    return sorted(file.name for file in path.iterdir() if file.is_file()) if path.is_dir() else []


def text_of(settings: Settings, place: str) -> str:
    """The text that lies at `<lake root>/<place>`; `StorageUnavailable` where it cannot be read."""
    address = f"{settings.lake_root}/{place}"
    if address.startswith("s3://"):
        bucket, key = _in_bucket(address)
        with reaching(address):
            return str(s3_client(settings).get_object(Bucket=bucket, Key=key)["Body"].read().decode())
    try:
        return Path(address.removeprefix("file://")).read_text(encoding="utf-8")
    except OSError as error:
        raise StorageUnavailable(
            f"{address} cannot be read ({error.strerror})", "Make the lake's folder readable, or run the session again"
        ) from None


@contextmanager
def reaching(address: str) -> Iterator[None]:
    """Turns what boto3 raises into one line about `address`."""
    from boto3.exceptions import Boto3Error
    from botocore.exceptions import BotoCoreError, ClientError

    try:
        yield
    except (Boto3Error, BotoCoreError, ClientError) as error:
        raise StorageUnavailable(
            f"{address} cannot be read or written ({error})",
            "Check the bucket's name, the rights on it and the AWS settings",
        ) from None


def _in_bucket(address: str) -> tuple[str, str]:
    """Bucket and key of an `s3://` address."""
    bucket, _, key = address.removeprefix("s3://").partition("/")
    return bucket, key


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
