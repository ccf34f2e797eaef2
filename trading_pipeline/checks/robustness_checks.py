"""What must be true of what tells whether a result holds: walk-forward, Monte Carlo, sweeps, comparison.

What belongs here: looking at these tables. What does not: looking at the backtest itself (`backtest_checks.py`).
"""

from __future__ import annotations

from datetime import date
from itertools import combinations, pairwise

import polars as pl

from trading_pipeline.checks.backtest_checks import OF, RELATIVE, listed, near
from trading_pipeline.checks.factory import Finding, Results
from trading_pipeline.checks.market_checks import say
from trading_pipeline.tables.backtests import (
    BACKTEST_EQUITY,
    MONTE_CARLO,
    MONTE_CARLO_BANDS,
    PARAMETER_SWEEPS,
    STRATEGY_COMPARISON,
    SWEEP_PAIRS,
    WALK_FORWARD,
    WALK_FORWARD_EQUITY,
)

FAR_BELOW = 0.5
"""Points of a Sharpe ratio a year. The standard error of one measured over four years is as large (Lo, The statistics
of Sharpe ratios, 2002), and a sweep tells the median over instruments, which varies less."""
LEVELS = ("p05", "p25", "p50", "p75", "p95")


def tested_after_training(results: Results) -> Finding:
    """Windows are in order: training, then its test, and no session is tested twice."""
    rows = results.rows(WALK_FORWARD, OF, "window", "train_first", "train_last", "test_first", "test_last")
    before = {name: pl.col(name).shift(1).over(OF, order_by="window") for name in ("window", "test_last")}
    ordered = (
        (pl.col("train_first") <= pl.col("train_last"))
        & (pl.col("train_last") < pl.col("test_first"))
        & (pl.col("test_first") <= pl.col("test_last"))
    )
    follows = (pl.col("window") == before["window"].fill_null(0) + 1) & (
        before["test_last"].is_null() | (pl.col("test_first") > before["test_last"])
    )
    wrong = rows.filter(~(ordered & follows))
    said = [f"window {number} of {name}" for name, number in wrong.select(OF, "window").iter_rows()]
    none = sorted(set(results.names) - set(rows[OF]))
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
    windows = results.rows(WALK_FORWARD, OF, "test_first", "test_last", "test_return")
    joined = results.rows(WALK_FORWARD_EQUITY)
    told = (
        windows.group_by(OF)
        .agg(pl.col("test_first").min(), pl.col("test_last").max(), (pl.col("test_return") + 1).product())
        .join(
            joined.group_by(OF).agg(
                pl.col("session").min().alias("first"),
                pl.col("session").max().alias("last"),
                pl.col("equity").sort_by("session").last(),
            ),
            on=OF,
            how="full",
            coalesce=True,
        )
        .join(results.latest.select(OF, "capital"), on=OF, how="left")
    )
    spans = (pl.col("first") == pl.col("test_first")) & (pl.col("last") == pl.col("test_last"))
    same = spans & near(pl.col("capital") * pl.col("test_return"), pl.col("equity"))
    wrong = told.filter(~same.fill_null(value=False))
    return Finding(
        wrong.is_empty(),
        say(f"The tests of {told.height} walk-forwards join up.", "Not what its tests come to", wrong[OF]),
        {"walk_forwards": told.height, "sessions": joined.height},
    )


def quantiles_ascend(results: Results) -> Finding:
    """Quantiles ascend, of every measure and at every session of the bands, and probabilities are such."""
    drawn, bands = results.rows(MONTE_CARLO), results.rows(MONTE_CARLO_BANDS)
    fall = pl.any_horizontal(pl.col(low) > pl.col(high) for low, high in pairwise(LEVELS)).fill_null(value=False)
    chance = pl.col("measure").is_in(["loss", "ruin"]) & ~pl.col("mean").is_between(0, 1).fill_null(value=False)
    wrong = pl.concat([drawn.filter(fall | chance)[OF], bands.filter(fall)[OF]])
    absent = [name for name in results.names if name not in set(drawn[OF])]
    told = {**dict.fromkeys(wrong, "is out of order"), **dict.fromkeys(absent, "was not resampled")}
    return Finding(
        not told,
        say(f"The quantiles of {drawn.height} measures and {bands.height} bands ascend.", "Amiss", listed(told)),
        {"measures": drawn.height, "bands": bands.height, "wrong": len(told)},
    )


def median_within_bands(results: Results) -> Finding:
    """The bands end where the final returns do, the median path between the outer ones."""
    final = results.rows(MONTE_CARLO).filter((pl.col("method") == "blocks") & (pl.col("measure") == "final_return"))
    ends = results.rows(MONTE_CARLO_BANDS).group_by(OF, "method").agg(pl.all().sort_by("session").last())
    both = (
        final.join(ends, on=[OF, "method"], how="full", coalesce=True, suffix="_of_bands")
        .join(results.latest.select(OF, "capital"), on=OF, how="left")
        .with_columns((pl.col(level) + 1) * pl.col("capital") for level in LEVELS)
    )
    median = pl.col("p50_of_bands").is_between(pl.col("p05"), pl.col("p95"))
    ending = pl.all_horizontal(near(pl.col(level), pl.col(f"{level}_of_bands")) for level in LEVELS)
    wrong = both.filter(~(median & ending & (pl.col("session") == pl.col("last_session"))).fill_null(value=False))
    absent = pl.Series([name for name in results.names if name not in set(both[OF])], dtype=pl.String)
    names = pl.concat([wrong[OF], absent])
    return Finding(
        names.is_empty(),
        say(f"The bands of {both.height} results end at their final returns.", "Bands that do not", names),
        {"results": both.height, "elsewhere": len(names)},
    )


