"""The command line: `run`, `ui`, `stop`, `backfill`, `doctor`.

What belongs here: the order of things, progress, and plain endings. What does not: any work of its own; each command
calls what Dagster, the storage or the reports do. Every error of ours ends in one line and a non-zero exit.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from trading_pipeline.errors import InputRefused, TradingPipelineError
from trading_pipeline.markets import Market, market_named
from trading_pipeline.sessions import calendar
from trading_pipeline.settings import load_settings

if TYPE_CHECKING:
    from trading_pipeline.world import World

# Bound to the terminal's own stream: what dbt prints while a job runs goes to a log instead. Where nobody looks at a
# terminal, lines may be longer than the 80 columns that would be assumed.
_WIDTH = None if sys.stdout.isatty() else 110
console = Console(file=sys.stdout, width=_WIDTH)
errors = Console(stderr=True)


class OneLineErrors(click.Group):
    """A group whose commands end in one line where an error of ours was raised."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; exit 2 with the error's line, 130 on an interrupt."""
        try:
            return super().invoke(ctx)
        except TradingPipelineError as error:
            errors.print(f"[bold]error:[/bold] {error}", highlight=False, soft_wrap=True)
            sys.exit(2)
        except KeyboardInterrupt:
            errors.print("Interrupted. What was committed is kept; run it again to go on.")
            sys.exit(130)


@click.group(cls=OneLineErrors, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Point-in-time market data, screening, dips and back-tests as Dagster assets."""


@main.command()
@click.option("--session", "wanted", help="Run up to this session (YYYY-MM-DD) instead of the latest one.")
def run(wanted: str | None) -> None:
    """Bring every market up to date and print today's summary."""
    from trading_pipeline.launch import bring_up_to_date, prepared

    settings = load_settings()
    with prepared(settings) as (instance, world), _progress(world):
        lines = [
            bring_up_to_date(settings, instance, world, market_named(name), _session(market_named(name), wanted))
            for name in settings.markets
        ]
    for summary in lines:
        console.print(summary)


@main.command()
@click.argument("first")
@click.argument("last")
@click.option("--market", default="us", show_default=True, help="Market whose sessions are filled.")
def backfill(first: str, last: str, market: str) -> None:
    """Publish everything for the sessions from FIRST to LAST (YYYY-MM-DD), in one run."""
    from trading_pipeline.launch import materialize_range, prepared

    settings = load_settings()
    where = market_named(market)
    with prepared(settings) as (instance, world), _progress(world):
        low, high = _session(where, first), _session(where, last)
        if low is None or high is None or low > high:
            raise InputRefused(f"{first} is after {last}", "Give the earlier session first")
        if high > world.latest_session(where):
            raise InputRefused(
                f"{high} is not final yet", f"The latest session with final bars is {world.latest_session(where)}"
            )
        materialize_range(settings, instance, world, where, low, high)
    console.print(f"{where.name}: published {low} to {high}.")


@main.command()
def ui() -> None:
    """Serve the Dagster UI and run its daemon, on the instance that `run` uses, until interrupted."""
    from trading_pipeline.launch import serve

    serve(load_settings(), console)


@main.command()
def stop() -> None:
    """End what was started: the UI, the daemon and the embedded PostgreSQL."""
    from trading_pipeline.launch import stop_everything

    for line in stop_everything(load_settings()) or ["Nothing was running."]:
        console.print(line)


@main.command()
def doctor() -> None:
    """Say what is set, what is reachable and what is missing."""
    from trading_pipeline.launch import diagnose

    healthy = True
    for name, fine, line in diagnose(load_settings()):
        healthy = healthy and fine
        console.print(f"{'ok     ' if fine else 'PROBLEM'}  {name}: {line}", highlight=False, soft_wrap=True)
    if not healthy:
        sys.exit(1)


def _session(market: Market, text: str | None) -> date | None:
    if text is None:
        return None
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise InputRefused(f"{text!r} is not a date", "Write it as YYYY-MM-DD") from None
    return calendar(market.exchange).require(day)


@contextmanager
def _progress(world: World) -> Iterator[None]:
    if not console.is_terminal:
        world.progress = _lines
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


def _lines(task: str, done: int, total: int) -> None:
    """Progress where nobody watches a bar move: one line when a task is over."""
    if done >= total:
        console.print(f"  {task}: {total:,}", highlight=False)


if __name__ == "__main__":
    main()
