"""What must be true of reference data, scores and the dip desk: of rows that judge, or that judgements stand on.

What belongs here: looking at the tables of the groups `reference`, `screener` and `dips`. What does not: bars and what
is measured of them (`market_checks.py`), what a receipt reported (`receipts.py`).
"""

from __future__ import annotations

import polars as pl

from trading_pipeline.checks.factory import Finding, Look, Sight
from trading_pipeline.checks.market_checks import say
from trading_pipeline.research import dip_desk
from trading_pipeline.tables import (
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    FUNDAMENTALS,
    INDICATORS,
    MACRO_SERIES,
    NEWS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
    Table,
)

MOST_CONDEMNED = 0.1
"""Share of snapshots that may break a quality rule before somebody should look."""
LARGEST_SIZE = 0.1
"""No dip is worth more of a portfolio than this, whatever the rules' file says."""


def known_in_time(table: Table) -> Look:
    """Looks for facts that claim to have been available after we knew them; a version never precedes its receipt."""

    def look(sight: Sight) -> Finding:
        rows = sight.rows(table, "instrument_id", "available_at", "known_at")
        wrong = rows.filter(pl.col("available_at") > pl.col("known_at"))
        return Finding(
            wrong.is_empty(),
            say(f"The clocks of {rows.height} facts are in order.", "Available after we knew", wrong["instrument_id"]),
            {"rows": rows.height, "too_late": wrong.height},
        )

    return look


def few_condemned(sight: Sight) -> Finding:
    """At most a tenth of the snapshots in use break a quality rule."""
    rows = sight.rows(FUNDAMENTALS, "ticker", "data_quality", "rules")
    faulty = rows.filter(pl.col("data_quality") != "good")
    share = faulty.height / rows.height if rows.height else 0.0
    broken = faulty["rules"].str.split(",").explode().drop_nulls().value_counts(sort=True)
    return Finding(
        share <= MOST_CONDEMNED,
        f"{faulty.height} of {rows.height} snapshots break a rule.",
        {"snapshots": rows.height, "share": round(share, 4), **dict(broken.iter_rows())},
    )


def members_are_told(sight: Sight) -> Finding:
    """Each member has a snapshot on each session; without one its score stands on prices alone."""
    members = sight.rows(UNIVERSE_MEMBERS, "session", "instrument_id").unique()
    told = sight.rows(FUNDAMENTALS, "session", "instrument_id")
    missing = members.join(told, on=["session", "instrument_id"], how="anti")
    return Finding(
        missing.is_empty(),
        say(f"All of {members.height} have one.", "Without fundamentals", missing["instrument_id"]),
        {"members": members.height, "missing": missing.height},
    )


def reports_lie_ahead(sight: Sight) -> Finding:
    """No next report lies in the past, no last report in the future, no rate outside 0 to 1."""
    rows = sight.rows(
        EARNINGS_CALENDAR,
        "session",
        "ticker",
        "next_report_date",
        "sessions_to_report",
        "last_report_session",
        "beat_rate",
    )
    wrong = rows.filter(
        (pl.col("sessions_to_report") < 0)
        | (pl.col("last_report_session") > pl.col("session"))
        | ~pl.col("beat_rate").is_between(0, 1)
    )
    return Finding(
        wrong.is_empty(),
        say(f"{rows.height} calendars make sense.", "Impossible", wrong["ticker"]),
        {"rows": rows.height, "with_next_report": rows["next_report_date"].count()},
    )


def providers_agree(sight: Sight) -> Finding:
    """Where several providers name the next report, they name the same date."""
    rows = sight.rows(EARNINGS_CALENDAR, "session", "ticker", "sources", "disagreement")
    several = rows.filter(pl.col("sources").str.contains(","))
    other = several.filter(pl.col("disagreement").is_not_null())
    return Finding(
        other.is_empty(),
        say(f"{several.height} dates have a second voice, and it says the same.", "Dated otherwise", other["ticker"]),
        {"confirmed": several.height - other.height, "disputed": other.height},
    )


def sentiments_in_bounds(sight: Sight) -> Finding:
    """Each article is told once an instrument, with a sentiment between -1 and 1."""
    rows = sight.rows(NEWS, "instrument_id", "article_id", "sentiment")
    wrong = rows.filter(~pl.col("sentiment").is_between(-1, 1))
    again = rows.filter(pl.struct("instrument_id", "article_id").is_duplicated())
    return Finding(
        wrong.is_empty() and again.is_empty(),
        say(f"{rows.height} articles.", "Out of bounds or told again", pl.concat([wrong, again])["instrument_id"]),
        {"rows": rows.height, "out_of_bounds": wrong.height, "again": again.height},
    )


