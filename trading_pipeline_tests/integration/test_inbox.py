"""Files dropped into a folder and into a real S3 endpoint: taken when they are whole, received, and put away."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime

import boto3
import dagster as dg
import polars as pl
import pytest
from moto.server import ThreadedMotoServer
from pydantic import SecretStr

from trading_pipeline.automation import jobs
from trading_pipeline.automation.inbox import JOB
from trading_pipeline.errors import StorageUnavailable
from trading_pipeline.markets import US
from trading_pipeline.sessions import calendar
from trading_pipeline_tests.promises import Site, final_at
from trading_pipeline_tests.ticks import Sensor, fulfil

XNYS = calendar("XNYS")
DAY = date(2024, 3, 15)
SESSIONS = XNYS.between(XNYS.offset(DAY, -3), DAY)
NOW = final_at(US, DAY)
WAITING = "may still be growing"

NewSite = Callable[[], Site]


def bars(ticker: str = "ZZTOP", close: float = 10.0) -> pl.DataFrame:
    """A file of daily bars as people have them."""
    return pl.DataFrame({"Date": SESSIONS}).with_columns(
        Ticker=pl.lit(ticker),
        **{name: pl.lit(close) for name in ("Open", "High", "Low", "Close")},
        Volume=pl.int_range(pl.len()) * 100 + 1000,
    )


def received(site: Site, ticker: str = "ZZTOP") -> pl.DataFrame:
    """Every version received of a ticker."""
    return site.versions("received_bars", SESSIONS).filter(pl.col("symbol") == ticker).sort("session", "known_at")


class Folder:
    """The inbox of a site in its folder."""

    def __init__(self, site: Site) -> None:
        self.site = site
        self.root = site.settings.world_dir / "inbox"
        self.root.mkdir(parents=True)

    def drop(self, name: str, content: pl.DataFrame | bytes) -> None:
        """Write a file as a copy would: under its name from the start."""
        path = self.root / name
        path.write_bytes(content) if isinstance(content, bytes) else content.write_parquet(path)

    def names(self) -> list[str]:
        """Every file in the inbox and below, without the stamps of those put away."""
        return sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file())

    def read(self, name: str) -> str:
        """The text of a file."""
        return (self.root / name).read_text()


class Bucket:
    """The inbox of a site in a bucket, over HTTP."""

    def __init__(self, site: Site, endpoint: str) -> None:
        self.site = site
        self.client = boto3.client(
            "s3",
            endpoint_url=endpoint,
            aws_access_key_id="key",
            aws_secret_access_key="secret",
            region_name="us-east-1",
        )
        self.client.create_bucket(Bucket="dropped")
        site.settings = site.settings.model_copy(
            update={
                "inbox_url": "s3://dropped/in",
                "aws_endpoint_url": endpoint,
                "aws_access_key_id": SecretStr("key"),
                "aws_secret_access_key": SecretStr("secret"),
            }
        )

    def drop(self, name: str, content: pl.DataFrame | bytes) -> None:
        """Put an object."""
        if isinstance(content, pl.DataFrame):
            buffer = io.BytesIO()
            content.write_parquet(buffer)
            content = buffer.getvalue()
        self.client.put_object(Bucket="dropped", Key=f"in/{name}", Body=content)

    def names(self) -> list[str]:
        """Every object of the bucket."""
        listed = self.client.list_objects_v2(Bucket="dropped").get("Contents", [])
        return sorted(item["Key"].removeprefix("in/") for item in listed)

    def read(self, name: str) -> str:
        """The text of an object."""
        return self.client.get_object(Bucket="dropped", Key=f"in/{name}")["Body"].read().decode()


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    """An S3 endpoint on this machine."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield "http://{}:{}".format(*server.get_host_and_port())
    server.stop()


@pytest.fixture
def folder(new_site: NewSite) -> Folder:
    return Folder(new_site())


@pytest.fixture(params=["folder", "bucket"])
def inbox(request: pytest.FixtureRequest, new_site: NewSite, endpoint: str) -> Iterator[Folder | Bucket]:
    """An inbox of either kind."""
    if request.param == "folder":
        yield Folder(new_site())
        return
    made = Bucket(new_site(), endpoint)
    yield made
    for name in made.names():
        made.client.delete_object(Bucket="dropped", Key=f"in/{name}")
    made.client.delete_bucket(Bucket="dropped")


def taken(sensor: Sensor, inbox: Folder | Bucket) -> dg.RunRequest:
    """The run asked for what lies in the inbox: at once in a bucket, when nothing has changed since in a folder."""
    first = sensor.tick(NOW)
    if isinstance(inbox, Bucket):
        assert isinstance(first, dg.RunRequest), first
        return first
    assert WAITING in str(first)
    second = sensor.tick(NOW)
    assert isinstance(second, dg.RunRequest), second
    return second


def test_a_dropped_file_is_received_and_put_away(inbox: Folder | Bucket) -> None:
    sensor = Sensor(inbox.site, "inbox")
    assert sensor.tick(NOW) == "The inbox is empty."
    inbox.drop("mine.parquet", bars())
    request = taken(sensor, inbox)
    assert fulfil(inbox.site, JOB, request, NOW).success
    rows = received(inbox.site)
    assert rows["session"].to_list() == SESSIONS
    assert rows["provider"].unique().to_list() == ["files"]
    (put_away,) = inbox.names()
    assert put_away.startswith("done/mine.") and put_away.endswith(".parquet")
    assert sensor.tick(NOW) == "The inbox is empty."


