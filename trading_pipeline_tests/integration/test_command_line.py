"""The command line as a person uses it: real processes on a state folder and databases of their own.

One small market lives through everything that happens to a run: refused because another is under way, killed, broken
off by Ctrl-C, run to the end, run again. What it printed and kept is then searched for secrets.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import polars as pl
import psutil
import psycopg
import pytest
from click.testing import CliRunner, Result
from psycopg import sql
from pydantic import SecretStr

from trading_pipeline import cli
from trading_pipeline.automation import jobs
from trading_pipeline.launch import prepared
from trading_pipeline.markets import ASX, US
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import PROJECT, Settings, load_settings
from trading_pipeline.storage.server import connect

if TYPE_CHECKING:
    from trading_pipeline_tests.conftest import EmbeddedServer

PASSWORD = "hunter2-pa55word"
SECRETS = {"TIINGO_API_KEY": "tiingo-k3y-0815", "AWS_ACCESS_KEY_ID": "AKIA-0815", "AWS_SECRET_ACCESS_KEY": "aws-s3cret"}
SMALL = {"SIMULATED_TICKERS": "25", "HISTORY_SESSIONS": "48", "DECISION_SESSIONS": "2"}
PATIENCE = 900
QUICK = """
name = "quick"
title = "What so short a history can tell"
strategy = "moving_average_cross"
market = "us"
universe = "ALL"
parameters = { fast = 2, slow = 3 }
allocation = { lookback = 10, minimum_history = 5 }
"""


def _place(folder: Path, database_url: str, **more: str) -> dict[str, str]:
    """Every setting that says where something is, so that nothing of the developer's own is ever touched."""
    return {
        "MARKET_DATA_PROVIDER": "simulated",
        "MARKETS": "us",
        "STATE_DIR": str(folder / "state"),
        "DATABASE_URL": database_url,
        "LAKE_URL": str(folder / "state" / "lake"),
        "INBOX_URL": str(folder / "state" / "inbox"),
        "WATCHLIST_FILE": str(folder / "watchlist.txt"),
        "BACKTESTS_DIR": str(folder / "backtests"),
        **SMALL,
        **more,
    }


class Desk:
    """Somebody who types commands, each a process; everything they print is kept."""

    def __init__(self, folder: Path, settings: dict[str, str]) -> None:
        self.folder = folder
        self.settings = settings
        self._commands = 0
        own = {name.upper() for name in Settings.model_fields} | {"DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"}
        self._environment = {name: value for name, value in os.environ.items() if name not in own} | {
            "PYTHONPATH": str(PROJECT),
            "PYTHONUNBUFFERED": "1",
            **settings,
        }

    def start(self, *arguments: str, **more: str) -> Command:
        """Start a command, in a folder that is not the clone's."""
        self._commands += 1
        log = self.folder / f"{self._commands}.{arguments[0]}"
        out, err = log.with_suffix(f"{log.suffix}.out"), log.with_suffix(f"{log.suffix}.err")
        with out.open("w") as stdout, err.open("w") as stderr:
            process = self._popen(arguments, stdout, stderr, more)
        return Command(process, out, err)

    def run(self, *arguments: str, **more: str) -> Command:
        """Run a command to its end."""
        return self.start(*arguments, **more).ended()

    def _popen(
        self, arguments: tuple[str, ...], stdout: IO[str], stderr: IO[str], more: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-m", "trading_pipeline.cli", *arguments],
            cwd=self.folder,
            env=self._environment | more,
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
        )


@dataclass
class Command:
    """A command, at work or ended."""

    process: subprocess.Popen[bytes]
    _out: Path
    _err: Path

    @property
    def out(self) -> str:
        """What it printed so far."""
        return self._out.read_text()

    @property
    def err(self) -> str:
        """What it said on stderr so far, but for the notice that dbt's manifest is being made."""
        return re.sub(r"^Preparing dbt's manifest.*\n", "", self._err.read_text(), flags=re.MULTILINE)

    @property
    def code(self) -> int | None:
        """How it ended."""
        return self.process.returncode

    @property
    def summary(self) -> str:
        """What it told at its end, progress aside."""
        return self.out[self.out.index("US (XNYS)") :]

    def ended(self) -> Command:
        """Wait for its end."""
        self.process.wait(PATIENCE)
        return self

    def until(self, text: str) -> Command:
        """Wait until it has printed `text`."""
        deadline = time.monotonic() + PATIENCE
        while text not in self.out:
            assert self.process.poll() is None and time.monotonic() < deadline, f"{self.out}\n{self.err}"
            time.sleep(0.02)
        return self


