"""The command line: `run`, `backfill`, `rebase`, `backtest`, `replay`, `halt`, `ui`, `stop`, `doctor`.

What belongs here: the order of things, progress, and plain endings. What does not: any work of its own; each command
calls what Dagster, the storage or the reports do. Every error of ours ends in one line and a non-zero exit.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import date
from functools import partial
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trading_pipeline.errors import InputRefused, SettingsError, TradingPipelineError
from trading_pipeline.markets import Market, market_named
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import Settings, load_settings

if TYPE_CHECKING:
    from trading_pipeline.launch import Finding, Site
    from trading_pipeline.world import World

FAILED = 2
INTERRUPTED = 130
_WIDTH = 160


class OneLineErrors(click.Group):
    """A group whose commands end in one line where an error of ours was raised or a server went away."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit 2 with the error's line, 130 on an interrupt."""
        # Bound to the terminal's own stream: what dbt prints while a job runs goes to a log instead. Where nobody looks
        # at a terminal, lines may be longer than the 80 columns that would be assumed.
        ctx.obj = Console(file=sys.stdout, width=None if sys.stdout.isatty() else _WIDTH)
        try:
            with _interrupted_by(signal.SIGTERM, signal.SIGHUP):
                return super().invoke(ctx)
        except TradingPipelineError as error:
            _say_error(str(error))
            sys.exit(FAILED)
        except KeyboardInterrupt:
            _say("Interrupted. What was committed is kept; run it again to go on.")
            sys.exit(INTERRUPTED)
        except _infrastructure() as error:
            reason = " ".join(str(error).split())[:300]
            _say_error(
                f"{type(error).__name__}: {reason}. The database, the lake or the state folder went away or is full; "
                "make doctor says which. What was committed is kept; run it again."
            )
            sys.exit(FAILED)


