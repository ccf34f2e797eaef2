"""A position that is held over an ex-date, on a real database: its dividend in the account and in the trade."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.storage.live_store import LiveStore
from trading_pipeline.tables.live import ACCOUNTS, TRADES
from trading_pipeline_tests.live_sessions import MINUTE, SESSION, Day, lead

TOMORROW = date(2025, 9, 18)
AMOUNT = 0.2425


def test_the_dividend_of_a_position_held_overnight_is_its_accounts_and_its_trades(warehouse):
    day = Day.random(minutes=75, seed=17)
    bought = lead(day, warehouse, book="replay:undisturbed").fills.sort("at").row(0, named=True)
    name, since = bought["instrument_id"], bought["at"].replace(second=0, microsecond=0) + MINUTE
    silent = (pl.col("instrument_id") == name) & (pl.col("started_at") >= since)
    evening = lead(Day(day.bars.filter(~silent), day.inputs), warehouse)
    assert evening.positions["instrument_id"].to_list() == [name]
    assert evening.accounts["income"].item() == 0.0

    opens_at = datetime(2025, 9, 18, 13, 30, tzinfo=UTC)
    paid = pl.DataFrame(
        {"session": [TOMORROW] * 2, "instrument_id": [name, "us:NOT_HELD"], "kind": ["dividend"] * 2, "value": AMOUNT}
    )
    morning = Day.random(minutes=75, seed=3, session=TOMORROW, opens_at=opens_at)
    lead(Day(morning.bars, replace(morning.inputs, actions=paid)), warehouse)

    stored = LiveStore(warehouse).read_all((ACCOUNTS, TRADES))
    due = pytest.approx(evening.positions["quantity"].item() * AMOUNT, abs=0.005)
    account = stored["accounts"].filter(session=TOMORROW).row(0, named=True)
    assert account["income"] == due and account["income"] == round(account["income"], 2)
    earned = account["realised"] + account["income"] - account["fees"]
    gained = account["unrealised"] - evening.accounts["unrealised"].item()
    assert account["equity"] - evening.accounts["equity"].item() == pytest.approx(earned + gained, abs=1e-6)
    trades = stored["trades"]
    [trade] = trades.filter(pl.col("instrument_id") == name, pl.col("income") != 0).iter_rows(named=True)
    assert (trade["income"], trade["session"]) == (account["income"], TOMORROW)
    assert trade["opened_at"].date() == SESSION
    assert trades["income"].sum() == account["income"]
