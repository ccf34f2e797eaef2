"""Small markets of the dip desk's tests, whose falls have causes that are known, and reference data about them."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date

import numpy as np
import polars as pl

from trading_pipeline.research.dip_desk import causes
from trading_pipeline.research.dips import dip_opportunities
from trading_pipeline.research.indicators import indicators
from trading_pipeline.tables.dips import CAUSE_COLUMNS, DIP_OPPORTUNITIES
from trading_pipeline.tables.reference import EARNINGS_CALENDAR, NEWS
from trading_pipeline.tables.screener import SCREENER_SCORES

BENCHMARK = "us:SPY"
SECTORS = {"A": "Energy", "B": "Banks"}
LENGTH = 560
HIGH = 540
"""The session of the high, by its place; the falls come after it."""


def calendar(length: int = LENGTH) -> list[date]:
    """Weekdays from 2014 on."""
    days = np.arange(np.datetime64("2014-01-02"), np.datetime64("2024-01-02"))
    return [day.item() for day in days[np.is_busday(days)][:length]]


@dataclass
class Scene:
    """Two sectors of five quiet names that follow the market; moves are planted by place of the session.

    market, sector, own: {place: log move}, `sector` that of Energy and `own` that of A0. paid: {place: dividend of A0}.
    A rally up to HIGH puts everybody's high there.
    """

    market: dict[int, float] = field(default_factory=dict)
    sector: dict[int, float] = field(default_factory=dict)
    own: dict[int, float] = field(default_factory=dict)
    paid: dict[int, float] = field(default_factory=dict)
    seed: int = 4

    def __post_init__(self) -> None:
        self.sessions = calendar()
        rng = np.random.default_rng(self.seed)
        market = rng.normal(0, 0.008, LENGTH)
        energy, banks = rng.normal(0, 0.005, (2, LENGTH))
        quiet = HIGH + 1
        for moves in (market, energy, banks):
            moves[quiet:] *= 0.1
        market[HIGH - 9 : quiet] = 0.05
        moves = {}
        for letter in SECTORS:
            for number in range(5):
                own = rng.normal(0, 0.006, LENGTH)
                own[quiet:] *= 0.1
                moves[f"us:{letter}{number}"] = own
        for place, move in self.market.items():
            market[place] += move
        for place, move in self.sector.items():
            energy[place] += move
        for place, move in self.own.items():
            moves["us:A0"][place] += move
        closes = {name: market + (energy if "A" in name else banks) + own for name, own in moves.items()}
        closes[BENCHMARK] = market
        frames = []
        for name, move in closes.items():
            price = 100 * np.exp(np.cumsum(move))
            if name == "us:A0":
                for place, amount in self.paid.items():
                    price[place:] *= 1 - amount / price[place - 1]
            frames.append(
                pl.DataFrame({"session": self.sessions, "close": price}).with_columns(
                    pl.col("close").alias("open"),
                    pl.col("close").alias("high"),
                    pl.col("close").alias("low"),
                    instrument_id=pl.lit(name),
                    ticker=pl.lit(name.removeprefix("us:")),
                    volume=pl.lit(1e6),
                    data_quality=pl.lit("good"),
                )
            )
        self.bars = pl.concat(frames)
        self.members = self.bars.filter(pl.col("instrument_id") != BENCHMARK).select(
            "session",
            "instrument_id",
            universe=pl.lit("U"),
            sector=pl.col("ticker").str.slice(0, 1).replace_strict(SECTORS),
        )
        self.actions = pl.DataFrame(
            {
                "session": [self.sessions[place] for place in self.paid],
                "instrument_id": ["us:A0"] * len(self.paid),
                "kind": ["dividend"] * len(self.paid),
                "value": list(self.paid.values()),
            },
            schema={"session": pl.Date, "instrument_id": pl.String, "kind": pl.String, "value": pl.Float64},
        )

    def article(self, place: int, title: str = "Bad news", **given: object) -> dict[str, object]:
        """A row of `news`, about A0 unless said otherwise."""
        return {
            "session": self.sessions[place],
            "instrument_id": "us:A0",
            "article_id": f"{title}-{place}",
            "title": title,
            "scope": "company",
            "sentiment": -0.5,
            **given,
        }

    def calendar_of(self, *places: int, lag: int = 0, before_open: bool = True) -> pl.DataFrame:
        """Rows of `earnings_calendar` of A0 that trades on a report at each place; known `lag` sessions later."""
        rows = []
        for place, day in enumerate(self.sessions):
            past = [report for report in places if report + lag <= place]
            coming = [report for report in places if report >= place]
            report = past[-1] if past else None
            rows.append(
                {
                    "session": day,
                    "instrument_id": "us:A0",
                    "last_report_session": None if report is None else self.sessions[report],
                    "last_report_date": None if report is None else self.sessions[report - (not before_open)],
                    "last_eps_actual": None if report is None else 0.61,
                    "last_eps_estimate": None if report is None else 0.72,
                    "sessions_to_report": coming[0] - place if coming else None,
                }
            )
        return filled(pl.DataFrame(rows, schema_overrides=EARNINGS_CALENDAR.schema), EARNINGS_CALENDAR.schema)

    def dips(self, sessions: list[date]) -> pl.DataFrame:
        """The dips of `sessions`."""
        measured = indicators(self.bars, self.actions, self.members, BENCHMARK, sessions)
        regime = pl.DataFrame({"session": sessions, "environment": ["B"] * len(sessions)})
        return dip_opportunities(
            self.bars, self.actions, self.members, measured, regime, BENCHMARK, (5.0, 10.0, 15.0), sessions
        )

    def judged(
        self, *articles: dict[str, object], reports: pl.DataFrame | None = None, place: int = LENGTH - 1
    ) -> dict[str, object]:
        """What is found about A0 on the session at `place`."""
        sessions = [self.sessions[place]]
        news = filled(pl.DataFrame(list(articles), schema_overrides=NEWS.schema), NEWS.schema)
        found = causes(
            self.dips(sessions),
            self.bars,
            self.actions,
            self.members,
            news,
            EARNINGS_CALENDAR.empty() if reports is None else reports,
            SCREENER_SCORES.empty(),
            self.members.select("session", "instrument_id"),
            BENCHMARK,
            sessions,
        )
        assert set(found.columns) == {*DIP_OPPORTUNITIES.names, *(column.name for column in CAUSE_COLUMNS)}
        return found.filter(instrument_id="us:A0").row(0, named=True)


def filled(frame: pl.DataFrame, schema: pl.Schema) -> pl.DataFrame:
    """`frame` with every column of `schema`, null where it has none."""
    missing = [pl.lit(None, dtype).alias(name) for name, dtype in schema.items() if name not in frame.columns]
    return frame.with_columns(missing).select(pl.col(name).cast(dtype) for name, dtype in schema.items())
