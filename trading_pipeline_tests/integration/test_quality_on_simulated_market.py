"""The quality rules find the faults that the simulated provider planted, and condemn nothing else."""

from __future__ import annotations

from datetime import UTC, date, datetime

import polars as pl
import pytest

from trading_pipeline.instruments import registry
from trading_pipeline.markets import US
from trading_pipeline.providers.base import SymbolRequest
from trading_pipeline.providers.simulated import SimulatedProvider, Truth
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.bars.quality import LOOKBACK, assess
from trading_pipeline.sessions import calendar

FIRST, LAST = date(2013, 1, 2), date(2019, 12, 31)
RULE_OF = {
    "null_bar": "null_bar",
    "hundredfold": "unit_error",
    "missing_session": "missing_session_absent_row",
    "duplicate": "duplicate_bar",
    "frozen_bar": "zero_volume",
    "ohlc_inconsistent": "ohlc_inconsistent",
}


@pytest.fixture(scope="module")
def verdicts() -> pl.DataFrame:
    """One row per issue or planted fault: instrument_id, bar_session, rule, severity, fault."""
    provider = SimulatedProvider(seed=11, companies=120)
    exchange = calendar(US.exchange)
    sessions = exchange.between(FIRST, LAST)
    lookback = exchange.between(exchange.offset(FIRST, -LOOKBACK), exchange.offset(FIRST, -1))
    requests = [SymbolRequest(symbol, lookback[0], LAST) for symbol in provider.symbols(US, lookback[0], LAST)]
    batch = provider.daily_bars(requests, now=datetime(2019, 12, 31, 23, tzinfo=UTC))
    bars, actions, _ = undo_splits(pl.concat([batch.bars, batch.duplicates]), batch.actions, batch.basis)
    instruments = registry(US, extra_spans=provider.renames)

    def identified(frame: pl.DataFrame, column: str) -> pl.DataFrame:
        symbols = frame[column].unique().sort()
        ids = pl.DataFrame({column: symbols, "instrument_id": instruments.ids_of(symbols, LAST)})
        return frame.join(ids, on=column)

    assessed = assess(
        identified(bars, "symbol").with_columns(
            ticker="symbol", provider=pl.lit(provider.name), provisional=pl.lit(value=False)
        ),
        identified(actions, "symbol"),
        identified(provider.members(US, "SIM_ALL", [*lookback, *sessions]), "ticker"),
        sessions,
        lookback,
    )
    planted = Truth(provider, US, LAST).faults().filter(pl.col("session").is_between(FIRST, LAST))
    return assessed.issues.select("instrument_id", "bar_session", "rule", "severity").join(
        planted.select("instrument_id", "fault", bar_session="session"),
        on=["instrument_id", "bar_session"],
        how="full",
        coalesce=True,
    )


@pytest.mark.parametrize(("fault", "rule"), RULE_OF.items())
def test_every_planted_fault_is_found_by_its_rule(verdicts: pl.DataFrame, fault: str, rule: str) -> None:
    planted = verdicts.filter(fault=fault).select("instrument_id", "bar_session").unique()
    found = verdicts.filter(fault=fault, rule=rule)

    assert planted.height > 8
    assert found.height == planted.height


def test_no_sound_bar_is_excluded(verdicts: pl.DataFrame) -> None:
    condemned = verdicts.filter(pl.col("fault").is_null() & pl.col("severity").is_in(["bad", "rejected"]))

    assert condemned.is_empty()


def test_what_is_merely_shown_are_honest_jumps(verdicts: pl.DataFrame) -> None:
    shown = verdicts.filter(pl.col("fault").is_null())

    assert shown.filter(pl.col("rule") != "jump").height < 20
    assert shown.height < 0.001 * 120 * 1760