def resamples_the_result(results: Results) -> Finding:
    """What is resampled is the stored result, not that of a night before."""
    drawn = results.rows(MONTE_CARLO, OF, "last_session").group_by(OF).agg(pl.col("last_session").min())
    latest = results.latest.select(OF, "session")
    old = latest.join(drawn, on=OF, how="left").filter(pl.col("session").ne_missing(pl.col("last_session")))
    return Finding(
        old.is_empty(),
        say(f"{latest.height} results are resampled as they are.", "An earlier result was resampled", old[OF]),
        {"results": latest.height, "earlier": old.height},
    )


def all_parts_there(results: Results) -> Finding:
    """Each part of the sweep is there, of one session and of the configuration as it is, and so is their summary."""
    from trading_pipeline.backtesting.sweeps import parts_of

    parts = results.rows(SWEEP_PAIRS, OF, "chunk", "configuration_hash", "last_session").unique()
    summed = results.rows(PARAMETER_SWEEPS, OF, "last_session").unique()
    missing, wanted = {}, 0
    for name in results.names:
        told = results.configured.get(name)
        keys = parts_of(told) if told is not None else []
        if told is None or not keys:
            missing[name] = "has no sweep any more"
            continue
        wanted += len(keys)
        mine = parts.filter((pl.col(OF) == name) & (pl.col("configuration_hash") == told.hash))
        newest: date | None = mine["last_session"].max()  # type: ignore[assignment]
        there = {f"{name}/{chunk}" for chunk in mine.filter(pl.col("last_session") == newest)["chunk"]}
        if absent := [key for key in keys if key not in there]:
            missing[name] = f"lacks {len(absent)} of {len(keys)} parts"
        elif summed.filter(pl.col(OF) == name)["last_session"].to_list() != [newest]:
            missing[name] = f"is not summed up to {newest}"
    return Finding(
        not missing,
        say(f"All {wanted} parts are there and summed up.", "A sweep is incomplete", listed(missing)),
        {"parts": wanted, "incomplete": len(missing)},
    )


def configured_set_swept(results: Results) -> Finding:
    """The parameters that the configuration trades are among the sets swept: else nobody sees what is around them."""
    rows = results.rows(PARAMETER_SWEEPS, OF, "configured")
    ours = rows.group_by(OF).agg(pl.col("configured").sum())
    outside = ours.filter(pl.col("configured") != 1)
    return Finding(
        outside.is_empty(),
        say(f"{ours.height} sweeps have the set that is traded.", "Traded, but not swept", outside[OF])
        if ours.height
        else "No sweep is summed up yet.",
        {"sets": rows.height, "without": outside.height},
    )


def not_isolated(results: Results) -> Finding:
    """The parameters traded are no lone peak: their worst neighbour's Sharpe ratio is not far below their own."""
    rows = results.rows(PARAMETER_SWEEPS, OF, "configured", "median_sharpe", "neighbourhood_min")
    ours = rows.filter("configured").with_columns(below=pl.col("median_sharpe") - pl.col("neighbourhood_min"))
    known = ours.filter(pl.col("below").is_not_null())
    peaks = known.filter(pl.col("below") > FAR_BELOW)
    said = {name: f"{below:.2f} below" for name, below in peaks.select(OF, "below").iter_rows()}
    fine = f"{known.height} of {ours.height} sets traded have neighbours; none is far below."
    return Finding(
        peaks.is_empty(),
        say(fine, "The worst neighbour's Sharpe ratio is far below", listed(said)),
        {name: round(below, 3) for name, below in known.select(OF, "below").iter_rows()},
    )


def every_pair_compared(results: Results) -> Finding:
    """Every two configurations that have a result are compared, once."""
    lake, market = results.world.lake, results.market.name
    stored = set(lake.read(market, BACKTEST_EQUITY, columns=[OF])[OF].unique()) & set(results.configured)
    pairs = set(lake.read(market, STRATEGY_COMPARISON, columns=[OF, "other"]).iter_rows())
    wanted = set(combinations(sorted(stored), 2))
    told = {
        **{f"{one} with {other}": "is missing" for one, other in sorted(wanted - pairs)},
        **{f"{one} with {other}": "has no result" for one, other in sorted(pairs - wanted)},
    }
    return Finding(
        not told,
        say(f"{len(stored)} configurations, {len(pairs)} pairs.", "Amiss", listed(told)),
        {"configurations": len(stored), "pairs": len(pairs), "wrong": len(told)},
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
        say(f"The figures of {rows.height} pairs are within bounds.", "Out of bounds", wrong[OF]),
        {"pairs": rows.height, "wrong": wrong.height},
    )
