"""The inbox: files of daily bars dropped into a folder or a bucket are received like any provider's answer.

What a file held goes to the received tables; the file itself moves to `done/`, or to `refused/` beside a text that says
why. Nothing is deleted. A file that is being written is left alone: in a folder it is taken once it looked the same at
two ticks, a minute apart (or write it under a name that begins with a dot and rename it); an object in a bucket is
there as a whole or not at all. What cannot be received for another reason (a database that is away) stays where it is
and is tried again, three times a day.

What belongs here: taking files, and putting them away. What does not: reading them (`providers/files.py`) and storing
what they hold (`ingest.py`).
"""

import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

import dagster as dg

from trading_pipeline.assets.common import WORLD, key_of
from trading_pipeline.errors import (
    AlreadyRunning,
    InputRefused,
    SettingsError,
    StorageUnavailable,
    TradingPipelineError,
)
from trading_pipeline.markets import MARKETS, Market
from trading_pipeline.settings import Settings
from trading_pipeline.storage.files import reaching, s3_client
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


class Inbox(Protocol):
    """A place where files are dropped.

    appears_whole: whether a file that is there is complete.
    """

    appears_whole: bool

    def waiting(self) -> list[Dropped]:
        """The files that lie there, by name."""
        ...

    def fetch(self, name: str, into: Path) -> Path:
        """A path at which the file can be read, inside the folder `into` where it lies elsewhere."""
        ...

    def put_away(self, file: Dropped, where: str, why: str | None = None) -> bool:
        """Move the file to `where`, never over another one, with `why` written beside it.

        False, and nothing moved, where another content lies there by now.
        """
        ...


class FolderInbox:
    """An inbox in a local folder. Names that begin with a dot are passed over."""

    appears_whole = False

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def waiting(self) -> list[Dropped]:
        """The files that lie there, by name; none where the folder does not exist."""
        try:
            names = sorted(path.name for path in self.folder.iterdir()) if self.folder.is_dir() else []
        except OSError as error:
            raise _unreachable(self.folder, error) from None
        wanted = (name for name in names if PurePosixPath(name).suffix.lower() in SUFFIXES and name[0] != ".")
        return [file for file in map(self._look, wanted) if file is not None]

    def _look(self, name: str) -> Dropped | None:
        try:
            state = (self.folder / name).stat()
        except FileNotFoundError:
            return None
        if not (self.folder / name).is_file():
            return None
        return Dropped(name, f"{state.st_size}-{state.st_mtime_ns}")

    def fetch(self, name: str, into: Path) -> Path:
        """The file itself."""
        return self.folder / name

    def put_away(self, file: Dropped, where: str, why: str | None = None) -> bool:
        """Move the file; the reason is `<file>.reason.txt`."""
        if self._look(file.name) != file:
            return False
        target = self.folder / where / _stamped(file.name)
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            if why is not None:
                target.with_name(f"{target.name}.reason.txt").write_text(f"{why}\n")
            (self.folder / file.name).rename(target)
        except OSError as error:
            raise _unreachable(self.folder, error) from None
        return True


class BucketInbox:
    """An inbox under an `s3://bucket/prefix`: the objects directly under it."""

    appears_whole = True

    def __init__(self, bucket: str, prefix: str, client: Any) -> None:
        self.bucket = bucket
        self.prefix = f"{prefix.strip('/')}/" if prefix.strip("/") else ""
        self.client = client
        self.address = f"s3://{bucket}/{self.prefix}"

    def waiting(self) -> list[Dropped]:
        """The objects that lie there, by name."""
        pages = self.client.get_paginator("list_objects_v2").paginate(
            Bucket=self.bucket, Prefix=self.prefix, Delimiter="/"
        )
        with reaching(self.address):
            found = [
                (item["Key"].removeprefix(self.prefix), item) for page in pages for item in page.get("Contents", [])
            ]
        return [
            Dropped(name, _fingerprint(item))
            for name, item in found
            if PurePosixPath(name).suffix.lower() in SUFFIXES and name[0] != "."
        ]

    def fetch(self, name: str, into: Path) -> Path:
        """The object, downloaded."""
        target = into / name
        with reaching(self.address):
            self.client.download_file(self.bucket, self.prefix + name, str(target))
        return target

    def put_away(self, file: Dropped, where: str, why: str | None = None) -> bool:
        """Move the object; the reason is `<object>.reason.txt`."""
        key = self.prefix + file.name
        target = f"{self.prefix}{where}/{_stamped(file.name)}"
        with reaching(self.address):
            if _fingerprint(self.client.head_object(Bucket=self.bucket, Key=key)) != file.fingerprint:
                return False
            if why is not None:
                self.client.put_object(Bucket=self.bucket, Key=f"{target}.reason.txt", Body=f"{why}\n".encode())
            self.client.copy_object(Bucket=self.bucket, Key=target, CopySource={"Bucket": self.bucket, "Key": key})
            self.client.delete_object(Bucket=self.bucket, Key=key)
        return True


def _fingerprint(item: dict[str, Any]) -> str:
    return f"{item['ETag'].strip(chr(34))}-{item['LastModified']:%Y%m%dT%H%M%S}"


