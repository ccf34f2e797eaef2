"""The page of a trading day as text: full, empty, refused and broken days, and that it says them safely."""

from __future__ import annotations

import html
import re
from dataclasses import replace

import polars as pl
import pytest

from trading_pipeline.markets import ASX, US
from trading_pipeline.reports.trading_day import place_of, trading_day_page
from trading_pipeline.reports.trading_day.page import SIGNALS_SHOWN
from trading_pipeline_tests.trading_days import HALF_DAY, SESSION, trading_day

HOSTILE = "<script>alert('x')</script>\"&"


@pytest.fixture(scope="module")
def day():
    return trading_day()


@pytest.fixture(scope="module")
def page(day):
    return trading_day_page(day)


def text(page: str) -> str:
    """What a reader sees."""
    page = re.sub(r"<(style|svg|script)\b.*?</\1>", " ", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", " ", page)))


def section(page: str, name: str) -> str:
    return page[page.index(f'aria-labelledby="{name}"') :].partition("</section>")[0]


def test_the_page_needs_nothing_from_outside_and_is_always_the_same(page, day):
    assert not re.findall(r"<(?:link|img|iframe|object)\b|<script[^>]+src", page)
    assert not re.findall(r"(?:https?:)?//[a-z][\w.]+\.", page)
    assert trading_day_page(replace(day)) == page


def test_the_days_profit_is_the_headline(page, day):
    account = day.account
    before = account["cash_before"] + day.carried["market_value"].sum()
    gained = account["equity"] - before
    shown = text(section(page, "profit"))
    assert f"{'+' if gained > 0 else '−'}${abs(gained):,.2f}" in shown
    assert f"{100 * abs(gained) / before:.2f}% of equity" in shown
    won = day.trades.filter(pl.col("pnl") > 0).height
    assert f"6 trades: {won} won, {6 - won} lost" in shown and "2 positions held overnight" in shown


def test_every_trade_is_a_row_with_its_numbers(page, day):
    rows = re.findall(r'<tr role="row">\s*<th scope="row".*?</tr>', section(page, "trades"), flags=re.DOTALL)
    assert len(rows) == day.trades.height
    for row, trade in zip(rows, day.trades.sort("opened_at").iter_rows(named=True), strict=True):
        shown = text(row)
        for number in (
            trade["ticker"],
            f"${abs(trade['pnl']):,.2f}",
            f"{abs(trade['r_multiple']):.2f}",
            f"{trade['entry_price']:,.2f}",
            f"{trade['exit_price']:,.2f}",
            f"${trade['fees']:.2f}",
            f"{trade['opened_at'].astimezone(day.timezone):%H:%M}",
            trade["exit_reason"].capitalize(),
        ):
            assert number in shown
        assert ("−$" in shown) == (trade["pnl"] < 0)


def test_every_trade_and_position_has_a_chart_that_says_in_words_what_it_shows(page, day):
    charts = re.findall(r"<figure>.*?</figure>", section(page, "charts"), flags=re.DOTALL)
    assert len(charts) == day.trades.height + day.positions.height
    for chart in charts:
        said = html.unescape(re.search(r'role="img" aria-label="([^"]+)"', chart)[1])
        assert said in re.sub(r"\s([,.:])", r"\1", text(chart)) or said.split(":")[0] in text(chart)
        assert chart.count("<svg") == 1
    assert "2.4 sigma below the session's mean" in text(charts[0])


def test_refused_signals_are_counted_by_reason_and_listed_with_why(page, day):
    shown = text(section(page, "signals"))
    assert "Ordered 7" in shown
    assert "Refused by the risk limits 3 3× Open heat of 4.2 % is over the limit of 4 %" in shown
    assert "Vetoed by the validation 3" in shown and "Refused, as the feed was stale 3" in shown
    assert shown.count("The newest bar is 143 seconds old") == 4
    rows = re.findall(r'<tr role="row">\s*<th scope="row"', section(page, "signals"))
    assert len(rows) == day.refused.height == 9


def test_the_feeds_health_says_when_entries_were_not_allowed_and_why(page):
    shown = text(section(page, "feed"))
    assert "383 of 390 ticks were made; the newest bar was older than 90 seconds for 7 minutes." in shown
    assert "11:05 11:13 8 The feed is stale" in shown
    assert "12:50 12:57 7 No tick was made" in shown
    assert "15:31 16:00 29 The close is near" in shown
    assert "A tick took 15 ms to compute in the median, 18 ms at most." in shown


def test_the_market_analysis_is_there_with_every_multiplier(page, day):
    shown = text(section(page, "analysis"))
    last = day.market_analysis.sort("tick_at").row(-1, named=True)
    assert f"Mean reversion {last['mean_reversion']:.2f} Trend continuation {last['trend_continuation']:.2f}" in shown
    assert "25 analyses" in shown
    assert shown.count("62 % of 40 names above VWAP") == 26


def test_the_ledger_is_reconciled_line_by_line(page, day):
    shown = text(section(page, "ledger"))
    assert "It adds up to the cent." in shown
    assert shown.count("✓ Yes") == 7 and "✗" not in shown
    account = day.account
    for amount in (account["cash_before"], account["cash"], account["fees"], account["equity"]):
        assert f"${amount:,.2f}" in shown
    for row in day.positions.iter_rows(named=True):
        assert f"{row['quantity']}" in shown and f"{row['market_price']:,.2f}" in shown
    assert f"{day.orders.height} orders and what became of them" in shown


def test_dividends_are_shown_where_there_were_some(page):
    assert "Dividends" not in text(page) and "0.00 dividends" not in text(page)
    day = trading_day(dividend=0.2)
    day = replace(day, trades=day.trades.with_columns(income=pl.lit(7.5)))
    page = trading_day_page(day)
    assert "Dividends +$24.00" in text(section(page, "day"))
    assert "Dividends +$24.00" in text(section(page, "ledger")) and "It adds up to the cent." in text(page)
    assert text(section(page, "trades")).count("+$7.50 dividends") == day.trades.height


def test_a_ledger_that_is_off_by_a_cent_says_so_first(day):
    wrong = trading_day_page(replace(day, accounts=day.accounts.with_columns(pl.col("cash") + 0.01)))
    shown = text(section(wrong, "ledger"))
    assert "It does not add up. 2 lines differ below" in shown
    assert shown.count("✗ No") == 2


def test_a_day_without_signals():
    shown = text(trading_day_page(trading_day(trades=0, held=0, carried=0, refused=0)))
    assert "$0.00 0.00% of equity No trade was closed." in shown
    assert "Nothing was bought, sold or held, so there is no profit to draw." in shown
    assert "No trade was opened and closed: there was no signal." in shown
    assert "No setup held on any name, so there was no signal." in shown
    assert "None: the book is flat." in shown and "It adds up to the cent." in shown
    assert "Chart by chart" not in shown


def test_a_day_on_which_everything_was_refused():
    page = trading_day_page(trading_day(trades=0, held=0, carried=0, refused=12))
    assert "every signal was refused, see below" in text(section(page, "trades"))
    assert "Ordered" not in text(section(page, "signals"))
    assert "12 refused signals" in text(section(page, "signals"))


def test_a_day_of_shorts_alone():
    page = trading_day_page(trading_day(sides=("short",), carried=0))
    assert "▲ Long" not in text(section(page, "trades"))
    assert text(section(page, "trades")).count("▼ Short") == 6
    assert text(section(page, "charts")).count("Sold short") == 7
    assert re.search(r"−160\s", text(section(page, "ledger")))


def test_a_half_day_ends_at_one():
    page = trading_day_page(trading_day(HALF_DAY, trades=3, stale=(0, 0), missing=(0, 0)))
    assert "Traded from 09:30 EST to 13:00, a short session." in text(page)
    assert "210 of 210 ticks were made" in text(page)
    assert "14:00" not in "".join(re.findall(r"<svg.*?</svg>", page, flags=re.DOTALL))


def test_a_loop_that_runs_still_or_never_ran_says_so(day):
    running = replace(
        day,
        accounts=day.accounts.clear(),
        live_sessions=day.live_sessions.with_columns(ended_at=pl.lit(None, day.live_sessions.schema["ended_at"])),
    )
    shown = text(trading_day_page(running))
    assert "It has not ended: the numbers are those of its last tick." in shown
    assert "The session is not accounted for yet" in shown
    never = trading_day(trades=0, held=0, carried=0, refused=0)
    empty = {
        name: getattr(never, name).clear() for name in ("live_sessions", "live_ticks", "accounts", "market_analysis")
    }
    shown = text(trading_day_page(replace(never, **empty)))
    assert "The loop was never begun on this session." in shown
    assert "No tick was made." in shown and "The market was not analysed" in shown


@pytest.mark.parametrize(
    ("why", "said"), [("halted", "ended by the kill switch"), ("interrupted", "interrupted before")]
)
def test_how_it_ended_is_said(day, why, said):
    ended = replace(day, live_sessions=day.live_sessions.with_columns(ended_why=pl.lit(why)))
    assert said in text(trading_day_page(ended))


def test_minutes_that_are_not_kept_any_more_leave_the_trade_on_the_chart(day):
    old = trading_day_page(replace(day, minutes=day.minutes.clear(), bands=day.bands.clear()))
    assert text(old).count("Its minutes are not kept any more.") == 8
    assert len(re.findall(r"l-6 -?10h12z", old)) == day.fills.height


def test_many_refusals_are_folded():
    page = trading_day_page(trading_day(trades=0, held=0, carried=0, refused=SIGNALS_SHOWN + 5))
    assert "5 more refused signals" in page
    assert section(page, "signals").index("<details>") > section(page, "signals").rindex("R59")


def test_what_comes_with_the_data_is_escaped(day):
    words = pl.lit(HOSTILE)
    hostile = replace(
        day,
        trade_signals=day.trade_signals.with_columns(ticker=words, outcome_reason=words, reasons=words),
        trades=day.trades.with_columns(ticker=words, exit_reason=words, setup=words),
        positions=day.positions.with_columns(ticker=words),
        orders=day.orders.with_columns(ticker=words),
        order_events=day.order_events.with_columns(reason=words),
        live_ticks=day.live_ticks.with_columns(why_not=words, entries_allowed=False),
        market_analysis=day.market_analysis.with_columns(summary=words),
    )
    page = trading_day_page(hostile)
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page


def test_links_are_those_that_exist(day, page):
    assert "<a " not in page
    linked = trading_day_page(replace(day, premarket="../../p.html", tearsheets={"us:Q00": "../../t/Q00.html"}))
    assert set(re.findall(r'href="([^"]+)"', linked)) == {"../../p.html", "../../t/Q00.html"}


def test_only_a_simulated_page_says_so_and_only_a_replay_is_called_one(day, page):
    assert text(page).lstrip().startswith("SIMULATED")
    live = text(trading_day_page(replace(day, world="real", book="paper")))
    assert "SIMULATED" not in live and "Replay" not in live and "The live loop, on paper." in live


def test_frames_that_do_not_fit_are_refused(day):
    with pytest.raises(ValueError, match="fills frame lacks fee"):
        replace(day, fills=day.fills.drop("fee"))
    with pytest.raises(ValueError, match="accounts frame holds 2 sessions"):
        replace(day, accounts=pl.concat([day.accounts, day.accounts]))
    with pytest.raises(ValueError, match="generated_at is naive"):
        replace(day, generated_at=day.generated_at.replace(tzinfo=None))


def test_where_it_lies():
    assert place_of(US, SESSION, "paper") == "us/reports/trading_day/paper/2025-09-17.html"
    assert place_of(ASX, SESSION, "replay:tuned") == "asx/reports/trading_day/replay-tuned/2025-09-17.html"
    odd, other = place_of(US, SESSION, "replay:a/../b"), place_of(US, SESSION, "replay:a:..:b")
    assert odd != other
    assert all(re.fullmatch(r"us/reports/trading_day/replay-[\w.-]+/2025-09-17\.html", place) for place in (odd, other))
