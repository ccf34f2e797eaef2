"""The frames a premarket page is made of, and the one table of watched names that everything on it is chosen from."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from functools import cached_property
from typing import Any, Literal

import polars as pl

from trading_pipeline.markets import Market
from trading_pipeline.reports import decisions
from trading_pipeline.reports.inputs import refuse_incomplete
from trading_pipeline.tables import (
    DAILY_BIAS,
    DIP_ANALYSIS,
    DIP_OPPORTUNITIES,
    EARNINGS_CALENDAR,
    MARKET_REGIME,
    PREMARKET_SNAPSHOTS,
    SCREENER_SCORES,
)

LEAST_OF_A_SECTOR = 2
"""Names of a sector that must have traded before their median says something of the sector and not of one name."""


@dataclass(frozen=True)
class PremarketInputs:
    """Everything a premarket page tells, in the columns of `tables/`.

    snapshots, bias: PREMARKET_SNAPSHOTS and DAILY_BIAS rows of `session`, in any order. members: [instrument_id,
    ticker, sector, …] of it. regime, earnings, scores, dips, analysis: MARKET_REGIME, EARNINGS_CALENDAR,
    SCREENER_SCORES, DIP_OPPORTUNITIES and DIP_ANALYSIS rows of `previous`, the session before. names: [instrument_id,
    name] of the companies whose name is known. benchmark: instrument id of the index, which may not be watched.
    provider: who tells minutes; None: nobody. tearsheets: relative addresses of those of `previous` by instrument id;
    briefing: that of its briefing; only what exists. as_of, generated_at: zone-aware; see `BriefingInputs`.
    """

    market: Market
    session: date
    previous: date
    world: Literal["simulated", "real"]
    snapshots: pl.DataFrame
    bias: pl.DataFrame
    members: pl.DataFrame
    regime: pl.DataFrame
    earnings: pl.DataFrame
    scores: pl.DataFrame
    dips: pl.DataFrame
    analysis: pl.DataFrame
    names: pl.DataFrame
    benchmark: str
    provider: str | None
    as_of: datetime
    generated_at: datetime
    tearsheets: Mapping[str, str] = field(default_factory=dict)
    briefing: str | None = None

    def __post_init__(self) -> None:
        frames = (
            ("snapshots", self.snapshots, PREMARKET_SNAPSHOTS.names),
            ("bias", self.bias, DAILY_BIAS.names),
            ("members", self.members, ["instrument_id", "ticker", "sector"]),
            ("regime", self.regime, MARKET_REGIME.names),
            ("earnings", self.earnings, EARNINGS_CALENDAR.names),
            ("scores", self.scores, SCREENER_SCORES.names),
            ("dips", self.dips, DIP_OPPORTUNITIES.names),
            ("analysis", self.analysis, DIP_ANALYSIS.names),
            ("names", self.names, ["instrument_id", "name"]),
        )
        refuse_incomplete("premarket page", frames, {"as_of": self.as_of, "generated_at": self.generated_at})

    @property
    def simulated(self) -> bool:
        """Whether every ticker on the page is fictional."""
        return self.world == "simulated"

    @cached_property
    def today(self) -> dict[str, Any] | None:
        """The regime at the close before; None where none was published."""
        return self.regime.row(0, named=True) if self.regime.height else None

    @property
    def taken(self) -> Literal["live", "rebuilt"] | None:
        """Whether all of it was taken before the open; None where there is nothing."""
        ways = {*self.snapshots["taken"], *self.bias["taken"]}
        return None if not ways else "live" if ways == {"live"} else "rebuilt"

    @property
    def decided_at(self) -> datetime | None:
        """The premarket moment."""
        moments = [moment for moment in (self.snapshots["decided_at"].max(), self.bias["decided_at"].max()) if moment]
        return max(moments) if moments else None  # type: ignore[return-value]

    @cached_property
    def watched(self) -> pl.DataFrame:
        """Every watched name once, the largest gap first, unknown ones last: its snapshot, bias, sector, name, verdict.

        Beside the columns of both tables: `has_bias`, and `sector_gap`, the median gap of its sector where that says
        something.
        """
        own = ["session", "decided_at", "taken", "gap_pct", "ticker"]
        leans = self.bias.drop(own).with_columns(has_bias=pl.lit(True))
        tickers = pl.concat([each.select("instrument_id", "ticker") for each in (self.snapshots, self.bias)])
        verdicts = self.scores.select("instrument_id", "verdict", "grade", "data_quality")
        sectors = self.members.drop_nulls("sector").unique("instrument_id", keep="first", maintain_order=True)
        rows = (
            tickers.unique("instrument_id", keep="first", maintain_order=True)
            .join(self.snapshots.drop("ticker"), on="instrument_id", how="left", maintain_order="left")
            .join(leans, on="instrument_id", how="left", maintain_order="left")
            .join(sectors.select("instrument_id", "sector"), on="instrument_id", how="left", maintain_order="left")
            .join(self.names.unique("instrument_id", keep="any"), on="instrument_id", how="left", maintain_order="left")
            .join(verdicts, on="instrument_id", how="left", maintain_order="left")
            .with_columns(pl.col("has_bias").fill_null(False), pl.col("data_quality").fill_null("good"))
        )
        gap = pl.col("gap_pct")
        told = gap.count().over("sector") >= LEAST_OF_A_SECTOR
        return rows.with_columns(
            sector_gap=pl.when(pl.col("sector").is_not_null() & told).then(gap.median().over("sector"))
        ).sort(gap.abs().round(9), "ticker", "instrument_id", descending=[True, False, False], nulls_last=True)

    @cached_property
    def evidence(self) -> dict[str, dict[str, Any]]:
        """What each bias was decided on, by instrument id: the JSON of its `inputs`."""
        return {id_: json.loads(text) for id_, text in self.bias.select("instrument_id", "inputs").iter_rows()}

    @property
    def traded(self) -> pl.DataFrame:
        """The watched names that have a price of this morning, the largest gap first."""
        return self.watched.filter(pl.col("gap_pct").is_not_null())

    def gaps(self, up: bool) -> pl.DataFrame:
        """The names that trade above (below) yesterday's close by 0.01 % or more, farthest first."""
        gap = pl.col("gap_pct").round(2)
        return self.traded.filter(gap > 0 if up else gap < 0)

    def strongest(self, bias: str) -> pl.DataFrame:
        """The names that lean that way, the surest first."""
        return self.watched.filter(pl.col("bias") == bias).sort(
            pl.col("confidence").round(9), pl.col("score").abs().round(9), "ticker", "instrument_id",
            descending=[True, True, False, False],
        )  # fmt: skip

    @cached_property
    def desk(self) -> pl.DataFrame:
        """The dips on the desk of the session before that are watched, what gaps most first, with its play.

        now_dip_pct: how far below the high the price of this morning is; null without one.
        """
        prices = self.watched.select("instrument_id", "gap_pct", "premarket_relative_volume", "bias", "price")
        rows = decisions.desk(self.dips, self.analysis).drop("price").join(prices, on="instrument_id", how="inner")
        now = 100 * (1 - (1 - pl.col("dip_pct") / 100) * (1 + pl.col("gap_pct") / 100))
        return rows.with_columns(now_dip_pct=now).sort(
            pl.col("gap_pct").abs().round(9), "ticker", "instrument_id",
            descending=[True, False, False], nulls_last=True,
        )  # fmt: skip
