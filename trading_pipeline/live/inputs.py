"""What is known of a session before it opens, as the loop wants it: from the lake, or from recorded bars alone.

What belongs here: gathering. What does not: deciding what the inputs mean (`research/live`), making them
(`research/premarket`).

What is missing is unknown, never guessed, and `SessionInputs.remarks` says so: a name without a bias is neutral, one
without a snapshot touches no band, one without a true range has its stop set by the session's own sigma.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import polars as pl

from trading_pipeline.errors import InputRefused
from trading_pipeline.markets import Market
from trading_pipeline.providers.intraday import IntradayProvider
from trading_pipeline.research.bars.best_view import in_force
from trading_pipeline.research.bars.daily import effective
from trading_pipeline.research.indicators import LOOKBACK, indicators
from trading_pipeline.research.intraday import ExtendedHours, assess, forming, placed
from trading_pipeline.research.live import NAMES, SessionContext, live_names
from trading_pipeline.research.premarket import snapshots
from trading_pipeline.sessions import calendar
from trading_pipeline.storage.lake import Lake
from trading_pipeline.storage.reader import bars as visible_bars
from trading_pipeline.tables import (
    CORPORATE_ACTIONS,
    DAILY_BIAS,
    INTRADAY_BARS,
    MARKET_REGIME,
    MOMENT,
    PREMARKET_SNAPSHOTS,
    SCREENER_SCORES,
    UNIVERSE_MEMBERS,
)

STALE_AFTER = timedelta(seconds=90)
FOLLOWED = pl.Schema({"instrument_id": pl.String(), "ticker": pl.String(), "sector": pl.String()})
_HELD = pl.Schema({"instrument_id": pl.String(), "ticker": pl.String()})
SESSIONS_BEFORE = 30
"""Sessions of minutes that recorded inputs look back: an average true range of 14 and the month's 20 closes."""

_LEVEL = pl.Schema(
    {"instrument_id": pl.String(), "ticker": pl.String(), "atr_14": pl.Float64(), "previous_close": pl.Float64()}
)
_LEVELS = ("instrument_id", "anchored_mean", "anchored_sigma")


@dataclass(frozen=True)
class SessionInputs:
    """What a loop is given.

    context: bias, levels, clocks, names. bands: [instrument_id, anchored_mean, anchored_sigma]. delisted: instruments
    that no longer trade. managed: those followed only because something is held or waits: nothing new is opened in
    them. actions: [session, instrument_id, kind, value], those that move what is held overnight. facts: what a second
    look at a signal is told of a name beside the session itself, by instrument and part (`snapshot`, `bias`). remarks:
    what is missing, in words, for whoever reads the result. known_at: when they were read, which is when a session that
    begins with them began; None: that does not matter.
    """

    market: str
    context: SessionContext
    bands: pl.DataFrame
    delisted: frozenset[str] = frozenset()
    managed: frozenset[str] = frozenset()
    actions: pl.DataFrame | None = None
    facts: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    remarks: tuple[str, ...] = ()
    known_at: datetime | None = None

    @property
    def session(self) -> date:
        """The session."""
        return self.context.session


