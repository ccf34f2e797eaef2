"""What must be true of backtests and of what is made of them.

What belongs here: looking at the stored results of configurations. What does not: whether a backtest sees the future
or its accounts equal vectorbt's, which computing it proves (`research/backtest`).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from itertools import combinations, pairwise

import polars as pl
from psycopg import sql

from trading_pipeline.backtesting import CODE_VERSION
from trading_pipeline.checks.factory import Finding, ResultLook, Results
from trading_pipeline.checks.market_checks import is_whole, say
from trading_pipeline.markets import Market
from trading_pipeline.storage import files
from trading_pipeline.storage.versions import VERSION_COLUMNS
from trading_pipeline.tables import DAILY_BARS, Kind, Table
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    BACKTEST_POSITIONS,
    BACKTEST_TRADES,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    STRATEGY_COMPARISON,
    SWEEP_PAIRS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)

CENT = 0.01
RELATIVE = 1e-9
"""What sums of money may be off, as a share of the larger one: what adding thousands of doubles costs."""
FAR_BELOW = 0.5
"""Points of a Sharpe ratio a year. The standard error of one measured over four years is as large (Lo, The statistics
of Sharpe ratios, 2002), and a sweep tells the median over instruments, which varies less."""
LEVELS = ("p05", "p25", "p50", "p75", "p95")

_OF = "configuration"


def accounts_add_up(results: Results) -> Finding:
    """Equity is the capital and all profits, open trades included; cash and positions make it up at every close."""
    account = results.rows(BACKTEST_EQUITY, _OF, "session", "equity", "cash")
    trades = results.rows(BACKTEST_TRADES, _OF, "profit")
    held = results.rows(BACKTEST_POSITIONS, _OF, "session", "value")
    told = (
        pl.DataFrame({_OF: results.names}, schema={_OF: pl.String})
        .join(results.latest.select(_OF, pl.col("session").alias("last"), "capital", "equity"), on=_OF, how="left")
        .join(trades.group_by(_OF).agg(pl.col("profit").sum()), on=_OF, how="left")
        .join(account.group_by(_OF).agg(pl.all().sort_by("session").last().name.suffix("_now")), on=_OF, how="left")
    )
    earned = pl.col("capital") + pl.col("profit").fill_null(0.0)
    same = (pl.col("session_now") == pl.col("last")) & _near(pl.col("equity_now"), pl.col("equity"))
    wrong = told.filter(~(_near(earned, pl.col("equity")) & same).fill_null(value=False))
    value = held.group_by(_OF, "session").agg(pl.col("value").sum())
    closes = account.join(value, on=[_OF, "session"], how="left").with_columns(pl.col("value").fill_null(0.0))
    apart = closes.filter(~_near(pl.col("cash") + pl.col("value"), pl.col("equity")))
    names = pl.concat([wrong[_OF], apart[_OF]])
    return Finding(
        names.is_empty(),
        say(f"{trades.height} trades and {account.height} closes add up.", "Accounts that do not add up", names),
        {"trades": trades.height, "closes": account.height, "closes_apart": apart.height},
    )


def no_revisions(results: Results) -> Finding:
    """No session came to something else than when the same configuration was computed before."""
    revised = results.latest.filter(pl.col("revised_from").is_not_null())
    since = {name: f"from {day} on" for name, day in revised.select(_OF, "revised_from").iter_rows()}
    return Finding(
        revised.is_empty(),
        say(f"{results.latest.height} results, none revised.", "Past sessions came to something else", _told(since)),
        {"results": results.latest.height, "revised": revised.height},
    )


def enough_coverage(results: Results) -> Finding:
    """Enough of the members have a bar on each session, and nothing else speaks against believing the result."""
    low = {}
    for name, least, watermark in results.latest.select(_OF, "least_coverage", "watermark").iter_rows():
        told = results.configured.get(name)
        if watermark is not None:
            low[name] = watermark
        elif told is not None and least < told.coverage.threshold:
            low[name] = f"{least:.1%} of the members have a bar, {told.coverage.threshold:.1%} should"
    numbers = {name: round(share, 4) for name, share in results.latest.select(_OF, "least_coverage").iter_rows()}
    fine = f"Of {results.latest.height} results enough members have a bar on each session."
    return Finding(not low, say(fine, "Not to be believed as it stands", _told(low)), numbers)


def as_configured(results: Results) -> Finding:
    """The stored result is that of the configuration as its file is now, by the code there is now."""
    stored = {
        name: (of_file, of_code)
        for name, of_file, of_code in results.latest.select(_OF, "configuration_hash", "code_version").iter_rows()
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
    return Finding(not other, say(fine, "Not what its file says", _told(other)), {"other": len(other)})


def freshness(results: Results) -> Finding:
    """The result goes up to the last session that has bars."""
    sessions = results.world.lake.sessions(results.market.name, DAILY_BARS)
    last = sessions[-1] if sessions else None
    reached = dict(results.latest.select(_OF, "session").iter_rows())
    old = {
        name: f"reaches {reached[name]}" if name in reached else "has no result"
        for name in results.names
        if reached.get(name) != last or last is None
    }
    return Finding(
        not old,
        say(f"{len(results.names)} results reach {last}, the last session with bars.", f"Not up to {last}", _told(old)),
        {"last_session": str(last), "behind": len(old)},
    )


def tested_after_training(results: Results) -> Finding:
    """Windows are in order: training, then its test, and no session is tested twice."""
    rows = results.rows(WALK_FORWARD, _OF, "window", "train_first", "train_last", "test_first", "test_last")
    before = {name: pl.col(name).shift(1).over(_OF, order_by="window") for name in ("window", "test_last")}
    ordered = (
        (pl.col("train_first") <= pl.col("train_last"))
        & (pl.col("train_last") < pl.col("test_first"))
        & (pl.col("test_first") <= pl.col("test_last"))
    )
    follows = (pl.col("window") == before["window"].fill_null(0) + 1) & (
        before["test_last"].is_null() | (pl.col("test_first") > before["test_last"])
    )
    wrong = rows.filter(~(ordered & follows))
    said = [f"window {number} of {name}" for name, number in wrong.select(_OF, "window").iter_rows()]
    none = sorted(set(results.names) - set(rows[_OF]))
    fine = f"{rows.height} windows, each tested after its training." + (
        f" The history is too short for a window of {', '.join(none)}." if none else ""
    )
    return Finding(
        wrong.is_empty(),
        say(fine, "Out of order", pl.Series(said, dtype=pl.String)),
        {"windows": rows.height, "out_of_order": wrong.height},
    )


def tests_join_up(results: Results) -> Finding:
    """The joined account of the tests covers their sessions, and came to what their returns make of the capital."""
    windows = results.rows(WALK_FORWARD, _OF, "test_first", "test_last", "test_return")
    joined = results.rows(WALK_FORWARD_EQUITY)
    told = (
        windows.group_by(_OF)
        .agg(pl.col("test_first").min(), pl.col("test_last").max(), (pl.col("test_return") + 1).product())
        .join(
            joined.group_by(_OF).agg(
                pl.col("session").min().alias("first"),
                pl.col("session").max().alias("last"),
                pl.col("equity").sort_by("session").last(),
            ),
            on=_OF,
            how="full",
            coalesce=True,
        )
        .join(results.latest.select(_OF, "capital"), on=_OF, how="left")
    )
    spans = (pl.col("first") == pl.col("test_first")) & (pl.col("last") == pl.col("test_last"))
    same = spans & _near(pl.col("capital") * pl.col("test_return"), pl.col("equity"))
    wrong = told.filter(~same.fill_null(value=False))
    return Finding(
        wrong.is_empty(),
        say(f"The tests of {told.height} walk-forwards join up.", "Not what its tests come to", wrong[_OF]),
        {"walk_forwards": told.height, "sessions": joined.height},
    )


def quantiles_ascend(results: Results) -> Finding:
    """Quantiles ascend, of every measure and at every session of the bands, and probabilities are such."""
    drawn, bands = results.rows(MONTE_CARLO), results.rows(MONTE_CARLO_BANDS)
    fall = pl.any_horizontal(
        pl.col(low) > pl.col(high) for low, high in pairwise(LEVELS)
    ).fill_null(value=False)
    chance = pl.col("measure").is_in(["loss", "ruin"]) & ~pl.col("mean").is_between(0, 1).fill_null(value=False)
    wrong = pl.concat([drawn.filter(fall | chance)[_OF], bands.filter(fall)[_OF]])
    absent = pl.Series(sorted(set(results.names) - set(drawn[_OF])), dtype=pl.String)
    return Finding(
        wrong.is_empty() and absent.is_empty(),
        say(f"The quantiles of {drawn.height} measures and {bands.height} bands ascend.", "Out of order", wrong)
        if absent.is_empty()
        else say("", "Not resampled", absent),
        {"measures": drawn.height, "bands": bands.height, "wrong": len(wrong)},
    )


def median_within_bands(results: Results) -> Finding:
    """The bands end where the final returns do, the median path between the outer ones."""
    final = results.rows(MONTE_CARLO).filter((pl.col("method") == "blocks") & (pl.col("measure") == "final_return"))
    ends = results.rows(MONTE_CARLO_BANDS).group_by(_OF, "method").agg(pl.all().sort_by("session").last())
    both = (
        final.join(ends, on=[_OF, "method"], how="full", coalesce=True, suffix="_of_bands")
        .join(results.latest.select(_OF, "capital"), on=_OF, how="left")
        .with_columns((pl.col(level) + 1) * pl.col("capital") for level in LEVELS)
    )
    median = pl.col("p50_of_bands").is_between(pl.col("p05"), pl.col("p95"))
    ending = pl.all_horizontal(_near(pl.col(level), pl.col(f"{level}_of_bands")) for level in LEVELS)
    wrong = both.filter(~(median & ending & (pl.col("session") == pl.col("last_session"))).fill_null(value=False))
    return Finding(
        wrong.is_empty() and both.height > 0,
        say(f"The bands of {both.height} results end at their final returns.", "Bands that end elsewhere", wrong[_OF])
        if both.height
        else "There are no bands.",
        {"results": both.height, "elsewhere": wrong.height},
    )


def resamples_the_result(results: Results) -> Finding:
    """What is resampled is the stored result, not that of a night before."""
    drawn = results.rows(MONTE_CARLO, _OF, "last_session").group_by(_OF).agg(pl.col("last_session").min())
    latest = results.latest.select(_OF, "session")
    old = latest.join(drawn, on=_OF, how="left").filter(pl.col("session").ne_missing(pl.col("last_session")))
    return Finding(
        old.is_empty(),
        say(f"{latest.height} results are resampled as they are.", "An earlier result was resampled", old[_OF]),
        {"results": latest.height, "earlier": old.height},
    )


def all_parts_there(results: Results) -> Finding:
    """Each part of the sweep is there, of one session and of the configuration as it is, and so is their summary."""
    from trading_pipeline.backtesting.sweeps import parts_of

    parts = results.rows(SWEEP_PAIRS, _OF, "chunk", "configuration_hash", "last_session").unique()
    summed = results.rows(PARAMETER_SWEEPS, _OF, "last_session").unique()
    missing, wanted = {}, 0
    for name in results.names:
        told = results.configured.get(name)
        keys = parts_of(told) if told is not None else []
        if told is None or not keys:
            missing[name] = "has no sweep any more"
            continue
        wanted += len(keys)
        mine = parts.filter((pl.col(_OF) == name) & (pl.col("configuration_hash") == told.hash))
        newest: date | None = mine["last_session"].max()  # type: ignore[assignment]
        there = {f"{name}/{chunk}" for chunk in mine.filter(pl.col("last_session") == newest)["chunk"]}
        if absent := [key for key in keys if key not in there]:
            missing[name] = f"lacks {len(absent)} of {len(keys)} parts"
        elif summed.filter(pl.col(_OF) == name)["last_session"].to_list() != [newest]:
            missing[name] = f"is not summed up to {newest}"
    return Finding(
        not missing,
        say(f"All {wanted} parts are there and summed up.", "A sweep is incomplete", _told(missing)),
        {"parts": wanted, "incomplete": len(missing)},
    )


def configured_set_swept(results: Results) -> Finding:
    """The parameters that the configuration trades are among the sets swept: else nobody sees what is around them."""
    rows = results.rows(PARAMETER_SWEEPS, _OF, "configured")
    ours = rows.group_by(_OF).agg(pl.col("configured").sum())
    outside = ours.filter(pl.col("configured") != 1)
    return Finding(
        outside.is_empty(),
        say(f"{ours.height} sweeps have the set that is traded.", "Traded, but not swept", outside[_OF])
        if ours.height
        else "No sweep is summed up yet.",
        {"sets": rows.height, "without": outside.height},
    )


def not_isolated(results: Results) -> Finding:
    """The parameters traded are no lone peak: their worst neighbour's Sharpe ratio is not far below their own."""
    rows = results.rows(PARAMETER_SWEEPS, _OF, "configured", "median_sharpe", "neighbourhood_min")
    ours = rows.filter("configured").with_columns(below=pl.col("median_sharpe") - pl.col("neighbourhood_min"))
    known = ours.filter(pl.col("below").is_not_null())
    peaks = known.filter(pl.col("below") > FAR_BELOW)
    said = {name: f"{below:.2f} below" for name, below in peaks.select(_OF, "below").iter_rows()}
    fine = (
        f"{known.height} of {ours.height} sets traded have neighbours; none falls off by more than {FAR_BELOW} a year."
    )
    return Finding(
        peaks.is_empty(),
        say(fine, "The worst neighbour's Sharpe ratio is far below", _told(said)),
        {name: round(below, 3) for name, below in known.select(_OF, "below").iter_rows()},
    )


