"""What must be true of a backtest that is stored: its accounts, its data, its configuration, its page.

What belongs here: looking at one result, and what checks of results share. What does not: whether a result holds
(`robustness_checks.py`); whether a backtest sees the future or its accounts equal vectorbt's, which computing it proves
(`research/backtest`).
"""

from __future__ import annotations

from collections.abc import Callable

import polars as pl
from psycopg import sql

from trading_pipeline.backtesting import CODE_VERSION
from trading_pipeline.checks.factory import Finding, ResultLook, Results
from trading_pipeline.checks.market_checks import is_whole, say
from trading_pipeline.markets import Market
from trading_pipeline.storage import files
from trading_pipeline.storage.versions import VERSION_COLUMNS
from trading_pipeline.tables import DAILY_BARS, Kind, Table
from trading_pipeline.tables.backtests import BACKTEST_EQUITY, BACKTEST_POSITIONS, BACKTEST_TRADES

CENT = 0.01
RELATIVE = 1e-9
"""What a sum of money may be off, as a share of it: more than adding thousands of doubles costs."""
OF = "configuration"
"""The column that says whose a row is."""


def accounts_add_up(results: Results) -> Finding:
    """Equity is the capital and all profits, open trades included; cash and positions make it up at every close."""
    account = results.rows(BACKTEST_EQUITY, OF, "session", "equity", "cash")
    trades = results.rows(BACKTEST_TRADES, OF, "profit")
    held = results.rows(BACKTEST_POSITIONS, OF, "session", "value")
    told = (
        pl.DataFrame({OF: results.names}, schema={OF: pl.String})
        .join(results.latest.select(OF, pl.col("session").alias("last"), "capital", "equity"), on=OF, how="left")
        .join(trades.group_by(OF).agg(pl.col("profit").sum()), on=OF, how="left")
        .join(account.group_by(OF).agg(pl.all().sort_by("session").last().name.suffix("_now")), on=OF, how="left")
    )
    earned = pl.col("capital") + pl.col("profit").fill_null(0.0)
    same = (pl.col("session_now") == pl.col("last")) & near(pl.col("equity_now"), pl.col("equity"))
    wrong = told.filter(~(near(earned, pl.col("equity")) & same).fill_null(value=False))
    value = held.group_by(OF, "session").agg(pl.col("value").sum())
    closes = account.join(value, on=[OF, "session"], how="left").with_columns(pl.col("value").fill_null(0.0))
    apart = closes.filter(~near(pl.col("cash") + pl.col("value"), pl.col("equity")))
    names = pl.concat([wrong[OF], apart[OF]])
    return Finding(
        names.is_empty(),
        say(f"{trades.height} trades and {account.height} closes add up.", "Accounts that do not add up", names),
        {"trades": trades.height, "closes": account.height, "closes_apart": apart.height},
    )


def no_revisions(results: Results) -> Finding:
    """No session came to something else than when the same configuration was computed before."""
    revised = results.latest.filter(pl.col("revised_from").is_not_null())
    since = {name: f"from {day} on" for name, day in revised.select(OF, "revised_from").iter_rows()}
    return Finding(
        revised.is_empty(),
        say(f"{results.latest.height} results, none revised.", "Past sessions came to something else", listed(since)),
        {"results": results.latest.height, "revised": revised.height},
    )


def enough_coverage(results: Results) -> Finding:
    """Enough of the members have a bar on each session, and nothing else speaks against believing the result."""
    low = {}
    for name, least, watermark in results.latest.select(OF, "least_coverage", "watermark").iter_rows():
        told = results.configured.get(name)
        if watermark is not None:
            low[name] = watermark
        elif told is not None and least < told.coverage.threshold:
            low[name] = f"{least:.1%} of the members have a bar, {told.coverage.threshold:.1%} should"
    numbers = {name: round(share, 4) for name, share in results.latest.select(OF, "least_coverage").iter_rows()}
    fine = f"Of {results.latest.height} results enough members have a bar on each session."
    return Finding(not low, say(fine, "Not to be believed as it stands", listed(low)), numbers)