def read_inputs(
    lake: Lake,
    market: Market,
    session: date,
    *,
    benchmark_id: str | None = None,
    followed: pl.DataFrame | None = None,
    held: pl.DataFrame | None = None,
    delisted: frozenset[str] = frozenset(),
    stale_after: timedelta = STALE_AFTER,
    as_of: datetime | None = None,
    actions: pl.DataFrame | None = None,
) -> SessionInputs:
    """The inputs of a session from the tables that the morning left in the lake.

    followed: `FOLLOWED`, the names to follow; None: those that have a snapshot of the session. held: [instrument_id,
    ticker] of what the book holds or has orders for; those of them that are not followed anyway are managed.
    benchmark_id: the index, which is followed beside them and never traded. delisted: instruments whose orders are
    over. as_of: versions published up to that moment; None: the latest. actions: those that move what is held; None:
    `actions_up_to` the session, as known by `as_of`. Sectors and the level of the index are those that were known at
    the session's premarket moment, whatever `as_of` is: a session that goes on, or is replayed, is given the same.
    `InputRefused` where there is nobody to follow.
    """
    exchange = calendar(market.exchange)
    before = exchange.offset(exchange.require(session), -1)
    levels = lake.latest(market.name, PREMARKET_SNAPSHOTS, [session], as_of=as_of)
    bias = lake.latest(market.name, DAILY_BIAS, [session], as_of=as_of)
    regime = lake.latest(market.name, MARKET_REGIME, [before], as_of=as_of)
    decided_at = _premarket_moment(market, session)
    names = levels.select("instrument_id", "ticker") if followed is None else followed
    managed = pl.DataFrame(schema=_HELD) if held is None else _beside(held, names)
    sectors = _sectors(lake, market, session, before, decided_at)
    names = pl.concat([_with_sector(each, sectors) for each in (names, managed)]).unique("instrument_id")
    if names.is_empty():
        raise InputRefused(
            f"Nobody is prepared for {session}: premarket_snapshots has no row of it",
            "Materialize the premarket assets of the session, or name those to follow",
        )
    remarks = [
        *_lacking("snapshot", names, levels),
        *_lacking("bias", names, bias),
        *([] if regime.height else [f"No regime of {before}: the market counts as ungraded"]),
    ]
    facts = _facts(snapshot=levels, bias=bias)
    levels = levels.select("instrument_id", "atr_14", "previous_close", *_LEVELS[1:])
    if benchmark_id is not None and benchmark_id not in levels["instrument_id"]:
        index = _level_of(lake, market, benchmark_id, session, decided_at)
        levels = pl.concat([levels, index], how="diagonal")
        names = pl.concat([names, index.select("instrument_id", "ticker", sector=pl.lit(None, pl.String))]).unique(
            "instrument_id", keep="first"
        )
        remarks += [] if index.height else [f"No level of the index before {session}: the median name leads the market"]
    return SessionInputs(
        market=market.name,
        context=_context(market, session, live_names(names, bias, levels), regime, benchmark_id, stale_after),
        bands=levels.select(_LEVELS),
        delisted=delisted,
        managed=frozenset(managed["instrument_id"]),
        actions=actions_up_to(lake, market, session, as_of) if actions is None else actions,
        facts=facts,
        remarks=tuple(remarks),
    )


def actions_up_to(lake: Lake, market: Market, session: date, known_by: datetime | None = None) -> pl.DataFrame:
    """[session, instrument_id, kind, value] of splits and payments up to the session, as `actions_known`."""
    return actions_known(lake.read(market.name, CORPORATE_ACTIONS, last=session), known_by)


def actions_known(versions: pl.DataFrame, known_by: datetime | None = None) -> pl.DataFrame:
    """[session, instrument_id, kind, value] of the actions a book counts with: the version of each that we had
    received by `known_by`; None: the latest.

    versions: rows of `corporate_actions`. Not what the public could know by then: an action that is first received in
    the evening of its ex-date counts as public since the open, and a session that began after it knew nothing of it.
    """
    return effective(in_force(versions, known_by, "known_at")).select("session", "instrument_id", "kind", "value")


