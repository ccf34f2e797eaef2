"""The inbox: files of daily bars dropped into a folder or a bucket are received like any provider's answer.

A file is read once per content (name, size and modification time). What it held goes to the received tables; the file
itself moves to `done/`, or to `refused/` beside a text that says why. Nothing is deleted.
"""

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import dagster as dg

from trading_pipeline.assets.common import WORLD, key_of
from trading_pipeline.errors import SettingsError, TradingPipelineError
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.settings import Settings
from trading_pipeline.world import World

if TYPE_CHECKING:
    from trading_pipeline.ingest import IngestReport

SUFFIXES = (".parquet", ".csv")
JOB = "inbox"
DONE, REFUSED = "done", "refused"


@dataclass(frozen=True)
class Dropped:
    """A file lying in the inbox: its name, and what tells this content from another of the same name."""

    name: str
    fingerprint: str


class FolderInbox:
    """An inbox in a local folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def waiting(self) -> list[Dropped]:
        """The files that lie there, by name; hidden ones (still being written) are passed over."""
        if not self.folder.is_dir():
            return []
        return [
            Dropped(path.name, f"{path.stat().st_size}-{path.stat().st_mtime_ns}")
            for path in sorted(self.folder.iterdir())
            if path.is_file() and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")
        ]

    def fetch(self, name: str, into: Path) -> Path:
        """The file itself; `into` is not needed here."""
        return self.folder / name

    def put_away(self, name: str, where: str, why: str | None = None) -> None:
        """Move a file to `done` or `refused`, never over another one; `why` is written beside it."""
        target_dir = self.folder / where
        target_dir.mkdir(parents=True, exist_ok=True)
        target = target_dir / _stamped(name)
        (self.folder / name).rename(target)
        if why is not None:
            target.with_suffix(".reason.txt").write_text(why + "\n")


class BucketInbox:
    """An inbox under an `s3://bucket/prefix`."""

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.client = client

    def waiting(self) -> list[Dropped]:
        """The objects directly under the prefix, by name."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
        )
        return [
            Dropped(item["Key"].removeprefix(self.prefix), item["ETag"].strip('"'))
            for page in pages
            for item in page.get("Contents", [])
            if PurePosixPath(item["Key"]).suffix.lower() in SUFFIXES
        ]

    def fetch(self, name: str, into: Path) -> Path:
        """Download the object into the folder `into`."""
        target = into / name
        self.client.download_file(self.bucket, self.prefix + name, str(target))
        return target

    def put_away(self, name: str, where: str, why: str | None = None) -> None:
        """Move an object to `done` or `refused`; `why` is written beside it."""
        target = f"{self.prefix}{where}/{_stamped(name)}"
        self.client.copy_object(
            Bucket=self.bucket, Key=target, CopySource={"Bucket": self.bucket, "Key": self.prefix + name}
        )
        self.client.delete_object(Bucket=self.bucket, Key=self.prefix + name)
        if why is not None:
            self.client.put_object(Bucket=self.bucket, Key=f"{target}.reason.txt", Body=f"{why}\n".encode())


Inbox = FolderInbox | BucketInbox


def _stamped(name: str) -> str:
    path = PurePosixPath(name)
    return f"{path.stem}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}"


def open_inbox(settings: Settings) -> Inbox:
    """The inbox the settings name."""
    url = urlsplit(settings.inbox)
    if url.scheme == "s3":
        from trading_pipeline.storage.files import s3_client

        return BucketInbox(url.netloc, url.path, s3_client(settings))
    if url.scheme in ("file", ""):
        return FolderInbox(Path(url.path))
    raise SettingsError(f"INBOX_URL has the scheme {url.scheme!r}", "Use a folder, file:// or s3://")


def receive_file(world: World, inbox: Inbox, name: str, markets: Sequence[Market]) -> "list[IngestReport]":
    """Receive one dropped file into the markets its tickers belong to, and put it away.

    A file that cannot be read is moved to `refused` with the reason, and the error is raised.
    """
    from trading_pipeline.ingest import receive_all
    from trading_pipeline.providers.files import Files

    with tempfile.TemporaryDirectory() as scratch:
        try:
            provider = Files(inbox.fetch(name, Path(scratch)))
            reports = [receive_all(world, provider, market) for market in markets]
        except TradingPipelineError as error:
            inbox.put_away(name, REFUSED, str(error))
            raise
    inbox.put_away(name, DONE)
    return reports


@dg.op(
    config_schema={"name": str},
    required_resource_keys={WORLD},
    description="Receive one dropped file and put it away.",
)
def receive_dropped_file(context: dg.OpExecutionContext) -> None:
    """Receive the file named in the config."""
    world: World = context.resources.world
    name = context.op_config["name"]
    try:
        reports = receive_file(world, open_inbox(world.settings), name, list(MARKETS.values()))
    except TradingPipelineError as error:
        raise dg.Failure(str(error), allow_retries=False) from error
    for market, report in zip(MARKETS.values(), reports, strict=True):
        if report.asked:
            context.log_event(
                dg.AssetObservation(
                    asset_key=key_of(market, "received_bars"), metadata={"file": name, **report.metadata()}
                )
            )


@dg.job(name=JOB, description="A file dropped into the inbox, received like a provider's answer.")
def inbox_job() -> None:
    """Receive a dropped file."""
    receive_dropped_file()


def sensor(open_world: Callable[[], World]) -> dg.SensorDefinition:
    """Requests one run per file that lies in the inbox and was not asked for with this content before."""

    @dg.sensor(name="inbox", job=inbox_job, minimum_interval_seconds=60, description=inbox_job.description)
    def tick(_context: dg.SensorEvaluationContext) -> list[dg.RunRequest] | dg.SkipReason:
        inbox = open_inbox(open_world().settings)
        waiting = inbox.waiting()
        if not waiting:
            return dg.SkipReason("The inbox is empty.")
        return [
            dg.RunRequest(
                run_key=f"inbox/{file.name}/{file.fingerprint}",
                run_config={"ops": {receive_dropped_file.name: {"config": {"name": file.name}}}},
            )
            for file in waiting
        ]

    return tick