def every_pair_compared(results: Results) -> Finding:
    """Every two configurations that have a result are compared, once."""
    lake, market = results.world.lake, results.market.name
    stored = set(lake.read(market, BACKTEST_EQUITY, columns=[_OF])[_OF].unique()) & set(results.configured)
    pairs = set(lake.read(market, STRATEGY_COMPARISON, columns=[_OF, "other"]).iter_rows())
    wanted = set(combinations(sorted(stored), 2))
    missing = pl.Series([f"{one} and {other}" for one, other in sorted(wanted - pairs)], dtype=pl.String)
    extra = pl.Series([f"{one} and {other}" for one, other in sorted(pairs - wanted)], dtype=pl.String)
    return Finding(
        missing.is_empty() and extra.is_empty(),
        say(f"{len(stored)} configurations, {len(pairs)} pairs.", "Not compared", missing)
        if len(missing)
        else say(f"{len(stored)} configurations, {len(pairs)} pairs.", "Compared without a result", extra),
        {"configurations": len(stored), "pairs": len(pairs), "missing": len(missing), "extra": len(extra)},
    )


def figures_in_bounds(results: Results) -> Finding:
    """Correlations and probabilities are such, and intervals begin at their low end."""
    rows = results.world.lake.read(results.market.name, STRATEGY_COMPARISON)
    sound = (
        pl.col("correlation").is_between(-1 - RELATIVE, 1 + RELATIVE).fill_null(value=True)
        & pl.col("p_value").is_between(0, 1).fill_null(value=True)
        & (pl.col("low") <= pl.col("high")).fill_null(value=True)
    )
    wrong = rows.filter(~sound)
    return Finding(
        wrong.is_empty(),
        say(f"The figures of {rows.height} pairs are within bounds.", "Out of bounds", wrong[_OF]),
        {"pairs": rows.height, "wrong": wrong.height},
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
            one.join(other, on=columns, how="anti", nulls_equal=True)[_OF]
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
            say(f"{len(places)} pages are there.", "A page", _told(wrong)),
            {"pages": len(places) - len(missing), "missing": len(missing), "not_whole": len(odd)},
        )

    return look


def _near(one: pl.Expr, other: pl.Expr) -> pl.Expr:
    """Whether two sums of money are the same within a cent, or within `RELATIVE` where they are large."""
    return (one - other).abs() <= pl.max_horizontal(pl.lit(CENT), RELATIVE * other.abs())


def _told(names: dict[str, str]) -> pl.Series:
    return pl.Series([f"{name} {what}" for name, what in names.items()], dtype=pl.String)
