"""Desks with a small simulated market, and configurations short enough for it: for the tests of backtests' results."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

import polars as pl

from trading_pipeline.automation import jobs
from trading_pipeline.backtesting.configurations import configuration_named
from trading_pipeline.backtesting.results import publish_backtest, publish_monte_carlo, publish_walk_forward
from trading_pipeline.backtesting.sweeps import part_named, parts_of, publish_part
from trading_pipeline.markets import US
from trading_pipeline.storage.server import connect
from trading_pipeline.tables import BACKTEST_TABLES, Table
from trading_pipeline.world import World
from trading_pipeline_tests.promises import LAST, XNYS, Site, final_at

if TYPE_CHECKING:
    from trading_pipeline.research.backtest import Configuration

TICKERS = 14
EARLY = XNYS.offset(LAST, -12)
BARS_FROM = XNYS.offset(EARLY, -159)
"""From where the fourth window of `cross` is tested on what lies behind `EARLY`, and trained on what lies before."""
MADE = (
    *("universe_members", "received_bars", "received_actions", "received_news"),
    *("daily_bars", "corporate_actions", "bar_issues", "indicators", "news"),
)

CROSS = """
name = "{name}"
strategy = "moving_average_cross"
market = "us"
universe = "ALL"
parameters = {{ fast = 5, slow = 20 }}
allocation = {{ method = "inverse_volatility", rebalance = "weekly", lookback = 40, minimum_history = 20 }}
walk_forward = {{ training = 40, test = 20, parameters = {{ fast = [3, 5], slow = [15, 20] }} }}
monte_carlo = {{ paths = 200, seed = {seed} }}
sweep = {{ fast = [3, 5, 8], slow = [15, 20, 30] }}
sweep_chunks = {chunks}
{more}
"""
BOTH_SIDES = """
name = "both-sides"
strategy = "mean_reversion"
market = "us"
universe = "SIM_ALL"
parameters = { window = 10, entry = 1.5, sides = "both", stop = 0.05 }
risk = {}
walk_forward = { training = 40, test = 20 }
monte_carlo = { paths = 100 }
"""


def cross(name: str, *, seed: int = 0, chunks: int = 1, more: str = "") -> str:
    """A configuration of a moving-average cross, with a walk-forward over four sets and a sweep over nine."""
    return CROSS.format(name=name, seed=seed, chunks=chunks, more=more)


@dataclass
class Desk:
    """A site, and the last session that is known on it."""

    site: Site
    last: date

    @property
    def instruments(self) -> list[str]:
        """Everybody who was ever a member."""
        with self.world() as world:
            return sorted(world.lake.read("us", "universe_members")["instrument_id"].unique())

    @contextmanager
    def world(self, later: timedelta = timedelta(0)) -> Iterator[World]:
        """The site's world once the last session's bars are final, or so much later."""
        world = self.site.world(final_at(US, self.last) + later)
        yield world
        world.close()

    def keep(self, text: str) -> Configuration:
        """Put a configuration into the user's folder."""
        name = text.partition('name = "')[2].partition('"')[0]
        self.site.settings.backtests.mkdir(parents=True, exist_ok=True)
        (self.site.settings.backtests / f"{name}.toml").write_text(text)
        return configuration_named(self.site.settings, name)

    def publish(self, text: str, later: timedelta = timedelta(0), *, whole: bool = True) -> dict[str, Any]:
        """Compute everything of a configuration, or its backtest alone; its row of `backtests`."""
        configuration = self.keep(text)
        with self.world(later) as world:
            published = publish_backtest(world, configuration)
            if not whole:
                return published.row
            publish_walk_forward(world, configuration)
            publish_monte_carlo(world, configuration)
            for part in parts_of(configuration):
                publish_part(world, configuration, *part_named(part)[1:])
        return published.row

    def rows(self, table: Table, **owner: str) -> pl.DataFrame:
        """The rows of an owner in the lake; of decisions the latest."""
        with self.world() as world:
            if not table.owner and table.name == "backtests":
                told = world.lake.latest("us", table)
                return told.filter(pl.lit(value=True), *(pl.col(name) == value for name, value in owner.items()))
            return world.lake.read_result("us", table, owner)

    def everything(self) -> Mapping[str, Any]:
        """What any write to lake or warehouse changes: numbers of commits, and the system columns of every row."""
        with self.world() as world:
            told: dict[str, Any] = {table.name: world.lake.version("us", table) for table in BACKTEST_TABLES}
            with connect(world.warehouse.url) as connection:
                for table in BACKTEST_TABLES:
                    if connection.execute("SELECT to_regclass(%s)", [table.name]).fetchone() != (None,):
                        query = f"SELECT ctid::text, xmin::text FROM {table.name} ORDER BY ctid"
                        told[f"warehouse {table.name}"] = connection.execute(query.encode()).fetchall()
        return told

    def go_on(self, last: date, **how: Any) -> Desk:
        """Receive the sessions up to `last`."""
        self.site.run(jobs.market_data_name(US), XNYS.offset(self.last, 1), last, only=MADE, **how)
        return Desk(self.site, last)

    def revise(self, instrument: str, session: date, factor: float, at: datetime) -> None:
        """Let another version of a bar become known at a moment."""
        with self.world() as world:
            bars = world.lake.read_sessions("us", "daily_bars", [session])
            its = (pl.col("instrument_id") == instrument) & pl.col("superseded_at").is_null()
            moment = pl.lit(at).cast(pl.Datetime("us", "UTC"))
            revised = bars.filter(its).with_columns(
                *(pl.col(name) * factor for name in ("open", "high", "low", "close")),
                available_at=moment,
                known_at=moment,
            )
            assert revised.height == 1
            before = bars.with_columns(superseded_at=pl.when(its).then(moment).otherwise("superseded_at"))
            world.lake.replace("us", "daily_bars", [session], pl.concat([before, revised]))