def _configure(folder: Path) -> None:
    """Put a backtest configuration that needs few bars into the folder of one's own."""
    (folder / "backtests").mkdir()
    (folder / "backtests" / "quick.toml").write_text(QUICK)


def with_password(server: EmbeddedServer) -> str:
    """A URL of a database that does not exist yet, with a password that the server does not look at."""
    url = server.url(f"desk_{uuid.uuid4().hex[:12]}").get_secret_value()
    assert "postgres@" in url
    return url.replace("postgres@", f"postgres:{PASSWORD}@", 1)


@pytest.fixture(scope="module")
def desk(embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Desk:
    """A desk with a small simulated market and a backtest short enough for it; every secret there is, is set."""
    folder = tmp_path_factory.mktemp("desk")
    _configure(folder)
    return Desk(folder, _place(folder, with_password(embedded_server), **SECRETS))


@dataclass
class Story:
    """What happened to the first runs, in this order."""

    refused: Command
    killed: Command
    interrupted: Command
    first: Command
    second: Command


@pytest.fixture(scope="module")
def story(desk: Desk) -> Story:
    """A run held still while another is tried, then killed; one broken off; one run to its end; and one more."""
    killed = desk.start("run").until("us/received_bars")
    killed.process.send_signal(signal.SIGSTOP)
    refused = desk.run("run")
    killed.process.kill()
    interrupted = desk.start("run").until("us/indicators")
    interrupted.process.send_signal(signal.SIGINT)
    # The second run in another folder, by somebody with a Dagster home of their own.
    first = desk.run("run")
    second = desk.run("run", DAGSTER_HOME=str(desk.folder / "own_home"))
    return Story(refused, killed.ended(), interrupted.ended(), first, second)


def test_a_second_run_at_once_is_refused_in_one_line(story: Story) -> None:
    assert story.refused.code == cli.FAILED
    assert story.refused.err == (
        "error: Another run of the simulated world is under way. Wait until it has ended; the UI shows it under Runs.\n"
    )
    assert story.refused.out == ""


def test_ctrl_c_ends_in_one_line(story: Story) -> None:
    assert story.interrupted.code == cli.INTERRUPTED
    assert story.interrupted.err == "Interrupted. What was committed is kept; run it again to go on.\n"
    assert "US (XNYS)" not in story.interrupted.out


def test_a_run_after_a_killed_one_publishes_everything(story: Story, desk: Desk) -> None:
    assert story.killed.code == -signal.SIGKILL
    assert (story.first.code, story.first.err) == (0, "")
    assert "Environment" in story.first.summary
    briefing = Path(re.search(r"^Briefing\s+file://(\S+)", story.first.summary, re.MULTILINE)[1])
    assert "</html>" in briefing.read_text()
    # Both sessions asked for, though the killed runs had begun with them.
    assert len(list(briefing.parent.glob("*.html"))) == int(SMALL["DECISION_SESSIONS"])
    assert list(briefing.parent.glob(".*")) == []


def test_progress_is_a_line_a_task_where_nobody_watches(story: Story) -> None:
    told = story.first.out.partition("US (XNYS)")[0].splitlines()
    tasks = [re.fullmatch(r"  us/(\w+): [\d,]+", line)[1] for line in told]
    assert {"dip_opportunities", "daily_briefing"} <= set(tasks)
    assert tasks[-1] == "daily_bias"
    assert "\x1b" not in story.first.out


def test_a_second_run_asks_for_nothing_and_says_the_same(story: Story, desk: Desk) -> None:
    assert (story.second.code, story.second.err) == (0, "")
    assert story.second.summary == story.first.summary
    assert "received_bars" not in story.second.out
    assert "us/daily_briefing: 1\n" in story.second.out
    assert not (desk.folder / "own_home").exists()


def test_a_run_backtests_what_there_are_bars_for_and_the_next_one_nothing(story: Story, desk: Desk) -> None:
    """The shipped configurations look back further than the history reaches, which is no failure."""
    table, _, waiting = story.first.summary.partition("Backtests, us, to ")[2].partition("dip-buying waits: ")
    assert re.search(r"│ quick +│", table) and "momentum-hrp" not in table
    assert waiting.startswith("it needs 85 sessions of bars, there are 48; mean-reversion waits: ")
    with connect(list(_databases(desk))[1]) as connection:
        rows = connection.execute(
            "SELECT asset_key, partition, count(*) FROM event_logs WHERE dagster_event_type = 'ASSET_MATERIALIZATION'"
            " AND (asset_key LIKE '%backtest%' OR partition = 'quick' OR asset_key LIKE '%strategy_comparison\"]')"
            " GROUP BY asset_key, partition"
        ).fetchall()
    made = {(json.loads(key)[-1], partition): count for key, partition, count in rows if json.loads(key)[0] == "us"}
    assert made == {
        ("backtests", "quick"): 1,
        ("walk_forward", "quick"): 1,
        ("monte_carlo", "quick"): 1,
        ("backtest_reports", "quick"): 1,
        ("strategy_comparison", None): 1,
    }


def test_ui_shows_what_run_did_and_stop_ends_it(story: Story, desk: Desk) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    ui = desk.start("ui", WEBSERVER_PORT=str(port))
    try:
        ui.until(f"The UI of the simulated world: http://127.0.0.1:{port}")
        started = psutil.Process(ui.process.pid).children(recursive=True)
        assert _listening(started, port) == {"127.0.0.1"}
        (asset,) = _ask(
            port,
            '{assetNodes(assetKeys: [{path: ["us", "dip_opportunities"]}])'
            "{partitionStats {numMaterialized} assetMaterializations(limit: 1) {runId}}}",
        )["assetNodes"]
        assert asset["partitionStats"]["numMaterialized"] == int(SMALL["DECISION_SESSIONS"])
        assert asset["assetMaterializations"][0]["runId"]
        again = desk.run("ui", WEBSERVER_PORT="1")
        assert again.err == "error: The UI of the simulated world is running. make stop ends it.\n"
    finally:
        stopped = desk.run("stop")
    assert (stopped.code, stopped.out) == (0, "Stopped the UI and daemon of the simulated world.\n")
    assert ui.ended().code == 0
    assert [process for process in started if _is_alive(process)] == []
    assert desk.run("stop").out == "Nothing was running.\n"
    # A managed server is not ours to stop.
    connect(next(_databases(desk))).close()


def _is_alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def _listening(processes: list[psutil.Process], port: int) -> set[str]:
    return {
        connection.laddr.ip
        for process in processes
        for connection in process.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
    }


def _ask(port: int, query: str) -> dict[str, Any]:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/graphql",
        json.dumps({"query": query}).encode(),
        {"Content-Type": "application/json"},
    )
    deadline = time.monotonic() + PATIENCE
    while True:
        with urllib.request.urlopen(request, timeout=60) as answer:
            data: dict[str, Any] = json.load(answer)["data"]
        # The webserver answers before it has loaded the definitions.
        if all(data.values()) or time.monotonic() > deadline:
            return data
        time.sleep(0.5)