def _unreachable(folder: Path, error: OSError) -> StorageUnavailable:
    return StorageUnavailable(
        f"The inbox {folder} cannot be used ({error.strerror})", "Make it readable and writable, or set INBOX_URL"
    )


def _stamped(name: str) -> str:
    path = PurePosixPath(name)
    return f"{path.stem}.{datetime.now(UTC):%Y%m%dT%H%M%S%f}{path.suffix}"


def open_inbox(settings: Settings) -> Inbox:
    """The inbox the settings name."""
    url = urlsplit(settings.inbox)
    if url.scheme == "s3":
        return BucketInbox(url.netloc, url.path, s3_client(settings))
    if url.scheme in ("file", ""):
        return FolderInbox(Path(url.path))
    raise SettingsError(f"INBOX_URL has the scheme {url.scheme!r}", "Use a folder, file:// or s3://")


def receive_file(world: World, inbox: Inbox, file: Dropped, markets: Sequence[Market]) -> "list[IngestReport]":
    """Receive a dropped file into the markets its tickers belong to, and put it away.

    A file that cannot be read, or of which no bar lies on a session, is moved to `refused` with the reason, and the
    error is raised. One that was replaced while it was read stays for the next tick: the versions received from either
    are kept.
    """
    from trading_pipeline.ingest import receive_all
    from trading_pipeline.providers.files import Files

    with tempfile.TemporaryDirectory() as scratch:
        try:
            provider = Files(inbox.fetch(file.name, Path(scratch)))
            reports = [receive_all(world, provider, market) for market in markets]
            if not any(report.answered for report in reports):
                raise InputRefused(
                    f"{file.name} holds no bar on a session that is over", "Check its dates and tickers, drop it again"
                )
        except (StorageUnavailable, AlreadyRunning):
            raise
        except TradingPipelineError as error:
            inbox.put_away(file, REFUSED, str(error))
            raise
    inbox.put_away(file, DONE)
    return reports


@dg.op(
    config_schema={"name": str, "fingerprint": str},
    required_resource_keys={WORLD},
    description="Receive one dropped file and put it away.",
)
def receive_dropped_file(context: dg.OpExecutionContext) -> None:
    """Receive the file named in the config."""
    world: World = context.resources.world
    file = Dropped(context.op_config["name"], context.op_config["fingerprint"])
    inbox = open_inbox(world.settings)
    # Two ticks may have asked for the same file: the second run finds it put away, or another in its place.
    with world.held(f"inbox/{file.name}"):
        if file not in inbox.waiting():
            context.log.info("%s is not there any more as it was asked for", file.name)
            return
        try:
            reports = receive_file(world, inbox, file, list(MARKETS.values()))
        except TradingPipelineError as error:
            raise dg.Failure(str(error), allow_retries=False) from error
    for market, report in zip(MARKETS.values(), reports, strict=True):
        if report.asked:
            metadata = {"file": file.name, **report.metadata()}
            context.log_event(dg.AssetObservation(asset_key=key_of(market, "received_bars"), metadata=metadata))


@dg.job(name=JOB, description="A file dropped into the inbox, received like a provider's answer.")
def inbox_job() -> None:
    """Receive a dropped file."""
    receive_dropped_file()


def sensor(open_world: Callable[[], World]) -> dg.SensorDefinition:
    """Requests one run per file that lies in the inbox, is complete and is not being received already."""
    from trading_pipeline.automation.sensors import ATTEMPTS_A_DAY, REQUEST, UNDER_WAY, attempts, request_of

    @dg.sensor(
        name="inbox",
        job=inbox_job,
        minimum_interval_seconds=60,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description=inbox_job.description,
    )
    def tick(context: dg.SensorEvaluationContext) -> dg.SensorResult:
        world = open_world()
        try:
            inbox, now = open_inbox(world.settings), world.now()
        finally:
            world.close()
        before = json.loads(context.cursor) if context.cursor else {}
        waiting = inbox.waiting()
        requests, passed_over = [], []
        for file in waiting:
            name = f"{JOB}/{file.name}/{file.fingerprint}"
            taken = dg.RunsFilter(tags={REQUEST: name}, statuses=UNDER_WAY)
            if not inbox.appears_whole and before.get(file.name) != file.fingerprint:
                passed_over.append(f"{file.name} may still be growing")
            elif context.instance.get_run_records(taken, limit=1):
                passed_over.append(f"{file.name} is being received")
            elif attempts(context.instance, name, now) >= ATTEMPTS_A_DAY:
                passed_over.append(f"{file.name} failed {ATTEMPTS_A_DAY} times in a day: read the last run's error")
            else:
                config = {"config": {"name": file.name, "fingerprint": file.fingerprint}}
                requests.append(request_of(name, now, run_config={"ops": {receive_dropped_file.name: config}}))
        why = "; ".join(passed_over) if passed_over else "The inbox is empty."
        return dg.SensorResult(
            run_requests=requests,
            skip_reason=None if requests else dg.SkipReason(f"{why.rstrip('.')}."),
            cursor=json.dumps({file.name: file.fingerprint for file in waiting}),
        )

    return tick