def as_configured(results: Results) -> Finding:
    """The stored result is that of the configuration as its file is now, by the code there is now."""
    stored = {
        name: (of_file, of_code)
        for name, of_file, of_code in results.latest.select(OF, "configuration_hash", "code_version").iter_rows()
    }
    other = {}
    for name in results.names:
        if name not in results.configured:
            other[name] = "has no file that can be used"
        elif name not in stored:
            other[name] = "has no result"
        elif stored[name][0] != results.configured[name].hash:
            other[name] = "was changed since it was computed"
        elif stored[name][1] != CODE_VERSION:
            other[name] = f"was computed by version {stored[name][1]} of the code, {CODE_VERSION} is there"
    fine = f"{len(results.names)} results are of their configurations as they are now."
    return Finding(not other, say(fine, "Not what its file says", listed(other)), {"other": len(other)})


def freshness(results: Results) -> Finding:
    """The result goes up to the last session that has bars."""
    sessions = results.world.lake.sessions(results.market.name, DAILY_BARS)
    last = sessions[-1] if sessions else None
    reached = dict(results.latest.select(OF, "session").iter_rows())
    old = {
        name: f"reaches {reached[name]}" if name in reached else "has no result"
        for name in results.names
        if reached.get(name) != last or last is None
    }
    fine = f"{len(results.names)} results reach {last}, the last session with bars."
    return Finding(
        not old,
        say(fine, f"Not up to {last}", listed(old)),
        {"last_session": str(last), "behind": len(old)},
    )


def warehouse_agrees(table: Table) -> ResultLook:
    """Looks for rows of `table` that the warehouse and the lake do not both hold, versions too."""
    columns = [*table.names, *(VERSION_COLUMNS if table.kind is Kind.DECISION else ())]

    def look(results: Results) -> Finding:
        everybody = not table.owner and table.kind is Kind.RESULT
        lake = results.world.lake
        ours = lake.read(results.market.name, table, columns=columns) if everybody else results.rows(table, *columns)
        statement = sql.SQL("SELECT {columns} FROM {table} WHERE market = %(market)s AND {whose}").format(
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
            table=sql.Identifier(table.name),
            whose=sql.SQL("true" if everybody else "configuration = ANY(%(names)s)"),
        )
        wanted = {"market": results.market.name, "names": list(results.names)}
        theirs = results.world.warehouse.query(statement.as_string(), wanted)
        theirs = theirs.select(pl.col(name).cast(dtype) for name, dtype in ours.schema.items())
        apart = pl.concat(
            one.join(other, on=columns, how="anti", nulls_equal=True)[OF]
            for one, other in ((ours, theirs), (theirs, ours))
        )
        return Finding(
            apart.is_empty(),
            say(f"The lake and {table.name} hold the same {ours.height} rows.", "They differ on", apart),
            {"lake": ours.height, "warehouse": theirs.height},
        )

    return look


def page_is_whole(place_of: Callable[[Market, str], str]) -> ResultLook:
    """Looks at the page of each configuration: it is whole and fetches nothing. `place_of` says where it lies."""

    def look(results: Results) -> Finding:
        settings = results.world.settings
        places = {name: place_of(results.market, name) for name in results.names}
        missing = [name for name, place in places.items() if not files.has_file(settings, place)]
        odd = [name for name, place in places.items() if name not in missing and not is_whole(results.world, place)]
        wrong = {**dict.fromkeys(missing, "is missing"), **dict.fromkeys(odd, "is cut short, fetches or is not marked")}
        return Finding(
            not wrong,
            say(f"{len(places)} pages are there.", "A page", listed(wrong)),
            {"pages": len(places) - len(missing), "missing": len(missing), "not_whole": len(odd)},
        )

    return look


def near(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Whether two sums of money are the same within a cent, or within `RELATIVE` where they are large."""
    return (one - other).abs() <= pl.max_horizontal(pl.lit(CENT), RELATIVE * other.abs())


def listed(names: dict[str, str]) -> pl.Series:
    """Each name with what is to be said of it."""
    return pl.Series([f"{name} {what}" for name, what in names.items()], dtype=pl.String)