def test_no_secret_is_printed_or_kept(story: Story, desk: Desk) -> None:
    secrets = [PASSWORD, *SECRETS.values()]
    texts = [path for path in desk.folder.rglob("*") if path.is_file() and path.suffix != ".parquet"]
    assert len(texts) > 20
    assert [(path, secret) for path in texts for secret in secrets if secret.encode() in path.read_bytes()] == []
    for url in _databases(desk):
        with connect(url) as connection:
            tables = _tables(connection)
            assert tables
            for table in tables:
                query = sql.SQL("SELECT count(*) FROM {} AS t WHERE t::text LIKE ANY(%s)").format(sql.Identifier(table))
                found = connection.execute(query, [[f"%{secret}%" for secret in secrets]]).fetchone()
                assert found == (0,), table


def _databases(desk: Desk) -> Iterator[SecretStr]:
    base, _, query = desk.settings["DATABASE_URL"].partition("?")
    for suffix in ("_simulated", "_simulated_dagster"):
        yield SecretStr(f"{base}{suffix}?{query}")


def _tables(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
    return [row[0] for row in rows]


def test_the_embedded_server_is_stopped_too(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("own")
    desk = Desk(folder, _place(folder, ""))
    healthy = desk.run("doctor")
    assert healthy.code == 0, healthy.out
    assert desk.run("stop").out == "Stopped PostgreSQL.\n"
    assert desk.run("stop").out == "Nothing was running.\n"


# --- within this process: what needs no process of its own, without the seconds that imports take -------------------


@pytest.fixture
def type_in(embedded_server: EmbeddedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Types a command with settings; each test has a place of its own."""
    place = _place(tmp_path, with_password(embedded_server))
    for name, value in place.items():
        monkeypatch.setenv(name, value)
    for name in ("DAGSTER_HOME", "DAGSTER_POSTGRES_URL", "DAGSTER_EVENT_BATCH_SIZE"):
        monkeypatch.setenv(name, "")  # what the command sets is taken back afterwards

    def call(*arguments: str, **settings: str) -> Result:
        for name, value in settings.items():
            monkeypatch.setenv(name, value)
        result = CliRunner().invoke(cli.main, arguments)
        assert result.exception is None or isinstance(result.exception, SystemExit), result.output
        return result

    return call


def last_line(result: Result) -> str:
    """The one line on stderr of a command that failed."""
    assert result.exit_code == cli.FAILED, result.output
    (line,) = result.stderr.splitlines()
    assert PASSWORD not in result.output
    return str(line)


def test_a_malformed_watchlist_is_told_line_by_line_and_nothing_is_published(
    type_in: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "watchlist.txt").write_text("AAPL\ntwo words\n$$$\n")
    line = last_line(type_in("run"))
    assert "line 2: 'two words' is more than one word; line 3: '$$$' is not a ticker" in line
    assert "Write one ticker a line" in line
    assert "Traceback" not in line and "trading_pipeline.errors" not in line
    assert list((tmp_path / "state" / "lake").rglob("*.parquet")) == []


def test_an_unreachable_bucket_is_told_in_one_line(type_in: Callable[..., Result]) -> None:
    bucket = {"LAKE_URL": "s3://nobody", "AWS_ENDPOINT_URL": "http://127.0.0.1:1"}
    line = last_line(type_in("run", **bucket, **SECRETS))
    assert "s3://nobody/simulated/us/" in line and "cannot be read or written" in line
    assert not any(secret in line for secret in SECRETS.values())


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("bars.csv", b"one,two\n1,2\n", "bars.csv has no column for"),
        ("bars.csv", b"date,ticker,open,high,low,close,volume\nyesterday,AAPL,1,1,1,1,1\n", "bars.csv"),
        ("bars.parquet", b"PAR1 and no more", "bars.parquet cannot be read as Parquet"),
        ("bars.parquet", b"", "bars.parquet"),
    ],
)
def test_a_file_that_holds_no_bars_is_told_in_one_line(
    name: str, content: bytes, said: str, type_in: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / name).write_bytes(content)
    line = last_line(type_in("run", MARKET_DATA_PROVIDER="files", MARKET_DATA_FILES=str(tmp_path / name)))
    assert said in line


def test_a_session_that_is_not_over_is_refused_before_anything_runs(type_in: Callable[..., Result]) -> None:
    exchange = calendar("XNYS")
    coming = exchange.offset(exchange.on_or_before(datetime.now(UTC).date()), 5)
    for arguments in (("run", "--session", str(coming)), ("backfill", "2024-03-14", str(coming))):
        line = last_line(type_in(*arguments))
        assert f"{coming} is not over" in line and "The latest session of us with final bars is" in line


def test_past_sessions_and_the_other_market_are_published_with_their_lookbacks(
    type_in: Callable[..., Result], tmp_path: Path
) -> None:
    (tmp_path / "watchlist.txt").write_text("NOSUCH\n")
    line = last_line(type_in("run", "--session", "2024-03-15", MARKETS="us,asx"))
    assert line.startswith("error: simulated has no bars of NOSUCH; all else was published.")
    _backtest_by_name_and_by_file(type_in, tmp_path)
    done = type_in("backfill", "2024-03-07", "2024-03-08")
    assert done.exit_code == 0 and done.stdout.endswith("us: published 2024-03-07 to 2024-03-08.\n")
    exchange = calendar("XNYS")
    with prepared(load_settings()) as site:
        assert site.decided(US) == {date(2024, 3, day) for day in (7, 8, 14, 15)}
        assert site.decided(ASX) == {date(2024, 3, day) for day in (14, 15)}
        # As many sessions of bars before the earliest decision as a first run has, and no hole up to the last.
        assert site.judged(US) == set(exchange.between(exchange.offset(date(2024, 3, 7), -46), date(2024, 3, 15)))
        # Dagster remembers sessions that a lake which was moved away no longer holds.
        (tmp_path / "state" / "lake").rename(tmp_path / "moved")
        assert site.judged(US) == site.decided(US) == set()


def _backtest_by_name_and_by_file(type_in: Callable[..., Result], folder: Path) -> None:
    """Of the market that was just brought up to date."""
    _configure(folder)
    (folder / "backtests" / "torn.toml").write_text("name = ")
    told = type_in("backtest", "quick")
    assert told.exit_code == 0, told.output  # another file's fault is not its own
    assert "What so short a history can tell: " in told.stdout and "2024-03-15" in told.stdout
    assert re.search(r"│ Sharpe", told.stdout) and "Maximum drawdown" in told.stdout

    line = last_line(type_in("backtest", "quack"))
    assert "There is no configuration named 'quack'. Known: dip-buying, " in line and ", quick, " in line
    assert "torn.toml: the configuration is no TOML" in last_line(type_in("backtest", "torn"))

    draft = folder / "draft.toml"
    draft.write_text(QUICK.replace("quick", "thorough").replace("slow = 3", "slow = 30"))
    patient = type_in("backtest", str(draft))
    assert patient.stdout == f"Kept as {folder / 'backtests' / 'thorough.toml'}.\n"
    assert "thorough cannot be backtested: it needs 72 sessions of bars, there are 48" in last_line(patient)
    draft.write_text(QUICK.replace("fast = 2", "fast = 20"))
    assert "fast (20) must be below slow (3)" in last_line(type_in("backtest", str(draft)))
    assert "it cannot be read (No such file" in last_line(type_in("backtest", str(folder / "none.toml")))
    assert sorted(file.name for file in (folder / "backtests").iterdir()) == [
        "quick.toml",
        "thorough.toml",
        "torn.toml",
    ]
    (folder / "backtests" / "torn.toml").unlink()


def test_rebase_takes_over_a_history_that_was_changed_as_a_whole(
    type_in: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = calendar("XNYS").between(date(2024, 1, 2), date(2024, 3, 15))
    monkeypatch.setenv("MARKET_DATA_PROVIDER", "files")
    monkeypatch.setenv("MARKET_DATA_FILES", str(tmp_path / "bars.parquet"))
    _bars(sessions).write_parquet(tmp_path / "bars.parquet")
    with prepared(load_settings()) as site:
        site.execute(jobs.market_data_name(US), sessions[0], sessions[-1])
    before = _closes()
    halved = pl.when(pl.col("ticker") == "BBB").then(pl.col("close") / 2).otherwise("close")
    _bars(sessions).with_columns(open=halved, high=halved, low=halved, close=halved).write_parquet(
        tmp_path / "bars.parquet"
    )
    assert "No bar of ZZZ was ever received in the us market" in last_line(type_in("rebase", "BBB", "ZZZ"))
    assert _closes().equals(before)
    done = type_in("rebase", "BBB")
    assert done.exit_code == 0
    assert done.stdout.splitlines()[-2:] == [
        f"us: {len(sessions)} bars of BBB stored as revisions.",
        f"us: us_market_data computed again, {sessions[0]} to {sessions[-1]}.",
    ]
    assert _closes().equals(before.with_columns(halved.alias("close")))


def _bars(sessions: list[date]) -> pl.DataFrame:
    days = pl.DataFrame({"date": sessions}).with_row_index("day")
    tickers = pl.DataFrame({"ticker": ["AAA", "BBB"], "base": [100.0, 200.0]})
    close = pl.col("base") + pl.col("day")
    return days.join(tickers, how="cross").select(
        "date", "ticker", *(close.alias(name) for name in ("open", "high", "low", "close")), volume=pl.lit(1000.0)
    )


def _closes() -> pl.DataFrame:
    """[session, ticker, close] in force."""
    with prepared(load_settings()) as site:
        rows = site.world.lake.read("us", "daily_bars").filter(pl.col("superseded_at").is_null())
        return rows.select("session", "ticker", "close").sort("session", "ticker")
