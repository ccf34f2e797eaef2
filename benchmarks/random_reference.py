"""Random fundamentals, earnings calendars and news for a random market, as the screener reads them.

What does not belong here: reference data with known answers (`providers/simulated`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl

from trading_pipeline.tables import EARNINGS_CALENDAR, FUNDAMENTALS, NEWS
from trading_pipeline.tables.base import Table

# Centre and spread of the logarithm, or of the value itself where it may be negative.
_POSITIVE = {
    "market_cap": (23.5, 1.3), "pe_trailing": (2.9, 0.5), "pe_forward": (2.8, 0.4), "price_to_book": (1.2, 0.7),
    "price_to_sales": (1.0, 0.8), "ev_to_ebitda": (2.5, 0.4), "debt_to_equity": (-0.3, 0.9),
    "current_ratio": (0.3, 0.4),
    "revenue": (23.0, 1.2), "ebitda": (21.5, 1.2), "dividend_yield": (-4.0, 0.5), "payout_ratio": (-1.0, 0.5),
    "beta": (0.0, 0.3), "short_share_of_float": (-3.5, 0.7), "eps_trailing": (1.2, 0.7), "eps_forward": (1.3, 0.7),
}  # fmt: skip
_EITHER = {
    "return_on_equity": (0.15, 0.12), "return_on_assets": (0.06, 0.05), "operating_margin": (0.15, 0.12),
    "profit_margin": (0.1, 0.1), "net_income": (1e9, 1e9), "operating_cash_flow": (1.5e9, 1e9),
    "free_cash_flow": (8e8, 8e8), "revenue_growth": (0.06, 0.12), "earnings_growth": (0.08, 0.25),
    "recommendation_mean": (2.3, 0.4),
}  # fmt: skip
KNOWN = 0.9


@dataclass(frozen=True)
class Reference:
    """What the screener reads beside prices, by session; the tables of those names."""

    fundamentals: pl.DataFrame
    earnings_calendar: pl.DataFrame
    news: pl.DataFrame


def random_reference(indicators: pl.DataFrame, seed: int = 20160314) -> Reference:
    """For every row of `indicators`: figures that differ from session to session, a calendar, news for some.

    Every number is missing in a tenth of the rows.
    """
    rng = np.random.default_rng(seed)
    count = indicators.height
    keys = indicators.select("session", "instrument_id", "ticker")

    def some(values: np.ndarray) -> pl.Series:
        return pl.Series(np.where(rng.random(count) < KNOWN, values, np.nan)).fill_nan(None)

    figures = {name: some(rng.lognormal(*shape, count)) for name, shape in _POSITIVE.items()}
    figures |= {name: some(rng.normal(*shape, count)) for name, shape in _EITHER.items()}
    close = indicators["close"].to_numpy()
    fundamentals = keys.with_columns(
        snapshot_session="session",
        age=pl.lit(0, pl.Int32),
        asset_type=pl.lit("stock"),
        price="ticker",
        currency=pl.lit("USD"),
        provider=pl.lit("random"),
        data_quality=pl.lit("good"),
        rules=pl.lit(""),
        **figures,
    ).with_columns(
        price=pl.Series(close),
        target_mean_price=some(close * rng.lognormal(0.08, 0.15, count)),
        analysts=pl.Series(rng.integers(1, 40, count), dtype=pl.Int32),
    )
    ahead = pl.Series(rng.integers(0, 90, count))
    calendar = keys.with_columns(
        next_report_date=pl.col("session") + pl.duration(days=ahead),
        sessions_to_report=(ahead * 5 // 7).cast(pl.Int32),
        last_report_date=pl.col("session") - pl.duration(days=90 - ahead),
        last_surprise=some(rng.normal(0.03, 0.1, count)),
        reports=pl.Series(rng.integers(0, 12, count), dtype=pl.Int32),
        beat_rate=some(rng.uniform(0.3, 1.0, count)),
        average_move_after_beat=some(rng.normal(0.02, 0.02, count)),
        average_move_after_miss=some(rng.normal(-0.03, 0.02, count)),
    )
    told = keys.filter(pl.Series(rng.random(count) < 0.3))
    news = told.with_columns(
        article_id=pl.int_range(told.height).cast(pl.String),
        relevance=pl.Series(rng.uniform(0.1, 1.0, told.height)),
        sentiment=pl.Series(rng.normal(0.05, 0.3, told.height).clip(-1, 1)),
    )
    return Reference(of_table(FUNDAMENTALS, fundamentals), of_table(EARNINGS_CALENDAR, calendar), of_table(NEWS, news))


def of_table(table: Table, frame: pl.DataFrame) -> pl.DataFrame:
    """With every column of the table, null where the frame has none."""
    given = {name: pl.lit(None) for name in table.names if name not in frame.columns}
    return frame.with_columns(**given).select(pl.col(name).cast(dtype) for name, dtype in table.schema.items())
