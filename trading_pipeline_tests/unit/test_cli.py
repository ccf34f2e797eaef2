"""The command line: what is refused before anything is opened, and how commands end."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import click
import psycopg
import pytest
from click.testing import CliRunner, Result
from dagster_shared.error import SerializableErrorInfo

from trading_pipeline import cli, launch
from trading_pipeline.errors import StorageUnavailable

PASSWORD = "hunter2-s3cret"


@pytest.fixture(autouse=True)
def _state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STATE_DIR", str(tmp_path / "state"))


def call(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def one_line(result: Result) -> str:
    """The one line on stderr of a command that failed."""
    assert result.exit_code == cli.FAILED, result.output
    assert result.stdout == ""
    (line,) = result.stderr.splitlines()
    return line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "--session", "2024-12-25"], "error: 2024-12-25 is a holiday on XNYS. The sessions around it are"),
        (["run", "--session", "2024-12-28"], "error: 2024-12-28 is a weekend on XNYS."),
        (["run", "--session", "1999-01-04"], "error: 1999-01-04 lies outside the XNYS session table"),
        (["run", "--session", "yesterday"], "error: 'yesterday' is not a date. Write it as YYYY-MM-DD."),
        (["backfill", "2024-03-15", "2024-03-14"], "error: 2024-03-15 is after 2024-03-14."),
        (
            ["backfill", "2024-03-14", "2024-03-15", "--market", "moon"],
            "error: There is no market named 'moon'. Known:",
        ),
        (["rebase", "AAPL", "--market", "moon"], "error: There is no market named 'moon'. Known: asx, us."),
    ],
)
def test_what_cannot_be_meant_is_refused_in_one_line(arguments: list[str], said: str, tmp_path: Path) -> None:
    assert one_line(call(*arguments)).startswith(said)
    assert list(tmp_path.iterdir()) == []


def test_every_market_must_trade_on_the_session(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETS", "us,asx")
    assert "2024-04-25 is a holiday on XASX" in one_line(call("run", "--session", "2024-04-25"))


@pytest.mark.parametrize("command", [["run"], ["backfill", "2024-03-14", "2024-03-15"], ["ui"], ["stop"]])
def test_bad_settings_end_every_command_in_one_line(command: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETS", "moon")
    assert "MARKETS: unknown market moon; known: us, asx" in one_line(call(*command))


def test_an_unreachable_database_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://bob:{PASSWORD}@127.0.0.1:1/market")
    line = one_line(call("run"))
    assert "The database 'market' at 127.0.0.1:1 cannot be reached" in line
    assert "Connection refused" in line
    assert PASSWORD not in line


@pytest.mark.parametrize("command", ["run", "ui"])
@pytest.mark.parametrize("place", ["below a file", "not writable"])
def test_a_state_folder_that_cannot_be_written_ends_in_one_line(
    command: str, place: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("in the way")
    (tmp_path / "locked").mkdir(mode=0o555)
    # Permissions do not bind root; /proc takes no folder of anybody's.
    locked = Path("/proc") if os.geteuid() == 0 else tmp_path / "locked"
    folder = (tmp_path / "file" if place == "below a file" else locked) / "state"
    monkeypatch.setenv("STATE_DIR", str(folder))
    monkeypatch.setenv("WEBSERVER_PORT", str(_free_port()))
    line = one_line(call(command))
    assert str(folder) in line
    assert line.endswith("Make it writable, or set STATE_DIR to a folder that is.")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_a_port_in_use_ends_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setenv("WEBSERVER_PORT", str(port))
        line = one_line(call("ui"))
    assert line.startswith(f"error: Port {port} on 127.0.0.1 cannot be used (Address already in use).")
    assert line.endswith("or set WEBSERVER_PORT to another.")


def test_stop_needs_nothing_of_a_provider(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKET_DATA_PROVIDER", "tiingo")
    result = call("stop")
    assert (result.exit_code, result.output) == (0, "Nothing was running.\n")


def test_the_doctor_looks_at_everything_whatever_fails(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    watchlist = tmp_path / "watchlist.txt"
    watchlist.write_text("AAPL MSFT\n")
    monkeypatch.setenv("WATCHLIST_FILE", str(watchlist))
    monkeypatch.setenv("DATABASE_URL", f"postgresql://bob:{PASSWORD}@127.0.0.1:1/market")
    monkeypatch.setenv("LAKE_URL", "s3://bucket")
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIA-k3y")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", PASSWORD)
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    result = call("doctor")
    found = dict(line.partition(": ")[::2] for line in result.stdout.splitlines())
    assert result.exit_code == 1
    assert [name.split()[1] for name in found if name.startswith("PROBLEM")] == ["warehouse", "lake", "watchlist"]
    assert "Could not connect to the endpoint" in found["PROBLEM  lake"]
    assert "'AAPL MSFT' is more than one word" in found["PROBLEM  watchlist"]
    assert "answers" in found["ok       provider"]
    assert PASSWORD not in result.output


def test_the_doctor_names_bad_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MARKETS", "moon")
    result = call("doctor")
    assert result.exit_code == 1
    assert result.output.startswith("PROBLEM  settings: The settings cannot be used (MARKETS:")


def _failing(error: BaseException) -> click.Command:
    @click.group(cls=cli.OneLineErrors)
    def group() -> None: ...

    @group.command()
    def fail() -> None:
        raise error

    return group


def test_a_server_that_goes_away_ends_in_one_line_without_its_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", f"postgresql://bob:{PASSWORD}@host/market")
    broken = psycopg.OperationalError(f"server closed the connection\n  unexpectedly, password {PASSWORD}")
    result = CliRunner().invoke(_failing(broken), ["fail"])
    assert "server closed the connection unexpectedly, password ***" in one_line(result)


def test_what_looks_like_markup_is_printed_as_it_is() -> None:
    result = CliRunner().invoke(_failing(StorageUnavailable("[/red] [us] is gone", "Mend it")), ["fail"])
    assert one_line(result) == "error: [/red] [us] is gone. Mend it."


def test_a_fault_of_ours_is_not_dressed_up() -> None:
    result = CliRunner().invoke(_failing(ZeroDivisionError()), ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_being_ended_is_one_line_and_a_code_of_its_own(number: signal.Signals) -> None:
    @click.group(cls=cli.OneLineErrors)
    def group() -> None: ...

    @group.command()
    def wait() -> None:
        os.kill(os.getpid(), number)
        signal.pause()

    # A suite started in the background inherits an interrupt that is ignored, and would wait for ever.
    if number == signal.SIGINT:
        signal.signal(number, signal.default_int_handler)
    before = signal.getsignal(number)
    result = CliRunner().invoke(group, ["wait"])
    assert result.exit_code == cli.INTERRUPTED
    assert result.stderr == "Interrupted. What was committed is kept; run it again to go on.\n"
    assert signal.getsignal(number) == before


def _error(message: str, cls_name: str, cause: SerializableErrorInfo | None = None) -> SerializableErrorInfo:
    return SerializableErrorInfo(message, [], cls_name, cause)


def test_a_failed_step_is_told_in_the_words_of_our_own_error() -> None:
    raw = _error("OSError: Generic S3 error <AWSAccessKeyId>AKIA</AWSAccessKeyId>\n", "OSError")
    ours = _error("trading_pipeline.errors.StorageUnavailable: The lake is gone. Mend it.\n", "StorageUnavailable", raw)
    step = _error("DagsterExecutionStepExecutionError: Error occurred while executing op:\n", "Dagster", ours)
    assert launch.one_line(step) == "The lake is gone. Mend it."


def test_a_failed_step_without_one_is_told_by_its_root_cause() -> None:
    root = _error("ValueError: two\n  lines\n", "ValueError")
    assert (
        launch.one_line(_error("DagsterExecutionStepExecutionError: around it\n", "X", root)) == "ValueError: two lines"
    )
