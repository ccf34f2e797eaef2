"""A small market of sound stocks, one of which a test changes: what comes of the change is what the test is about."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl
import pytest

from trading_pipeline import tables
from trading_pipeline.research.screener import Rules, load_rules, screener_scores
from trading_pipeline.tables.base import Table

SESSION = date(2024, 5, 15)
JUDGED = "us:T00"
COUNT = 16

_INDICATORS = {
    "close": 100.0, "return_1": 0.01, "return_63": 0.04, "return_126": 0.08, "sma_50": 98.0, "sma_200": 95.0,
    "rsi_14": 55.0, "macd_histogram": 0.2, "distance_from_high": -0.06, "volume_ratio_20": 1.3,
    "relative_strength_rank": 60, "beta_252": 1.0, "history": 500, "data_quality": "good",
}  # fmt: skip
_FUNDAMENTALS = {
    "snapshot_session": SESSION, "age": 0, "asset_type": "stock", "price": 100.0, "market_cap": 50e9,
    "pe_trailing": 18.0, "pe_forward": 16.0, "price_to_book": 3.0, "price_to_sales": 2.5, "ev_to_ebitda": 12.0,
    "return_on_equity": 0.15, "return_on_assets": 0.07, "operating_margin": 0.16, "profit_margin": 0.11,
    "debt_to_equity": 0.6, "current_ratio": 1.6, "revenue": 20e9, "ebitda": 4e9, "net_income": 2.2e9,
    "operating_cash_flow": 3e9, "free_cash_flow": 2e9, "free_cash_flow_yield": 0.04, "eps_trailing": 5.5,
    "eps_forward": 6.2, "revenue_growth": 0.07, "earnings_growth": 0.10, "dividend_yield": 0.02, "payout_ratio": 0.35,
    "beta": 1.1, "short_share_of_float": 0.03, "target_mean_price": 112.0, "recommendation_mean": 2.2, "analysts": 20,
    "currency": "USD", "provider": "test", "data_quality": "good", "rules": "",
}  # fmt: skip
_CALENDAR = {
    "next_report_date": SESSION + timedelta(days=20), "sessions_to_report": 14,
    "last_report_date": SESSION - timedelta(days=70), "last_surprise": 0.04, "reports": 8, "beat_rate": 0.7,
    "average_move_after_beat": 0.02, "average_move_after_miss": -0.03,
}  # fmt: skip


@dataclass(frozen=True)
class Case:
    """The inputs of `screener_scores`, as the tables hold them."""

    members: pl.DataFrame
    indicators: pl.DataFrame
    regime: pl.DataFrame
    fundamentals: pl.DataFrame
    calendar: pl.DataFrame
    news: pl.DataFrame
    liquidity: pl.DataFrame | None
    rules: Rules = field(default_factory=load_rules)
    sessions: tuple[date, ...] = (SESSION,)

    def scores(self) -> pl.DataFrame:
        """All rows, held against the table's declaration."""
        found = screener_scores(
            self.members, self.indicators, self.regime, self.fundamentals, self.calendar, self.news, self.rules,
            list(self.sessions), liquidity=self.liquidity,
        )  # fmt: skip
        assert found.columns == tables.SCREENER_SCORES.names
        return tables.SCREENER_SCORES.conform(found)

    def row(self, instrument_id: str = JUDGED) -> dict[str, Any]:
        """The row of one instrument."""
        return self.scores().row(by_predicate=pl.col("instrument_id") == instrument_id, named=True)

    def row_input(self, name: str) -> Any:
        """What a column says of the judged stock, whichever table it is in."""
        for holder in ("indicators", "fundamentals", "calendar"):
            frame = getattr(self, holder)
            if name in frame.columns:
                return frame.row(by_predicate=pl.col("instrument_id") == JUDGED, named=True)[name]
        raise KeyError(name)

    def but(self, **changes: Any) -> Case:
        """The same with other values of the judged stock, whichever table they are in, or other whole frames."""
        case = self
        for name, value in changes.items():
            if name in Case.__dataclass_fields__:
                case = replace(case, **{name: value})
                continue
            holders = [
                table
                for table in ("indicators", "fundamentals", "calendar", "liquidity", "members")
                if getattr(case, table) is not None and name in getattr(case, table).columns
            ]
            if name == "data_quality":
                raise ValueError("say which table's: bar_quality or fundamentals_quality")
            column, holders = {
                "bar_quality": ("data_quality", ["indicators"]),
                "fundamentals_quality": ("data_quality", ["fundamentals"]),
                "sector": ("sector", ["members"]),
            }.get(name, (name, holders[:1]))
            (holder,) = holders
            frame = getattr(case, holder)
            mine = pl.col("instrument_id") == JUDGED
            changed = pl.when(mine).then(pl.lit(value, frame.schema[column])).otherwise(pl.col(column))
            case = replace(case, **{holder: frame.with_columns(changed.alias(column))})
        return case


def table_of(table: Table, rows: pl.DataFrame, **values: Any) -> pl.DataFrame:
    """Rows of a table: the values given, null elsewhere."""
    columns = [
        (pl.col(name) if name in rows.columns else pl.lit(values.get(name))).cast(dtype).alias(name)
        for name, dtype in table.schema.items()
    ]
    return rows.select(columns)


def article(session: date, sentiment: float, instrument_id: str = JUDGED, relevance: float | None = 1.0) -> dict:
    """A row of the table `news`."""
    return {
        "session": session, "instrument_id": instrument_id, "ticker": instrument_id[3:], "title": "A headline",
        "article_id": f"{instrument_id} {session} {sentiment}", "sentiment": sentiment, "relevance": relevance,
        "published_at": datetime(2024, 5, 1, tzinfo=UTC),
    }  # fmt: skip


def news_of(*rows: dict) -> pl.DataFrame:
    """The table `news` with these articles."""
    if not rows:
        return tables.NEWS.empty()
    return table_of(tables.NEWS, pl.DataFrame(list(rows), infer_schema_length=None))


@pytest.fixture(scope="session")
def sound() -> Case:
    """16 sound stocks, half of them Industrials, half Energy, on one session in environment B; all alike."""
    ids = [f"us:T{number:02d}" for number in range(COUNT)]
    keys = pl.DataFrame({"session": [SESSION] * COUNT, "instrument_id": ids, "ticker": [name[3:] for name in ids]})
    members = keys.with_columns(
        universe=pl.lit("WIDE"), sector=pl.Series(["Industrials", "Energy"] * (COUNT // 2), dtype=pl.String)
    )
    return Case(
        members=members,
        indicators=table_of(tables.INDICATORS, keys, **_INDICATORS),
        regime=pl.DataFrame({"session": [SESSION], "environment": ["B"]}),
        fundamentals=table_of(tables.FUNDAMENTALS, keys, **_FUNDAMENTALS),
        calendar=table_of(tables.EARNINGS_CALENDAR, keys, **_CALENDAR),
        news=news_of(*(article(SESSION - timedelta(days=2), 0.1, name) for name in ids)),
        liquidity=keys.select("session", "instrument_id", dollar_volume_20=pl.lit(50e6)),
    )


@pytest.fixture(scope="session")
def articles() -> Callable[..., pl.DataFrame]:
    """A maker of news: `articles((session, sentiment), (session, sentiment, instrument_id, relevance), …)`."""
    return lambda *rows: news_of(*(article(*row) for row in rows))
