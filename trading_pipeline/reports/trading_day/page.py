"""The page of a trading day: what stands on it, arranged for its template."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime
from typing import Any

import polars as pl

from trading_pipeline.reports import decisions, wording
from trading_pipeline.reports.pages import environment, markup
from trading_pipeline.reports.trading_day import drawing
from trading_pipeline.reports.trading_day.accounting import checks, equity_before, profit, profit_by_tick
from trading_pipeline.reports.trading_day.day import TradingDay
from trading_pipeline.reports.trading_day.feed import Feed, feed
from trading_pipeline.reports.trading_day.trips import EXITS, Trip, trips

WIDE, NARROW = (1000, 260), (354, 210)
WIDE_LOW, NARROW_LOW = (1000, 150), (354, 140)
SIGNALS_SHOWN = 60
"""Refused signals in the open; more are folded away."""

OUTCOMES = {
    "ordered": "Ordered",
    "risk": "Refused by the risk limits",
    "validation": "Vetoed by the validation",
    "feed": "Refused, as the feed was stale",
    "halted": "Refused, as trading was halted",
    "close": "Refused, as the close was near",
}
SETUPS = {"mean_reversion": "Mean reversion", "trend_continuation": "Trend continuation"}
ENDED = {
    "closed": "It ran to the close.",
    "halted": "It was ended by the kill switch.",
    "interrupted": "It was interrupted before the close.",
}
_AMOUNT = re.compile(r"[−+][^\s\d]{0,4}\d[\d,.]*\d")


def trading_day_page(day: TradingDay) -> str:
    """The page of a trading day as one HTML page (UTF-8 text) that needs nothing else to be read."""
    return environment().get_template("trading_day.html.j2").render(_view(day))


def _view(day: TradingDay) -> dict[str, Any]:
    account, health, made = day.account, feed(day), trips(day)
    gained = profit(day)
    before = equity_before(day) if account else day.loop["equity"] if day.loop else None
    opens, closes = day.hours
    return {
        "inputs": day,
        "zone": day.timezone,
        "currency": day.market.currency,
        "opens": f"{opens.astimezone(day.timezone):%H:%M %Z}",
        "closes": f"{closes.astimezone(day.timezone):%H:%M}",
        "profit": gained,
        "share": gained / before if before else None,
        "sentence": sentence(day),
        "ran": _ran(day),
        "account": account,
        "equity_before": before,
        "curve": _curve(day),
        "trades": _trades(day),
        "charts": _charts(day, made),
        "outcomes": _outcomes(day),
        "refused": day.refused.head(SIGNALS_SHOWN).to_dicts(),
        "refused_rest": day.refused.slice(SIGNALS_SHOWN).to_dicts(),
        "feed": health,
        "feed_chart": _feed_chart(day, health),
        "analysis": _analysis(day),
        "orders": day.placed.to_dicts(),
        "counts": {"signals": day.trade_signals.height, "orders": day.placed.height, "fills": day.fills.height},
        "entries": day.placed.filter(pl.col("role") == "entry").height,
        "positions": day.positions.filter(pl.col("quantity") != 0).sort("ticker", "instrument_id").to_dicts(),
        "checks": checks(day),
        "setups": SETUPS,
        "outcome_words": OUTCOMES,
        "exits": EXITS,
        "generated_at": wording.moment(day.generated_at, day.timezone),
    }


def sentence(day: TradingDay) -> str:
    """The day's trades in a sentence."""
    trades = day.trades
    held = day.positions.filter(pl.col("quantity") != 0).height
    parts = []
    if trades.is_empty():
        parts.append("No trade was closed")
    else:
        won, lost = trades.filter(pl.col("pnl") > 0).height, trades.filter(pl.col("pnl") < 0).height
        even = trades.height - won - lost
        parts.append(
            f"{wording.count(trades.height, 'trade')}: {won} won, {lost} lost" + (f", {even} even" if even else "")
        )
        multiples = trades["r_multiple"].drop_nulls()
        if multiples.len():
            parts.append(f"{wording.number(float(multiples.sum()), 1, signed=True)} R in all")
    if held:
        parts.append(f"{wording.count(held, 'position')} held overnight")
    return f"{', '.join(parts)}."


def _ran(day: TradingDay) -> str:
    """How the loop ran, in words."""
    loop = day.loop
    if loop is None:
        return "The loop was never begun on this session."
    what = "Recorded minutes were replayed through the live loop." if day.replayed else "The live loop, on paper."
    if loop["ended_at"] is None:
        return f"{what} It has not ended: the numbers are those of its last tick."
    return f"{what} {ENDED.get(loop['ended_why'] or '', 'It ended, nobody says why.')}"


