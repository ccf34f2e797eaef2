"""What the screener and the dip desk decided, in the order and the words of every page and of the terminal.

What belongs here: choosing rows of decision tables, putting them in order, and saying in plain language what a verdict,
a cause or an action means. What does not: deciding anything (`research/`), the look (`templates/`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import date, timedelta
from typing import Any

import polars as pl

from trading_pipeline.reports import wording

VERDICTS = ("Strong Buy", "Buy", "Hold", "Avoid", "No verdict")
ACTIONS = ("buy", "wait", "avoid")
WATCHLIST = "WATCHLIST"

COMPONENTS = {
    "fundamental": "its figures",
    "technical": "its price trend",
    "relative_strength": "its strength against the others",
    "sector_score": "its sector",
    "catalyst": "news, earnings and analysts",
}
"""Column of each component, and what it stands for."""

MEANINGS = {
    "Strong Buy": "Nearly everything that is measured speaks for it",
    "Buy": "More speaks for it than against it",
    "Hold": "Good enough to keep, not to buy",
    "Avoid": "More speaks against it than for it",
}

GATES = {
    "liquidity": "Trades enough to get in and out",
    "history": "Has a year of prices",
    "data_quality": "Its data can be trusted",
    "solvency_debt": "Can carry its debt",
    "solvency_current": "Can pay this year's bills",
    "earnings_profit": "Earns money",
    "earnings_cash": "Its profits arrive as cash",
    "fund_size": "Is large enough not to be closed",
}
"""What a passed gate says; one that is not named here is shown by its name."""

FLAGS = {
    "value_trap": "cheap, with signs that it deserves to be",
    "earnings_soon": "reports within days",
    "ex_dividend_soon": "goes ex-dividend within days",
    "high_short_interest": "many bet on its fall",
    "over_extended": "far above its average",
    "overbought": "hardly a falling day in two weeks",
    "high_debt": "much debt",
    "negative_news": "bad news",
    "stale_fundamentals": "old figures",
    "suspect_fundamentals": "doubtful figures",
    "suspect_bar": "doubtful price",
    "low_confidence": "little is known",
    "unknown_environment": "environment unknown",
}

CAUSES = {
    "macro": ("Market", "the whole market fell"),
    "sector": ("Sector", "its sector fell"),
    "company": ("Company", "something happened to the company itself"),
    "earnings": ("Earnings", "investors did not like a report"),
    "ex_dividend": ("Dividend", "a dividend was paid out of the price"),
    "unknown": ("Unknown", "nothing found explains it"),
}
"""Short name of each cause, and what it says."""

_TIMINGS = {"bmo": "before the open", "amc": "after the close", "dmh": "during the session"}


def ranked(scores: pl.DataFrame) -> pl.DataFrame:
    """`scores` of one session, the best first, with `rank` from 1: by verdict, then total, then instrument id.

    A verdict comes before a total: what fails a gate is capped, however many points it has. The order is that of the
    mart `leaderboard`.
    """
    return (
        scores.with_columns(_place("verdict", VERDICTS), _total=pl.col("total").round(6))
        .sort("_place", "_total", "instrument_id", descending=[False, True, False], nulls_last=True)
        .drop("_place", "_total")
        .with_row_index("rank", offset=1)
    )


def desk(dips: pl.DataFrame, analysis: pl.DataFrame) -> pl.DataFrame:
    """The dips on the desk with their words, what can be bought first, then by verdict, total and depth.

    dips: DIP_OPPORTUNITIES rows of one session. analysis: DIP_ANALYSIS rows of it; a dip without any keeps nulls.
    """
    words = analysis.drop("session", "ticker", "dip_pct", "cause")
    return (
        dips.filter(pl.col("on_desk").fill_null(False))
        .join(words, on="instrument_id", how="left", maintain_order="left")
        .with_columns(
            _place("action", ACTIONS).alias("_action"), _place("verdict", VERDICTS), _total=pl.col("total").round(6)
        )
        .sort(
            "_action", "_place", "_total", "dip_pct", "instrument_id",
            descending=[False, False, True, True, False], nulls_last=True,
        )
        .drop("_action", "_place", "_total")
    )  # fmt: skip


def reports_ahead(earnings: pl.DataFrame, session: date, among: Collection[str]) -> pl.DataFrame:
    """Reports of `among` (instrument ids) from `session` to the end of its week and of the next, with `week`.

    earnings: EARNINGS_CALENDAR rows of `session`. week: `this week` or `next week`; weeks begin on Monday. The earliest
    first, what is told before the open before what is told after the close.
    """
    following = session - timedelta(days=session.weekday()) + timedelta(days=7)
    day = pl.col("next_report_date")
    return (
        earnings.filter(
            pl.col("instrument_id").is_in(sorted(among))
            & day.is_between(session, following + timedelta(days=7), closed="left")
        )
        .with_columns(
            _place("next_timing", ("bmo", "dmh", "amc")),
            week=pl.when(day < following).then(pl.lit("this week")).otherwise(pl.lit("next week")),
        )
        .sort("next_report_date", "_place", "ticker", "instrument_id")
        .drop("_place")
    )


def selected(scores: pl.DataFrame, dips: pl.DataFrame, members: pl.DataFrame, count: int) -> list[str]:
    """Instrument ids that get a tearsheet: the first `count` leaders, every dip on the desk, the watchlist; once each.

    scores, dips, members: rows of one session of SCREENER_SCORES, DIP_OPPORTUNITIES and UNIVERSE_MEMBERS.
    """
    leaders = ranked(scores).head(count)["instrument_id"]
    on_desk = dips.filter(pl.col("on_desk").fill_null(False)).sort(
        "dip_pct", "instrument_id", descending=[True, False]
    )["instrument_id"]
    watched = members.filter(pl.col("universe") == WATCHLIST).sort("instrument_id")["instrument_id"]
    return list(dict.fromkeys([*leaders, *on_desk, *watched]))


def tickers_of(*frames: pl.DataFrame) -> dict[str, str]:
    """Ticker by instrument id, from rows of one session."""
    known = pl.concat([frame.select("instrument_id", "ticker") for frame in frames])
    return dict(known.unique("instrument_id", keep="first", maintain_order=True).iter_rows())


def verdict_line(score: Mapping[str, Any]) -> str:
    """A verdict for someone who has never seen one: what it means, what holds it back, what is best and worst."""
    if score["total"] is None:
        return f"Too little is known to judge it: {wording.percent(score['confidence'], 0)} of the inputs."
    sentences = [MEANINGS.get(score["verdict"], score["verdict"]), _held_back(score)]
    known = {name: score[name] for name in COMPONENTS if score[name] is not None}
    weighed = {name: value for name, value in known.items() if score[f"weight_{name.removesuffix('_score')}"] > 0}
    if len(weighed) > 1:
        best, worst = max(weighed, key=weighed.__getitem__), min(weighed, key=weighed.__getitem__)
        sentences.append(
            f"Best is {COMPONENTS[best]} ({wording.number(weighed[best], 0)} of 100), "
            f"worst {COMPONENTS[worst]} ({wording.number(weighed[worst], 0)})"
        )
    return " ".join(f"{sentence}." for sentence in sentences if sentence)


def _held_back(score: Mapping[str, Any]) -> str:
    failed = names(score["gates_failed"])
    if failed:
        checks = ", ".join(GATES.get(name, spelled(name)).lower() for name in failed)
        return f"It fails {'this check' if len(failed) == 1 else 'these checks'}, whatever its points: {checks}"
    if score["next_verdict"] is None or score["points_to_next"] is None:
        return ""
    if score["points_to_next"] > 0:
        return f"{wording.number(score['points_to_next'])} points short of {score['next_verdict']}"
    why = "it may be a value trap" if "value_trap" in names(score["flags"]) else "too little is known about it"
    return f"Its points would make it a {score['next_verdict']}, but {why}"


def peer_line(score: Mapping[str, Any]) -> str:
    """Where its total stands among its sector and its size; empty where neither is known."""
    places = [(score["sector_percentile"], "its sector")]
    if score["size_bucket"] != "unknown":
        places.append((score["size_percentile"], f"{score['size_bucket']}-caps"))
    said = [
        f"the best of {among}" if round(place, 6) >= 100 else f"ahead of {wording.number(place, 0)}% of {among}"
        for place, among in places
        if place is not None
    ]
    line = " and ".join(said)
    return f"{line[0].upper()}{line[1:]}." if line else ""


def cause_name(cause: str | None) -> str:
    """The cause of a dip in a word."""
    return CAUSES.get(cause, (spelled(cause), ""))[0] if cause else "Not told"


def timing(value: str | None) -> str:
    """When on its day a report comes out."""
    return _TIMINGS.get(value or "", "time unknown")


def size(words: Mapping[str, Any], currency: str) -> str:
    """The size a row of DIP_ANALYSIS recommends: `2–4 %, $2,000–4,000`; a dash where there is none."""
    if not words["size_high"]:
        return wording.UNKNOWN
    money = wording.amounts(words["size_low_amount"], words["size_high_amount"], currency)
    return f"{wording.share(words['size_low'], words['size_high'])}, {money}"


def names(listed: str | None) -> list[str]:
    """The names of a comma-separated list."""
    return [name for name in (listed or "").split(",") if name]


def lines(text: str | None) -> list[str]:
    """The lines of a text, none of them empty."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()]


def spelled(name: str) -> str:
    """A name of ours as a person would write it: `solvency_debt` is `solvency debt`."""
    return name.replace("_", " ")


def flag_words(flags: str | None) -> list[str]:
    """What the flags say, in their order."""
    return [FLAGS.get(name, spelled(name)) for name in names(flags)]


def _place(column: str, order: tuple[str, ...]) -> pl.Expr:
    return (
        pl.col(column)
        .replace_strict({name: place for place, name in enumerate(order)}, default=len(order), return_dtype=pl.Int32)
        .alias("_place")
    )
