"""What the screener's scores were worth on real history: rank correlation with the returns that followed.

    python -m benchmarks.score_report [FOLDER]

Bars of 199 names from 2016 to 2022 and dated snapshots of fundamentals, read from the collection of real data. Each
score is set against the total return of the next 21 and 63 sessions beyond the benchmark's: Spearman's rank correlation
on each date, and the mean return of the best fifth less that of the worst. Dates are as far apart as the returns are
long, so that no return is in two of them; the interval of the mean is Student's over those dates, and beside it that of
10,000 resamples of the dates. The rules were written before and are not fitted to it.

What it cannot say: the names are those of a list drawn up later, so the failures of those years are missing; sectors
are today's; of the figures only P/E, P/B, P/S, EBITDA, yield and capitalisation are known, on a handful of dates; news,
calendars and estimates are not, so the catalyst component is never judged.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import polars as pl
from rich.console import Console
from rich.table import Table

from benchmarks.random_reference import of_table
from trading_pipeline.research.bars.as_traded import undo_splits
from trading_pipeline.research.indicators import indicators
from trading_pipeline.research.regime import market_regime
from trading_pipeline.research.screener import dollar_volume, load_rules, screener_scores
from trading_pipeline.tables import EARNINGS_CALENDAR, FUNDAMENTALS, NEWS

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
BENCHMARK = "SPY"
HORIZONS = (21, 63)
YEAR = 252
SCORES = ("total", "fundamental", "technical", "relative_strength", "sector_score")
LEAST_NAMES = 40
RESAMPLES = 10_000
FRESH = 5
"""Sessions for which a snapshot stands for its figures here: what is judged is the figures, not their age."""

_AMOUNT = {"K": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}


@dataclass(frozen=True)
class History:
    """Scores on the dates judged, and the returns that followed every session."""

    scores: pl.DataFrame
    ahead: pl.DataFrame
    sessions: list[date]


def snapshots(folder: Path, sessions: list[date], names: list[str]) -> pl.DataFrame:
    """The table `fundamentals` from the dated snapshots, each from the first session after its day, for FRESH sessions.

    Yields are per cent there, amounts texts such as `63.59B`.
    """
    told = pl.read_parquet(folder / "fundamentals" / "sp500_snapshots_2012_2025.parquet").with_columns(
        day=pl.col("snapshot_date").str.to_date()
    )
    axis = pl.DataFrame({"session": pl.Series(sessions, dtype=pl.Date)}).with_row_index("row")
    latest = axis.join_asof(
        told.select(pl.col("day").unique().sort()),
        left_on="session",
        right_on="day",
        strategy="backward",
        allow_exact_matches=False,
    ).drop_nulls()
    latest = latest.with_columns(
        age=(pl.col("row") - pl.col("row").min().over("day")).cast(pl.Int32),
        snapshot_session=pl.col("session").min().over("day"),
    ).filter((pl.col("age") < FRESH) & ((pl.col("snapshot_session") - pl.col("day")).dt.total_days() <= FRESH))
    rows = latest.join(told.unique(["day", "symbol"], keep="first", maintain_order=True), on="day").filter(
        pl.col("symbol").is_in(names)
    )
    figures = rows.select(
        "session",
        "age",
        "snapshot_session",
        "price",
        instrument_id="symbol",
        ticker="symbol",
        asset_type=pl.lit("stock"),
        pe_trailing="pe",
        price_to_sales="ps",
        price_to_book="pb",
        eps_trailing="eps",
        market_cap=_amount("market_cap"),
        ebitda=_amount("ebitda"),
        dividend_yield=pl.col("dividend_yield") / 100,
        currency=pl.lit("USD"),
        provider=pl.lit("snapshots"),
        data_quality=pl.lit("good"),
        rules=pl.lit(""),
    )
    return of_table(FUNDAMENTALS, figures)


def history(folder: Path) -> History:
    """Scores of the 199 names on every 21st session from a year on, and on those with a fresh snapshot."""
    raw = pl.read_parquet(folder / "daily" / "sp500_200_tickers_2016_2022.parquet").with_columns(
        pl.col("date").cast(pl.Date).alias("session"), pl.col("volume").cast(pl.Float64)
    )
    later = pl.read_csv(folder / "daily" / "splits_after_2022-12-30_6_tickers.csv", try_parse_dates=True)
    events = [
        raw.filter(pl.col(column) != 0).select(
            "session", symbol="ticker", kind=pl.lit(kind), value=pl.col(column).cast(pl.Float64)
        )
        for column, kind in (("splits", "split"), ("dividends", "dividend"))
    ]
    events.append(
        later.select(session="ex_date", symbol="ticker", kind=pl.lit("split"), value=pl.col("ratio").cast(pl.Float64))
    )
    bars, actions, _ = undo_splits(raw.rename({"ticker": "symbol"}), pl.concat(events), "split_adjusted")
    bars = bars.filter(pl.col("close") > 0).with_columns(
        instrument_id="symbol", ticker="symbol", data_quality=pl.lit("good")
    )
    actions = actions.rename({"symbol": "instrument_id"})
    sectors = pl.read_csv(folder / "membership" / "sp500_current_with_sectors.csv")
    members = (
        bars.filter(pl.col("ticker") != BENCHMARK)
        .select("session", "instrument_id", "ticker", universe=pl.lit("FILES"))
        .join(sectors.select(ticker="Symbol", sector="GICS Sector"), on="ticker", how="left")
    )
    sessions = bars["session"].unique().sort().to_list()
    measured = indicators(bars, actions, members, BENCHMARK, sessions)
    figures = snapshots(folder, sessions, members["instrument_id"].unique().to_list())
    judged = sorted({*sessions[YEAR :: HORIZONS[0]], *sessions[YEAR :: HORIZONS[1]], *figures["session"]})
    regime = market_regime(bars, actions, members, measured, BENCHMARK, None, judged)
    scores = screener_scores(
        members, measured, regime, figures, EARNINGS_CALENDAR.empty(), NEWS.empty(), load_rules(), judged,
        liquidity=dollar_volume(bars, judged),
    )  # fmt: skip
    return History(scores, _ahead(measured, sessions), sessions)


def judged(past: History, score: str, horizon: int) -> pl.DataFrame:
    """[session, names, correlation, spread] on dates at least `horizon` sessions apart on which the score is known."""
    place = {day: row for row, day in enumerate(past.sessions)}
    rows = past.scores.select("session", "instrument_id", score=score).join(
        past.ahead.select("session", "instrument_id", ahead=f"ahead_{horizon}"), on=["session", "instrument_id"]
    )
    by_date = (
        rows.drop_nulls()
        .with_columns(names=pl.len().over("session"))
        .filter(pl.col("names") >= LEAST_NAMES)
        .with_columns(rank=pl.col("score").rank().over("session") / pl.col("names"))
        .group_by("session")
        .agg(
            names=pl.len(),
            correlation=pl.corr("score", "ahead", method="spearman"),
            spread=pl.col("ahead").filter(pl.col("rank") > 0.8).mean()
            - pl.col("ahead").filter(pl.col("rank") <= 0.2).mean(),
        )
        .sort("session")
    )
    chosen, last = [], -horizon
    for day in by_date["session"]:
        if place[day] - last >= horizon:
            chosen.append(day)
            last = place[day]
    return by_date.filter(pl.col("session").is_in(chosen))


@dataclass(frozen=True)
class Mean:
    """A mean over independent dates with its intervals of 95 %: Student's, and that of resampled dates."""

    value: float
    student: tuple[float, float]
    resampled: tuple[float, float]

    @classmethod
    def of(cls, values: np.ndarray, seed: int = 7) -> Mean:
        """NaN where there are fewer than two dates."""
        from scipy.stats import t

        values = values[np.isfinite(values)]
        if len(values) < 2:
            return cls(float("nan"), (float("nan"),) * 2, (float("nan"),) * 2)
        mean = float(values.mean())
        half = float(t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
        draws = np.random.default_rng(seed).choice(values, (RESAMPLES, len(values))).mean(axis=1)
        low, high = np.percentile(draws, [2.5, 97.5])
        return cls(mean, (mean - half, mean + half), (float(low), float(high)))


def report(past: History) -> pl.DataFrame:
    """One row a score and horizon: dates, names a date, mean rank correlation and mean spread with their intervals."""
    rows = []
    for score in SCORES:
        for horizon in HORIZONS:
            found = judged(past, score, horizon)
            correlation, spread = (Mean.of(found[name].to_numpy()) for name in ("correlation", "spread"))
            rows.append(
                {
                    "score": score,
                    "horizon": horizon,
                    "dates": found.height,
                    "first": found["session"].min(),
                    "last": found["session"].max(),
                    "names": found["names"].mean(),
                    "correlation": correlation.value,
                    "correlation_low": correlation.student[0],
                    "correlation_high": correlation.student[1],
                    "correlation_resampled": list(correlation.resampled),
                    "spread": spread.value,
                    "spread_low": spread.student[0],
                    "spread_high": spread.student[1],
                    "spread_resampled": list(spread.resampled),
                }
            )
    return pl.DataFrame(rows)


def shown(found: pl.DataFrame) -> Table:
    """The report for people."""
    table = Table(title="Scores against the returns that followed, 199 names, 2017 to 2022", title_justify="left")
    for name in ("score", "sessions ahead", "dates", "names", "rank correlation", "95 % Student", "resampled",
                 "best less worst fifth", "95 % Student", "resampled"):  # fmt: skip
        table.add_column(name, justify="right")
    for row in found.iter_rows(named=True):
        table.add_row(
            row["score"], str(row["horizon"]), str(row["dates"]), f"{row['names'] or 0:.0f}",
            f"{row['correlation']:+.3f}",
            f"{row['correlation_low']:+.3f} … {row['correlation_high']:+.3f}",
            "{:+.3f} … {:+.3f}".format(*row["correlation_resampled"]),
            f"{row['spread']:+.2%}",
            f"{row['spread_low']:+.2%} … {row['spread_high']:+.2%}",
            "{:+.2%} … {:+.2%}".format(*row["spread_resampled"]),
        )  # fmt: skip
    return table


def _ahead(measured: pl.DataFrame, sessions: list[date]) -> pl.DataFrame:
    """[session, instrument_id, ahead_21, ahead_63]: total return of the sessions that follow, less the benchmark's."""
    axis = pl.DataFrame({"session": pl.Series(sessions, dtype=pl.Date)}).with_row_index("row")
    returns = measured.select("session", "instrument_id", *(f"return_{horizon}" for horizon in HORIZONS))
    returns = returns.join(axis, on="session")
    found = returns.select("session", "instrument_id", "row")
    for horizon in HORIZONS:
        name = f"return_{horizon}"
        index = returns.filter(pl.col("instrument_id") == BENCHMARK).select("row", index=name)
        later = returns.join(index, on="row").select(
            "instrument_id", row=pl.col("row").cast(pl.Int64) - horizon, ahead=pl.col(name) - pl.col("index")
        )
        found = found.with_columns(pl.col("row").cast(pl.Int64)).join(
            later.rename({"ahead": f"ahead_{horizon}"}), on=["instrument_id", "row"], how="left"
        )
    return found.drop("row")


def _amount(name: str) -> pl.Expr:
    value = pl.col(name).str.extract(r"^(-?[\d.]+)").cast(pl.Float64)
    unit = pl.col(name).str.extract(r"([KMBT])$").replace_strict(_AMOUNT, default=1.0, return_dtype=pl.Float64)
    return value * unit.fill_null(1.0)


def main() -> None:
    folder = Path(sys.argv[1]) if len(sys.argv) > 1 else DATA
    if not folder.is_dir():
        raise SystemExit(f"No real data at {folder}: name the folder that holds it")
    console = Console()
    console = console if console.is_terminal else Console(width=180)
    console.print(shown(report(history(folder))))


if __name__ == "__main__":
    main()
