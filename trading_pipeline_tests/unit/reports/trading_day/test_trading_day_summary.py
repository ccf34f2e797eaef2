"""A trading day in a terminal."""

from __future__ import annotations

import io
from dataclasses import replace

import polars as pl
from rich.console import Console

from trading_pipeline.reports.trading_day import summary_renderable
from trading_pipeline_tests.trading_days import trading_day


def printed(renderable, *, terminal: bool = False) -> str:
    out = io.StringIO()
    Console(file=out, width=200, force_terminal=terminal, color_system="standard" if terminal else None).print(
        renderable
    )
    return out.getvalue()


def line(shown: str, label: str) -> str:
    [found] = [each for each in shown.splitlines() if each.startswith(f"{label} ")]
    return found.removeprefix(label).strip()


def test_a_day_in_a_screenful():
    day = trading_day()
    shown = printed(summary_renderable(day, page="/lake/day.html"))
    assert "Replay of Wednesday 17 September 2025, US (XNYS), book replay:tuned" in shown
    assert "SIMULATED" in shown
    assert line(shown, "Signals").startswith("16, 7 ordered; 3 ")
    assert "3 refused by the risk limits" in line(shown, "Signals")
    assert line(shown, "Orders") == "23 (13 filled, 8 cancelled, 2 accepted), 20 fills"
    account = day.account
    gained = account["equity"] - account["cash_before"] - day.carried["market_value"].sum()
    assert line(shown, "P&L").startswith(
        f"{'+' if gained > 0 else '−'}${abs(gained):,.2f} after ${account['fees']:.2f}"
    )
    best, worst = (day.trades.sort("pnl", descending=down).row(0, named=True) for down in (True, False))
    assert line(shown, "Best").startswith(f"{best['ticker']} {best['side']} ")
    assert f"${abs(worst['pnl']):,.2f}" in line(shown, "Worst")
    assert line(shown, "Feed") == "7 ticks missing, stale for 7 minutes"
    assert line(shown, "Ledger") == "adds up to the cent"
    assert line(shown, "Page") == "/lake/day.html"


def test_an_empty_day_reads_well():
    day = trading_day(trades=0, held=0, carried=0, refused=0, stale=(0, 0), missing=(0, 0))
    shown = printed(summary_renderable(replace(day, world="real", book="paper"), page=None))
    assert shown.strip().startswith("Live of ")
    assert line(shown, "Signals") == "none"
    assert line(shown, "Orders") == "0, 0 fills"
    assert line(shown, "P&L") == "$0.00 after $0.00 fees. No trade was closed."
    assert "Best" not in shown and "Feed" not in shown and "SIMULATED" not in shown
    assert line(shown, "Page") == "none was written"


def test_one_trade_is_named_once_and_a_broken_ledger_aloud():
    day = trading_day(trades=1, held=0, carried=0)
    shown = printed(summary_renderable(day, page=None))
    assert "Worst" not in shown and line(shown, "Best").startswith("Q00 long")
    wrong = replace(day, accounts=day.accounts.with_columns(pl.col("fees") + 0.01))
    assert line(printed(summary_renderable(wrong, page=None)), "Ledger").startswith(
        "does NOT add up: Fees of all fills"
    )
    running = replace(day, accounts=day.accounts.clear())
    assert line(printed(summary_renderable(running, page=None)), "Ledger") == "not closed yet"


def test_dividends_are_named_where_there_were_some():
    shown = printed(summary_renderable(trading_day(dividend=0.2), page=None))
    assert " fees and with +$24.00 of dividends. " in line(shown, "P&L")


def test_text_that_looks_like_markup_is_printed_as_it_is():
    day = trading_day(trades=1, held=0, carried=0)
    odd = replace(day, trades=day.trades.with_columns(ticker=pl.lit("[b]X[/]")))
    assert "[b]X[/]" in printed(summary_renderable(odd, page="[red]here[/red]"), terminal=True)
