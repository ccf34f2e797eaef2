"""Recorded one-minute days through the whole loop: files, inputs made of minutes alone, a real database."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path

import polars as pl
import pytest

from trading_pipeline.live.feed import bars_of_provider
from trading_pipeline.live.inputs import inputs_from_minutes
from trading_pipeline.live.loop import LoopSettings, SessionResult
from trading_pipeline.live.replay import replay
from trading_pipeline.markets import US
from trading_pipeline.providers.intraday_files import IntradayFiles
from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.storage.warehouse import Warehouse
from trading_pipeline.tables.live import LIVE_LOOP_LOGS, LIVE_TICKS

pytestmark = pytest.mark.real_data
IDS = {"NVDA": "us:NVDA", "SPY": "us:SPY", "XLF": "us:XLF"}
NOW = datetime(2026, 1, 1, tzinfo=UTC)
BUSY, HALF = date(2025, 11, 6), date(2025, 11, 28)


@pytest.fixture(scope="module")
def files(real_data: Path) -> IntradayFiles:
    return IntradayFiles(next((real_data / "intraday").glob("1min_3_tickers*.parquet")))


def replayed(files: IntradayFiles, warehouse: Warehouse, session: date, book: str | None = None) -> SessionResult:
    inputs = inputs_from_minutes(files, US, session, IDS, now=NOW)
    bars = bars_of_provider(files, US, session, IDS, NOW)
    return replay(inputs, bars, warehouse, LoopSettings(), book=book)


def test_a_recorded_day_is_traded_and_its_ledger_adds_up(files, warehouse):
    result = replayed(files, warehouse, BUSY)
    assert (result.ticks, result.row.ended_why) == (390, "closed")
    assert any("no bias, no regime" in remark for remark in result.remarks)
    logs = LiveStore(warehouse, result.book).read(LIVE_LOOP_LOGS)
    told = bars_of_provider(files, US, BUSY, IDS, NOW)
    assert logs.height == told.height > 1100
    taken = logs.select("instrument_id", pl.col("bar_started_at").alias("started_at"), "close")
    assert taken.equals(told.select(taken.columns).sort("instrument_id", "started_at"))
    assert set(result.signals["setup"]) == {"mean_reversion"}
    assert set(result.trades["exit_reason"]) == {"stop", "target"}
    assert result.trades["r_multiple"].is_between(-2.0, 3.0).all()
    assert result.positions.is_empty()
    account = result.accounts.row(0, named=True)
    assert account["equity"] == pytest.approx(100_000 + result.trades["pnl"].sum(), abs=0.005)
    assert abs(account["equity"] - 100_000) < 2_000
    (fall,) = result.falls.to_dicts()
    assert fall["ticker"] == "NVDA"
    prices = told.group_by("instrument_id").agg(pl.col("low").min(), pl.col("high").max())
    outside = result.fills.join(prices, on="instrument_id").filter(
        (pl.col("price") < 0.999 * pl.col("low")) | (pl.col("price") > 1.001 * pl.col("high"))
    )
    assert outside.is_empty()


def test_half_a_recorded_day_ends_at_one(files, warehouse):
    result = replayed(files, warehouse, HALF)
    ticks = LiveStore(warehouse, result.book).read(LIVE_TICKS)
    assert result.ticks == 210
    assert ticks["tick_at"].max() == datetime(2025, 11, 28, 18, tzinfo=UTC)
    last = ticks.filter(pl.col("why_not") == "the last 30 minutes")["tick_at"].min()
    assert last == datetime(2025, 11, 28, 17, 31, tzinfo=UTC)
