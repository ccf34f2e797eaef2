"""The whole graph over seven real years: 199 tickers from a file, 2016 to 2022, one run of each job."""

from __future__ import annotations

import uuid
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl
import pytest

from trading_pipeline.automation import jobs
from trading_pipeline.markets import US
from trading_pipeline.sessions import calendar
from trading_pipeline_tests.promises import Site, forgetful_instance

if TYPE_CHECKING:
    from trading_pipeline_tests.conftest import EmbeddedServer

pytestmark = pytest.mark.real_data

FIRST, LAST = date(2016, 3, 14), date(2022, 12, 30)
SESSIONS = calendar("XNYS").between(FIRST, LAST)
BARS = "sp500_200_tickers_2016_2022.parquet"
LATER_SPLITS = "splits_after_2022-12-30_6_tickers.csv"


@pytest.fixture(scope="module")
def site(real_data: Path, embedded_server: EmbeddedServer, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A site on which everything was published for every session of the file, the later splits known."""
    files = tmp_path_factory.mktemp("files")
    for name in (BARS, LATER_SPLITS):
        (files / name).symlink_to(real_data / "daily" / name)
    site = Site(
        tmp_path_factory.mktemp("site"),
        embedded_server.url(f"site_{uuid.uuid4().hex[:12]}").get_secret_value(),
        provider={"market_data_provider": "files", "market_data_files": files},
        instance=forgetful_instance(),
        checked=False,
    )
    site.run(jobs.market_data_name(US), FIRST, LAST)
    site.run(jobs.decisions_name(US), FIRST, LAST, without=["daily_briefing", "tearsheets"])
    return site


@pytest.fixture(scope="module")
def said(real_data: Path) -> pl.DataFrame:
    """The file itself: [session, ticker, close, adj_close] as Yahoo gave them."""
    return pl.read_parquet(real_data / "daily" / BARS).select(
        pl.col("date").cast(pl.Date).alias("session"), "ticker", "close", "adj_close"
    )


def test_every_bar_of_the_file_is_served_or_quarantined(site: Site, said: pl.DataFrame) -> None:
    """Nothing is lost: what is not in market_data is in bar_issues, rejected, with its rule."""
    served = site.contents("market_data", SESSIONS).height
    rejected = (
        site.contents("bar_issues", SESSIONS)
        .filter(pl.col("severity") == "rejected")
        .select("instrument_id", "bar_session")
        .unique()
        .height
    )
    assert served + rejected == said.height
    assert rejected < 10


def test_the_price_is_the_one_that_was_printed(site: Site) -> None:
    """NVIDIA's 4:1 of 2021 and its 10:1 of 2024, which the file's prices already carry, are undone."""
    bars = site.contents("daily_bars", [date(2021, 7, 19), date(2021, 7, 20)])
    closes = bars.filter(pl.col("ticker") == "NVDA")["close"].to_list()
    assert closes == pytest.approx([751.19, 186.12], abs=0.02)


def test_the_adjusted_close_is_yahoos(site: Site, said: pl.DataFrame) -> None:
    """Rebased at the last row, within what four decimals leave and 1e-4; AMCR's two odd dividends aside."""
    world = site.world(calendar("XNYS").close_at(LAST))
    try:
        ours = world.warehouse.query("SELECT instrument_id, date AS session, adjusted_close FROM market_data")
    finally:
        world.close()
    ids = world.instruments(US).ids_of(said["ticker"].unique().sort().to_list(), LAST)
    names = pl.DataFrame({"ticker": said["ticker"].unique().sort(), "instrument_id": ids})
    both = ours.join(said.join(names, on="ticker"), on=["instrument_id", "session"]).sort("instrument_id", "session")
    last = [pl.col(name).last().over("instrument_id") for name in ("adjusted_close", "adj_close")]
    apart = both.filter(pl.col("ticker") != "AMCR").select(
        "ticker",
        "session",
        off=(pl.col("adjusted_close") / last[0] / (pl.col("adj_close") / last[1]) - 1).abs()
        - 1e-4 / pl.col("adjusted_close"),
    )
    assert apart.height > 300_000
    assert apart.filter(pl.col("off") > 1e-4).is_empty()


@pytest.mark.parametrize(
    ("session", "regime", "environments"),
    [
        (date(2020, 3, 23), "Bear", {"D"}),  # the low of the pandemic
        (date(2021, 11, 5), "Bull", {"A", "B"}),  # after a year of new highs
        (date(2022, 9, 30), "Bear", {"D"}),  # the low of 2022
    ],
)
def test_the_environment_is_the_one_people_remember(
    site: Site, session: date, regime: str, environments: set[str]
) -> None:
    (row,) = site.contents("market_regime", [session]).rows(named=True)
    assert row["regime"] == regime
    assert row["environment"] in environments


def test_a_dip_is_split_adjusted_and_named_as_it_traded(site: Site) -> None:
    """Netflix after its report of January 2022, Ball still as BLL, Tesla after its 3:1 split of August 2022."""
    days = [date(2022, 1, 21), date(2022, 5, 9), LAST]
    dips = site.contents("dip_opportunities", days)
    (netflix,) = dips.filter(pl.col("session") == days[0], pl.col("ticker") == "NFLX").rows(named=True)
    assert netflix["dip_pct"] == pytest.approx(100 * (1 - 397.50 / 700.99), abs=0.01)
    assert netflix["company_part"] < netflix["market_part"]
    (ball,) = dips.filter(pl.col("session") == days[1], pl.col("instrument_id") == "us:BLL").rows(named=True)
    assert ball["ticker"] == "BLL"
    (tesla,) = dips.filter(pl.col("session") == LAST, pl.col("ticker") == "TSLA").rows(named=True)
    assert tesla["high_252"] == pytest.approx(402.67, abs=0.01)
    assert tesla["price"] == pytest.approx(123.18, abs=0.01)
    assert tesla["company_part"] < tesla["market_part"] < 0


def test_how_much_of_the_index_the_file_holds_is_said_and_not_judged(site: Site) -> None:
    """About a quarter of the S&P 500 in 2016, a third at the end of 2022."""
    from trading_pipeline.universes import survivorship_coverage

    days = [SESSIONS[0], SESSIONS[-1]]
    coverage = survivorship_coverage(site.contents("universe_members", days), site.contents("daily_bars", days))
    shares = coverage.filter(pl.col("universe") == "SPX500").sort("session")["coverage"].to_list()
    assert shares == pytest.approx([0.26, 0.34], abs=0.02)
