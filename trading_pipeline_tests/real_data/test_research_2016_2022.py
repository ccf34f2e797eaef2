"""Indicators, regime and dips on real bars of 199 names, 2016 to 2022: what everyone remembers is what is found."""

from __future__ import annotations

from datetime import date

import polars as pl
import pytest

from trading_pipeline import tables
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.dips import dip_opportunities
from trading_pipeline.research.indicators import indicators
from trading_pipeline.research.regime import market_regime
from trading_pipeline.tables.dips import CAUSE_COLUMNS

pytestmark = pytest.mark.real_data

BENCHMARK = "SPY"


@pytest.fixture(scope="module")
def inputs(real_data):
    raw = pl.read_parquet(real_data / "daily" / "sp500_200_tickers_2016_2022.parquet")
    raw = raw.with_columns(pl.col("date").cast(pl.Date).alias("session"), pl.col("volume").cast(pl.Float64))
    later = pl.read_csv(real_data / "daily" / "splits_after_2022-12-30_6_tickers.csv", try_parse_dates=True)
    events = [
        raw.filter(pl.col(column) != 0).select(
            "session", symbol="ticker", kind=pl.lit(kind), value=pl.col(column).cast(pl.Float64)
        )
        for column, kind in (("splits", "split"), ("dividends", "dividend"))
    ]
    events.append(
        later.select(session="ex_date", symbol="ticker", kind=pl.lit("split"), value=pl.col("ratio").cast(pl.Float64))
    )
    bars, actions, _ = undo_splits(raw.rename({"ticker": "symbol"}), pl.concat(events), "split_adjusted")
    bars = bars.filter(pl.col("close") > 0).with_columns(
        instrument_id="symbol", ticker="symbol", data_quality=pl.lit("good")
    )
    sectors = pl.read_csv(real_data / "membership" / "sp500_current_with_sectors.csv")
    members = bars.select("session", "instrument_id", "ticker", universe=pl.lit("FILES")).join(
        sectors.select(ticker="Symbol", sector="GICS Sector"), on="ticker", how="left"
    )
    return bars, actions.rename({"symbol": "instrument_id"}), members, bars["session"].unique().sort().to_list()


@pytest.fixture(scope="module")
def measured(inputs):
    return tables.INDICATORS.conform(indicators(*inputs[:3], BENCHMARK, inputs[3]))


@pytest.fixture(scope="module")
def regime(inputs, measured):
    return tables.MARKET_REGIME.conform(market_regime(*inputs[:3], measured, BENCHMARK, None, inputs[3]))


@pytest.fixture(scope="module")
def dips(inputs, measured, regime):
    found = dip_opportunities(*inputs[:3], measured, regime, BENCHMARK, (5.0, 10.0, 15.0), inputs[3])
    # Causes are told by the dip desk, from news that the collection does not hold for these years.
    untold = [pl.lit(None, column.dtype).alias(column.name) for column in CAUSE_COLUMNS]
    return tables.DIP_OPPORTUNITIES.conform(found.with_columns(untold))


@pytest.mark.parametrize(
    ("day", "environment", "mood"),
    [
        (date(2017, 10, 2), "A", "Bull"),  # the calmest year on record
        (date(2018, 12, 24), "D", "Bear"),  # the Christmas Eve low
        (date(2019, 4, 30), "A", "Bull"),
        (date(2020, 2, 19), "A", "Bull"),  # the top before the pandemic
        (date(2020, 2, 28), "D", "Bear"),  # the fastest correction ever
        (date(2020, 3, 23), "D", "Bear"),  # the low
        (date(2020, 8, 18), "A", "Bull"),  # the old high regained
        (date(2022, 6, 16), "D", "Bear"),
        (date(2022, 9, 30), "D", "Bear"),
    ],
)
def test_the_regime_of_well_known_days(regime, day, environment, mood):
    assert regime.filter(session=day).select("environment", "regime").row(0) == (environment, mood)


def test_the_high_before_a_split_is_quoted_as_it_was_and_after_it_in_the_new_shares(measured):
    """AAPL reached 515.14 on 2020-08-24; its 4 for 1 split was ex on 2020-08-31."""
    aapl = measured.filter(instrument_id="AAPL").sort("session")
    before = aapl.filter(session=date(2020, 8, 28)).row(0, named=True)
    after = aapl.filter(session=date(2020, 8, 31)).row(0, named=True)
    assert before["high_252"] == pytest.approx(515.14, abs=0.01)
    assert before["close"] == pytest.approx(499.23, abs=0.01)
    assert after["high_252"] == pytest.approx(131.00, abs=0.01), "made on the first day of the new shares"
    assert after["return_1"] == pytest.approx(129.04 * 4 / 499.23 - 1, abs=1e-4)


def test_the_pandemic_fell_on_cruise_lines_beyond_market_and_sector(dips):
    low = dips.filter(session=date(2020, 3, 23)).sort("dip_pct", descending=True)
    assert low["ticker"][:2].to_list() == ["NCLH", "CCL"]
    cruise = low.row(0, named=True)
    assert cruise["company_part"] < cruise["market_part"] < cruise["sector_part"] < 0
    assert low.height > 180, "nearly everyone was 5 % below the high"


def test_oil_companies_fell_with_their_sector(dips):
    slb = dips.filter(session=date(2020, 3, 23), ticker="SLB").row(0, named=True)
    assert slb["sector"] == "Energy"
    assert slb["sector_part"] < slb["market_part"] < slb["company_part"] < 0


def test_a_special_dividend_is_a_dip_without_a_fall(dips):
    """KDP paid 103.75 a share when Keurig bought Dr Pepper, ex on 2018-07-10."""
    row = dips.filter(session=date(2018, 7, 11), ticker="KDP").row(0, named=True)
    assert row["dip_pct"] > 80
    assert row["fall"] > 0


def test_the_parts_of_every_fall_add_up(dips):
    known = dips.filter(pl.col("market_part").is_not_null())
    assert known.height > 0.99 * dips.height
    gap = known["fall"] - known["market_part"] - known["sector_part"].fill_null(0) - known["company_part"]
    assert gap.abs().max() < 1e-9