def test_what_cannot_be_read_is_refused_with_the_reason(inbox: Folder | Bucket) -> None:
    sensor = Sensor(inbox.site, "inbox")
    inbox.drop("broken.csv", b"date,ticker,open,high,low,close,volume\n2024-03-15,ZZTOP,ten,10,10,10,100\n")
    result = fulfil(inbox.site, JOB, taken(sensor, inbox), NOW)
    assert not result.success
    file, reason = inbox.names()
    assert file.startswith("refused/broken.") and reason == f"{file}.reason.txt"
    assert inbox.read(reason) == (
        "broken.csv: column open holds 'ten' in row 1, which is no number. Mend it, or take the row out.\n"
    )
    assert "which is no number" in str(result.failure_data_for_node("receive_dropped_file").error)


def test_the_same_name_with_new_content_is_received_as_a_revision(inbox: Folder | Bucket) -> None:
    sensor = Sensor(inbox.site, "inbox")
    for volume in (500, 700):
        last = pl.when(pl.col("Date") == DAY).then(volume).otherwise(pl.col("Volume"))
        inbox.drop("mine.parquet", bars().with_columns(Volume=last))
        assert fulfil(inbox.site, JOB, taken(sensor, inbox), NOW).success
    versions = received(inbox.site).filter(pl.col("session") == DAY)
    assert versions["volume"].to_list() == [500.0, 700.0]
    assert len(inbox.names()) == 2


def test_a_growing_or_hidden_file_is_left_alone(folder: Folder) -> None:
    sensor = Sensor(folder.site, "inbox")
    whole = bars().write_csv().encode()
    folder.drop(".hidden.csv", whole)
    assert sensor.tick(NOW) == "The inbox is empty."
    for part in (20, 40, 60):
        folder.drop("slow.csv", whole[:part])
        assert WAITING in str(sensor.tick(NOW))
    folder.drop("slow.csv", whole)
    assert fulfil(folder.site, JOB, taken(sensor, folder), NOW).success
    assert received(folder.site).height == len(SESSIONS)


def test_a_file_replaced_since_it_was_asked_for_waits_for_its_own_run(folder: Folder) -> None:
    sensor = Sensor(folder.site, "inbox")
    folder.drop("mine.parquet", bars())
    request = taken(sensor, folder)
    folder.drop("mine.parquet", bars(close=12.0))
    assert fulfil(folder.site, JOB, request, NOW).success
    assert folder.names() == ["mine.parquet"]
    assert received(folder.site).is_empty()
    assert fulfil(folder.site, JOB, taken(sensor, folder), NOW).success
    assert received(folder.site)["close"].unique().to_list() == [12.0]


def test_what_holds_no_session_is_refused(folder: Folder) -> None:
    folder.drop("future.parquet", bars().with_columns(Date=pl.lit(date(2025, 3, 3))))
    assert not fulfil(folder.site, JOB, taken(Sensor(folder.site, "inbox"), folder), NOW).success
    assert "no bar on a session that is over" in folder.read(folder.names()[1])


def test_a_file_that_cannot_be_received_now_stays_and_is_tried_three_times_a_day(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trading_pipeline import ingest

    def away(*_: object) -> None:
        raise StorageUnavailable("The lake cannot be reached", "Look after it")

    sensor = Sensor(folder.site, "inbox")
    folder.drop("mine.parquet", bars())
    request = taken(sensor, folder)
    with monkeypatch.context() as patched:
        patched.setattr(ingest, "receive_all", away)
        for _ in range(3):
            assert isinstance(request, dg.RunRequest)
            assert not fulfil(folder.site, JOB, request, NOW).success
            request = sensor.tick(NOW)
    assert "mine.parquet failed 3 times in a day" in str(request)
    assert folder.names() == ["mine.parquet"]


def test_a_bucket_that_is_not_there_is_said_in_one_line(new_site: NewSite, endpoint: str) -> None:
    site = new_site()
    site.settings = site.settings.model_copy(
        update={
            "inbox_url": "s3://nowhere/in",
            "aws_endpoint_url": endpoint,
            "aws_access_key_id": SecretStr("key"),
            "aws_secret_access_key": SecretStr("secret"),
        }
    )
    with pytest.raises(Exception, match="s3://nowhere/in/ cannot be read or written") as raised:
        Sensor(site, "inbox").tick(NOW)
    assert "secret" not in str(raised.value)


def test_what_was_dropped_enters_the_judged_past(folder: Folder) -> None:
    """The revisions sensor has the sessions judged again that lack the dropped bars."""
    site, job = folder.site, jobs.market_data_name(US)
    site.run(job, SESSIONS[0], DAY)
    revisions = Sensor(site, "us_revisions")
    assert revisions.tick(NOW) == "Nothing was revised."
    folder.drop("mine.parquet", bars())
    later = datetime(2024, 3, 16, tzinfo=UTC)
    assert fulfil(site, JOB, taken(Sensor(site, "inbox"), folder), later).success
    request = revisions.tick(later)
    assert isinstance(request, dg.RunRequest), request
    assert fulfil(site, job, request, later).success
    judged = site.contents("daily_bars", SESSIONS).filter(pl.col("ticker") == "ZZTOP")
    assert judged["session"].to_list() == SESSIONS
