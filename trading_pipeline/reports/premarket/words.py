"""The premarket in plain sentences: of a name, of its gap, of the market, and of what nobody knows.

What belongs here: wording. What does not: the reasons of a bias, which its table holds (`research/premarket/wording`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl

from trading_pipeline.reports import decisions, wording
from trading_pipeline.reports.premarket.inputs import PremarketInputs

BUSY, THIN = 2.0, 0.5
"""Times the normal volume from which a morning is called busy, and below which thin: those of the bias's own rules."""
FLAT = 0.005
"""Per cent below which a gap is none: what rounds to 0.00."""
SECTOR_SHARE = 0.5
"""Share of a gap that its sector's median must reach to be named as a reason."""

EVENTS = {
    "report since the close": "Reported since the close",
    "report before the open": "Reports before the open",
    "report during the session": "Reports during the session",
    "report at an unknown hour": "Reports, nobody knows when",
    "report after the close": "Reports after the close",
    "ex-dividend": "Ex-dividend",
    "split": "Split",
}
"""Events of a bias in the order of how much they move a morning, as they are shown."""


def market_line(inputs: PremarketInputs) -> str:
    """Where the index or, where it is not watched, the median name trades against yesterday's close."""
    traded = inputs.traded
    if traded.is_empty():
        return "No watched name has traded this morning, so nothing is known of the gap."
    index = traded.filter(pl.col("instrument_id") == inputs.benchmark)
    up, down = inputs.gaps(up=True).height, inputs.gaps(up=False).height
    sides = f"{up} of {traded.height} names are up, {down} down"
    if index.height:
        return f"{index['ticker'][0]} trades {_against_close(index['gap_pct'][0])}; {sides}."
    median = traded["gap_pct"].median()
    assert isinstance(median, float)
    return f"The median watched name trades {_against_close(median)}; {sides}. The index itself is not watched."


def morning_line(row: Mapping[str, Any]) -> str:
    """What the morning says of a watched name, for someone who has never seen a snapshot."""
    if row["previous_close"] is None:
        return "It has no bar of the last weeks, so there is nothing to compare with."
    if row["price"] is None:
        start = "Not traded yet this morning" if row["premarket_volume"] == 0 else "No price of this morning is known"
        return f"{start}: where it opens is unknown. It closed at {wording.price(row['previous_close'])}."
    parts = [_place(row)]
    volume = row["premarket_relative_volume"]
    if volume is not None and volume >= BUSY:
        parts.append("busy")
    elif volume is not None and volume <= THIN:
        parts.append("on thin volume")
    if row["band"] is not None and abs(row["band"]) >= 2:
        side = "above" if row["band"] > 0 else "below"
        parts.append(f"far {side} its mean of two days")
    return f"{', '.join(parts)}."


def _place(row: Mapping[str, Any]) -> str:
    price = row["price"]
    if price > row["previous_high"]:
        return "Above yesterday's high"
    if price < row["previous_low"]:
        return "Below yesterday's low"
    if abs(row["gap_pct"]) < FLAT:
        return "Where it closed yesterday"
    return f"Within yesterday's range, {'above' if row['gap_pct'] > 0 else 'below'} its close"


def gap_reasons(row: Mapping[str, Any], evidence: Mapping[str, Any]) -> list[str]:
    """What explains a gap, the most telling first; one line that says so where nothing does."""
    gap, found = evidence.get("gap") or {}, []
    found += [f"{EVENTS.get(event, decisions.spelled(event))}." for event in decisions.names(row["events"])]
    if gap.get("dividend_pct"):
        found.append(f"{wording.number(gap['dividend_pct'], 2)}% is the dividend it trades without from today.")
    headlines = (evidence.get("news") or {}).get("headlines") or []
    found += [f"“{headline['title']}”" for headline in headlines[:2]]
    if len(headlines) < (row["news_count"] or 0):
        found.append(f"{wording.count(row['news_count'] - len(headlines[:2]), 'more article')}.")
    if gap.get("unexplained"):
        found.append("Neither article nor report: it may be a split not told yet, or a wrong price.")
    sector = row["sector_gap"]
    if sector is not None and sector * row["gap_pct"] > 0 and abs(sector) >= SECTOR_SHARE * abs(row["gap_pct"]):
        found.append(f"Its sector moves too: {wording.number(sector, 2, signed=True)}% in the median.")
    return found or ["Nothing that is known explains it."]


def volume_note(row: Mapping[str, Any]) -> str:
    """Why there is no relative volume, in two words; empty where there is one."""
    if row["premarket_relative_volume"] is not None:
        return ""
    if row["premarket_volume"] is None:
        return "not told"
    return "no trade" if row["premarket_volume"] == 0 else "no normal yet"


def unknowns(inputs: PremarketInputs) -> list[str]:
    """What this page cannot say, and why: one sentence each."""
    rows = inputs.watched
    total = rows.height
    if not total:
        return []
    found = []
    if inputs.provider is None:
        found.append("No provider of minutes is set, so nothing is known of this morning: INTRADAY_PROVIDER names one.")
    elif not inputs.market.extended_hours[0]:
        found.append(f"Nothing trades on {inputs.market.exchange} before the open, so no name has a price yet.")
    else:
        silent = rows.filter(pl.col("price").is_null())
        if silent.height:
            known = silent.filter(pl.col("premarket_volume") == 0).height
            who = f"{wording.number(silent.height, 0)} of {wording.count(total, 'name')}"
            why = "they had not traded" if known == silent.height else "they had not traded, or nobody told"
            found.append(f"{who} {'has' if silent.height == 1 else 'have'} no price of this morning: {why}.")
        untold = rows.filter(pl.col("price").is_not_null() & pl.col("premarket_volume").is_null()).height
        if untold:
            who = "any name" if untold == inputs.traded.height else wording.count(untold, "name")
            found.append(f"No volume before the open was told of {who} (provider: {inputs.provider}).")
        short = rows.filter((pl.col("premarket_volume") > 0) & pl.col("premarket_relative_volume").is_null()).height
        if short:
            found.append(f"{wording.count(short, 'name')}: too few mornings are stored to say what volume is normal.")
    bands = rows.filter(pl.col("previous_close").is_not_null() & pl.col("band").is_null()).height
    if bands:
        found.append(f"{wording.count(bands, 'name')}: too few minutes are stored for bands.")
    bare = rows.filter(pl.col("previous_close").is_null()).height
    if bare:
        found.append(f"{wording.count(bare, 'name')}: no bar in the last 20 sessions, so nothing to compare with.")
    leaning = rows.filter("has_bias").height
    if leaning < total:
        found.append(f"{wording.count(total - leaning, 'name')}: no bias was published.")
    if inputs.evidence and not any((each.get("news") or {}).get("any_news") for each in inputs.evidence.values()):
        found.append("No article came since the close, of any name: a quiet night, or no source of news.")
    if inputs.earnings["next_report_date"].is_null().all():
        found.append("No earnings calendar is at hand, so nobody can say who reports today.")
    if inputs.today is None:
        found.append("No environment was published at the close before.")
    return found


def _against_close(gap: float) -> str:
    if abs(gap) < FLAT:
        return "where it closed yesterday"
    return f"{wording.number(abs(gap), 2)}% {'above' if gap > 0 else 'below'} yesterday's close"
