"""The book: one row a member and session with a bar, with the columns of every input the screener reads.

What belongs here: who is judged, and bringing what is known of him to his row. What does not: measures drawn from it
(`measures.py`), judgement.

Rows are found by their cell in the panel of sessions and instruments, not by joins of strings: 2,520 sessions of 500
members are brought together in a second. What is not there is null; nothing is filled.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research.panel import Integers, Panel
from trading_pipeline.research.screener.news import NewsTone
from trading_pipeline.research.screener.rules import Rules

INDICATOR_COLUMNS = (
    "close", "return_1", "return_63", "return_126", "sma_50", "sma_200", "rsi_14", "macd_histogram",
    "distance_from_high", "volume_ratio_20", "relative_strength_rank", "beta_252", "history",
)  # fmt: skip
FUNDAMENTAL_COLUMNS = (
    "price", "market_cap", "pe_trailing", "pe_forward", "price_to_book", "price_to_sales", "ev_to_ebitda",
    "return_on_equity", "return_on_assets", "operating_margin", "profit_margin", "debt_to_equity", "current_ratio",
    "revenue", "ebitda", "net_income", "operating_cash_flow", "free_cash_flow", "free_cash_flow_yield",
    "eps_trailing", "eps_forward", "revenue_growth", "earnings_growth", "dividend_yield", "payout_ratio", "beta",
    "short_share_of_float", "target_mean_price", "recommendation_mean", "analysts", "expense_ratio",
    "assets_under_management", "fund_yield", "nav_premium", "duration", "credit_share_investment_grade",
)  # fmt: skip
CALENDAR_NUMBERS = (
    "sessions_to_report", "last_surprise", "reports", "beat_rate", "average_move_after_beat", "average_move_after_miss",
)  # fmt: skip
CALENDAR_DATES = ("next_report_date", "last_report_date", "next_ex_dividend_date")


@dataclass(frozen=True)
class Book:
    """Who is judged and where what is known of him stands. `part` makes the rows of some of them.

    rows: cells of the panel, ascending, by session and instrument. places: for each input the row that speaks of each
    of `rows`, -1 where none does.
    """

    panel: Panel
    rows: Integers
    universes: pl.Series
    sectors: pl.Series
    inputs: dict[str, pl.DataFrame]
    places: dict[str, Integers]
    environment: pl.Series
    news: NewsTone

    @classmethod
    def of(
        cls,
        members: pl.DataFrame,
        indicators: pl.DataFrame,
        market_regime: pl.DataFrame,
        fundamentals: pl.DataFrame,
        earnings_calendar: pl.DataFrame,
        news: pl.DataFrame,
        liquidity: pl.DataFrame,
        rules: Rules,
        sessions: Sequence[date],
    ) -> Book:
        """The book of the judged sessions."""
        judged = pl.Series("session", list(sessions), dtype=pl.Date)
        bars = indicators.filter(pl.col("session").is_in(judged.implode()))
        panel = Panel.of(bars)
        size = panel.shape[0] * panel.shape[1]
        place = {"indicators": _places("indicators", panel, bars, size)}
        universes, sectors, is_member = _membership(panel, members, size)
        rows = np.flatnonzero(is_member & (place["indicators"] >= 0))
        inputs = {"indicators": bars}
        for name, frame in (
            ("fundamentals", fundamentals),
            ("earnings_calendar", earnings_calendar),
            ("liquidity", liquidity),
        ):
            inputs[name] = frame
            place[name] = _places(name, panel, frame, size)
        axis = pl.DataFrame({"session": pl.Series(panel.sessions, dtype=pl.Date)})
        environment = axis.join(
            market_regime.select("session", "environment"), on="session", how="left", maintain_order="left"
        )["environment"]
        return cls(
            panel,
            rows,
            universes.gather(rows),
            sectors.gather(rows),
            inputs,
            {name: at[rows] for name, at in place.items()},
            environment,
            NewsTone.of(news, panel, rules.news.half_life_days),
        )

    def blocks(self, rows: int) -> list[slice]:
        """Slices of whole sessions of about `rows` rows each; one empty slice where nothing is judged."""
        session = self.rows // max(self.panel.shape[1], 1)
        first_of_session = np.flatnonzero(np.diff(session, prepend=-1))
        if not len(first_of_session):
            return [slice(0, 0)]
        wanted = np.arange(0, len(self.rows), rows)
        starts = np.unique(first_of_session[np.searchsorted(first_of_session, wanted, side="right") - 1])
        return [slice(start, end) for start, end in zip(starts, [*starts[1:], len(self.rows)], strict=True)]

    def part(self, rows: slice, rules: Rules) -> pl.DataFrame:
        """The book's rows: keys, texts and every input column as a float or date; not finite is null.

        A bad snapshot keeps its name and kind, and none of its numbers.
        """
        cells = self.rows[rows]
        session, instrument = np.divmod(cells, max(self.panel.shape[1], 1))
        tone = self.news.at(session, instrument)
        keys = pl.DataFrame(
            {
                "session": pl.Series(self.panel.sessions, dtype=pl.Date).gather(session),
                "instrument_id": pl.Series(list(self.panel.instrument_ids), dtype=pl.String).gather(instrument),
                "universes": self.universes[rows],
                "member_sector": self.sectors[rows],
                "environment": self.environment.gather(session),
                "news_sentiment": pl.Series(tone.sentiment).fill_nan(None),
                "news_elsewhere": tone.elsewhere,
            }
        )
        usable = pl.col("data_quality") != "bad"
        figures = (pl.when(usable).then(_finite(name)).alias(name) for name in FUNDAMENTAL_COLUMNS)
        frame = keys.hstack(
            [
                *self._of("indicators", rows, "ticker", _quality("bar_quality"), *map(_finite, INDICATOR_COLUMNS)),
                *self._of("liquidity", rows, _finite("dollar_volume_20")),
                *self._of("earnings_calendar", rows, *map(_finite, CALENDAR_NUMBERS), *CALENDAR_DATES),
                *self._of(
                    "fundamentals",
                    rows,
                    _quality("fundamentals_quality"),
                    pl.col("sector").alias("provider_sector"),
                    pl.col("asset_type").alias("kind"),
                    _finite("age"),
                    *figures,
                ),
            ]
        )
        return _derived(frame, rules)

    def _of(self, name: str, rows: slice, *wanted: pl.Expr | str) -> pl.DataFrame:
        """What an input says of the rows: expressions over its columns, null where it has no row."""
        frame = self.inputs[name]
        at = pl.Series(self.places[name][rows])
        expressions = [pl.col(one) if isinstance(one, str) else one for one in wanted]
        needed = sorted({column for one in expressions for column in one.meta.root_names()})
        if frame.is_empty():
            return frame.clear(len(at)).select(expressions)
        return frame.select(pl.col(needed).gather(at.set(at < 0, None))).select(expressions)


def _derived(book: pl.DataFrame, rules: Rules) -> pl.DataFrame:
    """With sector, scorer, and the snapshot moved to the close where the gap between the two prices is no split."""
    drift = pl.col("close") / pl.col("price")
    most = rules.price_drift.most
    moved = (drift.round(9) <= most) & (drift.round(9) >= 1 / most)
    kind = pl.col("kind").replace_strict(
        {"etf": "etf", "fund": "etf", "bond_etf": "bond_etf"}, default="stock", return_dtype=pl.String
    )
    return book.with_columns(
        asset_type=kind.fill_null("stock"),
        sector=pl.coalesce("member_sector", pl.col("provider_sector")).replace(rules.sectors.aliases),
        snapshot_market_cap=pl.col("market_cap"),
        market_cap=pl.col("market_cap") * pl.when(moved).then(drift).otherwise(1.0),
        reference_price=pl.when(moved).then(pl.col("close")).otherwise(pl.coalesce("price", "close")),
    )


def _finite(name: str) -> pl.Expr:
    number = pl.col(name).cast(pl.Float64)
    return pl.when(number.is_finite()).then(number).alias(name)


def _quality(name: str) -> pl.Expr:
    return pl.col("data_quality").alias(name)


def _places(name: str, panel: Panel, frame: pl.DataFrame, size: int) -> Integers:
    """For each cell of the panel the row of `frame` that speaks of it, -1 where none does."""
    at = np.full(size, -1, dtype=np.int64)
    cells = panel.cells(frame)
    inside = np.flatnonzero(cells >= 0)
    at[cells[inside]] = inside
    if np.count_nonzero(at >= 0) != len(inside):
        raise ValueError(f"two rows of {name} share a session and an instrument; pass one version of each")
    return at


def _membership(panel: Panel, members: pl.DataFrame, size: int) -> tuple[pl.Series, pl.Series, np.ndarray]:
    """For each cell: its universes, sorted and comma-separated; its sector; whether it is a member of any.

    Where universes disagree about a sector, the first one by name that knows it holds.
    """
    names = members["universe"].unique().sort().to_list()
    sectors = members["sector"].drop_nulls().unique().sort().to_list()
    cells = panel.cells(members)
    inside = cells >= 0
    code = members["universe"].cast(pl.Enum(names)).to_physical().cast(pl.Int64).to_numpy()
    sector = members["sector"].cast(pl.Enum(sectors)).to_physical().cast(pl.Int64).fill_null(-1).to_numpy()
    at_sector = np.full(size, -1, dtype=np.int64)
    combination = np.zeros(size, dtype=np.int64)
    texts = [""]
    for number in reversed(range(len(names))):
        here = np.zeros(size, dtype=np.bool_)
        of_universe = inside & (code == number)
        here[cells[of_universe]] = True
        with_sector = of_universe & (sector >= 0)
        at_sector[cells[with_sector]] = sector[with_sector]
        # Combinations that occur are few: number them anew after each universe.
        seen, combination = np.unique(combination * 2 + here, return_inverse=True)
        texts = [",".join(text for text in (names[number] if one % 2 else "", texts[one // 2]) if text) for one in seen]
    known = pl.Series(sectors, dtype=pl.String)
    places = pl.Series(np.where(at_sector < 0, 0, at_sector))
    found = known.gather(places.set(pl.Series(at_sector < 0), None)) if len(known) else _nothing(size)
    is_member = np.array([bool(text) for text in texts], dtype=np.bool_)[combination]
    return pl.Series(texts, dtype=pl.String).gather(combination), found, is_member


def _nothing(size: int) -> pl.Series:
    return pl.Series([None] * size, dtype=pl.String)