@contextmanager
def _interrupted_by(*numbers: signal.Signals) -> Iterator[None]:
    """Let these signals do what Ctrl-C does: a run is marked as failed, and what was started is ended."""
    before = {number: signal.signal(number, signal.default_int_handler) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _infrastructure() -> tuple[type[Exception], ...]:
    """What servers and file systems raise when they fail under us; asked for only when something was raised."""
    import psycopg
    from sqlalchemy.exc import SQLAlchemyError

    return (OSError, psycopg.Error, SQLAlchemyError)


def _say_error(line: str) -> None:
    with suppress(SettingsError):  # then that is what the line tells of, and it names no value
        line = load_settings().masked(line)
    _say(f"error: {line}")


def _say(line: str) -> None:
    click.echo(" ".join(line.split()), err=True)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Point-in-time market data, screening, dips and back-tests as Dagster assets."""


@main.command()
@click.option("--session", "wanted", help="Run up to this session (YYYY-MM-DD) instead of the latest one.")
@click.pass_obj
def run(console: Console, wanted: str | None) -> None:
    """Bring every market up to date and print today's summary.

    A market that fails does not keep the others from running; the command then ends with the error of the first.
    """
    from trading_pipeline.launch import RunFailed

    settings = load_settings()
    sessions = {name: _session(market_named(name), wanted) for name in settings.markets}
    failures: list[RunFailed] = []
    with _prepared(settings, console) as site:
        done: dict[str, date] = {}
        prepared: dict[str, date] = {}
        for name, session in sessions.items():
            try:
                done[name] = site.bring_up_to_date(market_named(name), session)
            except RunFailed as error:
                failures.append(error)
                continue
            try:
                ahead = site.prepare(market_named(name), done[name])
                if ahead is not None:
                    prepared[name] = ahead
            except RunFailed as error:
                failures.append(error)
            failures += site.backtest(market_named(name))
        pages = [
            page
            for name, session in done.items()
            for page in (
                site.summary(market_named(name), session),
                *([site.premarket_summary(market_named(name), prepared[name])] if name in prepared else []),
                site.backtests_summary(market_named(name)),
            )
        ]
        waiting = [line for name in done if (line := site.waiting(market_named(name))) is not None]
        unquoted = [ticker for name, session in done.items() for ticker in site.unquoted(market_named(name), session)]
    for page in pages:
        console.print(page)
    for line in waiting:
        console.print(line, markup=False, highlight=False)
    for failure in failures[1:]:
        _say_error(str(failure))
    if failures:
        raise failures[0]
    if unquoted:
        raise InputRefused(
            f"{settings.market_data_provider} has no bars of {', '.join(unquoted)}; all else was published",
            f"Check the spelling in {settings.watchlist_file}, or take them off the list",
        )


@main.command()
@click.argument("first")
@click.argument("last")
@click.option("--market", default="us", show_default=True, help="Market whose sessions are filled.")
@click.pass_obj
def backfill(console: Console, first: str, last: str, market: str) -> None:
    """Publish everything for the sessions from FIRST to LAST (YYYY-MM-DD), in one run."""
    settings = load_settings()
    where = market_named(market)
    low, high = _session(where, first), _session(where, last)
    assert low is not None and high is not None
    if low > high:
        raise InputRefused(f"{low} is after {high}", "Give the earlier session first")
    with _prepared(settings, console) as site:
        site.publish(where, low, site.final_session(where, high))
    console.print(f"{where.name}: published {low} to {high}.")


@main.command()
@click.argument("tickers", nargs=-1, required=True)
@click.option("--market", default="us", show_default=True, help="Market of the tickers.")
@click.pass_obj
def rebase(console: Console, tickers: tuple[str, ...], market: str) -> None:
    """Take over the provider's whole history of TICKERS, after a basis break that was reported and looked into."""
    settings = load_settings()
    where = market_named(market)
    with _prepared(settings, console) as site:
        lines = site.rebase(where, tickers)
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


@main.command()
@click.argument("session")
@click.option("--market", default="us", show_default=True, help="Market whose session is replayed.")
@click.option("--book", help="Book the replay is written into: replay:<name>. Default: replay:<market>:<session>.")
@click.option("--resume", is_flag=True, help="Go on where that book stopped, instead of beginning anew.")
@click.pass_obj
def replay(console: Console, session: str, market: str, book: str | None, resume: bool) -> None:
    """Go through a recorded SESSION (YYYY-MM-DD) with the live loop, as fast as it goes, and print what it came to."""
    from trading_pipeline.launch import replayed

    settings = load_settings()
    where = market_named(market)
    day = _session(where, session)
    assert day is not None
    with replayed(settings) as play, _progress(play.world, console):
        page = play(where, day, book=book, resume=resume)
    console.print(page)


@main.command()
@click.argument("configuration")
@click.pass_obj
def backtest(console: Console, configuration: str) -> None:
    """Backtest CONFIGURATION, the name of one or a TOML file, on the bars that were received, and print its metrics.

    A file is kept in the folder of your own configurations, and computed again every night from then on.
    """
    from trading_pipeline.backtesting.configurations import configuration_named, kept

    settings = load_settings()
    chosen = configuration_named(settings, configuration)
    market = market_named(chosen.market)
    if configuration.endswith(".toml"):
        console.print(f"Kept as {kept(settings, configuration, chosen)}.", markup=False, soft_wrap=True)
    with _prepared(settings, console) as site:
        failures = site.backtest(market, [chosen.name])
        page = site.backtests_summary(market, chosen.name)
    for failure in failures[1:]:
        _say_error(str(failure))
    if failures:
        raise failures[0]
    console.print(page)


@main.command()
@click.argument("reason", default="")
@click.option("--lift", is_flag=True, help="Trade again.")
@click.pass_obj
def halt(console: Console, reason: str, lift: bool) -> None:
    """Halt trading: no new entries, waiting ones are cancelled, protection stays. Holds until it is lifted."""
    from trading_pipeline.live.halting import halt_trading
    from trading_pipeline.world import World

    settings = load_settings()
    with closing(World(settings)) as world:
        said = halt_trading(settings, world.warehouse, None if lift else reason or "halted by hand", world.now())
    console.print(said, markup=False, soft_wrap=True)


@main.command()
@click.pass_obj
def ui(console: Console) -> None:
    """Serve the Dagster UI and run its daemon, on the instance that `run` uses, until interrupted."""
    from trading_pipeline.launch import serve

    serve(load_settings(), lambda line: console.print(line, markup=False, soft_wrap=True))


@main.command()
@click.pass_obj
def stop(console: Console) -> None:
    """End what was started: the UI, the daemon and the embedded PostgreSQL."""
    from trading_pipeline.launch import stop_everything

    # What a provider needs is no reason not to stop.
    settings = load_settings(market_data_provider="simulated")
    for line in stop_everything(settings) or ["Nothing was running."]:
        console.print(line)


@main.command()
@click.pass_obj
def doctor(console: Console) -> None:
    """Say what is set, what is reachable and what is missing."""
    from trading_pipeline.launch import Finding, diagnose

    try:
        settings = load_settings()
    except SettingsError as error:
        _show(console, Finding("settings", False, str(error)))
        sys.exit(1)
    healthy = True
    for finding in diagnose(settings):
        _show(console, finding)
        healthy = healthy and finding.fine
    if not healthy:
        sys.exit(1)


def _show(console: Console, finding: Finding) -> None:
    mark = "ok     " if finding.fine else "PROBLEM"
    console.print(f"{mark}  {finding.name}: {finding.line}", highlight=False, markup=False, soft_wrap=True)


@contextmanager
def _prepared(settings: Settings, console: Console) -> Iterator[Site]:
    """The site of the settings' world, its progress shown while the block lasts."""
    from trading_pipeline.launch import prepared

    with prepared(settings) as site, _progress(site.world, console):
        yield site


def _session(market: Market, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputRefused(f"{text!r} is not a date", "Write it as YYYY-MM-DD") from None
    return calendar(market.exchange).require(day)


@contextmanager
def _progress(world: World, console: Console) -> Iterator[None]:
    """Shows how far the work of `world` has come: bars on a terminal, elsewhere a line for each task that is over."""
    if not console.is_terminal:
        world.progress = partial(_line, console)
        yield
        return
    with Progress(
        TextColumn("{task.description:<28}"),
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        console=console,
    ) as bar:
        tasks: dict[str, Any] = {}

        def show(task: str, done: int, total: int) -> None:
            if task not in tasks:
                tasks[task] = bar.add_task(task, total=max(total, 1))
            bar.update(tasks[task], completed=max(done, int(done >= total)), total=max(total, 1))

        world.progress = show
        yield


def _line(console: Console, task: str, done: int, total: int) -> None:
    if done >= total:
        console.print(f"  {task}: {total:,}", highlight=False)


if __name__ == "__main__":
    main()
