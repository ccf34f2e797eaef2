"""Random mornings: daily and intraday bars of a few names on real sessions, with all that makes mornings hard.

The sessions are New York's of 2024-10 to 2025-12, the judged ones around the clock change of 2025-11-02 and the
half-day of 2025-11-28. Names have splits and dividends; one has no trades before the open, one no extended hours at
all, one is told without extended-hours volume, one is listed late, one is halted; bars are missing, arrive late, are
revised, and forming ones are received beside the final ones.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import date, timedelta

import numpy as np
import polars as pl

from trading_pipeline.research.intraday import placed
from trading_pipeline.sessions import calendar
from trading_pipeline.tables import INTRADAY_BARS, MOMENT

NEW_YORK = "America/New_York"
XNYS = calendar("XNYS")
FIVE = timedelta(minutes=5)


@dataclass(frozen=True)
class Desk:
    """Everything the functions of `research/premarket` are handed, for all sessions."""

    daily: pl.DataFrame
    actions: pl.DataFrame
    intraday: pl.DataFrame
    indicators: pl.DataFrame
    regime: pl.DataFrame
    news: pl.DataFrame
    earnings: pl.DataFrame
    watched: pl.DataFrame
    days: pl.DataFrame
    sessions: list[date]

    def judged(self, sessions: list[date]) -> pl.DataFrame:
        """The premarket moments of those sessions."""
        return moments(sessions)

    def cut(self, first: date, first_intraday: date, last: date) -> Desk:
        """What a run of that range is handed: nothing older than the lookbacks, nothing after `last`."""
        from_first = pl.col("session").is_between(first, last)
        from_intraday = pl.col("session").is_between(first_intraday, last)
        return replace(
            self,
            daily=self.daily.filter(from_first),
            actions=self.actions.filter(from_first),
            intraday=self.intraday.filter(from_intraday),
            days=self.days.filter(from_first),
            indicators=self.indicators.filter(from_intraday),
            regime=self.regime.filter(from_intraday),
            news=self.news.filter(from_intraday),
            earnings=self.earnings.filter(from_intraday),
            watched=self.watched.filter(from_intraday),
        )


def days_of(sessions: list[date]) -> pl.DataFrame:
    """[session, opened_at, closed_at] of New York."""
    return pl.DataFrame(
        {
            "session": sessions,
            "opened_at": [XNYS.open_at(day) for day in sessions],
            "closed_at": [XNYS.close_at(day) for day in sessions],
        },
        schema={"session": pl.Date, "opened_at": MOMENT, "closed_at": MOMENT},
    )


def moments(sessions: list[date], taken: str = "rebuilt") -> pl.DataFrame:
    """[session, decided_at, taken]: 08:30 New York time, an hour before the open."""
    return pl.DataFrame(
        {"session": sessions, "decided_at": [XNYS.open_at(day) - timedelta(hours=1) for day in sessions]},
        schema={"session": pl.Date, "decided_at": MOMENT},
    ).with_columns(taken=pl.lit(taken))


def intraday(
    rows: pl.DataFrame, days: pl.DataFrame, interval: str = "5m", lag: timedelta = timedelta()
) -> pl.DataFrame:
    """Rows of `intraday_bars` from [instrument_id, started_at, open, high, low, close, volume], final and on time."""
    length = timedelta(minutes=int(interval.removesuffix("m")))
    extra = {
        "ticker": pl.col("instrument_id").str.strip_prefix("us:"),
        "provider": pl.lit("files"),
        "interval": pl.lit(interval),
        "forming": pl.lit(False),
    }
    known = rows.with_columns(
        **{name: value for name, value in extra.items() if name not in rows.columns},
        available_at=pl.col("started_at") + length + lag,
    )
    known = known.with_columns(known_at=pl.col("available_at"))
    return INTRADAY_BARS.conform(placed(known, days, NEW_YORK).select(INTRADAY_BARS.names))


def desk(seed: int, names: int = 10, judged_days: int = 30, history: int = 300, clean: bool = False) -> Desk:
    """A random desk with intraday bars of the last `judged_days` sessions. clean: without holes, versions and such."""
    rng = np.random.default_rng(seed)
    last = date(2025, 12, 3)
    sessions = XNYS.between(date(2024, 1, 2), last)[-history:]
    shape = (history, names)
    ids = np.array([f"us:N{number:03d}" for number in range(names)])
    split = np.where(rng.random(shape) < (0 if clean else 0.004), rng.choice([2.0, 0.2, 1.5], shape), 1.0)
    if not clean:
        split[-8, 0], split[-3, min(1, names - 1)] = 4.0, 0.1
    close = 120 * np.exp(np.cumsum(rng.normal(0, 0.015, shape), axis=0)) / np.cumprod(split, axis=0)
    paid = np.where(rng.random(shape) < 0.02, close * 0.01, 0.0)
    high, low = close * (1 + rng.uniform(0, 0.02, shape)), close * (1 - rng.uniform(0, 0.02, shape))
    there = np.ones(shape, dtype=bool)
    if not clean:
        there &= rng.random(shape) > 0.01
        there[: history - 60, names // 2] = False
        there[: history - 20, names - 1] = False
        there[history - 12 : history - 6, names // 3] = False
    day = pl.Series(sessions, dtype=pl.Date)
    row, column = np.nonzero(there)
    axes = {"session": day.gather(row), "instrument_id": ids[column]}
    daily = pl.DataFrame({**axes, "high": high[there], "low": low[there], "close": close[there]})
    events = [
        pl.DataFrame({"session": day.gather(at), "instrument_id": ids[of]}).with_columns(
            kind=pl.lit(kind), value=pl.Series(values[at, of])
        )
        for kind, values, (at, of) in (("split", split, np.nonzero(split != 1)), ("dividend", paid, np.nonzero(paid)))
    ]
    measured = daily.select(
        "session",
        "instrument_id",
        "close",
        atr_14=pl.col("close") * pl.Series(rng.uniform(0.01, 0.04, daily.height)),
        **{
            f"sma_{length}": pl.col("close") * pl.Series(rng.uniform(0.9, 1.1, daily.height))
            for length in (20, 50, 200)
        },
    )
    days = days_of(sessions)
    watched = pl.DataFrame({"session": sessions}).join(pl.DataFrame({"instrument_id": ids}), how="cross")
    watched = watched.with_columns(ticker=pl.col("instrument_id").str.strip_prefix("us:"))
    return Desk(
        daily,
        pl.concat(events),
        _bars(rng, sessions[-judged_days - 21 :], ids, close[-judged_days - 21 :], days, clean),
        measured,
        pl.DataFrame({"session": sessions}).with_columns(
            environment=pl.Series(rng.choice(list("ABCD"), history)), regime=pl.lit("Bull")
        ),
        _news(rng, sessions[-judged_days:], ids),
        _earnings(rng, sessions, ids),
        watched,
        days,
        sessions,
    )


def _bars(
    rng: np.random.Generator, sessions: list[date], ids: np.ndarray, close: np.ndarray, days: pl.DataFrame, clean: bool
) -> pl.DataFrame:
    """Five-minute bars from 04:00 to the end of the post-market."""
    starts, of = [], []
    for number, day in enumerate(sessions):
        first, end = XNYS.open_at(day) - timedelta(hours=5, minutes=30), XNYS.close_at(day) + timedelta(hours=4)
        count = (end - first) // FIVE
        starts += [first + FIVE * step for step in range(count)]
        of += [number] * count
    times, of_day = len(starts), np.array(of)
    shape = (times, len(ids))
    level = close[of_day] * np.exp(rng.normal(0, 0.004, shape))
    opened = level * np.exp(rng.normal(0, 0.001, shape))
    high = np.maximum(level, opened) * np.exp(np.abs(rng.normal(0, 0.001, shape)))
    low = np.minimum(level, opened) * np.exp(-np.abs(rng.normal(0, 0.001, shape)))
    volume = np.round(rng.lognormal(7, 1, shape))
    there = np.ones(shape, dtype=bool) if clean else rng.random(shape) > 0.3
    start = pl.Series(starts, dtype=MOMENT)
    row, column = np.nonzero(there)
    rows = pl.DataFrame(
        {
            "instrument_id": ids[column],
            "started_at": start.gather(row),
            **{name: array[there] for name, array in zip(
                ("open", "high", "low", "close", "volume"), (opened, high, low, level, volume), strict=True
            )},
        }
    )  # fmt: skip
    bars = intraday(rows, days)
    if clean:
        return bars
    name = pl.col("instrument_id")
    bars = bars.filter(~((name == ids[2]) & (pl.col("phase") == "pre")))
    bars = bars.filter(~((name == ids[3]) & (pl.col("phase") != "regular")))
    silent = (name == ids[4]) & (pl.col("phase") != "regular")
    bars = bars.with_columns(volume=pl.when(silent).then(0.0).otherwise("volume"))
    luck = pl.Series(rng.random(bars.height))
    late = bars.filter(luck < 0.02).with_columns(
        pl.col("available_at", "known_at") + pl.duration(hours=pl.Series(rng.integers(0, 60, int((luck < 0.02).sum()))))
    )
    revised = bars.filter((luck > 0.5) & (luck < 0.52)).with_columns(
        pl.col("available_at", "known_at") + timedelta(hours=20), pl.col("close", "high") * 1.001, pl.col("volume") * 2
    )
    half_made = bars.filter((luck > 0.7) & (luck < 0.72)).with_columns(
        pl.col("available_at", "known_at") - timedelta(minutes=3), pl.col("close", "low") * 0.9, forming=pl.lit(True)
    )
    other = bars.filter((luck > 0.8) & (name == ids[5])).with_columns(provider=pl.lit("yahoo"))
    return INTRADAY_BARS.conform(pl.concat([bars.filter(luck >= 0.02), late, revised, half_made, other]))


def _news(rng: np.random.Generator, sessions: list[date], ids: np.ndarray) -> pl.DataFrame:
    count = 8 * len(sessions)
    told = pl.DataFrame(
        {
            "session": [sessions[at] for at in rng.integers(0, len(sessions), count)],
            "instrument_id": rng.choice(ids, count),
            "article_id": [f"a{number:05d}" for number in range(count)],
            "sentiment": np.round(rng.uniform(-1, 1, count), 4),
            "relevance": np.where(rng.random(count) < 0.5, np.nan, rng.random(count)),
            "minutes": rng.integers(-24 * 60, 10 * 60, count),
        }
    )
    opens = pl.Series([XNYS.open_at(day) for day in told["session"]], dtype=MOMENT)
    return told.select(
        "session",
        "instrument_id",
        "article_id",
        "sentiment",
        pl.col("relevance").fill_nan(None),
        title=pl.format("Headline {}", "article_id"),
        available_at=opens + pl.duration(minutes="minutes"),
    )


def _earnings(rng: np.random.Generator, sessions: list[date], ids: np.ndarray) -> pl.DataFrame:
    grid = pl.DataFrame({"session": sessions}, schema={"session": pl.Date}).join(
        pl.DataFrame({"instrument_id": ids}), how="cross"
    )
    ahead = pl.Series(rng.integers(0, 6, grid.height))
    timing = pl.Series(rng.choice(["bmo", "amc", "dmh", "unknown"], grid.height))
    return grid.with_columns(
        next_report_date=pl.col("session") + pl.duration(days=ahead),
        next_timing=timing,
        sessions_to_report=pl.when(timing == "amc").then(ahead + 1).otherwise(ahead).cast(pl.Int32),
        next_ex_dividend_date=pl.col("session") + pl.duration(days=pl.Series(rng.integers(1, 9, grid.height))),
    )