def inputs_from_minutes(
    provider: IntradayProvider,
    market: Market,
    session: date,
    ids: Mapping[str, str],
    *,
    now: datetime,
    sectors: Mapping[str, str] | None = None,
    benchmark_id: str | None = None,
    stale_after: timedelta = STALE_AFTER,
) -> SessionInputs:
    """The inputs of a session from minutes alone, where no premarket table was made: levels and bands, no bias.

    ids: instrument id by the provider's symbol, which stands for the ticker. Daily bars are made of the minutes of the
    regular hours of up to `SESSIONS_BEFORE` sessions before, in the provider's own basis; of a split in between nothing
    is known. sectors: by instrument id. `ProviderError` and `InputRefused` as the provider raises them.
    """
    exchange = calendar(market.exchange)
    first = exchange.offset(exchange.require(session), -SESSIONS_BEFORE)
    days = exchange.between(first, session)
    minutes, remarks = _minutes(provider, market, days, ids, now)
    daily = _daily(minutes.filter((pl.col("session") < session) & (pl.col("phase") == "regular")))
    ranges = indicators(
        daily, _no_actions(), _members(daily), benchmark_id or "", sorted(daily["session"].unique())
    ).select("session", "instrument_id", "atr_14")
    watched = pl.DataFrame(
        {"session": [session] * len(ids), "instrument_id": list(ids.values()), "ticker": list(ids)},
        schema={"session": pl.Date, "instrument_id": pl.String, "ticker": pl.String},
    )
    levels = snapshots(
        daily,
        _no_actions(),
        minutes,
        ranges,
        watched,
        _hours(market, days),
        pl.DataFrame(
            {"session": [session], "decided_at": [_premarket_moment(market, session)], "taken": ["rebuilt"]},
            schema={"session": pl.Date, "decided_at": MOMENT, "taken": pl.String},
        ),
    )
    followed = watched.select(
        "instrument_id",
        "ticker",
        sector=pl.col("instrument_id").replace_strict(dict(sectors or {}), default=None, return_dtype=pl.String),
    )
    remarks += [
        f"Made of the minutes that {provider.name} tells: no bias, no regime, levels without news of splits",
        *_lacking("snapshot", followed, levels),
        *_lacking("average true range", followed, levels.drop_nulls("atr_14")),
    ]
    names = live_names(followed, DAILY_BIAS.empty(), levels)
    return SessionInputs(
        market=market.name,
        context=_context(market, session, names, MARKET_REGIME.empty(), benchmark_id, stale_after),
        bands=levels.select(_LEVELS),
        facts=_facts(snapshot=levels),
        remarks=tuple(remarks),
    )


def _facts(**parts: pl.DataFrame) -> dict[str, dict[str, Any]]:
    """By instrument, the row of each part that has one."""
    facts: dict[str, dict[str, Any]] = {}
    for name, rows in parts.items():
        for row in rows.iter_rows(named=True):
            facts.setdefault(row["instrument_id"], {})[name] = row
    return facts


def _context(
    market: Market,
    session: date,
    names: pl.DataFrame,
    regime: pl.DataFrame,
    benchmark_id: str | None,
    stale_after: timedelta,
) -> SessionContext:
    exchange = calendar(market.exchange)
    graded = regime.row(0, named=True) if regime.height else {"regime": None, "environment": None}
    return SessionContext(
        session=session,
        opens_at=exchange.open_at(session),
        closes_at=exchange.close_at(session),
        names=names.select(NAMES.names()),
        regime=None if graded["regime"] is None else graded["regime"].lower(),
        environment=graded["environment"],
        stale_after=stale_after,
        benchmark_id=benchmark_id,
    )


def _premarket_moment(market: Market, session: date) -> datetime:
    return datetime.combine(session, market.premarket_at, calendar(market.exchange).timezone).astimezone(UTC)


def _beside(held: pl.DataFrame, names: pl.DataFrame) -> pl.DataFrame:
    """`_HELD` of what is held and not among the names."""
    rows = held.select(pl.col(name).cast(dtype) for name, dtype in _HELD.items())
    return rows.unique("instrument_id", keep="last", maintain_order=True).join(names, on="instrument_id", how="anti")


def _with_sector(names: pl.DataFrame, sectors: pl.DataFrame) -> pl.DataFrame:
    """`FOLLOWED` of names that may tell no sector."""
    told = names if "sector" in names.columns else names.join(sectors, on="instrument_id", how="left")
    return told.select(pl.col(name).cast(dtype) for name, dtype in FOLLOWED.items())


def _sectors(lake: Lake, market: Market, session: date, before: date, known_at: datetime) -> pl.DataFrame:
    """[instrument_id, sector] as the screener of the session before said by that moment.

    Memberships have no versions: what the screener did not say by then, because it was filled in later or the name is
    new, is taken from those of the session before and only then from the session's own.
    """
    scored = lake.latest(market.name, SCREENER_SCORES, [before], as_of=known_at)
    members = lake.read_sessions(market.name, UNIVERSE_MEMBERS, [before, session])
    told = pl.concat([rows.select("instrument_id", "sector") for rows in (scored, members)])
    return told.drop_nulls("sector").unique("instrument_id", keep="first", maintain_order=True)


