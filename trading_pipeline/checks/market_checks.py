"""What must be true of the market's tables and pages: one entry a check, each able to fail.

What belongs here: looking at what was written. What does not: the rules that judge a single bar
(`research/bars/quality/`), and what a receipt reported (`receipts.py`).

A range of ten years is looked at in one pass: only the columns needed are read, and nothing is done row by row.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from psycopg import sql

from trading_pipeline.checks.factory import Finding, Look, Sight
from trading_pipeline.markets import Market
from trading_pipeline.sessions import MINIMUM_DAYS_LEFT, calendar
from trading_pipeline.storage import files
from trading_pipeline.tables import (
    BAR_ISSUES,
    CORPORATE_ACTIONS,
    DAILY_BARS,
    DIP_OPPORTUNITIES,
    INDICATORS,
    MARKET_DATA,
    MARKET_REGIME,
    RECEIVED_ACTIONS,
    RECEIVED_BARS,
    RECEIVED_WATCHLIST,
    UNIVERSE_MEMBERS,
    Table,
)
from trading_pipeline.universes import UNIVERSES, WATCHLIST, survivorship_coverage
from trading_pipeline.world import World

MOST_ISSUES = 0.02
PAGES_READ = 20
"""Pages of a range that are opened, evenly spread and the last among them; that each is there is seen of all."""
KINDS = ("split", "dividend", "capital_gain")
_NAMED = 5
# What a page would have to fetch: any source but data in the page itself, a style sheet, a font.
_FETCHED = re.compile(
    r"<[^>]+\bsrc(?:set)?\s*=\s*[\"']?(?!data:)|<link\b[^>]*\bhref\s*=\s*[\"']?(?!data:)"
    r"|<image\b[^>]*\bhref\s*=\s*[\"']?(?!data:)|url\(\s*[\"']?(?!data:|#)|@import",
    re.IGNORECASE,
)


def never_backdated(sight: Sight) -> Finding:
    """Each name on the watchlist counts from a session that had not closed when the file was read."""
    entries = sight.world.lake.read(sight.market.name, RECEIVED_WATCHLIST.name)
    closes = pl.Series(calendar(sight.market.exchange).closes(entries["session"].to_numpy()), dtype=pl.Datetime("us"))
    back = entries.filter(closes.dt.replace_time_zone("UTC") <= entries["known_at"])
    return Finding(
        back.is_empty(),
        say(f"{entries.height} entries, none backdated.", "Backdated", back["ticker"]),
        {"entries": entries.height, "backdated": back.height},
    )


def sane_member_counts(sight: Sight) -> Finding:
    """Each seeded universe is of a believable size on each session, and somebody is a member of something."""
    counts = sight.rows(UNIVERSE_MEMBERS, "universe", "session").group_by("universe", "session").len()
    lines = pl.DataFrame(
        [(key, *universe.lines) for key, universe in UNIVERSES.items()],
        schema={"universe": pl.String, "fewest": pl.UInt32, "most": pl.UInt32},
        orient="row",
    )
    odd = counts.join(lines, on="universe").filter(~pl.col("len").is_between("fewest", "most")).sort("session")
    named = [
        f"{universe} has {count} members on {session}"
        for universe, session, count in odd.head(_NAMED).select("universe", "session", "len").iter_rows()
    ]
    return Finding(
        odd.is_empty() and not counts.is_empty(),
        "; ".join(named) or ("Every size is sane." if counts.height else "No universe has a member."),
        {"universes": counts["universe"].n_unique(), "strange": odd.height},
    )


def session_table_reaches(sight: Sight) -> Finding:
    """The committed session table reaches far enough ahead."""
    left = calendar(sight.market.exchange).days_left(sight.world.now().date())
    return Finding(
        left >= MINIMUM_DAYS_LEFT,
        f"{left} days of the {sight.market.exchange} session table remain; extend it below {MINIMUM_DAYS_LEFT}: "
        "python -m trading_pipeline.calendars.generate.",
        {"days_left": left},
    )


def no_bar_revised(sight: Sight) -> Finding:
    """No bar of the sessions has a second final version."""
    rows = sight.rows(RECEIVED_BARS, "instrument_id", "session", "provider", "provisional")
    final = rows.filter(~pl.col("provisional")).group_by("instrument_id", "session", "provider").len()
    revised = final.filter(pl.col("len") > 1)
    return Finding(
        revised.is_empty(),
        say(f"{final.height} final bars, none revised.", "Revised by the provider", revised["instrument_id"]),
        {"bars": final.height, "revised_bars": revised.height},
    )


def no_action_revised(sight: Sight) -> Finding:
    """No split or payment of the sessions was changed or taken back after it was told."""
    rows = sight.rows(RECEIVED_ACTIONS, "instrument_id", "session", "kind", "provider", "withdrawn")
    told = rows.group_by("instrument_id", "session", "kind", "provider").agg(pl.len(), pl.col("withdrawn").any())
    revised = told.filter((pl.col("len") > 1) | pl.col("withdrawn"))
    return Finding(
        revised.is_empty(),
        say(f"{told.height} actions, none changed.", "Changed or withdrawn", revised["instrument_id"]),
        {"actions": told.height, "changed": revised.height},
    )


def clocks_in_order(table: Table) -> Look:
    """Looks for rows of a received table that claim to have been available before they could be.

    Nothing is available later than we knew it; a final bar is not available before its session's close, nor a version
    after the first one before we received it.
    """
    key = [name for name in table.key if name != "known_at"]

    def look(sight: Sight) -> Finding:
        bars = table is RECEIVED_BARS
        rows = sight.rows(table, *key, "available_at", "known_at", *(["provisional"] if bars else []))
        early = pl.col("available_at") > pl.col("known_at")
        if bars:
            closes = calendar(sight.market.exchange).closes(rows["session"].to_numpy())
            rows = rows.with_columns(close=pl.Series(closes, dtype=pl.Datetime("us")).dt.replace_time_zone("UTC"))
            early |= ~pl.col("provisional") & (pl.col("available_at") < pl.col("close"))
            rows = rows.filter(~pl.col("provisional"))
        again = pl.col("known_at") > pl.col("known_at").min().over(key)
        early |= again & (pl.col("available_at") < pl.col("known_at"))
        wrong = rows.filter(early)
        return Finding(
            wrong.is_empty(),
            say(f"The clocks of {rows.height} rows are in order.", "Available too early", wrong["instrument_id"]),
            {"rows": rows.height, "too_early": wrong.height},
        )

    return look


def everything_judged(sight: Sight) -> Finding:
    """Every bar received of the sessions is in the best view, or among the issues with the reason."""
    key = ["instrument_id", "session"]
    received = sight.rows(RECEIVED_BARS, *key).unique()
    issues = sight.world.lake.read(
        sight.market.name, BAR_ISSUES, sight.sessions[0], columns=["instrument_id", "bar_session"]
    )
    seen = pl.concat([sight.rows(DAILY_BARS, *key), issues.select("instrument_id", session="bar_session")])
    missing = received.join(seen, on=key, how="anti")
    return Finding(
        missing.is_empty(),
        say(f"All of {received.height} bars were judged.", "Received and not judged yet", missing["instrument_id"]),
        {"received": received.height, "not_judged": missing.height},
    )


def expected_sessions(sight: Sight) -> Finding:
    """Each session of the run has bars."""
    have = sight.rows(DAILY_BARS, "session")["session"].unique()
    asked = pl.Series(sight.sessions, dtype=pl.Date)
    absent = asked.filter(~asked.is_in(have.implode()))
    return Finding(
        absent.is_empty(),
        say(f"All {len(asked)} sessions have bars.", "Without a single bar", absent),
        {"sessions": len(asked), "without_bars": len(absent)},
    )


def enough_survive(sight: Sight) -> Finding:
    """Of each universe, enough members have a bar on each session."""
    coverage = survivorship_coverage(
        sight.rows(UNIVERSE_MEMBERS, "session", "universe", "instrument_id"),
        sight.rows(DAILY_BARS, "session", "instrument_id"),
        sight.world.coverage_thresholds(sight.market),
    )
    lowest = coverage.group_by("universe").agg(pl.col("coverage").min(), pl.col("threshold").max()).sort("universe")
    short = [
        f"{universe} {share:.0%} (at least {needed:.0%})"
        for universe, share, needed in lowest.iter_rows()
        if share < needed
    ]
    return Finding(
        not short,
        f"Members without bars: {'; '.join(short)}." if short else "Enough members have bars in every universe.",
        {universe: round(share, 4) for universe, share, _ in lowest.iter_rows()},
    )


def watched_names_have_bars(sight: Sight) -> Finding:
    """Each name on the watchlist has a bar on the last session: else it is misspelt, or nobody quotes it."""
    last = sight.sessions[-1]
    members = sight.rows(UNIVERSE_MEMBERS, "session", "universe", "instrument_id", "ticker")
    watched = members.filter((pl.col("universe") == WATCHLIST) & (pl.col("session") == last))
    bars = sight.rows(DAILY_BARS, "session", "instrument_id").filter(pl.col("session") == last)
    missing = watched.join(bars, on="instrument_id", how="anti")
    return Finding(
        missing.is_empty(),
        say(f"All {watched.height} watched names have a bar.", f"Watched, without a bar on {last}", missing["ticker"]),
        {"watched": watched.height, "without_bar": missing.height},
    )


def freshness(sight: Sight) -> Finding:
    """The latest session with final bars is there, whatever sessions the run was for."""
    latest = sight.world.latest_session(sight.market)
    there = not sight.world.lake.read(
        sight.market.name, DAILY_BARS, latest, latest, columns=["instrument_id"]
    ).is_empty()
    return Finding(
        there,
        f"The latest session with final bars is {latest}; its bars are {'here' if there else 'missing'}.",
        {"expected": latest.isoformat(), "reached": sight.sessions[-1].isoformat()},
    )


def actions_make_sense(sight: Sight) -> Finding:
    """Each action in force is of a known kind, positive, and changes something."""
    actions = sight.rows(CORPORATE_ACTIONS, "instrument_id", "kind", "value", "withdrawn").filter(~pl.col("withdrawn"))
    splits = pl.col("kind") == "split"
    odd = actions.filter(
        ~pl.col("kind").is_in(KINDS)
        | ~pl.col("value").is_finite()
        | (pl.col("value") <= 0)
        | (splits & (pl.col("value") == 1))
    )
    return Finding(
        odd.is_empty(),
        say(f"{actions.height} actions make sense.", "Without effect, negative or of no kind", odd["instrument_id"]),
        {"actions": actions.height, "odd": odd.height},
    )


def few_issues(sight: Sight) -> Finding:
    """Few of the bars are bad or rejected: many are the provider's trouble, not a row's."""
    bars = sight.rows(DAILY_BARS, "data_quality")
    bad = bars.filter(pl.col("data_quality") == "bad").height
    issues = sight.rows(BAR_ISSUES, "severity", "instrument_id", "bar_session")
    rejected = issues.filter(pl.col("severity") == "rejected").select("instrument_id", "bar_session").n_unique()
    share = (bad + rejected) / max(bars.height + rejected, 1)
    return Finding(
        share <= MOST_ISSUES,
        f"{share:.2%} of the bars are bad or rejected; up to {MOST_ISSUES:.0%} is usual.",
        {"bars": bars.height, "bad": bad, "rejected": rejected},
    )


def issues_name_rules(sight: Sight) -> Finding:
    """Each issue names a known rule, and was seen no earlier than its bar."""
    from trading_pipeline.research.bars.quality import RULES

    issues = sight.rows(BAR_ISSUES, "rule", "session", "bar_session")
    unknown = issues.filter(~pl.col("rule").is_in(list(RULES)))["rule"].unique().sort()
    ahead = issues.filter(pl.col("bar_session") > pl.col("session")).height
    return Finding(
        unknown.is_empty() and not ahead,
        f"{issues.height} issues, each with a known rule and seen no earlier than its bar."
        if unknown.is_empty() and not ahead
        else f"Unknown rules: {', '.join(unknown) or 'none'}; {ahead} issues seen before their bar.",
        dict(issues.group_by("rule").len().sort("rule").iter_rows()),
    )


def warehouse_agrees(table: Table) -> Look:
    """Looks for sessions of which the warehouse holds another number of rows of `table` than the lake, versions too."""

    def look(sight: Sight) -> Finding:
        lake, column = sight.world.lake, table.session_column
        ours = lake.read(sight.market.name, table, sight.sessions[0], sight.sessions[-1], columns=[column])
        theirs = _of_the_warehouse(sight, table, {"rows": "count(*)"})
        return _agreeing(
            table, ours.group_by(pl.col(column).alias("day")).agg(pl.len().cast(pl.Int64).alias("rows")), theirs
        )

    return look


def market_data_agrees(sight: Sight) -> Finding:
    """`market_data` holds the bars in force: on each session as many, with the same prices and volumes in sum.

    Sums are of whole units of the last decimal, so that a cent in one row of a million shows.
    """
    prices = ("open", "high", "low", "close")
    bars = sight.rows(DAILY_BARS, "session", *prices, "volume")
    ours = bars.group_by(pl.col("session").alias("day")).agg(
        pl.len().cast(pl.Int64).alias("rows"),
        *((pl.col(name).round(4) * 10_000).round().cast(pl.Int64).sum() for name in prices),
        pl.col("volume").round().cast(pl.Int64).sum(),
    )
    sums = {name: f"sum({name} * 10000)::bigint" for name in prices}
    theirs = _of_the_warehouse(sight, MARKET_DATA, {"rows": "count(*)", **sums, "volume": "sum(volume)::bigint"})
    return _agreeing(MARKET_DATA, ours, theirs)


def _of_the_warehouse(sight: Sight, table: Table, sums: dict[str, str]) -> pl.DataFrame:
    """[day, and each of `sums` by its name] of the warehouse's rows of the run's sessions."""
    day = sql.Identifier(table.session_column)
    statement = sql.SQL(
        "SELECT {day} AS day, {sums} FROM {table}"
        " WHERE market = %(market)s AND {day} BETWEEN %(first)s AND %(last)s GROUP BY {day}"
    ).format(
        day=day,
        sums=sql.SQL(", ").join(sql.SQL(f"{what} AS {name}") for name, what in sums.items()),
        table=sql.Identifier(table.name),
    )
    wanted: dict[str, Any] = {"first": sight.sessions[0], "last": sight.sessions[-1], "market": sight.market.name}
    rows = sight.world.warehouse.query(statement.as_string(), wanted)
    return rows.select(pl.col("day").cast(pl.Date), *(pl.col(name).cast(pl.Int64) for name in sums))


def _agreeing(table: Table, ours: pl.DataFrame, theirs: pl.DataFrame) -> Finding:
    left = ours.join(theirs, on=ours.columns, how="anti")
    right = theirs.join(ours, on=ours.columns, how="anti")
    days = pl.concat([left["day"], right["day"]]).unique().sort()
    return Finding(
        days.is_empty(),
        say(f"The lake and {table.name} hold the same {ours['rows'].sum()} rows.", "They differ on", days),
        {"lake": int(ours["rows"].sum()), "warehouse": int(theirs["rows"].sum()), "sessions_that_differ": len(days)},
    )


def in_bounds(sight: Sight) -> Finding:
    """Indicators that have bounds are inside them."""
    bounds = {
        "rsi_14": (0, 100),
        "adx_14": (0, 100),
        "distance_from_high": (-1, 1e-9),
        "relative_strength_rank": (1, 99),
    }
    frame = sight.rows(INDICATORS, *bounds)
    outside = frame.select((~pl.col(name).is_between(*limits)).sum() for name, limits in bounds.items())
    counts = {name: int(count) for name, count in zip(outside.columns, outside.row(0), strict=True)}
    return Finding(
        frame.height > 0 and not any(counts.values()),
        f"{frame.height} rows; outside their bounds: {sum(counts.values())}.",
        counts,
    )


def every_session_graded(sight: Sight) -> Finding:
    """Each session has an environment."""
    frame = sight.rows(MARKET_REGIME, "session", "environment").sort("session")
    asked = pl.Series(sight.sessions, dtype=pl.Date)
    ungraded = asked.filter(~asked.is_in(frame["session"].implode()))
    last = frame["environment"][-1] if frame.height else "none"
    return Finding(
        ungraded.is_empty(),
        say(f"Every session is graded; the last is {last}.", "Without a grade", ungraded),
        {"graded": frame.height, "ungraded": len(ungraded)},
    )


def parts_add_up(sight: Sight) -> Finding:
    """The parts of each fall sum to it, and no dip is above the lowest threshold."""
    names = ("instrument_id", "market_part", "sector_part", "company_part", "fall", "dip_pct")
    frame = sight.rows(DIP_OPPORTUNITIES, *names)
    parts = pl.col("market_part") + pl.col("sector_part").fill_null(0.0) + pl.col("company_part")
    wrong = frame.filter((parts - pl.col("fall")).abs() > 1e-6)
    shallow = frame.filter(pl.col("dip_pct") < min(sight.world.settings.dip_thresholds))
    odd = pl.concat([wrong, shallow])
    return Finding(
        odd.is_empty(),
        say(f"The parts of {frame.height} dips add up.", "Not adding up, or no dip", odd["instrument_id"]),
        {"dips": frame.height, "not_adding_up": wrong.height, "too_shallow": shallow.height},
    )


def pages_are_whole(place_of: Callable[[Market, date], str]) -> Look:
    """Looks at the pages of each session: those opened are whole and fetch nothing. `place_of` says where they lie."""

    def look(sight: Sight) -> Finding:
        places = {session: place_of(sight.market, session) for session in sight.sessions}
        folder = places[sight.sessions[-1]].rpartition("/")[0]
        there = set(files.names_in(sight.world.settings, folder))
        missing = [session for session, place in places.items() if place.rpartition("/")[2] not in there]
        present = [session for session in sight.sessions if session not in set(missing)]
        odd = [session for session in _spread(present) if not is_whole(sight.world, places[session])]
        return Finding(
            not missing and not odd,
            f"{say(f'{len(present)} pages are there.', 'No page of', pl.Series(missing, dtype=pl.Date))}"
            f"{say('', ' Cut short, fetching something or not marked', pl.Series(odd, dtype=pl.Date))}",
            {"pages": len(present), "missing": len(missing), "not_whole": len(odd)},
        )

    return look


def _spread(sessions: Sequence[date]) -> list[date]:
    if not sessions:
        return []
    places = np.linspace(0, len(sessions) - 1, PAGES_READ).round().astype(int)
    return [sessions[place] for place in np.unique(places)]


def is_whole(world: World, place: str) -> bool:
    """Whether the page at a place goes to its end, fetches nothing and says what is simulated."""
    page = files.text_of(world.settings, place)
    marked = world.name != "simulated" or "SIMULATED" in page
    return page.rstrip().endswith("</html>") and not _FETCHED.search(page) and marked


def say(fine: str, wrong: str, names: pl.Series) -> str:
    """One line: `fine`, or what is `wrong` with the first few distinct names."""
    distinct = names.unique().sort()
    if distinct.is_empty():
        return fine
    more = f" and {len(distinct) - _NAMED} more" if len(distinct) > _NAMED else ""
    return f"{wrong}: {', '.join(str(name) for name in distinct.head(_NAMED))}{more}."