def _curve(day: TradingDay) -> dict[str, Any] | None:
    curve = profit_by_tick(day)
    if curve.is_empty() or (day.fills.is_empty() and day.carried.is_empty()):
        return None
    moments, total, closed = (curve[name].to_list() for name in ("tick_at", "total", "closed"))
    best, worst = int(curve["total"].arg_max() or 0), int(curve["total"].arg_min() or 0)
    return {
        "wide": markup(drawing.profit_chart(moments, total, closed, day.hours, day.timezone, WIDE)),
        "narrow": markup(drawing.profit_chart(moments, total, closed, day.hours, day.timezone, NARROW)),
        "best": (total[best], moments[best]),
        "worst": (total[worst], moments[worst]),
        "last": total[-1],
        "closed": closed[-1],
    }


def _trades(day: TradingDay) -> list[dict[str, Any]]:
    rows = day.trades.sort("opened_at", "ticker", "trade_id").to_dicts()
    opens = day.hours[0]
    return [{**row, "carried": row["opened_at"] < opens} for row in rows]


def _charts(day: TradingDay, made: list[Trip]) -> list[dict[str, Any]]:
    bars = day.minutes.sort("bar_started_at").partition_by("instrument_id", as_dict=True, maintain_order=True)
    bands = {row["instrument_id"]: row for row in day.bands.iter_rows(named=True)}
    empty = day.minutes.clear()
    opens, closes = day.hours
    found = []
    for trip in made:
        mine = bars.get((trip.instrument_id,), empty)
        levels = bands.get(trip.instrument_id, {})
        pairs = [(levels.get(f"band_lower_{width}"), levels.get(f"band_upper_{width}")) for width in (1, 2, 3)]
        start, caption = max(trip.opened_at or opens, opens), trip.caption(day)
        drawn = drawing.trade_chart(
            mine["bar_started_at"].to_list(),
            mine["close"].to_list(),
            mine["vwap"].to_list(),
            [(low, high) if low is not None and high is not None else None for low, high in pairs],
            trip.executions,
            day.hours,
            day.timezone,
            entry=trip.entry_price,
            stop=trip.stop,
            target=trip.target,
            held=(start, trip.closed_at or closes),
        )
        found.append(
            {
                "trip": trip,
                "drawn": markup(drawn),
                "caption": caption,
                "shown": _unbroken(caption),
                "pnl": trip.trade["pnl"] if trip.trade else trip.unrealised,
                "reasons": decisions.lines(trip.signal["reasons"]) if trip.signal else [],
                "setup": (trip.trade or trip.signal or {}).get("setup"),
                "minutes": mine.height,
            }
        )
    return found


def _unbroken(text: str) -> Any:
    """Text for a page in which no signed amount is broken behind its sign, as browsers do before a currency."""
    from markupsafe import escape

    return markup(_AMOUNT.sub(r'<span class="whole">\g<0></span>', str(escape(text))))


def _outcomes(day: TradingDay) -> list[dict[str, Any]]:
    """How many signals had each outcome, the ordered ones first, with the most frequent words of why."""
    found = []
    groups = day.trade_signals.partition_by("outcome", as_dict=True, maintain_order=True)
    for key, rows in groups.items():
        outcome = str(key[0])
        why = Counter(rows.sort("tick_at", "ticker")["outcome_reason"].to_list()).most_common(3)
        found.append(
            {
                "outcome": outcome,
                "label": OUTCOMES.get(outcome, f"Refused: {decisions.spelled(outcome)}"),
                "count": rows.height,
                "share": rows.height / day.trade_signals.height,
                "why": [] if outcome == "ordered" else [(reason, times) for reason, times in why if reason],
            }
        )
    return sorted(found, key=lambda each: (each["outcome"] != "ordered", -each["count"], each["outcome"]))


def _feed_chart(day: TradingDay, health: Feed) -> dict[str, Any] | None:
    ticks = day.live_ticks.sort("tick_at")
    if ticks.height < 2:
        return None
    share = ticks.select(pl.when(pl.col("symbols") > 0).then(pl.col("fresh") / pl.col("symbols")))
    moments: list[datetime] = ticks["tick_at"].to_list()
    fresh = share.to_series().to_list()
    barred = [(span.start, span.end) for span in health.spans]
    return {
        "wide": markup(drawing.feed_chart(moments, fresh, barred, day.hours, day.timezone, WIDE_LOW)),
        "narrow": markup(drawing.feed_chart(moments, fresh, barred, day.hours, day.timezone, NARROW_LOW)),
    }


def _analysis(day: TradingDay) -> dict[str, Any] | None:
    rows = day.market_analysis.sort("tick_at")
    if rows.is_empty():
        return None
    moments = rows["tick_at"].to_list()
    values = {name: rows[name].to_list() for name in drawing.MULTIPLIERS}
    return {
        "rows": rows.to_dicts(),
        "last": rows.row(-1, named=True),
        "by_claude": rows.filter(pl.col("source") == "claude").height,
        "wide": markup(drawing.analysis_chart(moments, values, day.hours, day.timezone, WIDE_LOW)),
        "narrow": markup(drawing.analysis_chart(moments, values, day.hours, day.timezone, NARROW_LOW)),
    }
