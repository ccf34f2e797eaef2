"""Pages put under the lake's root and found again: in a folder, and in a bucket over HTTP."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.settings import Settings, load_settings
from trading_pipeline.storage import files

PAGE = "<html>Größe: 5 %</html>\n"


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 endpoint on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


def in_bucket(endpoint: str, bucket: str) -> Settings:
    """Settings of a lake in that bucket."""
    return load_settings(
        lake_url=f"s3://{bucket}/lake",
        aws_endpoint_url=endpoint,
        aws_access_key_id=SecretStr("key"),
        aws_secret_access_key=SecretStr("secret"),
    )


@pytest.fixture(params=["folder", "bucket"])
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of a lake in a folder and of one in a bucket."""
    if request.param == "folder":
        return load_settings(lake_url=f"file://{tmp_path / 'lake'}")
    made = in_bucket(request.getfixturevalue("endpoint"), f"pages-{tmp_path.name.lower().replace('_', '-')[:40]}")
    files.s3_client(made).create_bucket(Bucket=made.lake_root.split("/")[2])
    return made


def test_what_was_put_is_found_read_and_replaced(settings: Settings) -> None:
    place = "us/reports/daily_briefing/2024-03-15.html"
    assert not files.has_file(settings, place)
    assert files.names_in(settings, "us/reports/daily_briefing") == []
    assert files.put_text(settings, place, "first") == f"{settings.lake_root}/{place}"
    files.put_text(settings, place, PAGE)
    files.put_text(settings, "us/reports/daily_briefing/2024-03-14.html", PAGE)
    files.put_text(settings, "us/reports/other/2024-03-13.html", PAGE)
    assert files.has_file(settings, place)
    assert files.text_of(settings, place) == PAGE
    assert files.names_in(settings, "us/reports/daily_briefing") == ["2024-03-14.html", "2024-03-15.html"]
    assert files.names_in(settings, "us/reports") == []


def test_what_is_not_there_is_one_line(settings: Settings) -> None:
    with pytest.raises(StorageUnavailable, match=r"none\.html cannot be read"):
        files.text_of(settings, "us/none.html")


def test_a_bucket_that_is_not_there_is_one_line_without_the_secret(endpoint: str) -> None:
    with pytest.raises(StorageUnavailable, match=r"s3://nowhere/lake/simulated/us/page\.html cannot be") as raised:
        files.put_text(in_bucket(endpoint, "nowhere"), "us/page.html", PAGE)
    assert "secret" not in str(raised.value)