def every_series_has_a_level(sight: Sight) -> Finding:
    """Each macro series that this world's provider quotes has a level on each session."""
    expected = {key for key, _ in sight.world.macro_instruments(sight.market).values()}
    rows = sight.rows(MACRO_SERIES, "session", "series")
    missing = [
        f"{series} on {session}"
        for session in sight.sessions
        for series in sorted(expected - set(rows.filter(pl.col("session") == session)["series"]))
    ]
    return Finding(
        not missing,
        say(f"{len(expected)} series.", "Without a level", pl.Series(missing, dtype=pl.String)),
        {"series": sorted(expected), "missing": len(missing)},
    )


def every_member_scored(sight: Sight) -> Finding:
    """Each member with a bar has a row."""
    key = ["session", "instrument_id"]
    members = sight.rows(UNIVERSE_MEMBERS, *key).unique().join(sight.rows(INDICATORS, *key), on=key, how="semi")
    missing = members.join(sight.rows(SCREENER_SCORES, *key), on=key, how="anti")
    return Finding(
        missing.is_empty(),
        say(f"All of {members.height} members with a bar are scored.", "Not scored", missing["instrument_id"]),
        {"members": members.height, "missing": missing.height},
    )


def verdicts_follow(sight: Sight) -> Finding:
    """Totals lie between 0 and 100, weights sum to 1, and no failed gate goes with a Buy."""
    weights = [f"weight_{name}" for name in ("fundamental", "technical", "relative_strength", "sector", "catalyst")]
    rows = sight.rows(SCREENER_SCORES, "ticker", "total", "verdict", "gates_passed", *weights)
    wrong = rows.filter(
        ~pl.col("total").is_between(0, 100)
        | ((pl.sum_horizontal(weights) - 1).abs() > 1e-9)
        | (~pl.col("gates_passed") & pl.col("verdict").is_in(["Buy", "Strong Buy"]))
        | (pl.col("total").is_null() != (pl.col("verdict") == "No verdict"))
    )
    counts = dict(rows["verdict"].value_counts().sort("verdict").iter_rows())
    return Finding(
        wrong.is_empty(),
        say(f"{rows.height} verdicts follow from their rows.", "Contradicting themselves", wrong["ticker"]),
        counts,
    )


def causes_are_known(sight: Sight) -> Finding:
    """Each dip has one of the causes, with evidence."""
    rows = sight.rows(DIP_OPPORTUNITIES, "ticker", "cause", "evidence")
    wrong = rows.filter(
        ~pl.col("cause").is_in(list(dip_desk.CAUSES)).fill_null(False) | (pl.col("evidence").fill_null("") == "")
    )
    counts = dict(rows["cause"].drop_nulls().value_counts().sort("cause").iter_rows())
    return Finding(wrong.is_empty(), say(f"{rows.height} dips have a cause.", "Without one", wrong["ticker"]), counts)


def sizes_within_limits(sight: Sight) -> Finding:
    """A size is 0 unless the action is buy, its range is in order, and none is over a tenth of the portfolio."""
    rows = sight.rows(DIP_ANALYSIS, "ticker", "action", "size_low", "size_high", "source")
    wrong = rows.filter(
        ((pl.col("action") != "buy") & (pl.col("size_high") != 0))
        | (pl.col("size_low") > pl.col("size_high"))
        | ~pl.col("size_high").is_between(0, LARGEST_SIZE)
    )
    return Finding(
        wrong.is_empty(),
        say(f"{rows.height} sizes are within their limits.", "Beyond them", wrong["ticker"]),
        dict(rows["action"].value_counts().sort("action").iter_rows()),
    )


def desk_is_worded(sight: Sight) -> Finding:
    """Each dip on the desk has its words."""
    key = ["session", "instrument_id"]
    desk = sight.rows(DIP_OPPORTUNITIES, *key, "on_desk").filter("on_desk")
    missing = desk.join(sight.rows(DIP_ANALYSIS, *key), on=key, how="anti")
    return Finding(
        missing.is_empty(),
        say(f"All of {desk.height} are worded.", "Without words", missing["instrument_id"]),
        {"dips": desk.height, "missing": missing.height},
    )