def _level_of(lake: Lake, market: Market, id_: str, session: date, known_at: datetime) -> pl.DataFrame:
    """[instrument_id, ticker, atr_14, previous_close] of an instrument as known by then; no row if it is unknown or
    split that day.

    Made of the bars in force then: the table of indicators holds what the latest bars come to.
    """
    exchange = calendar(market.exchange)
    before = exchange.offset(session, -1)
    days = exchange.between(exchange.offset(before, -LOOKBACK), before)
    bars = visible_bars(lake, market.name, days, as_of=known_at, instruments=[id_])
    rows = lake.read(market.name, CORPORATE_ACTIONS, days[0], session, predicate=pl.col("instrument_id") == id_)
    actions = effective(in_force(rows, known_at))
    split = actions.filter((pl.col("session") == session) & (pl.col("kind") == "split"))
    if bars.is_empty() or split.height:
        return pl.DataFrame(schema=_LEVEL)
    row = indicators(bars, actions.filter(pl.col("session") <= before), _members(bars), id_, [before])
    return row.select("instrument_id", "ticker", "atr_14", previous_close="close")


def _minutes(
    provider: IntradayProvider, market: Market, days: Sequence[date], ids: Mapping[str, str], now: datetime
) -> tuple[pl.DataFrame, list[str]]:
    """Rows of `intraday_bars` that the provider tells of those sessions, as far back as it reaches."""
    exchange, reach = calendar(market.exchange), provider.reach("1m")
    told = [day for day in days if reach is None or exchange.open_at(day) - market.extended_hours[0] >= now - reach]
    remarks = [] if len(told) == len(days) else [f"{provider.name} tells minutes from {min(told, default='nowhen')} on"]
    batch = provider.intraday_bars(market, list(ids), told, "1m", now=now)
    names = pl.DataFrame({"symbol": list(ids), "instrument_id": list(ids.values()), "ticker": list(ids)})
    rows = batch.bars.join(names, on="symbol").with_columns(
        provider=pl.lit(provider.name), interval=pl.lit("1m"), known_at=pl.lit(now, MOMENT)
    )
    rows = placed(rows, _hours(market, told), str(exchange.timezone), ExtendedHours(*market.extended_hours))
    over = pl.col("started_at") + timedelta(minutes=1)
    kept = assess(rows).kept.with_columns(
        forming=forming(pl.col("interval"), pl.lit(now, MOMENT)), available_at=over + provider.lag
    )
    return kept.select(INTRADAY_BARS.names), remarks


def _daily(minutes: pl.DataFrame) -> pl.DataFrame:
    """Daily bars of regular minutes, the columns that indicators and snapshots read."""
    return (
        minutes.sort("started_at")
        .group_by("session", "instrument_id", maintain_order=True)
        .agg(
            pl.col("ticker").last(),
            pl.col("open").first(),
            pl.col("high").max(),
            pl.col("low").min(),
            pl.col("close").last(),
            pl.col("volume").sum(),
        )
        .with_columns(data_quality=pl.lit("good"))
        .sort("session", "instrument_id")
    )


def _members(daily: pl.DataFrame) -> pl.DataFrame:
    return daily.select("session", "instrument_id", universe=pl.lit("RECORDED"), sector=pl.lit(None, pl.String))


def _no_actions() -> pl.DataFrame:
    return CORPORATE_ACTIONS.empty().select("session", "instrument_id", "kind", "value")


def _hours(market: Market, days: Sequence[date]) -> pl.DataFrame:
    exchange = calendar(market.exchange)
    return pl.DataFrame(
        {
            "session": list(days),
            "opened_at": [exchange.open_at(day) for day in days],
            "closed_at": [exchange.close_at(day) for day in days],
        },
        schema={"session": pl.Date, "opened_at": MOMENT, "closed_at": MOMENT},
    )


def _lacking(what: str, names: pl.DataFrame, told: pl.DataFrame) -> list[str]:
    without = names.join(told, on="instrument_id", how="anti")["ticker"].sort().to_list()
    if not without:
        return []
    shown = ", ".join(without[:5]) + (", …" if len(without) > 5 else "")
    return [f"No {what} of {len(without)} of {names.height} names: {shown}"]
